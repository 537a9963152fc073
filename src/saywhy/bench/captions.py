"""Captions against what people wrote: published outputs scored again, a file of one's own, or sentences written now.

Without options: the captions that MAGIC's authors published of ZeroCap and of their method, for 5,000 and 4,982
pictures of COCO, whose scores are known; what is measured here must agree with them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from saywhy.bench import Report
from saywhy.bench.pack import find_pack
from saywhy.errors import SaywhyError
from saywhy.metrics.caption_scores import NAMES, USUAL, MetricWarning, caption_metrics, spice_is_here
from saywhy.plumbing.texts import read_json
from saywhy.words.caption_files import match_references, read_magic, read_references, read_results

if TYPE_CHECKING:
    from torch import Tensor

    from saywhy.types import Space

PUBLISHED = {
    "ZeroCap": {"B@4": 7.0, "METEOR": 15.4, "CIDEr": 34.5},
    "MAGIC": {"B@4": 12.9, "METEOR": 17.4, "CIDEr": 49.3},
}
"""Su et al. 2022 (MAGIC), COCO, Karpathy's test split; their ZeroCap has a language model tuned on COCO's captions."""

BATCH = 8  # pictures written about at once


def run(
    limit: int | None = None,
    *,
    data: Annotated[
        str | None, "Sentences to score: MAGIC's format, RESULTS.json,REFERENCES.json, or references alone."
    ] = None,
    model: Annotated[str | None, "The classifier whose sentences are written now."] = None,
    space: Annotated[str | None, "Whose words: as for explain."] = None,
    images: Annotated[str | None, "A folder of pictures to write sentences on."] = None,
    writer: Annotated[str | None, "A language model that writes now: NAME or DIR."] = None,
) -> Report:
    """One row a file of captions, or one for the sentences written now.

    data:   a file in MAGIC's format (captions and references); "RESULTS.json,REFERENCES.json" in COCO's and Karpathy's;
            or REFERENCES.json alone, with ``images`` and ``writer`` (in MAGIC's format, too: its captions go unread).
    writer: a folder or name of a language model. It writes sentences on the pictures of the folder ``images``, led by
            ``space`` (default own: that of the classifier ``model``).
    limit:  pictures at most, chosen at random but always the same. CIDEr of fewer pictures is another CIDEr.
    """
    if writer or images:
        return _written_now(limit, data, model, space, images, writer)
    if model or space:
        raise SaywhyError("the benchmark captions takes --model and --space with --writer and --images only")
    if data is None:
        folder = find_pack() / "text" / "captions"
        files = {name: f"{folder / f'coco_{name.lower()}_result.json'}" for name in PUBLISHED}
    else:
        files = {Path(data.split(",")[0]).stem: data}
    rows, notes = [], []
    for name, file in files.items():
        candidates, references, count = read_pair(file)
        scores, said = _scored(candidates, references, limit)
        if len(candidates) < count:
            said.append(f"{name}: {len(candidates)} of the {count} pictures with references have a caption")
        rows.append({"captions": name, "numbers": "measured", **scores})
        if data is None and len(candidates) == scores["pictures"]:  # of a part, they would say nothing
            rows.append({"captions": name, "numbers": "published", "pictures": len(candidates), **PUBLISHED[name]})
        notes += [note for note in said if note not in notes]
    return _report("captions against what people wrote", rows, notes)


def read_pair(data: str) -> tuple[dict[str, str], dict[str, tuple[str, ...]], int]:
    """Captions and references of a MAGIC file or "RESULTS.json,REFERENCES.json"; how many pictures have references."""
    results, comma, references = data.partition(",")
    if comma:
        records = read_references(references)
        return *match_references(read_results(results), records), len(records)
    if _is_object(results):
        raise SaywhyError(
            f"{results}: holds references and no captions. Give RESULTS.json,REFERENCES.json, or let sentences be "
            "written with --images, --writer and --model"
        )
    candidates, texts = read_magic(results)
    return candidates, texts, len(texts)


def _written_now(
    limit: int | None, data: str | None, model: str | None, space: str | None, images: str | None, writer: str | None
) -> Report:
    if not (data and images and writer and (model or space)):
        raise SaywhyError(
            "writing captions needs --data REFERENCES.json, --images FOLDER, --writer LM, and --model or --space"
        )
    references, files = _references(data)
    found = {key: path for key, file in files.items() if (path := find_picture(images, file))}
    if not found:
        example = next(iter(files.values()))
        raise SaywhyError(f"{images}: none of the {len(files)} pictures of {data} is in this folder, e.g. {example}")
    chosen = _chosen(list(found), limit)
    texts = write_sentences([found[key] for key in chosen], _space(model, space), writer)
    candidates = dict(zip(chosen, texts, strict=True))
    scores, notes = _scored(candidates, {key: references[key] for key in chosen}, None)
    if len(found) < len(files):
        notes.append(f"{len(found)} of the {len(files)} pictures of {data} are in {images}")
    row = {"captions": f"{model or space} + {writer}", "numbers": "measured", **scores}
    return _report("captions written now, against what people wrote", [row], notes, {"sentences": candidates})


def _references(data: str) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """References and file by picture."""
    if _is_object(data):
        records = read_references(data)
        return {r.id: r.references for r in records}, {r.id: r.file for r in records}
    _, references = read_magic(data)
    return references, {name: name for name in references}


def _is_object(file: str) -> bool:
    """Whether a JSON file holds an object (references) rather than a list (results); a broken one is neither."""
    try:
        return isinstance(read_json(file), dict)
    except SaywhyError:
        return False


def find_picture(folder: str | Path, name: str) -> Path | None:
    """The picture of that name in a folder: its path there, else its file name, else with an ending of pictures."""
    for candidate in dict.fromkeys((name, Path(name).name)):
        for ending in ("", ".jpg", ".jpeg", ".JPEG", ".png"):
            if (path := Path(folder) / f"{candidate}{ending}").is_file():
                return path
    return None


def write_sentences(
    pictures: Sequence[Path],
    space: Space,
    writer: str,
    *,
    method: str = "guided",
    judge: Space | None = None,
    vectors: Sequence[Tensor] | None = None,
) -> list[str]:
    """A sentence a picture, by the language model ``writer``, led by a space.

    method:  of ``narrate``; "prefix:5" writes five drafts in place of twenty. judge: who chooses among the drafts.
    vectors: (1, d) in the space, what each sentence must fit in the place of its picture.
    """
    from saywhy.pictures.reading import read_picture
    from saywhy.questions.narrate import narrate
    from saywhy.questions.sentences.language_model import load_language_model

    language = load_language_model(writer)
    name, _, drafts = method.partition(":")
    settings: dict[str, Any] = {"method": name}
    if drafts:
        settings["sentences"] = int(drafts)
    if judge is not None:
        settings["judge"] = judge
    texts: list[str] = []
    for start in range(0, len(pictures), BATCH):
        batch = [read_picture(path) for path in pictures[start : start + BATCH]]
        if vectors is not None:
            settings["encoded"] = vectors[start : start + BATCH]
        texts += [sentence.text for sentence in narrate(batch, space, language, **settings)]
    return texts


def _space(model: str | None, space: str | None) -> Space:
    """Where pictures and words meet: in a classifier's own space unless another is named."""
    from saywhy.classifiers.classifier import Classifier
    from saywhy.questions.names_and_defaults import resolve_space
    from saywhy.spaces.clip import load_clip

    if model:
        return resolve_space(space or "own", Classifier.load(model))
    if not space or space == "own":
        raise SaywhyError("--space own is the space of a classifier; name it with --model")
    return load_clip(space)


def _scored(
    candidates: Mapping[str, str], references: Mapping[str, Sequence[str]], limit: int | None
) -> tuple[dict[str, Any], list[str]]:
    """A row's number of pictures and scores, and what is to be said of them."""
    chosen = _chosen(list(candidates), limit)
    notes = [] if spice_is_here() else ["SPICE is left out: Stanford CoreNLP is not here (docs/sentence-metrics.md)"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scores = caption_metrics(
            {key: candidates[key] for key in chosen},
            {key: references[key] for key in chosen},
            NAMES if spice_is_here() else USUAL,
        )
    notes += [str(warning.message) for warning in caught if issubclass(warning.category, MetricWarning)]
    return {"pictures": len(chosen), **scores}, notes


def _chosen(keys: list[str], limit: int | None) -> list[str]:
    if not limit or limit >= len(keys):
        return keys
    return [keys[n] for n in sorted(np.random.default_rng(0).permutation(len(keys))[:limit])]


def _report(title: str, rows: list[dict[str, Any]], notes: list[str], summary: dict[str, Any] | None = None) -> Report:
    more = [("notes", ("note",), [{"note": note} for note in notes])] if notes else []
    return Report("captions", title, ("captions", "numbers", "pictures", *NAMES), rows, summary or {}, more)
