"""The tags of TIFF files and EXIF blocks, counted before Pillow reads them.

Each of up to 65,535 tags may claim all of the file as its value, and Pillow copies what each claims: a file of 2 MB
may take 100 GB.
"""

from __future__ import annotations

import io
import os
import struct
from typing import BinaryIO

MOST_CLAIMED = 64 << 20  # bytes of all tags of a directory
MOST_NUMBERS = 1 << 20  # of all tags that are not bytes or text: Pillow makes an object of each

_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_BYTES = (1, 2, 6, 7)
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_STARTS = (b"II*\x00", b"MM\x00*")
_MOST_TAGS = 1 << 16
_FEW = 1000  # directories that are looked for in a file


def claims_too_much(file: BinaryIO) -> bool:
    """Whether a picture file has tags that would take too much memory, of those that Pillow reads when it opens it."""
    file.seek(0)
    start = file.read(12)
    if start[:2] in _BYTE_ORDERS:
        return _excessive(file, 0)
    if start[:2] == b"\xff\xd8":
        return exif_claims_too_much(_exif_of_jpeg(file))
    if start[4:8] == b"ftyp":
        file.seek(0)
        return _any_excessive(file.read())
    return False


def exif_claims_too_much(exif: bytes) -> bool:
    """Whether an EXIF block has tags that would take too much memory."""
    return _excessive(io.BytesIO(exif), 6 if exif.startswith(b"Exif\x00\x00") else 0)


def _any_excessive(data: bytes) -> bool:
    """Whether any EXIF block in a file is excessive; where there are very many, one is taken to be."""
    file, found = io.BytesIO(data), 0
    for start in _STARTS:
        place = data.find(start)
        while place >= 0:
            found += 1
            if found > _FEW or _excessive(file, place):
                return True
            place = data.find(start, place + 1)
    return False


def _exif_of_jpeg(file: BinaryIO) -> bytes:
    """All EXIF segments of a JPEG, joined, as Pillow joins them."""
    parts = []
    file.seek(2)
    while byte := file.read(1):
        if byte != b"\xff":
            continue
        marker = file.read(1)
        while marker == b"\xff":
            marker = file.read(1)
        if not marker or marker[0] == 0xDA:  # the pixels
            break
        if marker[0] in (0, 1) or 0xD0 <= marker[0] <= 0xD8:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        body = file.read(length) if marker[0] == 0xE1 and length > 0 else b""
        if body.startswith(b"Exif\x00"):
            parts.append(body[6:])
        elif marker[0] != 0xE1:
            file.seek(max(length, 0), os.SEEK_CUR)
    return b"".join(parts)


def _excessive(file: BinaryIO, base: int) -> bool:
    """base: where the header of the tags begins; places in them count from there."""
    file.seek(base)
    head = file.read(16)
    order = _BYTE_ORDERS.get(head[:2])
    if order is None or len(head) < 8:
        return False
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    try:
        file.seek(base + struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4)[0])
        count = struct.unpack(f"{order}Q" if big else f"{order}H", file.read(8 if big else 2))[0]
    except (struct.error, ValueError, OverflowError):  # cut off, or a place beyond all files
        return False
    if count > _MOST_TAGS:
        return True
    form = f"{order}HHQ8x" if big else f"{order}HHI4x"
    tags = file.read(count * struct.calcsize(form))
    tags = tags[: len(tags) // struct.calcsize(form) * struct.calcsize(form)]
    claimed = numbers = 0
    for _, kind, values in struct.iter_unpack(form, tags):
        claimed += values * _WIDTHS.get(kind, 0)
        numbers += values if kind in _WIDTHS and kind not in _BYTES else 0
    return claimed > MOST_CLAIMED or numbers > MOST_NUMBERS
