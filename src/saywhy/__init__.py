"""Ask any image classifier why, and get the answer in words with the evidence beside them."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saywhy.answers.explanation import Explanation as Explanation
    from saywhy.attribution import attribute as attribute
    from saywhy.attribution.regions import find_regions as find_regions
    from saywhy.audits.audit import Audit as Audit
    from saywhy.audits.audit import audit as audit
    from saywhy.classifiers.classifier import Classifier as Classifier
    from saywhy.errors import SaywhyError as SaywhyError
    from saywhy.questions.explain import explain as explain
    from saywhy.questions.names_and_defaults import load_vocabulary as load_vocabulary
    from saywhy.questions.sentences.language_model import load_language_model as load_language_model
    from saywhy.questions.verify import verify as verify
    from saywhy.questions.why_not import why_not as why_not
    from saywhy.seen.calibration import Calibration as Calibration
    from saywhy.spaces.clip import load_clip as load_clip
    from saywhy.spaces.concepts import ConceptSpace as ConceptSpace
    from saywhy.spaces.operated import OperatedSpace as OperatedSpace
    from saywhy.spaces.operated import match_classifier as match_classifier
    from saywhy.spaces.own import ClassifierSpace as ClassifierSpace
    from saywhy.spaces.text_encoder import load_encoder as load_encoder
    from saywhy.spaces.tuned import TunedSpace as TunedSpace
    from saywhy.spaces.tuned import load_tuned as load_tuned
    from saywhy.types import Heatmap as Heatmap
    from saywhy.types import Vocabulary as Vocabulary

__version__ = version("saywhy")

_PUBLIC = {
    "Audit": "audits.audit",
    "Calibration": "seen.calibration",
    "Classifier": "classifiers.classifier",
    "ClassifierSpace": "spaces.own",
    "ConceptSpace": "spaces.concepts",
    "Explanation": "answers.explanation",
    "Heatmap": "types",
    "OperatedSpace": "spaces.operated",
    "SaywhyError": "errors",
    "TunedSpace": "spaces.tuned",
    "Vocabulary": "types",
    "attribute": "attribution",
    "audit": "audits.audit",
    "explain": "questions.explain",
    "find_regions": "attribution.regions",
    "load_clip": "spaces.clip",
    "load_encoder": "spaces.text_encoder",
    "load_language_model": "questions.sentences.language_model",
    "load_tuned": "spaces.tuned",
    "load_vocabulary": "questions.names_and_defaults",
    "match_classifier": "spaces.operated",
    "verify": "questions.verify",
    "why_not": "questions.why_not",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that ``import saywhy`` and ``saywhy --help`` are quick."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'saywhy' has no attribute {name!r}")
    value = getattr(import_module(f"saywhy.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, which are not there until they are used."""
    return sorted(__all__)
