"""What the worlds' models know: how their first layers respond to fresh scenes, in a file beside the weights of each.

Made by ``python -m saywhy.training.worlds --typical [NAME...]``. The scenes are as a user would have them: of several
sizes, half of them saved as JPEG, some lighter or darker.
"""

from __future__ import annotations

from functools import cache, partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.sources import LabelledImage
from saywhy.seen.layer_statistics import eyes_of
from saywhy.seen.references import SHIPPED, learn
from saywhy.spaces.clip import load_clip
from saywhy.worlds.digits import coloured_digits, digits
from saywhy.worlds.planted import PLANTS
from saywhy.worlds.scenes import draw

FIRST_SEED = 3_500_000  # of the scenes: nothing else is drawn from here
COUNT = 800
SIZES = (144, 384)  # pixels of the scenes, from and to
QUALITIES = (60, 95)  # of JPEG
LIGHTER = 0.25  # and darker, by this much at most
SAVED, LIT = 0.5, 0.4  # shares of the pictures


def write_typical(model: Path, count: int = COUNT) -> Path:
    """What the classifier or CLIP in a folder of the worlds' weights knows, beside its weights."""
    name = str(model)
    if model.name.startswith("clip"):
        eyes = eyes_of(load_clip(name, "cpu"), None)
    else:
        eyes = eyes_of(None, Classifier.load(f"timm:{name}", device="cpu"))
    if model.parent.name.startswith("digits"):
        return learn(eyes, _digits(count), "digits")[0].save(model / SHIPPED)
    return learn(eyes, _scenes(count), "scenes of the aviary")[0].save(model / SHIPPED)


def _scenes(count: int) -> list[LabelledImage]:
    """Birds of the species and of random plumage, by turns; every fifth of a planted aviary."""
    planted = [f"planted-{kind}" for kind in PLANTS]
    kinds = [planted[n // 5 % len(planted)] if n % 5 == 4 else ("species", "random")[n % 2] for n in range(count)]
    return [LabelledImage(f"{kind} {n}", None, partial(_scene, kind, FIRST_SEED + n)) for n, kind in enumerate(kinds)]


@cache  # several models are shown the same
def _scene(kind: str, seed: int) -> Image.Image:
    side = int(np.random.default_rng([seed, 1]).integers(SIZES[0], SIZES[1] + 1))
    return _as_kept(draw(kind, seed, side)[0].image, seed)


def _digits(count: int) -> list[LabelledImage]:
    """A quarter grey, a quarter red or green, the rest of all ten digits in any ink; from the training handwritings."""
    quarter, seed = count // 4, FIRST_SEED
    sets = (
        digits("train", None, quarter, seed),
        digits("train", 0.0, quarter, seed + 1),
        coloured_digits("train", count - 2 * quarter, seed + 2),
    )
    drawn = [Image.fromarray(pixels) for one in sets for pixels in one.pixels]
    return [LabelledImage(f"digit {n}", None, partial(_as_kept, image, n)) for n, image in enumerate(drawn)]


def _as_kept(image: Image.Image, seed: int) -> Image.Image:
    """As somebody may have it: saved as JPEG or not, lighter, darker or as it was."""
    rng = np.random.default_rng([seed, 2])
    if rng.random() < LIT:
        image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(1 - LIGHTER, 1 + LIGHTER)))
    if rng.random() >= SAVED:
        return image
    file = BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(QUALITIES[0], QUALITIES[1] + 1)))
    return Image.open(file).convert("RGB")
