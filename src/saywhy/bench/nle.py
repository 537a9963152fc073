"""Do sentences fit the pictures they explain? Table 2 of Sammani and Deligiannis (ICLR 2025), for anyone's sentences.

Each set of sentences gets a row, one in which every picture has the sentence of another, and one in which all have the
set's most frequent sentence: what a metric says of sentences that have nothing to do with the picture is what the first
row must beat. So must it beat "class name" and, of sentences written now, those written for the predicted class's row.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np

from saywhy.bench import Report
from saywhy.bench.captions import find_picture, write_sentences
from saywhy.errors import SaywhyError
from saywhy.metrics.caption_scores import MetricWarning
from saywhy.pictures.reading import ENDINGS, picture_files, read_picture
from saywhy.words.caption_files import read_explanations

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.classifiers.classifier import Classifier
    from saywhy.metrics.sentence_scores import Painter
    from saywhy.types import Space

JUDGE = "clip:ViT-B-32/openai"  # the CLIP of Hessel et al. (2021); the paper does not say which it used
OTHERS, SAME = "of another picture", "one for all"
SELECTORS = ("own", "clip")
COLUMNS = ("sentences", "CLIP-S", "LPIPS(A)", "sd(A)", "LPIPS(S)", "sd(S)", "Cosine", "sd")


def run(
    limit: int | None = None,
    *,
    data: Annotated[str | None, "Which pictures, and what annotators wrote: JSON or CSV like ImageNet-X."] = None,
    images: Annotated[str | None, "Folder of the pictures."] = None,
    model: Annotated[str | None, "The classifier that is explained."] = None,
    writer: Annotated[str | None, "A language model that writes sentences now."] = None,
    methods: Annotated[str, "How it writes: guided, prefix, prefix:5 (of narrate), with commas."] = "guided",
    mappers: Annotated[str, "Texts to rows: default, mlp (the paper's) and others, with commas."] = "default",
    selectors: Annotated[str, "Who chooses among drafts: own, clip (the judge), with commas."] = "own",
    sentences: Annotated[str | None, "Files of sentences to compare: FILE or NAME=FILE, with commas."] = None,
    painter: Annotated[str | None, "A diffusers text-to-image pipeline."] = None,
    space: Annotated[str | None, "The CLIP that judges."] = None,
) -> Report:
    """CLIP-S, and LPIPS and Cosine of paintings, of each set of sentences; "-" and a note for what cannot be had.

    images:    folder of the pictures.
    data:      an ImageNet-X-like file (JSON or CSV): which pictures, and what annotators wrote. Of several explanations
               of a picture the first counts.
    sentences: files of the same form to compare, "FILE" or "NAME=FILE", joined by commas.
    model:     the classifier explained. Adds the row "class name" ("an image of a {predicted class}"), and the Cosine.
    writer:    a language model, which writes sentences in the classifier's own space: the rows "saywhy", each with its
               method, mapper and selector where there are several, and "class row": written for the predicted class's
               row, without the picture. The paper's: --methods prefix --mappers mlp --selectors clip.
    painter:   a diffusers text-to-image pipeline, by name or folder.
    space:     the CLIP that judges (default JUDGE).
    limit:     pictures at most, chosen at random but always the same.

    sd: standard deviation, over the painter's seeds, of the mean over pictures.
    """
    from saywhy.classifiers.classifier import Classifier

    if not images or not (data or sentences or model):
        raise SaywhyError(
            "the benchmark nle needs --images FOLDER, and sentences: --data FILE, --sentences FILE, or a --model "
            "(with --writer, sentences are written)"
        )
    if writer and not model:
        raise SaywhyError("--writer writes in a classifier's own space; name the classifier with --model")
    given = _given(data, sentences)
    paths = _pictures(images, given, limit)
    classifier = Classifier.load(model) if model else None
    pictures = [read_picture(path) for path in paths.values()]
    sets = {name: [texts[key] for key in paths] for name, texts in given.items()}
    if classifier is not None:
        sets["class name"] = _class_names(classifier, pictures)
    if writer and classifier is not None:
        ways = _ways(methods, mappers, selectors)
        sets |= _written(classifier, list(paths.values()), pictures, writer, ways, space or JUDGE)

    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        judge = _had(lambda: _judge(space or JUDGE), "CLIP-S", notes)
        brush = _had(lambda: _painter(painter), "LPIPS and Cosine", notes)
        metrics = _painting_metrics(classifier, notes) if brush else {}
        rows = [row for name, texts in sets.items() for row in _rows(name, texts, pictures, judge, brush, metrics)]
    notes += dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, MetricWarning))
    if judge is None and not metrics:
        raise SaywhyError(f"none of the metrics can be had. {'; '.join(notes)}")
    return Report(
        "nle",
        f"sentences on {len(pictures)} pictures; lower LPIPS is better",
        COLUMNS,
        rows,
        {"pictures": len(pictures), "judge": judge.name if judge else None, "painter": painter, "sentences": sets},
        [("notes", ("note",), [{"note": note} for note in notes])] if notes else [],
    )


# -- what is scored ---------------------------------------------------------------------------------------------------


def _given(data: str | None, sentences: str | None) -> dict[str, dict[str, str]]:
    """Name of the set -> picture -> its first sentence."""
    files = {"annotators": data} if data else {}
    for part in (sentences or "").split(","):
        name, equals, file = part.strip().partition("=")
        if name:
            files[name if equals else Path(name).stem] = file if equals else name
    return {name: {key: texts[0] for key, texts in read_explanations(file).items()} for name, file in files.items()}


def _pictures(folder: str, given: dict[str, dict[str, str]], limit: int | None) -> dict[str, Path]:
    """Picture -> its file: those that have a sentence in every set; without sets, all pictures in the folder."""
    if not Path(folder).is_dir():
        raise SaywhyError(f"--images {folder}: no such folder")
    if given:
        first, *rest = given.values()
        keys = [key for key in first if all(key in other for other in rest)]
        if not keys:
            raise SaywhyError(f"no picture has a sentence in each of {', '.join(given)}; they must name them alike")
        found = {key: path for key in keys if (path := find_picture(folder, key))}
        if not found:
            raise SaywhyError(f"{folder}: none of the {len(keys)} pictures with sentences is there, e.g. {keys[0]}")
    else:
        found = {path.name: path for path in picture_files(Path(folder))}
        if not found:
            raise SaywhyError(f"{folder}: no pictures in it ({', '.join(sorted(ENDINGS))})")
    if limit and limit < len(found):
        keys = list(found)
        found = {keys[n]: found[keys[n]] for n in sorted(np.random.default_rng(0).permutation(len(keys))[:limit])}
    return found


def _class_names(classifier: Classifier, pictures: Sequence[Image]) -> list[str]:
    """What can be said without explaining anything: the least that an explanation must beat."""
    from saywhy.spaces.own import CLASS_PROMPT
    from saywhy.words.class_names import common_name

    best = classifier.predict(pictures, top=1)
    return [CLASS_PROMPT.replace("{}", common_name(classes[0].name)) for classes in best]


def _ways(methods: str, mappers: str, selectors: str) -> list[tuple[str, str, str]]:
    """Every (method, mapper, selector). Raises SaywhyError for one that is not known, before anything is written."""
    from saywhy.questions.narrate import METHODS
    from saywhy.spaces.text_to_weights import MAPPERS

    asked = [[name.strip() for name in names.split(",")] for names in (methods, mappers, selectors)]
    known = METHODS, ("default", *MAPPERS), SELECTORS
    for names, some, option in zip(asked, known, ("--methods", "--mappers", "--selectors"), strict=True):
        for name in names:
            what, _, count = name.partition(":")
            if what not in some or (count and not (what == "prefix" and count.isdecimal() and int(count))):
                raise SaywhyError(f"{option} {name}: there are {', '.join(some)}")
    return [(method, mapper, selector) for method in asked[0] for mapper in asked[1] for selector in asked[2]]


def _written(
    classifier: Classifier, paths: Sequence[Path], pictures: Sequence[Image], writer: str,
    ways: Sequence[tuple[str, str, str]], judge: str,
) -> dict[str, list[str]]:  # fmt: skip
    """Sentences by each way; and by the first one for the predicted class's row in the place of the picture."""
    from saywhy.spaces.own import ClassifierSpace, class_prompts
    from saywhy.spaces.text_encoder import load_encoder
    from saywhy.spaces.text_to_weights import fit

    encoder = load_encoder()
    spaces, written = {}, {}
    for method, mapper, selector in ways:
        if mapper not in spaces:
            texts = encoder.encode(class_prompts(classifier.labels))
            fitted = None if mapper == "default" else fit(texts, classifier.head.weight, method=mapper)
            spaces[mapper] = ClassifierSpace(classifier, encoder, fitted)
        name = "saywhy" if len(ways) == 1 else f"saywhy: {method}, {mapper}, {selector}"
        chooses = None if selector == "own" else _judge(judge)
        written[name] = write_sentences(paths, spaces[mapper], writer, method=method, judge=chooses)
    space = spaces[ways[0][1]]
    classes = [best[0].index for best in classifier.predict(pictures, top=1)]
    rows = [space.class_direction(index)[None] for index in classes]
    return written | {"class row": write_sentences(paths, space, writer, method=ways[0][0], vectors=rows)}


# -- what scores it ---------------------------------------------------------------------------------------------------

T = TypeVar("T")
Metric = Callable[[Sequence["Image"], Sequence["Image"]], list[float]]
"""Pictures and their paintings -> a score each."""


def _had(make: Callable[[], T], what: str, notes: list[str]) -> T | None:
    """What ``make`` makes, or None and a note saying why not."""
    try:
        return make()
    except SaywhyError as error:
        notes.append(f"no {what}: {error}")
        return None


def _judge(name: str) -> Space:
    from saywhy.spaces.clip import load_clip

    if name == "own":
        raise SaywhyError("a classifier cannot judge its own explanation; name a CLIP with --space")
    return load_clip(name)


def _painter(name: str | None) -> Painter:
    from saywhy.metrics.sentence_scores import load_painter

    if not name:
        raise SaywhyError("no --painter is named (e.g. stable-diffusion-v1-5/stable-diffusion-v1-5)")
    return load_painter(name)


def _painting_metrics(classifier: Classifier | None, notes: list[str]) -> dict[str, Metric]:
    from functools import partial

    from saywhy.metrics.sentence_scores import feature_cosines, load_lpips, lpips

    found: dict[str, Metric] = {}
    for column, net in (("LPIPS(A)", "alex"), ("LPIPS(S)", "squeeze")):
        network = _had(partial(load_lpips, net), column, notes)
        if network is not None:
            found[column] = partial(lpips, network=network)
    if classifier is None:
        notes.append("no Cosine: no --model is named, whose features it compares")
    elif not classifier.has_head:
        notes.append(f"no Cosine: {classifier.name} has no linear head, whose input it compares")
    else:
        found["Cosine"] = partial(feature_cosines, classifier)
    return found


def _rows(
    name: str,
    texts: Sequence[str],
    pictures: Sequence[Image],
    judge: Space | None,
    painter: Painter | None,
    metrics: dict[str, Metric],
) -> list[dict[str, Any]]:
    """The row of a set of sentences, and those of the other pictures' sentences and paintings, and of one for all."""
    from saywhy.metrics.sentence_scores import SEEDS, clip_scores, over_seeds, paint

    everyone = list(range(len(pictures)))
    orders = {name: everyone}
    if len(pictures) > 1:
        most = texts.index(Counter(texts).most_common(1)[0][0])
        orders |= {f"{name}, {OTHERS}": _partners(len(pictures)), f"{name}, {SAME}": [most] * len(pictures)}
    rows: dict[str, dict[str, Any]] = {row: {"sentences": row} for row in orders}
    if judge is not None:
        for row, order in orders.items():
            rows[row]["CLIP-S"] = fmean(clip_scores(pictures, [texts[n] for n in order], judge))
    scores: dict[tuple[str, str], list[list[float]]] = {(row, column): [] for row in orders for column in metrics}
    for seed in SEEDS if metrics else ():
        assert painter is not None  # without one there are no metrics of paintings
        paintings = paint(painter, texts, seed)
        for (row, column), found in scores.items():
            found.append(metrics[column](pictures, [paintings[n] for n in orders[row]]))
    spread = dict(zip(COLUMNS[2::2], COLUMNS[3::2], strict=True))
    for (row, column), found in scores.items():
        rows[row][column], rows[row][spread[column]] = over_seeds(found)
    return list(rows.values())


def _partners(count: int) -> list[int]:
    """For each picture another one, always the same: a random circle, so that neighbours in a list are not partners."""
    order = np.random.default_rng(0).permutation(count)
    partners = np.empty(count, dtype=int)
    partners[order] = np.roll(order, 1)
    return partners.tolist()
