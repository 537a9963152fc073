"""Picture files that are broken, made by code: one of each that once went wrong, and mutated ones without end."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from tests.pictures.drawn import picture

ENDINGS = ("jpg", "png", "webp", "gif", "bmp", "tif", "avif")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def huge_gif() -> bytes:
    """35 bytes that declare a screen of 65535 x 65535."""
    screen = b"GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    return screen + b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"


def bomb(mode: str = "1", side: int = 13_000) -> bytes:
    """A small PNG of 169 million pixels, which Pillow alone would read."""
    return encoded(Image.new(mode, (side, side)), "PNG")


def postscript() -> bytes:
    """An EPS that never ends where Ghostscript runs it."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n{} loop\nshowpage\n%%EOF\n"


def twelve_bits() -> bytes:
    ramp = np.linspace(0, 4095, 256).astype(np.uint16)[None].repeat(16, 0)
    return encoded(Image.fromarray(ramp), "PNG")


def deep_png(array: np.ndarray) -> bytes:
    """(H, W, 3) or (H, W, 4) uint16 as a PNG, which Pillow does not write."""
    height, width, channels = array.shape
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + name + data + bytes(4) for name, data in chunks)
    return _summed(b"\x89PNG\r\n\x1a\n" + body)


def deep_tiff(array: np.ndarray, order: str, deflate: bool = False) -> bytes:
    """(H, W, 3) uint16 as a TIFF. order: of its bytes, "<" or ">"."""
    height, width, _ = array.shape
    data = array.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if deflate else data
    tags = [
        (256, width),
        (257, height),
        (258, 16),
        (259, 8 if deflate else 1),
        (262, 2),
        (273, 200),
        (277, 3),
        (278, height),
    ]
    fields = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in (*tags, (279, len(data)))]
    fields[2] = struct.pack(f"{order}HHII", 258, 3, 3, 180)
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(fields))
    head = (start + b"".join(fields)).ljust(180, b"\x00") + struct.pack(f"{order}HHH", 16, 16, 16)
    return head.ljust(200, b"\x00") + data


def huge_tile() -> bytes:
    """A TIFF of 8 x 8 whose one tile declares 1 GiB."""
    tags = [
        (256, 8),
        (257, 8),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, 32768),
        (323, 32768),
        (324, 200),
        (325, 9),
    ]
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(tags)) + fields + b"\x00" * 4
    return data.ljust(200, b"\x00") + zlib.compress(b"\x00")


def greedy_tags(count: int = 3000, room: int = 1 << 20) -> bytes:
    """A TIFF's or EXIF block's tags, each of which claims the same MiB."""
    place = 8 + 2 + 12 * count + 4
    tags = b"".join(struct.pack("<HHII", 40000 + n, 7, room, place) for n in range(count))
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", count) + tags + bytes(4 + room)


def greedy(kind: str) -> bytes:
    """A small picture that has such tags as EXIF, which Pillow does not write where it is too long for a segment."""
    if kind == "TIFF":
        return greedy_tags()
    if kind != "JPEG":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow thinks of the tags
            return encoded(picture(40, 30), kind, exif=greedy_tags())
    data, exif = encoded(picture(40, 30), kind), greedy_tags()
    parts = [exif[start : start + 65000] for start in range(0, len(exif), 65000)]
    segments = (b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\x00\x00" + part for part in parts)
    return data[:2] + b"".join(segments) + data[2:]


def whole() -> dict[str, list[bytes]]:
    """Ending -> small pictures of that format, of many kinds."""
    rgb = picture(40, 30)
    rgba, palette = rgb.convert("RGBA"), rgb.quantize(8)
    rgba.putalpha(100)
    grey16 = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(90)]}
    found = {
        "jpg": [
            encoded(rgb, "JPEG", exif=exif),
            encoded(rgb, "JPEG", progressive=True),
            encoded(rgb.convert("CMYK"), "JPEG"),
            encoded(rgb, "MPO", **frames),
        ],
        "png": [
            *(encoded(image, "PNG") for image in (rgb, rgba, palette, grey16, rgb.convert("1"))),
            encoded(palette, "PNG", transparency=1),
            deep_png(np.asarray(rgb).astype(np.uint16) * 9),
            encoded(rgb, "PNG", **frames),
        ],
        "webp": [encoded(rgb, "WEBP"), encoded(rgba, "WEBP", lossless=True), encoded(rgb, "WEBP", **frames)],
        "gif": [encoded(palette, "GIF", transparency=1), encoded(rgb, "GIF", disposal=2, **frames)],
        "bmp": [encoded(image, "BMP") for image in (rgb, palette, rgb.convert("1"))],
        "tif": [
            *(encoded(image, "TIFF") for image in (rgb, grey16, rgb.convert("F"), rgb.convert("I"))),
            *(encoded(rgb, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "packbits", "tiff_deflate")),
            encoded(rgb.convert("1"), "TIFF", compression="group4"),
            *(deep_tiff(np.asarray(rgb).astype(np.uint16) * 9, order, order == ">") for order in "<>"),
        ],
    }
    if features.check("avif"):
        found["avif"] = [encoded(rgb, "AVIF", speed=10), encoded(rgba, "AVIF", speed=10)]
    return found


def mutated(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of broken files; every other has the wrong ending, or whatever else befalls files."""
    rng = np.random.default_rng(seed)
    by_ending = whole()
    every = [(ending, data) for ending, files in by_ending.items() for data in files]
    ways = (_cut, _flipped, _swapped, _sized, _spliced, _padded)
    for n in range(count):
        ending = list(by_ending)[n % len(by_ending)]
        files = by_ending[ending]
        data, other = files[rng.integers(len(files))], every[rng.integers(len(every))][1]
        for _ in range(rng.integers(1, 3)):
            data = ways[rng.integers(len(ways))](data, other, rng)
        if ending == "png" and rng.random() < 0.7:
            data = _summed(data)
        if rng.random() < 0.15:
            ending = str(rng.choice(ENDINGS))
        yield f"{n}.{ending}", data


def _cut(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data) + 1)]


def _flipped(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    near = len(data) if rng.random() < 0.5 else min(len(data), 200)  # headers are what decoders trust
    for place in rng.integers(0, max(near, 1), rng.integers(1, 20)) if data else ():
        changed[place] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.integers(256)))
    return bytes(changed)


def _swapped(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    start = rng.integers(2, 64)
    return other[:start] + data[start:]


def _spliced(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:end] + data[start:] if rng.random() < 0.5 else data[:start] + data[end:]


def _padded(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data + rng.bytes(rng.integers(1, 3000))


def _sized(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A size that is not the picture's wherever its true one, 40 x 30, stands in the file."""
    width, height = (int(side) for side in 2 ** rng.uniform(0, 31, 2)) if rng.random() < 0.6 else (11_000, 11_000)
    order = "><"[rng.integers(2)]
    for kind, most in (("I", 2**32 - 1), ("H", 65535)):
        for side, value in ((40, width), (30, height)):
            before, after = struct.pack(order + kind, side), struct.pack(order + kind, min(value, most))
            data = data.replace(before, after, int(rng.integers(1, 4)))
    return data


def _summed(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums, so that it is read on."""
    place, parts = 8, [data[:8]]
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + length]
        parts.append(data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + length
    return b"".join(parts) + data[place:]
