"""Sentences: guided search against prefix tuning on photographs, and sentences on the aviary held against the truth.

Same pictures, language model, space, prompts and selector for both methods. Prefix tuning takes minutes a picture on a
CPU, so its results are kept on disk one by one: a run that was cut short goes on where it ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from rich.progress import track

from saywhy.bench import Report
from saywhy.errors import SaywhyError
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.texts import read_json

SPACES = ("world:aviary", "own")
ASKING = ("a bird with", "this bird with", "a photo of a bird with")  # for attributes, not for where the bird is
COLUMNS = ("method", "pictures", "cosine", "unusual", "perplexity", "encodings", "seconds")


def run(
    limit: int | None = None,
    *,
    model: Annotated[str | None, "The classifier."] = None,
    images: Annotated[str | None, "A folder of photographs."] = None,
    writer: Annotated[str | None, "A language model: NAME or DIR."] = None,
    methods: Annotated[str, "Methods to compare: guided, prefix, prefix:5."] = "guided,prefix",
    scenes: Annotated[str, "Scenes of the aviary."] = "100",
) -> Report:
    """limit: photographs at most (default 50).

    model, images, writer: a classifier, a folder of pictures (default: the pack's), and a language model; without a
             writer, only the aviary's table is made.
    methods: of narrate, to compare on the photographs. "prefix:5" writes five sentences a picture in place of twenty.
    scenes:  of the aviary, drawn fresh.
    """
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    if writer:
        rows, examples = _photographs(limit or 50, model, images, writer, methods)
    truth, words = _aviary(int(scenes))
    more = [
        ("The aviary: is what the sentence names there?", tuple(truth[0]), truth),
        ("... and as many words that did not look", tuple(words[0]), words),
        *_two_classifiers(max(8, int(scenes) // 2)),
    ]
    if examples:
        more.insert(0, ("Sentences", ("picture", "method", "cosine", "sentence"), examples[:40]))
    return Report("sentences", "sentences about photographs, by method", COLUMNS, rows, {}, more)


# -- photographs ------------------------------------------------------------------------------------------------------


def _photographs(
    count: int, model: str | None, images: str | None, writer: str, methods: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from saywhy.bench.pack import find_pack
    from saywhy.classifiers.classifier import Classifier
    from saywhy.pictures.reading import picture_files
    from saywhy.plumbing.caches import weights_digest
    from saywhy.questions.sentences.language_model import load_language_model
    from saywhy.spaces.own import ClassifierSpace
    from saywhy.spaces.text_encoder import load_encoder

    folder = Path(images) if images else find_pack() / "imagenet-samples" / "images"
    paths = picture_files(folder)
    paths = [paths[n] for n in sorted(np.random.default_rng(0).permutation(len(paths))[:count])]
    if not paths:
        raise SaywhyError(f"--images {folder}: there are no pictures in it")
    classifier = Classifier.load(model or f"timm:{find_pack() / 'models' / 'mobilenetv2_imagenet'}")
    space = ClassifierSpace(classifier, load_encoder())
    language = load_language_model(writer)
    written_by = f"{writer}|{weights_digest(language.network.state_dict().values())}"
    key = f"{classifier.fingerprint}|{written_by}" + (f"|{folder.resolve()}" if images else "")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for method in methods.split(","):
        found[method] = (
            _together(paths, space, language)
            if method == "guided"
            else _one_by_one(paths, space, language, method, key)
        )
    both = set.intersection(*(set(some) for some in found.values()))
    rows = []
    for method, some in found.items():
        kept = [some[name] for name in sorted(both)]
        rows.append(
            {"method": method, "pictures": len(kept)}
            | {column: float(np.nanmean([one[column] for one in kept])) for column in COLUMNS[2:]}
        )
    examples = [
        {"picture": name, "method": method, "cosine": some[name]["cosine"], "sentence": some[name]["text"]}
        for name in sorted(both)
        for method, some in found.items()
    ]
    return rows, examples


def _together(paths: Sequence[Path], space: Any, language: Any) -> dict[str, dict[str, Any]]:
    from saywhy.pictures.reading import read_picture
    from saywhy.questions.narrate import narrate

    pictures = [read_picture(path) for path in paths]
    start = time.perf_counter()
    sentences = narrate(pictures, space, language)
    seconds = (time.perf_counter() - start) / len(paths)
    return {path.name: _measured(s, seconds) for path, s in zip(paths, sentences, strict=True)}


def _one_by_one(paths: Sequence[Path], space: Any, language: Any, method: str, key: str) -> dict[str, dict[str, Any]]:
    """key: the classifier, the writer by name and weights, and the folder of pictures, whose results are kept."""
    from saywhy.pictures.reading import read_picture
    from saywhy.plumbing.caches import cache_directory, keeping
    from saywhy.questions.narrate import narrate

    name, _, sentences = method.partition(":")
    settings: dict[str, Any] = {"sentences": int(sentences)} if sentences else {}
    folder = cache_directory() / "sentences" / sha256(f"{key}|{method}".encode()).hexdigest()[:16]
    found = {}
    for path in track(paths, f"writing by {method}", transient=True):
        kept = folder / f"{path.stem}.json"
        measured: dict[str, Any] = {}
        with suppress(SaywhyError):
            measured = read_json(kept)
        if not measured:
            start = time.perf_counter()
            [sentence] = narrate([read_picture(path)], space, language, method=name, **settings)
            measured = _measured(sentence, time.perf_counter() - start)
            measured["drafts"] = [asdict(draft) for draft in sentence.drafts]
            with keeping():
                write_whole(kept, json.dumps(measured))
        found[path.name] = measured
    return found


def _measured(sentence: Any, seconds: float) -> dict[str, Any]:
    return {
        "text": sentence.text, "cosine": sentence.score, "unusual": sentence.unusual,
        "perplexity": sentence.perplexity, "encodings": sentence.encodings, "seconds": seconds,
    }  # fmt: skip


# -- the aviary -------------------------------------------------------------------------------------------------------


def named(text: str, phrases: Sequence[str]) -> list[str]:
    """Those of the aviary's phrases that a sentence has, in either number: "solid wings" has "solid wing"."""
    said = f" {' '.join(text.lower().replace(',', ' ').replace('.', ' ').split())} "
    return [phrase for phrase in phrases if f" {phrase} " in said or f" {phrase}s " in said]


def _aviary(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Whose sentences name an attribute that the bird has, and how many of those named; and for another picture.

    The second table: the share of named attributes that is true, beside as many that did not look at the picture
    (metrics/word_controls.py).
    """
    from saywhy.bench.class_words import name_scores, row_scores
    from saywhy.classifiers.classifier import Classifier
    from saywhy.metrics.word_controls import controls, word_rows
    from saywhy.questions.names_and_defaults import resolve_space
    from saywhy.worlds import aviary_facts
    from saywhy.worlds.aviary import phrases_of
    from saywhy.worlds.scenes import draw

    phrases = [p for p, part in aviary_facts().items() if part not in ("species", "watermark", "background")]
    scenes = [draw("species", 770_000 + n, 384)[0] for n in range(count)]
    true = [set(phrases_of(scene.attributes)) for scene in scenes]
    known = np.array([[phrase in some for phrase in phrases] for some in true], float)
    classifier = Classifier.load("world:aviary")
    predicted = [best[0].index for best in classifier.predict([scene.image for scene in scenes], top=1)]
    rows, words = [], []
    for name in SPACES:
        space = resolve_space(name, classifier)
        texts = space.encode_texts(phrases)
        by_name, by_row = name_scores(phrases, texts, space, classifier.labels), row_scores(texts, space)
        for looks in ("regions", "whole"):
            sentences = _of_scenes([scene.image for scene in scenes], classifier, space, looks == "regions", ASKING)
            said = [named(s.text, phrases) for s in sentences]
            indices = [[phrases.index(phrase) for phrase in some] for some in said]
            words += [
                {"space": space.name, "seen": looks, **row}
                for row in word_rows(indices, known, controls(indices, predicted, by_name=by_name, by_row=by_row))
            ]
            right = [[phrase in true[n] for phrase in some] for n, some in enumerate(said)]
            shift = 7 if count > 7 else 1
            other = [any(p in true[(n + shift) % count] for p in some) for n, some in enumerate(said)]
            rows.append(
                {
                    "space": space.name, "seen": looks, "pictures": count,
                    "names a true one %": 100 * float(np.mean([any(some) for some in right])),
                    "of those named, true %": 100 * float(np.mean([ok for some in right for ok in some] or [False])),
                    "named": float(np.mean([len(some) for some in said])),
                    "another picture's %": 100 * float(np.mean(other)),
                    "perplexity": float(np.mean([s.perplexity for s in sentences])),
                    "example": sentences[0].text,
                }
            )  # fmt: skip
    return rows, words


def _of_scenes(
    images: Sequence[Image.Image], classifier: Any, space: Any, regions: bool, prompts: Sequence[str] | None = None
) -> list[Any]:
    from saywhy.attribution import attribute
    from saywhy.attribution.regions import find_regions
    from saywhy.questions.labels import pieces
    from saywhy.questions.narrate import narrate
    from saywhy.questions.sentences.language_model import load_language_model

    crops = None
    if regions:
        heatmaps = attribute(classifier, classifier.preprocess(images), batch_size=16)
        crops = [
            pieces(image, find_regions(heatmaps.values[n].numpy(), classifier.geometry(image.size), count=3), space)
            for n, image in enumerate(images)
        ]
    return narrate(images, space, load_language_model("world:aviary"), crops=crops, prompts=prompts)


def _two_classifiers(count: int) -> list[tuple[str, Sequence[str], list[dict[str, Any]]]]:
    """The same pictures by a classifier that the background decides for, and by one that knows the birds."""
    from saywhy.classifiers.classifier import Classifier
    from saywhy.questions.names_and_defaults import resolve_space
    from saywhy.worlds.planted import ORDINARY
    from saywhy.worlds.scenes import draw
    from saywhy.worlds.sentences import PLACES

    scenes: list[Any] = []
    seed = 880_000
    while len(scenes) < count:
        scene, label = draw("planted-background", seed, 384)
        if label >= ORDINARY:
            scenes.append(scene)
        seed += 1
    words = [
        {place, *(word for phrase in phrases for word in phrase.split()[-1:])} for place, phrases in PLACES.items()
    ]
    of = dict(zip(PLACES, words, strict=True))
    rows, said = [], []
    for name in ("world:aviary-background", "world:aviary"):
        classifier = Classifier.load(name)
        space = resolve_space("world:aviary", classifier)
        sentences = _of_scenes([scene.image for scene in scenes], classifier, space, True)
        said.append([s.text for s in sentences])
        names = [
            bool(of[scene.background] & set(s.text.strip(".").split()))
            for scene, s in zip(scenes, sentences, strict=True)
        ]
        rows.append({"classifier": name, "pictures": count, "names the background %": 100 * float(np.mean(names))})
    differ = [a != b for a, b in zip(*said, strict=True)]
    examples = [
        {"picture": n, "background": scenes[n].background, "biased": said[0][n], "unbiased": said[1][n]}
        for n in range(min(6, count))
    ]
    title = f"Two classifiers, the same pictures ({100 * float(np.mean(differ)):.0f} % of sentences differ)"
    return [(title, tuple(rows[0]), rows), ("For example", tuple(examples[0]), examples)]
