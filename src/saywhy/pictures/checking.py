"""Are the pictures of a data set readable, and are some of them the same?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from saywhy.errors import SaywhyError
from saywhy.pictures.decoding import open_path, opened
from saywhy.pictures.rationale_folders import shown_path
from saywhy.pictures.truth import RationaleData, RationaleImage
from saywhy.plumbing.names import shown
from saywhy.words.rationale_lists import Oddity


def check_pictures(data: RationaleData, tracked: Iterable[RationaleImage] | None = None) -> RationaleData:
    """The data without the pictures that cannot be opened, each reported as an oddity. Reads headers, not pixels.

    tracked: the data's images, for a progress bar.

    Raises SaywhyError where there are no pictures, or none can be opened.
    """
    images, oddities = [], []
    for image in data.images if tracked is None else tracked:
        problem = _problem(image.path)
        if problem is None:
            images.append(image)
        else:
            oddities.append(
                Oddity("cannot be opened", shown_path(image.path, data.root), f"{problem}; it is left out", 1)
            )
    if not data.images:
        raise SaywhyError(f"{data.root}: there is no picture in it")
    if not images:
        raise SaywhyError(f"{data.root}: none of the {len(data.images)} pictures can be opened ({oddities[0].says})")
    return replace(data, images=tuple(images), oddities=(*data.oddities, *oddities))


def same_pictures(one: RationaleData, other: RationaleData) -> list[Path]:
    """The pictures of one that are, byte for byte, in the other too. Opens only files of equal size."""
    ours, theirs = ({image.path: image.path.stat().st_size for image in data.images} for data in (one, other))
    sizes = set(ours.values()) & set(theirs.values())
    digests = {_digest(path) for path, size in theirs.items() if size in sizes}
    return [path for path, size in ours.items() if size in sizes and _digest(path) in digests]


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes()).digest()


def _problem(path: Path) -> str | None:
    """Why a picture cannot be opened, by its header and, where the format has them, its checksums."""
    try:
        with open_path(path) as file, opened(file, shown(path)) as image:
            image.verify()
    except SaywhyError as error:
        return str(error).removeprefix(f"{shown(path)}: ")
    return None
