"""What a name that a user types stands for: a space, a vocabulary, a writer; and what is taken where none is given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.plumbing.texts import read_lines
from saywhy.types import Vocabulary
from saywhy.words.cub_names import BIRD
from saywhy.words.vocabulary import PHOTO, joined_vocabularies, make_vocabulary, parse_lines, phrases_from_json

if TYPE_CHECKING:
    from saywhy.classifiers.classifier import Classifier
    from saywhy.questions.sentences.language_model import LanguageModel
    from saywhy.seen.gate import Calibrated, Doubt, Seen
    from saywhy.seen.names import NamesCheck
    from saywhy.types import Space, Vocabulary


VOCABULARIES = {
    "concepts": "colours, textures, patterns, materials, shapes, parts, objects and scenes",
    "descriptors": "visual descriptors of animals, vehicles, buildings, devices, food and surroundings",
    "birds": "bird attributes in the form of CUB-200-2011 (bill shape, wing colour, ...)",
    "world:aviary": "the parts, colours and backgrounds of the embedded aviary",
    "world:digits": "the shapes and colours of the embedded digits",
}
"""Built-in vocabularies: name -> what is in it."""


def load_vocabulary(source: str | Path) -> Vocabulary:
    """The vocabulary of that name or in that file; several joined with "+" ("birds+concepts").

    Files: .txt, a phrase a line, optionally "group: phrase", "#" for comments; .json, a list of phrases or an object
    from group (or class) to its phrases, as visual descriptors are published; CUB's attributes.txt.
    Duplicates and empty entries are left out with a VocabularyWarning. Raises SaywhyError where nothing is left.
    """
    if isinstance(source, str) and "+" in source and not os.path.exists(source):
        return joined_vocabularies([load_vocabulary(part.strip()) for part in source.split("+")])
    if source in VOCABULARIES:
        return _built_in(str(source))
    path = Path(source)
    if not os.path.exists(path):
        raise unknown("vocabulary or file", source, VOCABULARIES, cutoff=0.5)
    entries = phrases_from_json(path) if path.suffix.lower() == ".json" else parse_lines(read_lines(path))
    return make_vocabulary(entries, name=path.stem, where=str(path))


def _built_in(name: str) -> Vocabulary:
    if name.startswith("world:"):
        from saywhy.worlds import world_vocabulary

        return world_vocabulary(name.removeprefix("world:"))
    text = files("saywhy.words").joinpath("data", f"{name}.txt").read_text(encoding="utf-8")
    entries = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            head, _, values = line.partition(":")
            group, _, pattern = (part.strip() for part in head.partition("|"))
            entries += [(group, pattern.replace("{}", value.strip())) for value in values.split(",")]
    if name == "birds":
        groups = frozenset(group for group, _ in entries)
        return make_vocabulary(entries, name=name, templates={"": BIRD}, exclusive=groups)
    return make_vocabulary(entries, name=name, templates={"": PHOTO})


SPACES = {
    "own": "the classifier's own features, texts mapped to the rows of its head (needs a linear head)",
    "own:ENCODER": "the same by another text encoder: a sentence-transformers name or folder, or clip:ARCH/TAG",
    "concepts:FILE": "the classifier's own features, phrases learned from pictures by `saywhy train concepts`",
    "clip": "CLIP ViT-B-32 (LAION-2B) by open_clip, from a hub or its cache",
    "clip:ARCH/TAG": "any open_clip model, e.g. clip:ViT-H-14/laion2b_s32b_b79k, the one of LRP-CLIP",
    "clip:DIR": "an open_clip local directory",
    "world:aviary": "the aviary's own CLIP, embedded; world:aviary/vit has a ViT tower",
    "world:digits": "the digits' own CLIP, embedded, of ten digits in six colours; world:digits/vit has a ViT tower",
    "tuned:DIR": "CLIP with the visual prompts of `saywhy train prompts`, tuned to name rationales",
    "world:aviary/captioned": "another CLIP of the aviary's, trained on whole captions: the one to tune prompts on",
    "operated:FILE": "CLIP with the classifier's activations in it, from a matching that `saywhy ask --save` wrote",
}


SHIPPED_PROBES = Path(str(files("saywhy.spaces"))) / "data"
"""Concept probes of classifiers that can be installed from the package index."""
SHIPPED = "concepts:imagenet"


def check_space_name(name: str) -> None:
    """Raises SaywhyError for what can be seen to be wrong with a space's name before anything is loaded."""
    from saywhy.spaces.clip import check_clip
    from saywhy.spaces.tuned import ADAPTER

    kind, _, where = name.partition(":")
    if name == "clip" or (where and kind in ("clip", "world")):
        check_clip(name)
    elif where and kind in ("tuned", "operated", "concepts"):
        file = Path(where, ADAPTER) if kind == "tuned" else concepts_file(name) if kind == "concepts" else Path(where)
        if not os.path.isfile(file):
            raise SaywhyError(f"the space {name!r}: there is no file {file}")
    elif name != "own" and not (where and kind == "own"):
        raise unknown("space", name, SPACES)


def resolve_space(name: str, classifier: Classifier | None, device: str | None = None) -> Space:
    """The space of that name; "own", "own:ENCODER", "concepts:FILE" and "operated:FILE" belong to a classifier.

    device: of a CLIP; None: a GPU where there is one.

    Raises SaywhyError for an unknown name, a space that cannot be loaded, or one that needs a classifier without one.
    """
    if name == "clip" or name.startswith(("clip:", "world:")):
        from saywhy.spaces.clip import load_clip

        return load_clip(name, device)
    if name.startswith("tuned:"):
        from saywhy.spaces.tuned import load_tuned

        return load_tuned(name.removeprefix("tuned:"), device=device)
    if name != "own" and not name.startswith(("own:", "operated:", "concepts:")):
        raise unknown("space", name, SPACES)
    if classifier is None:
        raise SaywhyError(f"the space {name!r} belongs to a classifier; give one with --model")
    if name == "own" or name.startswith("own:"):
        from saywhy.spaces.own import ClassifierSpace
        from saywhy.spaces.text_encoder import DEFAULT_ENCODER, load_encoder

        return ClassifierSpace(classifier, load_encoder(name.partition(":")[2] or DEFAULT_ENCODER))
    if name.startswith("concepts:"):
        from saywhy.spaces.concepts import ConceptSpace

        return ConceptSpace.load(concepts_file(name), classifier)
    from saywhy.spaces.operated import load_operated

    return load_operated(name.removeprefix("operated:"), classifier, device=device)


def default_space(classifier: Classifier | None) -> str:
    """A world's CLIP for its classifiers, a classifier's own space if its head is linear, else CLIP: for any words."""
    if classifier is None:
        return "clip"
    for world in ("world:aviary", "world:digits"):
        if classifier.name.startswith(world):
            return world
    return "own" if classifier.has_head else "clip"


def explaining_space(classifier: Classifier, vocabulary: object = None, phrases: Sequence[str] = ()) -> str:
    """The space in which a classifier is explained: shipped probes, which can say facts, where they know the words.

    vocabulary, phrases: the words that are asked for; None: any will do.
    """
    if vocabulary is None and classifier.name.startswith("imagenet") and _probes_know(phrases, classifier):
        return SHIPPED
    return default_space(classifier)


def _probes_know(phrases: Sequence[str], classifier: Classifier) -> bool:
    """Whether the shipped probes are this classifier's, by weights, names and transform, and know the phrases."""
    from saywhy.spaces.concepts import ConceptSpace

    try:
        space = ConceptSpace.load(concepts_file(SHIPPED), classifier)
        return all(space.row(phrase) >= 0 for phrase in phrases)
    except SaywhyError:
        return False


def default_vocabulary(classifier: Classifier) -> str:
    """The world's own vocabulary for a world's classifier, general concepts for any other."""
    return next((name for name in VOCABULARIES if ":" in name and classifier.name.startswith(name)), "concepts")


def resolve_vocabulary(
    vocabulary: str | Path | Vocabulary | None, classifier: Classifier, space: Space | None = None
) -> Vocabulary:
    """The vocabulary of that name or in that file; a Vocabulary stays as it is; None: the space's own phrases, where it
    knows no others, else the classifier's default.

    A space that knows its own phrases only is asked for them as they are, without prompts. Raises SaywhyError for one
    that it does not know.
    """
    from saywhy.spaces.traits import vocabulary_of

    own = None if space is None else vocabulary_of(space)
    if vocabulary is None:
        return own or load_vocabulary(default_vocabulary(classifier))
    words = load_vocabulary(vocabulary) if isinstance(vocabulary, str | Path) else vocabulary
    if own is None or space is None:
        return words
    space.encode_texts(words.phrases)  # raises for one that it does not know
    return replace(words, templates={"": ("{}",)})


def default_writer(classifier: Classifier, space: Space) -> str | None:
    """The aviary's language model for the aviary's classifiers, where the space takes any text; none for others: load
    or train one."""
    from saywhy.spaces.traits import vocabulary_of

    return "world:aviary" if classifier.name.startswith("world:aviary") and vocabulary_of(space) is None else None


def check_writer(writer: object, space: Space) -> None:
    """Raises SaywhyError for a writer in a space that knows its own phrases alone: no sentence can be weighed there."""
    from saywhy.spaces.traits import vocabulary_of

    if writer is not None and vocabulary_of(space) is not None:
        raise SaywhyError(
            f"{space.name} knows its own phrases and no others, so that no sentence can be weighed in it; leave the "
            "writer out (--writer none), or take another space (--space own, --space clip)"
        )


def resolve_writer(writer: str | LanguageModel | None) -> LanguageModel | None:
    """The language model of that name; "none" and None: none. Raises SaywhyError where it cannot be loaded."""
    if writer is None or writer == "none":
        return None
    from saywhy.questions.sentences.language_model import load_language_model

    return load_language_model(writer) if isinstance(writer, str) else writer


def check_space(space: Space, classifier: Classifier) -> None:
    """Raises SaywhyError for the space of another classifier, whose view would pass for this one's."""
    from saywhy.spaces.traits import classifier_of

    owner = classifier_of(space)
    if owner is not None and owner is not classifier and owner.fingerprint != classifier.fingerprint:
        raise SaywhyError(f"the space belongs to {owner.name}, not to {classifier.name}; use space='own'")


def resolve_seen(
    space: Space,
    vocabulary: Vocabulary,
    calibration: str | Path | Calibrated | None = None,
    doubts: tuple[Doubt, ...] = (),
) -> Seen:
    """What decides which words are said as facts, and of which pictures none are said.

    calibration: a file, or what knows how probable it is that phrases are there; None: what the space brings along, or
                 what is shipped for it; where there is none, no word is said as a fact.
    doubts:      what may silence a picture, as ``seen.references.doubts_of`` gives.

    Raises SaywhyError for the calibration of another space or vocabulary.
    """
    from saywhy.seen.calibration import Calibration, shipped_calibration
    from saywhy.seen.gate import Calibrated, Seen
    from saywhy.spaces.traits import calibration_of

    if calibration is None:
        brought = calibration_of(space) or shipped_calibration(space, vocabulary)
        known = brought if isinstance(brought, Calibrated) else None
    else:
        known = Calibration.load(calibration) if isinstance(calibration, str | Path) else calibration
        if isinstance(known, Calibration) and (reason := known.why_not(space, vocabulary)):
            raise SaywhyError(reason)
    return _by_names(Seen(known, doubts), space, vocabulary)


def _by_names(seen: Seen, space: Space, vocabulary: Vocabulary) -> Seen:
    """With what the class names teach, where words are learned from them; where nothing else is known, it decides."""
    from saywhy.questions.labels import encode_vocabulary
    from saywhy.seen.names import LearnsFromNames
    from saywhy.seen.names_alone import names_alone
    from saywhy.spaces.traits import classifier_of, reference_of

    names, classifier, rows = names_taught(space), classifier_of(space), reference_of(space)
    if names is None or not isinstance(space, LearnsFromNames) or classifier is None or rows is None:
        return seen
    if seen.calibration is not None:
        return replace(seen, names=names)
    alone = names_alone(space, classifier.labels, rows, vocabulary, encode_vocabulary(vocabulary, space))
    return replace(seen, names=names, alone=alone, doubts=(names, alone, *seen.doubts))


def names_taught(space: Space) -> NamesCheck | None:
    """Whether class names teach a space what words mean; None where it does not learn words from them."""
    from saywhy.seen.names import LearnsFromNames, check_space_names
    from saywhy.spaces.traits import classifier_of, reference_of

    classifier = classifier_of(space)
    if not isinstance(space, LearnsFromNames) or classifier is None or reference_of(space) is None:
        return None
    return check_space_names(space, classifier)


def check_captions(space: Space) -> None:
    """Raises SaywhyError for a space that says no words, as its class names do not teach it any."""
    from saywhy.seen.names import THAT_WORK

    names = names_taught(space)
    if names is not None and not names.understood:
        why = names.reason.partition(";")[0]
        raise SaywhyError(f"no caption means anything in the classifier's own space: {why}; {THAT_WORK}")


def usual_phrases(name: str, space: Space, classifier: Classifier | None) -> tuple[str, ...]:
    """What captions are held against in a space of that name: its own phrases, its world's, or general concepts."""
    from saywhy.spaces.traits import vocabulary_of

    if (own := vocabulary_of(space)) is not None:
        return own.phrases
    world = next((one for one in VOCABULARIES if ":" in one and name.startswith(one)), None)
    return load_vocabulary(world or ("concepts" if classifier is None else default_vocabulary(classifier))).phrases


def words_unused(seen: Seen, vocabulary: Vocabulary) -> str:
    """Which words of a vocabulary a space cannot use that learns words from class names, why, and what works instead.

    To be said once a run, as answers say it in short; "" where it can use all.
    """
    from saywhy.seen.names import FEWEST, INSTEAD
    from saywhy.words.grounding import MENTIONS

    if seen.names is None or seen.calibration is not None:
        return ""
    few, used = seen.names.classes < FEWEST, 0 if seen.alone is None else len(seen.alone.vocabulary)
    if reason := seen.names.reason.partition(";")[0]:
        why = f"{reason}{f', about {FEWEST} do' if few else ''}"
        used = 0
    elif used < len(vocabulary):
        why = f"it knows a word only where {MENTIONS} class names or more mention it"
    else:
        return ""
    return (
        f"{used or 'none'} of the {len(vocabulary)} words of {vocabulary.name} can be used by the classifier's own "
        f"space: {why}; {INSTEAD}"
    )


def files_brought(space: str | Space | None, calibration: str | Path | Calibrated | None) -> list[Path]:
    """The files among what a user names that know which pictures they were learned from; see ``doubts_of``."""
    named = [concepts_file(space)] if isinstance(space, str) and space.startswith("concepts:") else []
    return [*named, *([Path(calibration)] if isinstance(calibration, str | Path) else [])]


def concepts_file(space: str) -> Path:
    """Where the probes of "concepts:FILE" are; SHIPPED are in the package."""
    where = space.removeprefix("concepts:")
    return SHIPPED_PROBES / f"{where}.safetensors" if space == SHIPPED and not os.path.exists(where) else Path(where)
