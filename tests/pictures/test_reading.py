"""Whatever is in the file, an upright RGB picture comes out, or one line that says why not."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from saywhy.errors import SaywhyError
from saywhy.pictures.decoding import FORMATS, MOST_PIXELS
from saywhy.pictures.reading import DISPLAY_SIDE, PictureWarning, display_copy, picture_name, read_picture
from tests.helpers import picture
from tests.pictures.broken import (
    bomb,
    deep_png,
    deep_tiff,
    encoded,
    greedy,
    huge_gif,
    huge_tile,
    postscript,
    twelve_bits,
    whole,
)


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


# -- files that once went wrong ---------------------------------------------------------------------------------------


@cache
def corpus() -> dict[str, bytes]:
    """Name -> a file that took gigabytes, hung, or ended a batch."""
    found = {
        "screen.gif": huge_gif(),
        "bomb.png": bomb(),
        "palette bomb.png": bomb("P"),
        "photo.jpg": postscript(),
        "tile.tif": huge_tile(),
        "texture.dds": encoded(picture(64, 64), "DDS"),
        "icon.png": encoded(picture(64, 64), "ICO"),
        "jpeg2000.jpg": encoded(picture(64, 64), "JPEG2000"),
    }
    for ending, files in whole().items():
        found[f"cut.{ending}"] = files[0][: len(files[0]) // 3]
    return found


@pytest.mark.parametrize("name", corpus())
def test_files_that_once_went_wrong_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(corpus()[name])
    with pytest.raises(SaywhyError) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_other_formats_are_refused_with_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(postscript())
    with pytest.raises(SaywhyError) as caught:
        read_picture(tmp_path / "photo.jpg")
    for name in set(FORMATS) - {"AVIF", "HEIC"}:  # which not every Pillow reads
        assert name in str(caught.value)


@pytest.mark.parametrize("ending", whole())
def test_every_kind_of_every_format_is_read_whatever_its_ending(ending: str, tmp_path: Path) -> None:
    for data in whole()[ending]:
        path = tmp_path / "x.gif"
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PictureWarning)
            result = read_picture(path)
        assert result.mode == "RGB"
        assert sorted(result.size) == [30, 40]


GREEDY = ("TIFF", "JPEG", "PNG", "WEBP", *(["AVIF"] if features.check("avif") else []))

PEAK = """
import io, resource, sys, warnings
from PIL import Image
from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
warnings.simplefilter("ignore")
read_picture(Image.new("RGBA", (2000, 2000)))  # so that what is loaded once is not counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_picture(path)
    except SaywhyError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def growth(*paths: Path) -> float:
    """MiB that a process grows by at most while it reads pictures."""
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, paths)], capture_output=True, text=True, check=True)
    return int(done.stdout) / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def test_refusing_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    names = ["palette bomb.png", "screen.gif", "tile.tif"]
    for name in names:
        (tmp_path / name).write_bytes(corpus()[name])
    for kind in GREEDY:
        (tmp_path / kind).write_bytes(greedy(kind))
    assert growth(*(tmp_path / name for name in (*names, *GREEDY))) < 64


@pytest.mark.parametrize("kind", GREEDY)
def test_greedy_tags_are_not_read(kind: str) -> None:
    if kind in ("PNG", "WEBP"):  # whose EXIF is read only to turn them
        assert read_picture(greedy(kind)).size == (40, 30)
    else:
        assert "tags claim more than" in refusal(greedy(kind))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["1", "P", "L", "RGB", "RGBA", "I;16"])
def test_the_largest_picture_takes_at_most_a_gibibyte(mode: str, tmp_path: Path) -> None:
    side = int(MOST_PIXELS**0.5)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new(mode, (side, side))
    image.putpixel((0, 0), 1 if len(image.getbands()) == 1 else (1, 2, 3, 4)[: len(image.getbands())])
    path = saved(tmp_path, image, "x.png", exif=exif)
    del image
    assert growth(path) < 1.1 * 1024


@pytest.mark.parametrize(
    "error", [RuntimeError("one\ntwo"), struct.error("x"), NotImplementedError(), RecursionError()]
)
def test_whatever_a_decoder_raises_is_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, picture(), "x.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", Mock(side_effect=error))
    assert refusal(path).startswith(f"{path}: cannot be read (")


def test_too_little_memory_is_told_and_an_interrupt_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, picture(), "x.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", Mock(side_effect=MemoryError))
    assert "too large for the memory" in refusal(path)
    monkeypatch.setattr(ImageFile.ImageFile, "load", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        read_picture(path)


def test_large_files_are_refused_and_plain_formats_may_be_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saywhy.pictures.decoding.MOST_FILE", 100)
    assert "MiB" in refusal(encoded(picture(), "PNG"))
    with pytest.warns(PictureWarning):
        read_picture(deep_tiff(deep(), "<"))  # opened twice


def test_a_decoder_that_would_take_more_memory_reads_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saywhy.pictures.decoding.MOST_MEMORY", 8 * 96 * 64)
    read_picture(encoded(picture(96, 64), "JPEG"))
    assert "read of such a JPEG" in refusal(encoded(picture(96, 64), "JPEG", progressive=True))
    assert "read of such a WEBP" in refusal(encoded(picture(96, 64), "WEBP"))


# -- what is no file, or may not be read ------------------------------------------------------------------------------


def refusal(source: object) -> str:
    with pytest.raises(SaywhyError) as caught:
        read_picture(source)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_paths_that_lead_nowhere_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "a link to a file that is not there" in refusal(tmp_path / "link.jpg")
    assert "cannot be read" in refusal(tmp_path / "loop.jpg")
    assert "a pipe or a device" in refusal(tmp_path / "pipe.jpg")
    assert "a pipe or a device" in refusal("/dev/zero")
    assert "no such file" in refusal(tmp_path / "a" / "b.jpg")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, picture(), "x.png")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)  # file modes do not stop root
    assert refusal(path) == f"{path}: cannot be read (Permission denied)"


@pytest.mark.parametrize(
    "source", ["", "a\0b", "a\nb.jpg", "\x1b[31mred.png", "x" * 5000, "data:image/png;base64,AAAA"]
)
def test_strings_that_are_no_paths_are_refused_in_one_short_line(source: str) -> None:
    assert len(refusal(source)) < 600


@pytest.mark.parametrize("source", [None, 3, [1, 2], object(), b"", b"text", io.BytesIO(), io.StringIO("x")])
def test_what_is_no_picture_at_all_is_refused(source: object) -> None:
    assert "picture" in refusal(source)


# -- pictures in memory -----------------------------------------------------------------------------------------------


def test_bytes_and_binary_files_are_read_like_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, picture(), "x.png")
    expected = np.asarray(read_picture(path))
    written = io.BytesIO()
    picture().save(written, "PNG")  # its position is at the end
    with path.open("rb") as file:
        for source in (path.read_bytes(), bytearray(path.read_bytes()), written, file, str(path)):
            assert np.array_equal(np.asarray(read_picture(source)), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_arrays_of_every_type_are_read_alike(dtype: type, channels: int) -> None:
    grey = np.linspace(0, 255, 24).round().astype(np.uint8).reshape(4, 6)
    white = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    values = (grey / 255 * white + (0.5 if white > 1 else 0)).astype(dtype)
    array = values if not channels else np.repeat(values[..., None], channels, 2)
    if channels == 4:
        array[..., 3] = white
    result = np.asarray(read_picture(array))
    assert np.array_equal(result, np.repeat(grey[..., None], 3, 2))


def test_what_is_see_through_in_an_array_is_white() -> None:
    array = np.zeros((2, 2, 4), np.float32)
    array[0, 0, 3] = 1
    result = np.asarray(read_picture(array))
    assert result[0, 0].tolist() == [0, 0, 0]
    assert result[1, 1].tolist() == [255, 255, 255]


def test_truth_is_black_and_white() -> None:
    assert np.asarray(read_picture(np.array([[True, False]])))[0, :, 0].tolist() == [255, 0]


def test_strides_and_the_order_of_bytes_do_not_matter() -> None:
    array = np.random.default_rng(0).integers(0, 65536, (9, 8, 3)).astype(np.uint16)
    expected = np.asarray(read_picture(array))
    assert np.array_equal(np.asarray(read_picture(array.astype(">u2"))), expected)
    assert np.array_equal(np.asarray(read_picture(np.asfortranarray(array))), expected)
    assert np.array_equal(np.asarray(read_picture(array[::-1, ::-1])), expected[::-1, ::-1])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4), np.uint8),
        np.zeros(5),
        np.zeros((3, 9, 9)),
        np.zeros((1, 4, 4, 3)),
        np.zeros((4, 4), object),
        np.zeros((4, 4), int),
        np.zeros((4, 4), complex),
        np.full((4, 4), np.nan),
        np.zeros((1, 200), np.uint8),
        np.broadcast_to(np.uint8(0), (20_000, 20_000)),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array: np.ndarray) -> None:
    assert "the array" in refusal(array)


def test_an_array_and_a_picture_are_left_as_they_are() -> None:
    array, image = np.full((4, 4, 4), 300, np.uint16), picture().convert("RGBA")
    before = image.tobytes()
    read_picture(array, value_range=(0, 1000))
    read_picture(image)
    assert (array == 300).all()
    assert image.tobytes() == before


def test_reading_twice_turns_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    once = read_picture(saved(tmp_path, Image.new("RGB", (40, 20)), "x.jpg", exif=exif))
    assert read_picture(once).size == (20, 40)


def test_names_are_those_of_files() -> None:
    assert picture_name("a/b.jpg") == picture_name(Path("a/b.jpg")) == "b.jpg"
    assert picture_name(np.zeros((4, 4))) == picture_name(b"") == picture_name(Image.new("L", (1, 1))) == "picture"


# -- values of more than 8 bits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_than_sixteen_are_scaled_by_their_range_and_told(bits: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 256).astype(np.uint16)[None].repeat(16, 0)
    with pytest.warns(PictureWarning, match=f"{bits} bits: 0 is black, {2**bits - 1} is white") as told:
        grey = np.asarray(read_picture(encoded(Image.fromarray(ramp), "PNG")))[0, :, 0]
    assert len(told) == 1
    assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1


def deep() -> np.ndarray:
    """(16, 256, 3) colours of 12 bits."""
    ramp = np.linspace(0, 4095, 256).astype(np.uint16)[None].repeat(16, 0)
    return np.stack([ramp, ramp[:, ::-1], ramp // 2], 2)


DEEP: dict[str, Callable[[np.ndarray], bytes]] = {
    "png": deep_png,
    **{
        f"tiff {order} {packed}": partial(deep_tiff, order=order, deflate=packed) for order in "<>" for packed in (0, 1)
    },
}


@pytest.mark.parametrize("encode", DEEP.values(), ids=DEEP)
def test_deep_colours_are_scaled_like_deep_greys(encode: Callable[[np.ndarray], bytes]) -> None:
    array = deep()
    with pytest.warns(PictureWarning, match="12 bits: 0 is black, 4095 is white"):
        result = np.asarray(read_picture(encode(array)))
    assert np.array_equal(result, np.floor(array / 4095 * 255 + 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = np.asarray(read_picture(encode(array * np.uint16(16))), int)
        given = np.asarray(read_picture(encode(array), value_range=(0, 4095)))
    assert np.abs(full - result).max() <= 1
    assert np.array_equal(given, result)


def test_deep_colours_keep_what_is_see_through() -> None:
    array = np.concatenate([deep(), np.full((16, 256, 1), 4095, np.uint16)], 2)
    array[0, :, 3] = 0
    with pytest.warns(PictureWarning):
        result = np.asarray(read_picture(deep_png(array)))
    assert (result[0] == 255).all()
    assert np.abs(result[1:, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.filterwarnings("error")
def test_all_sixteen_bits_and_a_given_range_are_not_told() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(16, 0)
    read_picture(Image.fromarray(ramp))
    grey = np.asarray(read_picture(twelve_bits(), value_range=(0, 2047)))[0, :, 0]
    assert grey[128] >= 254
    assert grey[64] == pytest.approx(128, abs=1)
    read_picture(np.zeros((4, 4), np.uint16))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_what_is_below_nothing_is_not_black_but_darker(dtype: type) -> None:
    values = np.linspace(-1000, 3000, 256).astype(dtype)[None].repeat(16, 0)
    with pytest.warns(PictureWarning, match="-1000 is black, 3000 is white"):
        grey = np.asarray(read_picture(Image.fromarray(values)))[0, :, 0]
    assert np.abs(grey.astype(int) - np.arange(256)).max() <= 1


def test_without_negative_values_nothing_is_black() -> None:
    with pytest.warns(PictureWarning, match="0 is black, 400 is white"):
        grey = np.asarray(read_picture(Image.fromarray(np.array([[200, 400]], np.int32))))[0, :, 0]
    assert grey.tolist() == [128, 255]


def test_infinite_values_and_no_numbers_do_not_set_the_range() -> None:
    values = np.array([[np.nan, -np.inf, 0, 5, 10, np.inf]], np.float32)
    with pytest.warns(PictureWarning, match="0 is black, 10 is white"):
        grey = np.asarray(read_picture(values))[0, :, 0]
    assert grey.tolist() == [0, 0, 0, 128, 255, 255]


@pytest.mark.parametrize("wrong", [3, (1, 0), (0, float("nan")), "ab", (1, 2, 3)])
def test_a_range_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(SaywhyError, match="value_range"):
        read_picture(np.zeros((4, 4)), value_range=wrong)  # type: ignore[arg-type]


def test_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [picture(90, 70).convert(mode) for mode in ("RGBA", "LA", "P", "CMYK", "F")]
    expected = [np.asarray(read_picture(image, value_range=(0, 200))) for image in pictures]
    monkeypatch.setattr("saywhy.pictures.reading._STRIP", 90 * 8)
    for image, whole_at_once in zip(pictures, expected, strict=True):
        assert np.array_equal(np.asarray(read_picture(image, value_range=(0, 200))), whole_at_once)


def test_the_display_copy_is_small_and_knows_the_true_size() -> None:
    shown = display_copy(Image.new("RGB", (3000, 1500)), "x.jpg")
    assert (shown.width, shown.height, shown.name) == (3000, 1500, "x.jpg")
    assert Image.open(io.BytesIO(shown.jpeg)).size == (DISPLAY_SIDE, DISPLAY_SIDE // 2)
