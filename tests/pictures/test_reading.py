"""Whatever is in the file, an upright RGB picture comes out, or one line that says why not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.reading import DISPLAY_SIDE, display_copy, read_picture
from tests.helpers import picture


def saved(tmp_path: Path, image: Image.Image, name: str, **options: object) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb_and_keeps_its_size(mode: str) -> None:
    source = Image.new("RGB", (9, 7), (200, 40, 30)).convert("RGB")
    image = source.convert(mode) if mode != "LAB" else Image.new("LAB", (9, 7))
    result = read_picture(image)
    assert (result.mode, result.size) == ("RGB", (9, 7))


@pytest.mark.parametrize("mode", ["CMYK", "P", "RGBA"])
def test_colours_survive_conversion(mode: str, tmp_path: Path) -> None:
    ending = "tif" if mode == "CMYK" else "png"
    source = Image.new("RGB", (8, 8), (200, 40, 30))
    path = saved(tmp_path, source.quantize() if mode == "P" else source.convert(mode), f"x.{ending}")
    assert np.abs(np.asarray(read_picture(path), int) - (200, 40, 30)).max() < 30


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(16, 0)
    grey = np.asarray(read_picture(saved(tmp_path, Image.fromarray(ramp), "x.png")))[0, :, 0]
    assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1


def test_transparent_is_white(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "x.png")
    assert read_picture(path).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] * 256)
    path = saved(tmp_path, palette, "p.gif", transparency=0)
    assert read_picture(path).getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees
    path = saved(tmp_path, Image.new("RGB", (40, 20)), "x.jpg", exif=exif)
    assert read_picture(path).size == (20, 40)


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    path = saved(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert read_picture(path).getpixel((0, 0)) == (255, 0, 0)


def test_one_pixel_is_a_picture() -> None:
    assert read_picture(Image.new("RGB", (1, 1))).size == (1, 1)


def bad_files(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is not a picture")
    whole = io.BytesIO()
    picture(300, 300).save(whole, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    whole = io.BytesIO()
    picture(300, 300).save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    saved(tmp_path, Image.new("1", (20000, 20000)), "huge.png")
    saved(tmp_path, Image.new("1", (3, 4000)), "thread.png")
    return {
        "missing": (tmp_path / "none.jpg", "no such file"),
        "folder": (tmp_path, "is a folder"),
        "empty": (tmp_path / "empty.jpg", "empty"),
        "text": (tmp_path / "text.jpg", "not a picture"),
        "truncated": (tmp_path / "cut.jpg", "truncated"),
        "truncated png": (tmp_path / "cut.png", ""),
        "huge": (tmp_path / "huge.png", "megapixels"),
        "thread": (tmp_path / "thread.png", "longer than"),
    }


def test_what_is_no_picture_is_refused_in_one_line_with_name_and_reason(tmp_path: Path) -> None:
    for path, reason in bad_files(tmp_path).values():
        with pytest.raises(SaywhyError) as caught:
            read_picture(path)
        message = str(caught.value)
        assert str(path) in message
        assert reason in message
        assert "\n" not in message


def test_the_display_copy_is_small_and_knows_the_true_size() -> None:
    shown = display_copy(Image.new("RGB", (3000, 1500)), "x.jpg")
    assert (shown.width, shown.height, shown.name) == (3000, 1500, "x.jpg")
    assert Image.open(io.BytesIO(shown.jpeg)).size == (DISPLAY_SIDE, DISPLAY_SIDE // 2)
