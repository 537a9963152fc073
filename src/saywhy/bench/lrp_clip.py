"""LRP-CLIP's evaluation (section 4, Tables 1 and 2), and what it leaves open.

For each crop that an explanation shows: is an annotated body part in it, and does one of its first labels name such a
part? "Correct" is the paper's: the label's part is in the crop. "True" is stricter: the picture (or its class) also has
the attribute. Beside LRP's regions stand random boxes of the same sizes, other attribution methods, other ways to cut
regions, and other signs of relevance; and beside LRP's words the same crops with words that did not look at them
(metrics/word_controls.py). Intervals are 95 % percentile bootstraps over pictures.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, final

import numpy as np
from PIL import Image
from rich.progress import track
from skimage.segmentation import slic

from saywhy.attribution import attribute
from saywhy.attribution.regions import NAMED, find_regions
from saywhy.bench import Report
from saywhy.bench.class_words import name_scores, row_scores
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.pooling import look, pool_of
from saywhy.errors import SaywhyError
from saywhy.intervals import interval as mean_interval
from saywhy.intervals import interval_of, resampled
from saywhy.metrics.word_controls import controls, partners
from saywhy.pictures.cub import Bird, CubData, read_cub
from saywhy.pictures.reading import read_picture
from saywhy.questions.labels import encode_pooled, encode_vocabulary, label_images, widened
from saywhy.questions.names_and_defaults import default_space, resolve_space
from saywhy.spaces.similarity import unusual_scores
from saywhy.spaces.traits import KnowsFeatures, context_of, reference_of
from saywhy.types import Box, Geometry, Region, Space, Vocabulary
from saywhy.words.cub_names import attribute_part, cub_vocabulary, part_attributes

if TYPE_CHECKING:
    import torch

TOPS = (1, 3, 5)
BATCH = 16
CROPS = 4
WORLD_PICTURES = 200
OPTIONS: dict[str, dict[str, Any]] = {"integrated-gradients": {"steps": 12}}  # 32 take three quarters of the time
ONE_SCALE: dict[str, Any] = {
    "smoothing": 0.03, "coverage": 0.4, "largest": 1, "saddle": 0.75, "merge_distance": 0.12, "named": 0
}  # fmt: skip
"""Settings of find_regions that were its defaults before it cut finer."""
RANDOM = ", random boxes"
IN_MAP = "LRP, seen in the map"
Cut = Callable[[np.ndarray, Image.Image, Geometry], list[Region]]


@final
@dataclass(frozen=True)
class Variant:
    """How relevance is found, which of it counts, and how boxes are cut from it: a row, and one of random boxes."""

    name: str
    method: str = "lrp"
    sign: str = "positive"
    cut: str = "hotspots"


VARIANTS = (
    Variant("LRP"),
    Variant("LRP, one scale", cut="one scale"),
    Variant("Grad-CAM", method="grad-cam"),
    Variant("integrated gradients", method="integrated-gradients"),
    Variant("gradient x input", method="gradient-x-input"),
    Variant("LRP, negative relevance", sign="negative"),
    Variant("LRP, signed relevance", sign="signed"),
    Variant("LRP, superpixels", cut="superpixels"),
    Variant("LRP, fixed grid", cut="grid"),
)


@final
@dataclass(frozen=True, eq=False)
class Crop:
    """One crop, with what is there and what was said of it.

    picture: its index. here: parts of which a point lies in it. attributes: of the bird. words: phrases, best first.
    """

    picture: int
    here: frozenset[str]
    attributes: frozenset[int]
    area: float
    words: list[int]


@final
@dataclass
class Tally:
    """What was counted for one variant: a row per crop.

    picture: which picture each crop is of.
    present: a part is in the crop. correct, true: per crop, rank of the first such label, or a large number.
    parts:   how often each part was named by a correct label among the first five.
    """

    picture: list[int] = field(default_factory=list)
    present: list[bool] = field(default_factory=list)
    correct: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    parts: Counter[str] = field(default_factory=Counter)


def run(
    limit: int | None = None,
    data: Annotated[str, "world:NAME, or a folder in CUB's layout."] = "world:aviary",
    model: Annotated[str | None, "The classifier, as for explain; needed for a folder."] = None,
    space: Annotated[str | None, "Whose words, as for explain."] = None,
) -> Report:
    """Both tables and the figure.

    limit: pictures at most, drawn at random. data: "world:aviary", a planted variant of it, or a folder in CUB's
    layout (the test half is used). model: needed for a folder. space: None: as ``saywhy explain`` chooses.
    """
    if model is None and not data.startswith("world:"):
        raise SaywhyError("a folder of birds needs --model: the classifier to explain")
    cub, vocabulary, meant = _data(data)
    classifier = Classifier.load(model or data)
    label_space = resolve_space(space or default_space(classifier), classifier)
    birds = list(cub.birds)
    if limit and limit < len(birds):
        birds = [birds[n] for n in sorted(np.random.default_rng(0).permutation(len(birds))[:limit])]
    if not birds:
        raise SaywhyError(f"{cub.root}: no picture here can be used; {len(cub.skipped)} are listed and absent")

    judge = Judge.of(cub, vocabulary, meant, label_space)
    tallies = {name + which: Tally() for name in (v.name for v in VARIANTS) for which in ("", RANDOM)}
    cuts = {variant.name: Cuts() for variant in VARIANTS}
    crops: list[Crop] = []
    predicted: list[int] = []
    examples: list[Example] = []
    right: list[bool] = []
    rng = np.random.default_rng(0)
    named = {name.lower(): i for i, name in enumerate(cub.classes)}
    for start in track(range(0, len(birds), BATCH), "explaining", transient=True):
        batch = birds[start : start + BATCH]
        images = [read_picture(bird.path) for bird in batch]
        pixels = classifier.preprocess(images)
        logits = classifier.logits(pixels).float().cpu()
        predicted += logits.argmax(1).tolist()
        said = [named.get(classifier.labels[i].lower()) for i in predicted[start:]]
        right += [s == b.label for s, b in zip(said, batch, strict=True) if s is not None]
        heatmaps = _heatmaps(classifier, pixels)
        regions = _all_regions(classifier, heatmaps, images)
        for name, some in regions.items():
            cuts[name].add(judge, batch, some)
        boxes = {}
        for name, some in regions.items():
            boxes[name] = [[region.box for region in areas] for areas in some]
            boxes[name + RANDOM] = [
                [moved(box, image.size, rng) for box in of] for image, of in zip(images, boxes[name], strict=True)
            ]
        labels = judge.score(start, batch, images, boxes, tallies, crops)
        if in_map := judge.in_map(classifier, pixels, regions["LRP"], heatmaps["lrp"]):
            mine = (crop for crop in crops if crop.picture >= start)
            for crop, words in zip(mine, in_map, strict=True):
                judge.count(tallies.setdefault(IN_MAP, Tally()), crop, words)
        if len(examples) < 60:
            examples += _examples(judge, batch, images, boxes["LRP"], labels["LRP"], said, cub)

    tallies |= _controls(judge, crops, predicted, classifier)
    rows = [_row(name, tally, len(birds)) for name, tally in tallies.items()]
    return Report(
        "lrp-clip",
        f"Table 1: crops of {len(birds)} pictures of {data}, {classifier.name}, words by {label_space.name}; "
        "percent of crops (95 % interval)",
        ("crops from", "crops", "part present", "correct @1", "correct @3", "correct @5", "true @1", "true @5"),
        rows,
        {
            "data": data, "model": classifier.name, "space": label_space.name, "pictures": len(birds),
            "accuracy": float(np.mean(right)) if right else None, "skipped": [list(pair) for pair in cub.skipped],
            "ratio to random": _ratios(tallies),
        },
        more=[("Table 2: parts named by correct labels, most and least", ("crops from", "most", "least"),
               [_bias(name, tallies[name]) for name in ("LRP", f"LRP{RANDOM}", "Grad-CAM")]),
              ("Regions: how many a picture, of how many different parts, and the share of relevance that they name",
               ("crops from", "regions", "parts", "named %", "below 70 %", "area %"),
               [cut.row(name) for name, cut in cuts.items()])],
        figures={"lrp-clip.png": _figure(examples)},
    )  # fmt: skip


def _data(data: str) -> tuple[CubData, Vocabulary, list[frozenset[int]]]:
    """The birds, the phrases to look for, and which attributes each phrase stands for."""
    if not data.startswith("world:"):
        cub = read_cub(data, "test")
        return cub, *cub_vocabulary(cub.attributes)
    from saywhy.worlds import world_vocabulary
    from saywhy.worlds.cub_layout import cached_cub

    world = data.removeprefix("world:").partition("/")[0]
    if not world.startswith("aviary"):
        raise SaywhyError(f"{data} has no birds; there is world:aviary")
    plant = world.removeprefix("aviary").removeprefix("-")
    cub = read_cub(cached_cub(f"planted-{plant}" if plant else "species", WORLD_PICTURES))
    vocabulary = world_vocabulary(world)
    named, meant = cub_vocabulary(cub.attributes)
    stands_for = dict(zip(named.phrases, meant, strict=True))
    return cub, vocabulary, [stands_for.get(phrase, frozenset()) for phrase in vocabulary.phrases]


def _heatmaps(classifier: Classifier, pixels: torch.Tensor) -> dict[str, np.ndarray]:
    """(N, H, W) of each method."""
    return {
        method: attribute(classifier, pixels, method=method, batch_size=BATCH, **OPTIONS.get(method, {})).values.numpy()
        for method in dict.fromkeys(variant.method for variant in VARIANTS)
    }


def _all_regions(
    classifier: Classifier, heatmaps: dict[str, np.ndarray], images: Sequence[Image.Image]
) -> dict[str, list[list[Region]]]:
    """Variant name -> for each picture its regions, best first."""
    geometries = [classifier.geometry(image.size) for image in images]
    return {
        v.name: [
            CUTS[v.cut](SIGNS[v.sign](relevance), image, geometry)
            for relevance, image, geometry in zip(heatmaps[v.method], images, geometries, strict=True)
        ]
        for v in VARIANTS
    }


@final
@dataclass
class Cuts:
    """What a way to cut regions gives, a value a picture: how many, of how many parts, their shares and mean areas."""

    counts: list[float] = field(default_factory=list)
    parts: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    def add(self, judge: Judge, birds: Sequence[Bird], regions: Sequence[Sequence[Region]]) -> None:
        """Adds the regions of pictures. A region's part is that in its box nearest to its middle."""
        for bird, areas in zip(birds, regions, strict=True):
            self.counts.append(len(areas))
            self.parts.append(len({judge.nearest_part(bird, region.box) for region in areas} - {None}))
            self.shares.append(sum(region.share for region in areas))
            self.areas += [float(region.mask.mean()) for region in areas]

    def row(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = {"crops from": name}
        low = [share < NAMED for share in self.shares]
        for column, values, unit, digits in (
            ("regions", self.counts, 1, 2), ("parts", self.parts, 1, 2), ("named %", self.shares, 100, 1),
            ("below 70 %", low, 100, 1),
        ):  # fmt: skip
            of = mean_interval(unit * np.asarray(values, np.float64))
            row[column] = f"{of.value:.{digits}f} ({of.low:.{digits}f} to {of.high:.{digits}f})"
        return row | {"area %": 100 * float(np.mean(self.areas)) if self.areas else None}


def _smoothed(relevance: np.ndarray) -> np.ndarray:
    """Signed relevance, its signs weighed against each other within a neighbourhood before the rest is dropped."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(relevance, 0.03 * min(relevance.shape))


SIGNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "positive": lambda r: np.clip(r, 0, None), "negative": lambda r: np.clip(-r, 0, None), "signed": _smoothed,
}  # fmt: skip


def _hotspots(relevance: np.ndarray, image: Image.Image, geometry: Geometry) -> list[Region]:
    return list(find_regions(relevance, geometry, count=CROPS))


def _one_scale(relevance: np.ndarray, image: Image.Image, geometry: Geometry) -> list[Region]:
    return list(find_regions(relevance, geometry, count=CROPS, **ONE_SCALE))


def _superpixels(relevance: np.ndarray, image: Image.Image, geometry: Geometry) -> list[Region]:
    """The boxes around the superpixels (SLIC, about 30) with most relevance."""
    left, top, right, bottom = geometry.to_original((0, 0, *geometry.frame))
    small = image.crop((left, top, right, bottom)).resize(geometry.frame)
    pieces = slic(np.asarray(small), n_segments=30, compactness=15, start_label=0)
    return _of_pieces(pieces, relevance, geometry)


def _grid(relevance: np.ndarray, image: Image.Image, geometry: Geometry) -> list[Region]:
    """The cells of a 4 x 4 grid with most relevance."""
    height, width = relevance.shape
    cells = (np.arange(height) * 4 // height)[:, None] * 4 + (np.arange(width) * 4 // width)[None]
    return _of_pieces(cells, relevance, geometry)


def _of_pieces(pieces: np.ndarray, relevance: np.ndarray, geometry: Geometry) -> list[Region]:
    """Those with most positive relevance of the pieces, (H, W) of their numbers."""
    held = np.bincount(pieces.ravel(), np.clip(relevance, 0, None).ravel())
    best = [piece for piece in np.argsort(-held)[:CROPS] if held[piece] > 0]
    return [
        Region(_around(pieces == piece, geometry), pieces == piece, float(held[piece] / held.sum())) for piece in best
    ]


CUTS: dict[str, Cut] = {"hotspots": _hotspots, "one scale": _one_scale, "superpixels": _superpixels, "grid": _grid}


def _around(mask: np.ndarray, geometry: Geometry) -> Box:
    rows, columns = np.nonzero(mask)
    return geometry.to_original((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))


def moved(box: Box, size: tuple[int, int], rng: np.random.Generator) -> Box:
    """A box of the same size, anywhere in the picture."""
    width, height = box[2] - box[0], box[3] - box[1]
    left, top = int(rng.integers(0, size[0] - width + 1)), int(rng.integers(0, size[1] - height + 1))
    return left, top, left + width, top + height


@final
@dataclass(frozen=True, eq=False)
class Judge:
    """Labels crops and compares them with what is annotated.

    meant:    per phrase, the attributes it stands for.
    speaks_of: per phrase, the parts those attributes are about (attribute's names).
    of_point: CUB part -> parts as attributes name them.
    """

    place: Space
    vocabulary: Vocabulary
    meant: list[frozenset[int]]
    speaks_of: list[frozenset[str]]
    of_point: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, cub: CubData, vocabulary: Vocabulary, meant: list[frozenset[int]], place: Space) -> Judge:
        speaks_of = [frozenset(attribute_part(cub.attributes[m]) for m in some) for some in meant]
        return cls(place, vocabulary, meant, speaks_of, part_attributes())

    def labels(self, images: Sequence[Image.Image], boxes: Sequence[Sequence[Box]]) -> list[list[list[int]]]:
        """Per picture and box, the phrases that fit best, best first. One encoding of all crops."""
        context = context_of(self.place)
        crops = [
            image.crop(widened(box, image.size, context))
            for image, some in zip(images, boxes, strict=True)
            for box in some
        ]
        findings = label_images(crops, self.vocabulary, self.place, regions=range(len(crops)), top=max(TOPS))
        index = {phrase: m for m, phrase in enumerate(self.vocabulary.phrases)}
        best = iter([[index[label.text] for label in finding.labels] for finding in findings])
        return [[next(best) for _ in some] for some in boxes]

    def in_map(
        self, classifier: Classifier, pixels: torch.Tensor, regions: Sequence[Sequence[Region]], relevance: np.ndarray
    ) -> list[list[int]]:
        """As ``labels``, of all regions in turn, where a classifier's own space sees them in its last map; else []."""
        import torch

        place = self.place
        if not isinstance(place, KnowsFeatures) or pool_of(place.classifier, pixels.to(classifier.device)) is None:
            return []
        seen = look(classifier, pixels)
        encoded = encode_pooled(seen, range(len(pixels)), regions, torch.from_numpy(relevance), place)
        texts = encode_vocabulary(self.vocabulary, place)
        found = unusual_scores(torch.cat([vectors[1:] for vectors in encoded]), texts, reference_of(place))[1]
        return found.topk(max(TOPS), 1).indices.tolist()

    def present(self, bird: Bird, box: Box) -> frozenset[str]:
        """The parts, as attributes name them, of which an annotated point lies in the box."""
        return frozenset(name for part in _inside(bird, box) for name in self.of_point.get(part, ()))

    def nearest_part(self, bird: Bird, box: Box) -> str | None:
        """The part, as attributes name it, whose point in the box is nearest to its middle; None: there is none."""
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        named = [part for part in _inside(bird, box) if part in self.of_point]
        nearest = min(named, key=lambda part: math.dist(bird.parts[part], middle), default=None)
        return None if nearest is None else self.of_point[nearest][0]

    def score(
        self,
        start: int,
        birds: Sequence[Bird],
        images: Sequence[Image.Image],
        boxes: dict[str, list[list[Box]]],
        tallies: dict[str, Tally],
        crops: list[Crop],
    ) -> dict[str, list[list[list[int]]]]:
        """Adds the crops of a batch to the tallies; returns each variant's labels, as ``labels`` does for its boxes.

        crops: those of LRP are put there.
        start: index of the batch's first picture.
        """
        flat = [[box for some in boxes.values() for box in some[n]] for n in range(len(birds))]
        in_turn = [iter(some) for some in self.labels(images, flat)]
        labels = {
            name: [[next(in_turn[n]) for _ in some] for n, some in enumerate(all_boxes)]
            for name, all_boxes in boxes.items()
        }
        for name, all_boxes in boxes.items():
            tally = tallies[name]
            for n, (bird, some) in enumerate(zip(birds, all_boxes, strict=True)):
                for box, phrases in zip(some, labels[name][n], strict=True):
                    width, height = images[n].size
                    area = (box[2] - box[0]) * (box[3] - box[1]) / (width * height)
                    crop = Crop(start + n, self.present(bird, box), bird.attributes, area, phrases)
                    self.count(tally, crop, phrases)
                    if name == "LRP":
                        crops.append(crop)
        return labels

    def count(self, tally: Tally, crop: Crop, words: Sequence[int]) -> None:
        """Adds a crop with these words, its own or others."""
        named = [self.speaks_of[m] & crop.here for m in words]
        has = [bool(self.meant[m] & crop.attributes) for m in words]
        tally.picture.append(crop.picture)
        tally.present.append(bool(crop.here))
        tally.correct.append(_first([bool(parts) for parts in named]))
        tally.true.append(_first([bool(parts) and h for parts, h in zip(named, has, strict=True)]))
        tally.area.append(crop.area)
        tally.parts.update(part for parts in named for part in parts)


def _controls(
    judge: Judge, crops: Sequence[Crop], predicted: Sequence[int], classifier: Classifier
) -> dict[str, Tally]:
    """LRP's crops with words that did not look at them; dealt: those of a crop of the same rank in another picture."""
    texts = encode_vocabulary(judge.vocabulary, judge.place)
    of_picture: dict[int, list[list[int]]] = {}
    for crop in crops:
        of_picture.setdefault(crop.picture, []).append(crop.words)
    pictures = list(of_picture)
    others = dict(zip(pictures, partners(len(pictures), 1)[0].tolist(), strict=True)) if pictures else {}
    rank: Counter[int] = Counter()
    words: dict[str, list[list[int]]] = {"dealt": []}
    for crop in crops:
        theirs = of_picture[pictures[others[crop.picture]]]
        words["dealt"].append(theirs[rank[crop.picture] % len(theirs)])
        rank[crop.picture] += 1
    words |= controls(
        [crop.words for crop in crops],
        [predicted[crop.picture] for crop in crops],
        by_name=name_scores(judge.vocabulary.phrases, texts, judge.place, classifier.labels),
        by_row=row_scores(texts, judge.place),
    )
    tallies = {}
    for name, some in words.items():
        tally = tallies[f"LRP, words {OF_CONTROL[name]}"] = Tally()
        for crop, of_crop in zip(crops, some, strict=True):
            judge.count(tally, crop, of_crop)
    return tallies


OF_CONTROL = {
    "dealt": "of another picture", "constant": "said most often", "name": "of the class's name",
    "row": "of the class's row",
}  # fmt: skip


def _inside(bird: Bird, box: Box) -> list[str]:
    """CUB's names of the parts whose point lies in the box."""
    return [part for part, (x, y) in bird.parts.items() if box[0] <= x < box[2] and box[1] <= y < box[3]]


def _first(hits: Sequence[bool]) -> int:
    """Rank of the first hit, from 1; a large number where there is none."""
    return hits.index(True) + 1 if True in hits else 999


def _measures(tally: Tally) -> dict[str, np.ndarray]:
    correct, true = np.array(tally.correct), np.array(tally.true)
    columns = {"part present": np.array(tally.present)}
    columns |= {f"correct @{k}": correct <= k for k in TOPS}
    return columns | {f"true @{k}": true <= k for k in (1, 5)}


def _row(name: str, tally: Tally, pictures: int) -> dict[str, Any]:
    row: dict[str, Any] = {"crops from": name, "crops": len(tally.picture)}
    if not tally.picture:
        return row
    row["mean area"] = float(np.mean(tally.area))
    for column, hits in _measures(tally).items():
        low, high = interval(hits, np.array(tally.picture), pictures)
        row[column] = f"{100 * hits.mean():.1f} ({low:.1f} to {high:.1f})"
    return row


def interval(hits: np.ndarray, picture: np.ndarray, pictures: int) -> tuple[float, float]:
    """95 % percentile interval of a percentage over crops, whole pictures drawn with replacement."""
    hits_of = np.bincount(picture, hits, minlength=pictures)
    crops = np.bincount(picture, minlength=pictures)
    drawn = resampled(pictures, lambda weights: 100 * (weights @ hits_of) / np.maximum(weights @ crops, 1))
    of = interval_of(100 * float(hits.mean()), drawn)
    return of.low, of.high


def _ratios(tallies: dict[str, Tally]) -> dict[str, float | None]:
    """LRP over random boxes."""
    ours, random = _measures(tallies["LRP"]), _measures(tallies[f"LRP{RANDOM}"])
    return {
        name: float(hits.mean() / random[name].mean()) if len(hits) and random[name].any() else None
        for name, hits in ours.items()
    }


def _bias(name: str, tally: Tally) -> dict[str, Any]:
    total = max(tally.parts.total(), 1)
    ordered = [f"{part.replace('_', ' ')} {100 * count / total:.1f}" for part, count in tally.parts.most_common()]
    return {"crops from": name, "most": ", ".join(ordered[:3]), "least": ", ".join(ordered[3:][-3:])}


# -- the figure -------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Example:
    """A picture for the figure. kind: "right", "wrong class" or "no part in the first crop"."""

    kind: str
    title: str
    image: Image.Image
    boxes: Sequence[Box]
    words: list[str]


def _examples(
    judge: Judge,
    birds: Sequence[Bird],
    images: Sequence[Image.Image],
    boxes: Sequence[Sequence[Box]],
    labels: Sequence[Sequence[Sequence[int]]],
    said: Sequence[int | None],
    cub: CubData,
) -> list[Example]:
    examples = []
    for bird, image, crops, best, says in zip(birds, images, boxes, labels, said, strict=True):
        missed = crops and not judge.present(bird, crops[0])
        wrong = says is not None and says != bird.label
        kind = "no part in the first crop" if missed else "wrong class" if wrong else "right"
        title = cub.classes[bird.label] + (f"\nsaid to be {cub.classes[says]}" if wrong and says is not None else "")
        words = [judge.vocabulary.phrases[first] for first, *_ in best]
        examples.append(Example(kind, title, image, crops, words))
    return examples


def _figure(examples: Sequence[Example], each: int = 2) -> bytes:
    """Two pictures of each kind, with their crops and each crop's first label (the paper's Figure 2)."""
    from matplotlib.figure import Figure

    kinds = dict.fromkeys(("right", "wrong class", "no part in the first crop"))
    fullest = sorted(examples, key=lambda e: -len(e.boxes))
    chosen = [e for kind in kinds for e in [e for e in fullest if e.kind == kind][:each]]
    figure = Figure(figsize=(8.4, 2.1 * max(len(chosen), 1)), layout="constrained")
    axes = figure.subplots(max(len(chosen), 1), 1 + CROPS, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for row, example in zip(axes, chosen, strict=False):
        row[0].imshow(example.image)
        row[0].set_title(f"{example.title}\n{example.kind}", fontsize=7)
        for axis, box, words in zip(row[1:], example.boxes, example.words, strict=False):
            axis.imshow(example.image.crop(box))
            axis.set_title(words, fontsize=7)
    out = io.BytesIO()
    figure.savefig(out, dpi=120)
    return out.getvalue()
