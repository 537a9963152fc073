"""Does surgery say what a classifier goes by? Caption-driven XAI's study, with the controls that it lacks.

Classifiers of known bias tell fives from eights (see graded_digits.py). CLIP is operated with each of them and asked
for the colour and for the digit, always of the same pictures, whose colour says nothing. The verdict (colour kept less
shape kept, see ask.py) should rise with the true bias, and be zero for classifiers with random weights and for matches
that are dealt at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from saywhy.answers.captions import Answers
from saywhy.answers.captions_measures import kept, verdict
from saywhy.attribution import attribute
from saywhy.bench import Report
from saywhy.bench.surgery.figures import bias_figure, matching_figure, verdict_figure
from saywhy.bench.surgery.graded_digits import accuracy, graded_classifier, pictures, true_bias
from saywhy.classifiers.borrowing import untrained
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval
from saywhy.questions.ask import chance_contrast
from saywhy.spaces.clip import ClipSpace, load_clip
from saywhy.spaces.operated import OperatedSpace, correlate_classifier, image_tower, match_classifier, matched
from saywhy.spaces.surgery.matching import Matching
from saywhy.spaces.surgery.options import AS_PUBLISHED, DEFAULT_SURGERY, Surgery
from saywhy.types import Space
from saywhy.worlds import TOWERS
from saywhy.worlds.digits import DigitSet, digits

BIASES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEDS = (0, 1, 2)
RANDOM = 6  # classifiers with random weights
SHUFFLES = 6  # of each trained classifier's matches
MATCHED_ON, ASKED = 1000, 300  # pictures: of training handwritings, and of test handwritings
COLOUR, SHAPE = ("a red digit", "a green digit"), ("the digit 5", "the digit 8")
PAPERS = (
    "a photo of a digit with the value 5",
    "a photo of a digit with the value 8",
    "a photo of a red digit",
    "a photo of a green digit",
)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
DOSES = (0.0, 0.05, 0.2, 1.0)  # shares of CLIP's channels that may be matched by chance
Row = dict[str, Any]


@final
@dataclass(frozen=True, eq=False)
class QuestionSet:
    """Pictures to ask about, with what CLIP itself says of them.

    before: (N, 4) cosines with COLOUR and SHAPE. noise: of these two, what contrasts that say nothing reach.
    """

    images: Sequence[Image.Image]
    before: Tensor
    noise: tuple[float, ...]

    @staticmethod
    def of(images: Sequence[Image.Image], clip: ClipSpace, texts: Tensor) -> QuestionSet:
        vectors = clip.encode_images(images)
        covariance = torch.cov(vectors.double().T, correction=0)
        noise = tuple(chance_contrast(group, clip, covariance) for group in (COLOUR, SHAPE))
        return QuestionSet(images, vectors @ texts.T, noise)


@final
@dataclass(frozen=True, eq=False)
class Study:
    """What all parts of the study share.

    matched_on: pictures of training handwritings in a random order, their colour saying nothing.
    coloured, grey: pictures of test handwritings, the same ones.
    """

    clip: ClipSpace
    mnist: Path | None
    texts: Tensor
    matched_on: Sequence[Image.Image]
    coloured: QuestionSet
    grey: QuestionSet

    @staticmethod
    def of(clip: ClipSpace, mnist: Path | None) -> Study:
        texts = clip.encode_texts([*COLOUR, *SHAPE])
        train = pictures(digits("train", 0.0, MATCHED_ON, 5, mnist))
        order = np.random.default_rng(0).permutation(len(train))
        coloured, grey = (
            QuestionSet.of(images, clip, texts)
            for images in (pictures(digits("test", bias, ASKED, 9, mnist)) for bias in (0.0, None))
        )
        return Study(clip, mnist, texts, [train[n] for n in order], coloured, grey)

    def answers(self, asked: QuestionSet, space: Space) -> Answers:
        """COLOUR and SHAPE asked of pictures, in CLIP and in the operated space."""
        after = space.encode_images(asked.images) @ self.texts.T
        names = ("",) * len(asked.images)
        return Answers(
            (COLOUR, SHAPE), asked.before, after, names, None, None, self.clip.scale, (self.clip.name,) * 2,
            noise=asked.noise,
        )  # fmt: skip

    def ask(
        self, classifier: Classifier, matching: Matching, surgery: Surgery = DEFAULT_SURGERY
    ) -> tuple[Interval, Interval, Interval]:
        """(colour kept, shape kept, verdict) of the coloured pictures."""
        answers = self.answers(self.coloured, OperatedSpace(self.clip, classifier, matching, surgery))
        return kept(answers, 0), kept(answers, 1), verdict(answers, 0, 1)


_ROWS = (
    "bias in training", "seed", "right", "flips", "colour's share", "colour kept", "shape kept", "verdict", "low",
    "high", "matched",
)  # fmt: skip
_AGREEMENT = ("measure", "classifiers", "Spearman")
_CONTROLS = ("control", "count", "verdict", "low", "high", "channels matched")
_TWO = ("classifier", "right, biased colours", "right, any colour", "right, grey", "flips", "pictures", "colour kept",
        "shape kept", "verdict")  # fmt: skip
_DOSES = ("chance", *(f"bias {bias}" for bias in BIASES), "random weights")
_COUNTS = ("classifier", "pictures", "surgery", "correct shape", "wrong shape", "correct colour", "wrong colour")


def run(
    limit: int | None = None,
    data: Annotated[str, "world:digits, or a folder with MNIST."] = "world:digits",
    space: Annotated[str, "The CLIP that is operated on."] = "world:digits",
    model: Annotated[str, "What is trained: resnet, vit, timm:NAME or timm:DIR."] = "resnet",
) -> Report:
    """limit: seeds of each bias, at most. data: "world:digits", or a folder with MNIST. space: the CLIP to operate.

    model: what classifiers are trained: "resnet", "vit" (small), or "timm:NAME" or "timm:DIR", which is fine-tuned.
    """
    if model not in TOWERS and not model.startswith("timm:"):
        raise SaywhyError(f"--model here is {', '.join(TOWERS)}, timm:NAME or timm:DIR: the classifiers to be trained")
    study = Study.of(load_clip(space), _mnist(data))
    seeds = SEEDS[: limit or len(SEEDS)]
    trained = [
        (bias, seed, graded_classifier(bias, seed, study.mnist, tower=model))
        for seed, bias in _shown([(seed, bias) for seed in seeds for bias in BIASES], "training classifiers")
    ]
    random = [_random(trained[0][2], 100 + n) for n in range(RANDOM)]
    biased, unbiased = (graded_classifier(bias, 0, study.mnist, 0.0, model) for bias in (1.0, None))
    matchings = [match_classifier(study.clip, one, study.matched_on) for _, _, one in _shown(trained, "matching")]
    rows = [_row(study, *one, matching) for one, matching in zip(trained, matchings, strict=True)]
    controls = _controls(study, [one for _, _, one in trained], matchings, random)
    pair = {"biased": biased, "unbiased": unbiased}
    spaces = {
        name: OperatedSpace(study.clip, one, match_classifier(study.clip, one, study.matched_on))
        for name, one in pair.items()
    }
    relevance, maps = _grad_cam(study, pair)
    most = BIASES.index(1.0)
    agreement = _agreement(rows)
    more = (
        ("agreement of the verdict with the true bias, over all classifiers", _AGREEMENT, agreement),
        ("controls: the verdict where it should be zero", _CONTROLS, controls),
        ("the source's two classifiers, asked about the same pictures", _TWO, _two_by_two(study, spaces)),
        (
            "strength of surgery, most biased classifier",
            ("strength", "colour kept", "shape kept", "verdict"),
            _strengths(study, trained[most][2], matchings[most]),
        ),
        ("dose: channels that may match by chance; verdicts of one seed", _DOSES, _doses(study, trained, random)),
        ("the source's counts: percent of pictures that a caption wins", _COUNTS, _counts(study, biased, unbiased)),
        ("Grad-CAM beside it", ("classifier", "relevance on ink", "correlation of the two heatmaps"), relevance),
    )  # fmt: skip
    figures = {
        "verdict.png": verdict_figure(rows, controls),
        "matching.png": matching_figure(study.clip, biased, study.matched_on[:64]),
        "bias.png": bias_figure(study.coloured.images[:4], maps, _bars(study, spaces)),
    }  # fmt: skip
    title = f"digit classifiers of known bias and what captions say of them: {data}, {study.clip.name} operated"
    return Report("surgery", title, _ROWS, rows, {"data": data, "space": space, "model": model}, more, figures)


def _mnist(data: str) -> Path | None:
    if data == "world:digits":
        return None
    if not Path(data).is_dir():
        raise SaywhyError(f"--data {data}: neither world:digits nor a folder with MNIST's idx files")
    return Path(data)


def _random(classifier: Classifier, seed: int) -> Classifier:
    return replace(classifier, network=untrained(classifier.network, seed), name=f"random weights {seed}")


def _shown(things: Sequence[Any], what: str) -> Any:
    return track(things, what, console=Console(stderr=True), transient=True)


def _row(study: Study, bias: float, seed: int, classifier: Classifier, matching: Matching) -> Row:
    """One trained classifier: what is true of it, and what the captions say."""
    truth = true_bias(classifier, study.mnist)
    colour, shape, found = study.ask(classifier, matching)
    return {
        "bias in training": bias, "seed": seed, "right": truth.accuracy, "flips": truth.flips,
        "colour's share": truth.share, "colour kept": colour.value, "shape kept": shape.value,
        "verdict": found.value, "low": found.low, "high": found.high, "matched": _matched(matching),
    }  # fmt: skip


def _matched(matching: Matching) -> int:
    return sum(int(layer.matched.sum()) for layer in matching.layers)


def _agreement(rows: Sequence[Row]) -> list[Row]:
    """Spearman's correlation of the verdict with each measure of the true bias, over all classifiers."""
    from scipy.stats import spearmanr

    verdicts = [row["verdict"] for row in rows]
    return [
        {
            "measure": what,
            "classifiers": len(rows),
            "Spearman": float(spearmanr([row[what] for row in rows], verdicts)[0]),
        }
        for what in ("colour's share", "flips", "bias in training")
    ]


def _controls(
    study: Study, trained: Sequence[Classifier], matchings: Sequence[Matching], random: Sequence[Classifier]
) -> list[Row]:
    """Verdicts that should be zero, each with the interval of its mean over networks (and shuffles)."""
    shuffled = [
        [study.ask(one, matching.shuffled(seed))[2].value for seed in range(SHUFFLES)]
        for one, matching in zip(trained, matchings, strict=True)
    ]
    drawn, chosen, carried = [], [], []
    for one in _shown(random, "classifiers with random weights"):
        matching = match_classifier(study.clip, one, study.matched_on)
        chosen.append(_matched(matching))
        drawn.append(study.ask(one, matching)[2].value)
        channels = match_classifier(study.clip, one, study.matched_on, layers="stages")
        carried.append(study.ask(one, channels)[2].value)
    return [
        _control("random weights", drawn, float(np.mean(chosen))),
        _control("shuffled matches, mean of each classifier", np.mean(shuffled, 1), _mean_matched(matchings)),
        _control("random weights, channels of their layers in the place of evidence", carried, None),
        _itself(study),
    ]


def _mean_matched(matchings: Sequence[Matching]) -> float:
    return float(np.mean([_matched(matching) for matching in matchings]))


def _control(name: str, values: Sequence[float] | np.ndarray, matched: float | None) -> Row:
    """The mean of a control with its 95 % interval (Student's t over networks)."""
    from scipy.stats import t

    mean, count = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, max(count - 1, 1)) * np.std(values, ddof=min(1, count - 1)) / count**0.5)
    return {"control": name, "count": count, "verdict": mean, "low": mean - half, "high": mean + half,
            "channels matched": matched}  # fmt: skip


def _itself(study: Study) -> Row:
    """CLIP operated with CLIP: the verdict is the largest change of any cosine, and must be rounding."""
    clip = study.clip
    width = clip.encode_images(study.coloured.images[:1]).shape[1]
    itself = Classifier.from_module(
        image_tower(clip), transform=clip.transform, labels=[str(n) for n in range(width)], name="CLIP itself"
    )
    matching = match_classifier(clip, itself, study.matched_on, layers="stages", clip_layers="stages")
    space = OperatedSpace(clip, itself, matching)
    changed = float((space.encode_images(study.coloured.images) @ study.texts.T - study.coloured.before).abs().max())
    return {"control": "CLIP with itself: largest change of a cosine", "count": 1, "verdict": changed,
            "low": None, "high": None, "channels matched": _matched(matching)}  # fmt: skip


def _two_by_two(study: Study, spaces: dict[str, OperatedSpace]) -> list[Row]:
    """The source's classifiers (all colours right in training; all grey) by the same pictures in colour and in grey.

    Of grey pictures nothing can be kept of a colour, as CLIP itself sees none; the table then says how much of the
    shape is.
    """
    rows = []
    for name, space in spaces.items():
        one = space.classifier
        flips = true_bias(one, study.mnist).flips
        right = [accuracy(one, bias, study.mnist) for bias in (1.0, 0.0, None)]
        for pictured, asked in (("coloured", study.coloured), ("grey", study.grey)):
            answers = study.answers(asked, space)
            rows.append({
                "classifier": name, "right, biased colours": right[0], "right, any colour": right[1],
                "right, grey": right[2], "flips": flips, "pictures": pictured,
                "colour kept": _said(kept, answers, 0), "shape kept": _said(kept, answers, 1),
                "verdict": _said(verdict, answers, 0, 1),
            })  # fmt: skip
    return rows


def _said(measure: Callable[..., Interval], answers: Answers, *groups: int) -> str | None:
    """The measure with its interval; None where CLIP itself does not tell the captions apart in these pictures."""
    try:
        return f"{measure(answers, *groups):+.3f}"
    except SaywhyError:
        return None


def _strengths(study: Study, classifier: Classifier, matching: Matching) -> list[Row]:
    rows = []
    for strength in STRENGTHS:
        colour, shape, found = study.ask(classifier, matching, replace(DEFAULT_SURGERY, strength=strength))
        said = {"colour kept": colour, "shape kept": shape, "verdict": found}
        rows.append({"strength": strength, **{name: f"{value:+.3f}" for name, value in said.items()}})
    return rows


def _doses(study: Study, trained: Sequence[tuple[float, int, Classifier]], random: Sequence[Classifier]) -> list[Row]:
    """Verdicts by bias, for thresholds ever less strict; of one seed."""
    networks = {f"bias {bias}": [one] for bias, seed, one in trained if seed == trained[0][1]}
    networks["random weights"] = list(random[:2])
    rows: list[Row] = [{"chance": chance} for chance in DOSES]
    for name, some in _shown(list(networks.items()), "doses"):
        found = [(one, correlate_classifier(study.clip, one, study.matched_on)) for one in some]
        for row in rows:
            verdicts = [study.ask(one, matched(study.clip, one, c, chance=row["chance"]))[2].value for one, c in found]
            row[name] = float(np.mean(verdicts))
    return rows


def _counts(study: Study, biased: Classifier, unbiased: Classifier) -> list[Row]:
    """The source's table: which of its four captions wins, before surgery, after it, and in the difference.

    As published: every convolution, all four stages of CLIP, no threshold, unmatched channels kept. The source shows
    the biased classifier on coloured pictures and the unbiased one on grey ones; here each is shown on both.
    """
    texts = study.clip.encode_texts(PAPERS)
    rows = []
    for name, one in (("biased", biased), ("unbiased", unbiased)):
        matching = match_classifier(
            study.clip, one, study.matched_on, layers="convolutions", clip_layers="stages", chance=1.0
        )
        for pictured, asked, bias in (("any colour", study.coloured, 0.0), ("grey", study.grey, None)):
            test = digits("test", bias, ASKED, 9, study.mnist)
            before = study.clip.encode_images(asked.images) @ texts.T
            after = OperatedSpace(study.clip, one, matching, AS_PUBLISHED).encode_images(asked.images) @ texts.T
            rows += [
                {"classifier": name, "pictures": pictured, "surgery": when} | _winners(scores, test)
                for when, scores in (("none", before), ("four layers", after), ("influence", after - before))
            ]
    return rows


def _winners(scores: Tensor, test: DigitSet) -> Row:
    """Percent of pictures in which the right or wrong shape's or colour's caption (N, 4 of PAPERS) is first."""
    first = scores.argmax(1).numpy()
    shape, colour = first < 2, first >= 2
    right = np.where(shape, first == test.labels, first - 2 == test.colour)
    return {
        f"{kind} {what}": 100 * float((rows & (right == good)).mean())
        for what, rows in (("shape", shape), ("colour", colour))
        for kind, good in (("correct", True), ("wrong", False))
    }


def _grad_cam(study: Study, classifiers: dict[str, Classifier]) -> tuple[list[Row], dict[str, np.ndarray]]:
    """How alike the heatmaps of a biased and an unbiased classifier are; and those of the first four pictures."""
    images = study.coloured.images[:64]
    maps = {name: attribute(one, images, method="grad-cam").positive.numpy() for name, one in classifiers.items()}
    size = next(iter(maps.values())).shape[:0:-1]
    ink = np.stack([np.asarray(image.convert("L").resize(size)) > 60 for image in images])
    flat = [heat.reshape(len(images), -1) for heat in maps.values()]
    alike = float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*flat, strict=True) if a.any() and b.any()]))
    rows = [
        {"classifier": name, "relevance on ink": float((heat * ink).sum() / max(heat.sum(), 1e-12)),
         "correlation of the two heatmaps": alike}
        for name, heat in maps.items()
    ]  # fmt: skip
    return rows, {name: heat[:4] for name, heat in maps.items()}


def _bars(study: Study, spaces: dict[str, OperatedSpace]) -> dict[str, tuple[Interval, Interval]]:
    """Classifier -> what is kept of colour, and of shape."""
    return {name: study.ask(space.classifier, space.matching)[:2] for name, space in spaces.items()}
