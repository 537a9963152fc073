"""Pictures of which nothing can be said: are words said of foreign ones, and how many familiar ones are lost?

Words are said of a picture where no doubt silences it (seen/doubts.py); whether a calibration then finds any sure
enough does not count here. The worlds' networks have their shipped references, made from other scenes (from seed 3.5e6,
and training handwritings). The broad models of the pack have one half of its pictures as a reference, and are asked
about the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from rich.progress import track
from torch import Tensor

from saywhy.bench import Report
from saywhy.intervals import proportion

if TYPE_CHECKING:
    from saywhy.classifiers.classifier import Classifier
    from saywhy.seen.layer_statistics import Eye
    from saywhy.seen.typical import Typical

COUNT = 200  # pictures of a kind
SEED = 5_900_000  # of scenes and noise; what is looked at was chosen on other ones
SIZES = (160, 256, 384)  # pixels of the scenes
TIMED = 8  # pictures that are explained to take the time, in one batch
ROUNDS = 3  # of which the middle one counts
SHARE = 20  # one in so many pictures of a run is noise
_Pictures = Callable[[], list[Image.Image]]


def run(limit: int | None = None) -> Report:
    """limit: pictures of a kind at most (default 200).

    Without the pack: the worlds' networks, and the installed photographs.
    """
    count, pack = limit or COUNT, _pack()
    made = _kinds(count, pack)
    kinds = {name: made[name]() for name in track(made, "drawing pictures", transient=True)}
    rows, worse = _worlds(kinds)
    more = [("the same, a little worse: familiar pictures lost", tuple(worse[0]), worse)]
    if pack is not None:
        rows_of_broad, worse, runs = _broad(kinds, count, pack)
        more += [
            ("models of photographs, reference: half of the pack's pictures", tuple(rows_of_broad[0]), rows_of_broad),
            ("their pictures, a little worse: lost", tuple(worse[0]), worse),
            (f"no reference: a run, one in {SHARE} of it noise", tuple(runs[0]), runs),
        ]
    costs = _costs(kinds, pack)
    more.append(("time", tuple(costs[0]), costs))
    title = "words said of foreign pictures, and familiar ones lost, in % of pictures (Wilson, 95 %)"
    return Report("foreign", title, tuple(rows[0]), rows, {"pictures of a kind": count}, more)


def _pack() -> Path | None:
    from saywhy.bench.pack import find_pack

    there = os.environ.get("SAYWHY_PACK") is not None or Path("../shared/pack").is_dir()
    return find_pack() if there else None


# -- pictures ---------------------------------------------------------------------------------------------------------


def _kinds(count: int, pack: Path | None) -> dict[str, _Pictures]:
    """Name -> what makes the pictures; photographs are the pack's, else the installed ones."""
    from saywhy.pictures.sources import read_sources
    from saywhy.worlds.digits import coloured_digits, digits
    from saywhy.worlds.scenes import draw

    def scenes(kind: str, first: int) -> list[Image.Image]:
        return [draw(kind, first + n, SIZES[n % len(SIZES)])[0].image for n in range(count)]

    def shown(pixels: Iterable[np.ndarray]) -> list[Image.Image]:
        return [Image.fromarray(one) for one in pixels]

    def read(sources: Sequence[str]) -> list[Image.Image]:
        return [picture.open() for picture in read_sources(sources, count)]

    kinds: dict[str, _Pictures] = {
        "species": partial(scenes, "species", SEED),
        "random plumage": partial(scenes, "random", SEED + 10_000),
        "grey digits": lambda: shown(digits("test", None, count, SEED).pixels),
        "coloured digits": lambda: shown(coloured_digits("test", count, SEED).pixels),
        "pixel noise": lambda: list(_noise(count, SEED)),
        "smooth noise": lambda: list(_smooth(count, SEED)),
        "flat": lambda: list(_flat(count, SEED)),
    }
    kinds["photographs"] = partial(read, ["photos:all" if pack is None else str(pack / "imagenet-samples")])
    if pack is not None:
        kinds["CUB"] = lambda: _opened(_mixed(_birds(pack, "train")[1::2])[:count])
    return kinds


def _opened(paths: Sequence[Path]) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in paths]


def _mixed(paths: Sequence[Path]) -> list[Path]:
    return [paths[n] for n in np.random.default_rng(0).permutation(len(paths))]


def _birds(pack: Path, split: str) -> list[Path]:
    from saywhy.pictures.cub import read_cub

    return [bird.path for bird in read_cub(pack / "cub-crops", split).birds]


def _noise(count: int, seed: int) -> Iterator[Image.Image]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))


def _smooth(count: int, seed: int) -> Iterator[Image.Image]:
    """Coloured blobs of all sizes."""
    rng = np.random.default_rng([seed, 1])
    for _ in range(count):
        side = int(rng.integers(3, 40))
        small = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        yield small.resize((224, 224), Image.Resampling.BICUBIC)


def _flat(count: int, seed: int) -> Iterator[Image.Image]:
    rng = np.random.default_rng([seed, 2])
    for _ in range(count):
        yield Image.new("RGB", (224, 224), tuple(rng.integers(0, 256, 3).tolist()))


def _as_jpeg(image: Image.Image) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


WORSE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 30": _as_jpeg,
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 160)),
    "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "darker .8": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "lighter 1.2": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
}
"""What may have been done to a picture -> it."""


# -- who sees them ----------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class _Viewer:
    """A network that looks at each picture once, however many references it is held against."""

    eye: Eye
    _seen: dict[str, Tensor] = field(default_factory=dict)

    def statistics(self, name: str, pictures: Sequence[Image.Image]) -> Tensor:
        """(N, S). name: of the pictures."""
        if name not in self._seen:
            self._seen[name] = self.eye.statistics(pictures)
        return self._seen[name]

    def silent(self, typical: Typical, name: str, pictures: Sequence[Image.Image]) -> np.ndarray:
        """(N,) bool, of which pictures nothing is said."""
        from saywhy.seen.doubts import is_flat

        known = np.array(typical.knows(self.statistics(name, pictures)))
        return ~known | np.array([is_flat(one) for one in pictures])


def _percent(happened: np.ndarray) -> str:
    share = proportion(int(happened.sum()), len(happened))
    return f"{100 * share.value:.1f} ({100 * share.low:.1f}-{100 * share.high:.1f})"


# -- the worlds -------------------------------------------------------------------------------------------------------


def _worlds(kinds: dict[str, list[Image.Image]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from saywhy.classifiers.classifier import Classifier
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.references import shipped
    from saywhy.spaces.clip import load_clip

    rows, worse = [], []
    for world in ("aviary", "digits"):
        familiar = ("species", "random plumage") if world == "aviary" else ("grey digits", "coloured digits")
        bad = {how: [make(one) for one in kinds[familiar[0]]] for how, make in WORSE.items()}
        for tower in track(("resnet", "vit"), f"world:{world}", transient=True):
            name = f"world:{world}" + ("/vit" if tower == "vit" else "")
            silent = {}
            for eye in eyes_of(load_clip(name), Classifier.load(name)):
                typical = shipped(eye.fingerprint)
                assert typical is not None, f"{eye.name} has no reference"
                viewer = _Viewer(replace(eye, layers=typical.layers))
                silent[eye.name] = {key: viewer.silent(typical, key, shown) for key, shown in (kinds | bad).items()}
            seen_by_clip, by_itself = silent.values()
            for space, found in (
                (name, {key: one | by_itself[key] for key, one in seen_by_clip.items()}),
                ("own", by_itself),
            ):
                row: dict[str, Any] = {"classifier": name, "space": space}
                for kind in kinds:
                    row[kind] = f"lost {_percent(found[kind])}" if kind in familiar else _percent(~found[kind])
                rows.append(row)
                worse.append({"classifier": name, "space": space} | {how: _percent(found[how]) for how in WORSE})
    return rows, worse


# -- models of photographs --------------------------------------------------------------------------------------------


def _broad(
    kinds: dict[str, list[Image.Image]], count: int, pack: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    from saywhy.classifiers.classifier import Classifier
    from saywhy.pictures.sources import list_pictures
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.typical import Typical

    photographs = _mixed([file for file, _ in list_pictures(pack / "imagenet-samples")])  # one a class
    birds = _birds(pack, "test")
    sets = {
        "mobilenetv2_imagenet": (photographs[::2], photographs[1::2]),
        "mobilenetv2_inat_bird": (_mixed(_birds(pack, "train")), _mixed(birds[1::3] + birds[2::3])),
    }
    rows, worse, runs = [], [], []
    for name, (reference, fresh) in track(sets.items(), "models of photographs", transient=True):
        (eye,) = eyes_of(None, Classifier.load(f"timm:{pack / 'models' / name}"))
        familiar = _opened(fresh[: max(count, 300)])
        viewer = _Viewer(replace(eye, layers=eye.early(familiar)))
        known = viewer.statistics("reference", _opened(reference[:300]))
        for size in (100, 300):
            typical = Typical.fit(known[:size], "")
            row = {"model": name, "reference": size, "lost": _percent(viewer.silent(typical, "lost", familiar))}
            for kind in ("pixel noise", "smooth noise", "flat", "species"):
                row[kind] = _percent(~viewer.silent(typical, kind, kinds[kind]))
            rows.append(row)
        bad = {how: [make(one) for one in familiar[:count]] for how, make in WORSE.items()}
        worse.append({"model": name} | {how: _percent(viewer.silent(typical, how, bad[how])) for how in WORSE})
        for size in (100, 200):
            noise = viewer.statistics(f"noise {size}", [*_noise(size // 40, SEED + 1), *_smooth(size // 40, SEED + 1)])
            ours = known[: size - len(noise)]
            typical = Typical.fit(torch.cat([ours, noise]), "")
            runs.append(
                {
                    "model": name, "run": size, "words of the noise": _percent(np.array(typical.knows(noise))),
                    "the rest, lost": _percent(~np.array(typical.knows(ours))),
                    "others, lost": _percent(viewer.silent(typical, "lost", familiar)),
                }
            )  # fmt: skip
    return rows, worse, runs


# -- time -------------------------------------------------------------------------------------------------------------


def _costs(kinds: dict[str, list[Image.Image]], pack: Path | None) -> list[dict[str, Any]]:
    """What the doubts take, as a share of explaining the same pictures with them."""
    from saywhy.classifiers.classifier import Classifier

    asked = [("world:aviary", kinds["species"]), ("world:aviary/vit", kinds["species"])]
    if pack is not None:
        asked.append((f"timm:{pack / 'models' / 'mobilenetv2_imagenet'}", kinds["photographs"]))
    return [_cost(Classifier.load(name), pictures[:TIMED]) for name, pictures in track(asked, "time", transient=True)]


def _cost(classifier: Classifier, pictures: Sequence[Image.Image]) -> dict[str, Any]:
    from saywhy.questions.explain import explain_pictures
    from saywhy.questions.names_and_defaults import default_space, resolve_seen, resolve_space, resolve_vocabulary
    from saywhy.seen.doubts import Foreign
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.references import doubts_of
    from saywhy.seen.typical import Typical

    space, words = resolve_space(default_space(classifier), classifier), resolve_vocabulary(None, classifier)
    doubts = doubts_of(eyes_of(space, classifier))
    if len(doubts) == 1:  # nothing is shipped for it: any reference takes as long
        (eye,) = eyes_of(space, classifier)
        eye = replace(eye, layers=eye.early(pictures))
        doubts += (Foreign(eye, Typical.fit(eye.statistics([*pictures, *_smooth(30, 0)]), "", eye.layers or ())),)
    seen = resolve_seen(space, words, doubts=doubts)
    named = [(str(n), image) for n, image in enumerate(pictures)]
    silent, whole = list[float](), list[float]()
    for _ in range(ROUNDS + 1):  # the first one warms up
        for times, work in (
            (silent, lambda: seen.silences(pictures)),
            (whole, lambda: explain_pictures(named, classifier, words, space, seen=seen)),
        ):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    taken, all_of_it = (float(np.median(times[1:])) / len(pictures) for times in (silent, whole))
    return {
        "classifier": Path(classifier.name).name, "space": space.name, "doubts, ms": round(1000 * taken, 1),
        "explain, ms": round(1000 * all_of_it, 1), "share %": round(100 * taken / all_of_it, 1),
    }  # fmt: skip
