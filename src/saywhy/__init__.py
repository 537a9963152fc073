"""Ask any image classifier why, and get the answer in words with the evidence beside them."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saywhy.attribution import attribute as attribute
    from saywhy.classifier_space import ClassifierSpace as ClassifierSpace
    from saywhy.classifiers import Classifier as Classifier
    from saywhy.clip_space import load_clip as load_clip
    from saywhy.errors import SaywhyError as SaywhyError
    from saywhy.language_model import load_language_model as load_language_model
    from saywhy.operated_space import OperatedSpace as OperatedSpace
    from saywhy.operated_space import match_classifier as match_classifier
    from saywhy.pipeline import explain as explain
    from saywhy.regions import find_regions as find_regions
    from saywhy.text_encoder import load_encoder as load_encoder
    from saywhy.tuned_space import TunedSpace as TunedSpace
    from saywhy.tuned_space import load_tuned as load_tuned
    from saywhy.types import Explanation as Explanation
    from saywhy.types import Heatmap as Heatmap
    from saywhy.types import Vocabulary as Vocabulary
    from saywhy.vocabulary import load_vocabulary as load_vocabulary

__version__ = version("saywhy")

_PUBLIC = {
    "Classifier": "classifiers",
    "ClassifierSpace": "classifier_space",
    "Explanation": "types",
    "Heatmap": "types",
    "OperatedSpace": "operated_space",
    "SaywhyError": "errors",
    "TunedSpace": "tuned_space",
    "Vocabulary": "types",
    "attribute": "attribution",
    "explain": "pipeline",
    "find_regions": "regions",
    "load_clip": "clip_space",
    "load_encoder": "text_encoder",
    "load_language_model": "language_model",
    "load_tuned": "tuned_space",
    "load_vocabulary": "vocabulary",
    "match_classifier": "operated_space",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that ``import saywhy`` and ``saywhy --help`` are quick."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'saywhy' has no attribute {name!r}")
    value = getattr(import_module(f"saywhy.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value
