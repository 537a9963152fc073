"""Other pictures made like one: as bright, as blurred, in its frame, with its square where it stands there.

Each change has a name, of PROPERTIES, or what ``piece_names`` gives: "yellow square". It is made in the
picture as it is, and aims at what ``pictures.properties`` measures of the other one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np
from PIL import Image

from saywhy.pictures.plain import BAR, COLOURS, DISC, LETTER, RECTANGLE, SQUARE, Piece, frame, measured, pieces
from saywhy.pictures.properties import LUMA, of_pixels, properties, radius
from saywhy.pictures.reading import JPEG_QUALITY

CONTRAST = 15.0  # delta E between a piece and what is around it, at least: see seen.plain_facts
STEPS = 10  # of each search for how much has to be changed
MOST_BLUR = 6.0  # standard deviation, pixels at the size at which pictures are measured
MOST_SHARPENED = 8.0  # of what an unsharp mask adds
QUALITIES = (90, 75, 60, 45, 30, 20, 12, 7, 4)  # by which a JPEG may be saved
MOST_TIMES = 4.0  # how many times larger, smaller or wider a picture is made
SHAPES = (SQUARE, RECTANGLE, DISC, BAR, LETTER)
FRAME = "frame"


@final
class Property(NamedTuple):
    """One thing that can be changed.

    measures:   names of ``properties``.
    more, less: what a picture is called of which the first of them is larger, smaller.
    moves:      whether a picture is moved by as much as two groups of pictures lie apart (``moved``), which what it
                shows has its part in; else it is set to what another picture has (``like``).
    """

    measures: tuple[str, ...]
    more: str
    less: str
    moves: bool = False


PROPERTIES: Mapping[str, Property] = {
    "brightness": Property(("brightness",), "bright", "dark", True),
    "contrast": Property(("contrast",), "rich in contrast", "flat", True),
    "saturation": Property(("saturation",), "colourful", "pale", True),
    "colour cast": Property(("red", "blue"), "reddish", "less red", True),
    "white balance": Property(("red", "blue"), "reddish", "less red", True),
    "light and colour": Property(("brightness", "red", "blue"), "bright", "dark", True),
    "vignette": Property(("vignette",), "bright in the corners", "dark in the corners", True),
    "blur": Property(("sharpness",), "sharp", "blurred"),
    "JPEG quality": Property(("blocks", "jpeg"), "coarse", "fine"),
    "size": Property(("pixels",), "large", "small"),
    "aspect": Property(("aspect",), "wide", "tall"),
    FRAME: Property(("framed",), "framed", "without a frame"),
}
"""Name -> what it is. A cast adds to the channels, as a tinted haze does; white balance multiplies them."""


def moved(image: Image.Image, name: str, amounts: Sequence[float]) -> Image.Image:
    """An RGB picture with the measures of one property moved by so much, as far as that can be."""
    own = properties(image)
    steps = dict(zip(PROPERTIES[name].measures, amounts, strict=True))
    changed = _SETTERS[name](image, {**own, **{key: own[key] + step for key, step in steps.items()}})
    return image if changed is None else changed


def like(image: Image.Image, donor: Image.Image, name: str) -> Image.Image | None:
    """An RGB picture with one thing as it is in another; None where it cannot be, or is so already.

    Raises KeyError for a name that is none of PROPERTIES and no piece's.
    """
    if name == FRAME:
        return _framed_like(image, donor)
    if name not in PROPERTIES:
        return _pasted(image, donor, name)
    wanted = properties(donor)
    return _SETTERS[name](image, wanted)


def unlike(image: Image.Image, donor: Image.Image, name: str) -> Image.Image | None:
    """The same, as far the other way: made darker by as much as ``like`` makes it brighter.

    In place of a frame or a piece: something of equal shape and area from elsewhere in the other picture. None where
    there is no other way.
    """
    if name == FRAME or name not in PROPERTIES:
        mask = _mask_of(donor, name)
        if mask is None:
            return None
        pixels = np.roll(np.asarray(donor), (donor.height // 2, donor.width // 2), (0, 1))
        return _under(image, Image.fromarray(pixels), mask)
    if name == "JPEG quality":
        return None
    own, other = properties(image), properties(donor)
    wanted = {key: 2 * own[key] - other[key] for key in PROPERTIES[name].measures}
    return _SETTERS[name](image, {**own, **wanted})


def recoloured(image: Image.Image, donor: Image.Image, name: str) -> Image.Image | None:
    """The same as ``like`` of a frame or a piece, in the opposite colour; None of anything else."""
    mask = _mask_of(donor, name) if name == FRAME or name not in PROPERTIES else None
    if mask is None:
        return None
    return _under(image, Image.fromarray(255 - np.asarray(donor.convert("RGB"))), mask)


def piece_names(image: Image.Image) -> dict[str, Piece]:
    """The flat pieces of a picture that can be spoken of, "yellow square" -> the one that stands out most.

    Takes 10 to 15 ms.
    """
    found: dict[str, Piece] = {}
    for piece in _pieces(image):
        name = f"{piece.colour} {piece.shape}"
        if name not in found or found[name].contrast < piece.contrast:
            found[name] = piece
    return found


def is_piece(name: str) -> bool:
    """Whether a name is a piece's: "yellow square"."""
    colour, _, shape = name.partition(" ")
    return colour in COLOURS and shape in SHAPES


def _pieces(image: Image.Image) -> list[Piece]:
    return [one for one in pieces(measured(image)) if one.shape in SHAPES and one.contrast >= CONTRAST]


def _mask_of(image: Image.Image, name: str) -> np.ndarray | None:
    """(H, W) bool, at the size at which pictures are measured; None where there is no such thing."""
    if name == FRAME:
        found = frame(measured(image))
        return None if found is None else found.mask
    if not is_piece(name):
        raise KeyError(name)
    piece = piece_names(image).get(name)
    return None if piece is None else piece.mask


def _under(image: Image.Image, donor: Image.Image, mask: np.ndarray) -> Image.Image:
    """A picture with what another shows under a mask, at the same place of the frame."""
    from scipy.ndimage import binary_dilation

    # the rim of a reduced piece is mixed with what is around it
    grown = binary_dilation(mask) if min(donor.size) > 1.5 * min(mask.shape) else mask
    shape = Image.fromarray(grown.astype(np.uint8) * 255).resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(donor.convert("RGB").resize(image.size, Image.Resampling.BILINEAR), image, shape)


def _pasted(image: Image.Image, donor: Image.Image, name: str) -> Image.Image | None:
    """With the donor's piece; where the donor has none, without its own, which are filled from what is around them."""
    mask = _mask_of(donor, name)
    if mask is not None:
        return _under(image, donor, mask)
    own = [piece.mask for piece in _pieces(image) if f"{piece.colour} {piece.shape}" == name]
    return _filled(image, np.any(own, axis=0)) if own else None


def _filled(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """With what is around a mask (H, W) spread into it."""
    from scipy.ndimage import binary_dilation, distance_transform_edt, uniform_filter

    hole = np.asarray(Image.fromarray(binary_dilation(mask, iterations=2)).resize(image.size, Image.Resampling.NEAREST))
    pixels = np.asarray(image).astype(np.float32)
    if hole.all():
        return image
    nearest = distance_transform_edt(hole, return_distances=False, return_indices=True)
    spread = pixels[tuple(nearest)]
    wide = max(3, round(0.03 * min(image.size)))
    smooth = np.stack([uniform_filter(spread[..., channel], wide) for channel in range(3)], -1)
    return Image.fromarray(np.where(hole[..., None], smooth, pixels).astype(np.uint8))


def _framed_like(image: Image.Image, donor: Image.Image) -> Image.Image | None:
    """In the donor's frame; where the donor has none, cut out of its own."""
    mask = _mask_of(donor, FRAME)
    if mask is not None:
        return _under(image, donor, mask)
    own = _mask_of(image, FRAME)
    if own is None:
        return None
    rows, columns = np.flatnonzero(~own.all(1)), np.flatnonzero(~own.all(0))
    across, down = image.width / own.shape[1], image.height / own.shape[0]
    box = ((columns[0] + 1) * across, (rows[0] + 1) * down, columns[-1] * across, rows[-1] * down)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


# -- setting what is measured -----------------------------------------------------------------------------------------

_Values = Mapping[str, float]


def _searched(measure: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """The argument between two at which an increasing measure is nearest to what is wanted."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        if measure(middle) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _pixels(image: Image.Image, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    """What a change of float pixels (H, W, 3), 0..255, makes of a picture."""
    return Image.fromarray(np.clip(change(np.asarray(image).astype(np.float32)) + 0.5, 0, 255).astype(np.uint8))


def _small(image: Image.Image) -> np.ndarray:
    return measured(image).astype(np.float32)


def _luma(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels @ LUMA)


def _brightness(image: Image.Image, wanted: _Values) -> Image.Image:
    small = _small(image)
    add = _searched(lambda d: float(_luma(np.clip(small + d, 0, 255)).mean()) / 255, wanted["brightness"], -255, 255)
    return _pixels(image, lambda pixels: pixels + add)


def _contrast(image: Image.Image, wanted: _Values) -> Image.Image:
    small = _small(image)
    middle = float(_luma(small).mean())

    def scaled(pixels: np.ndarray, times: float) -> np.ndarray:
        return np.clip(middle + (pixels - middle) * times, 0, 255)

    times = _searched(lambda t: float(_luma(scaled(small, t)).std()) / 255, wanted["contrast"], 0, MOST_TIMES)
    return _pixels(image, lambda pixels: scaled(pixels, times))


def _saturation(image: Image.Image, wanted: _Values) -> Image.Image:
    small = _small(image)

    def scaled(pixels: np.ndarray, times: float) -> np.ndarray:
        grey = _luma(pixels)[..., None]
        return np.clip(grey + (pixels - grey) * times, 0, 255)

    times = _searched(lambda t: of_pixels(scaled(small, t))["saturation"], wanted["saturation"], 0, MOST_TIMES)
    return _pixels(image, lambda pixels: scaled(pixels, times))


def _cast(image: Image.Image, wanted: _Values) -> Image.Image:
    """The same is added to each pixel, and the mean luma stays."""
    own = of_pixels(_small(image))
    return _means(image, {**wanted, "brightness": own["brightness"]})


def _means(image: Image.Image, wanted: _Values) -> Image.Image:
    """The same is added to each pixel, so that the means of the channels are as wanted, but for what is clipped."""
    add = 255 * (_channels(wanted) - _channels(of_pixels(_small(image))))
    return _pixels(image, lambda pixels: pixels + add)


def _channels(values: _Values) -> np.ndarray:
    """(3,) the means of red, green and blue, 0..1, from brightness and cast."""
    red, blue = (values["brightness"] * 2.0 ** values[key] for key in ("red", "blue"))
    green = (values["brightness"] - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return np.array([red, green, blue], np.float32)


def _balance(image: Image.Image, wanted: _Values) -> Image.Image:
    """The channels are multiplied, as another light does, and the mean luma stays."""
    own = of_pixels(_small(image))
    before, after = _channels(own), _channels({**wanted, "brightness": own["brightness"]})
    gains = np.clip(after / np.maximum(before, 1e-3), 1 / MOST_TIMES, MOST_TIMES)
    return _pixels(image, lambda pixels: pixels * gains)


def _sharpness(image: Image.Image, wanted: _Values) -> Image.Image | None:
    """Blurred, or sharpened, which does not undo a blur."""
    from scipy.ndimage import gaussian_filter

    small, aim = _small(image), wanted["sharpness"]
    own = of_pixels(small)["sharpness"]
    scale = min(image.size) / min(small.shape[:2])
    if aim < own:
        sigma = _searched(
            lambda s: -of_pixels(_whole(gaussian_filter(small, (s, s, 0))))["sharpness"], -aim, 0, MOST_BLUR
        )
        wide = sigma * scale
        return _pixels(image, lambda pixels: gaussian_filter(pixels, (wide, wide, 0)))

    def sharpened(pixels: np.ndarray, times: float, zoom: float) -> np.ndarray:
        return pixels + times * (pixels - gaussian_filter(pixels, (zoom, zoom, 0)))

    times = _searched(lambda t: of_pixels(_whole(sharpened(small, t, 1)))["sharpness"], aim, 0, MOST_SHARPENED)
    return _pixels(image, lambda pixels: sharpened(pixels, times, scale))


def _whole(pixels: np.ndarray) -> np.ndarray:
    """As a picture has them: rounding is all that is left of a strong blur's finest detail."""
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def _vignette(image: Image.Image, wanted: _Values) -> Image.Image:
    small = _small(image)

    def lit(pixels: np.ndarray, stops: float) -> np.ndarray:
        return np.clip(pixels * 2.0 ** (stops * _falloff(*pixels.shape[:2]))[..., None], 0, 255)

    stops = _searched(lambda s: of_pixels(lit(small, s))["vignette"], wanted["vignette"], -4, 4)
    return _pixels(image, lambda pixels: lit(pixels, stops))


@lru_cache(maxsize=4)
def _falloff(height: int, width: int) -> np.ndarray:
    """(H, W) 0 in the middle, 1 in the corners, as the square of the distance."""
    return np.asarray(radius(height, width) ** 2 / 2)


def _jpeg(image: Image.Image, wanted: _Values) -> Image.Image | None:
    """Saved so that blocks show as much; nothing makes them fewer."""
    own, aim = properties(image), wanted["blocks"]
    if "jpeg" in wanted:
        return _saved(image, int(wanted["jpeg"])) if wanted["jpeg"] < own.get("jpeg", 100) else None
    if aim <= own["blocks"]:
        return None
    tried = [_saved(image, quality) for quality in QUALITIES]
    return min(tried, key=lambda one: abs(properties(one)["blocks"] - aim))


def _saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    again = Image.open(buffer).convert("RGB")
    again.info[JPEG_QUALITY] = quality
    return again


def _size(image: Image.Image, wanted: _Values) -> Image.Image | None:
    times = 2.0 ** ((wanted["pixels"] - np.log2(image.width * image.height)) / 2)
    times = min(max(times, 1 / MOST_TIMES), MOST_TIMES)
    size = max(1, round(image.width * times)), max(1, round(image.height * times))
    return None if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def _aspect(image: Image.Image, wanted: _Values) -> Image.Image | None:
    """The middle of it, cut."""
    aspect = 2.0 ** min(max(wanted["aspect"], -2), 2)
    width, height = min(image.width, round(image.height * aspect)), min(image.height, round(image.width / aspect))
    if (width, height) == image.size or min(width, height) < 1:
        return None
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


_SETTERS: Mapping[str, Callable[[Image.Image, _Values], Image.Image | None]] = {
    "brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "colour cast": _cast,
    "white balance": _balance, "light and colour": _means,
    "blur": _sharpness, "vignette": _vignette, "JPEG quality": _jpeg, "size": _size, "aspect": _aspect,
}  # fmt: skip
