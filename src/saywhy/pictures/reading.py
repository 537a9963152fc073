"""Reading pictures: whatever the file holds, an upright RGB picture comes out, or one line that says why not."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from saywhy.errors import SaywhyError
from saywhy.types import Picture

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif"}
DISPLAY_SIDE = 1024  # pixels: the longest side of the copy that a report shows
MOST_PIXELS = 150_000_000  # beyond it, memory rather than the model decides
MOST_ELONGATED = 50  # longer side over shorter: preprocessing resizes the shorter one up to the frame


def read_picture(source: str | Path | Image.Image) -> Image.Image:
    """The picture as upright RGB: first frame, EXIF rotation applied, alpha on white, 16 bit scaled to 8.

    Raises SaywhyError, in one line with the name and the reason, where no picture can be read.
    """
    if isinstance(source, Image.Image):
        return _checked(_to_rgb(source), "the picture")
    path = Path(source)
    if not path.exists():
        raise SaywhyError(f"{path}: no such file")
    if path.is_dir():
        raise SaywhyError(f"{path}: is a folder; name the pictures in it, e.g. {path}/*.jpg")
    if not path.stat().st_size:
        raise SaywhyError(f"{path}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _checked(image, str(path))
                return _to_rgb(image)
    except UnidentifiedImageError:
        raise SaywhyError(f"{path}: not a picture in a format that Pillow reads") from None
    except Image.DecompressionBombError:
        raise SaywhyError(f"{path}: over {MOST_PIXELS / 1e6:.0f} megapixels; make it smaller first") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = "the file is truncated" if "truncated" in str(error) else f"cannot be read ({error})"
        raise SaywhyError(f"{path}: {reason}") from None


def _checked(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise SaywhyError(
            f"{name}: {width} x {height} is over {MOST_PIXELS / 1e6:.0f} megapixels; make it smaller first"
        )
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise SaywhyError(f"{name}: {width} x {height} is over {MOST_ELONGATED} times longer than wide; crop it first")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _eight_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled: Pillow's own conversion would clip everything above 255 to white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = 65535.0 if image.mode != "F" else max(values.max(), 1.0)
    if image.mode == "I" and values.max() > top:
        top = values.max()
    if image.mode in ("I", "F") and values.max() <= 255:  # 8-bit values in a wide container
        top = 255.0
    return Image.fromarray(np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8), "L")


def display_copy(image: Image.Image, name: str) -> Picture:
    """What a report shows of an RGB picture: its name and true size, and a JPEG no longer than DISPLAY_SIDE."""
    copy = image.copy()
    copy.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    copy.save(buffer, "JPEG", quality=90)
    return Picture(name, image.width, image.height, buffer.getvalue())


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder, in order of name, by their ending."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
