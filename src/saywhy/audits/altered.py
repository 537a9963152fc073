"""Pictures of an audit with one thing made like that of another picture, and what the classifier says of them.

A row of ``tables.TRIALS`` says which: the picture, the other one, and the change in words. So each can be made again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, final

import torch
from PIL import Image

from saywhy.audits.subject import Subject
from saywhy.checks.outcomes import BATCH, CPU_BATCH
from saywhy.errors import SaywhyError
from saywhy.pictures.altering import like, recoloured, unlike

MOST_SIDE = 1024  # pixels of the shorter side: larger pictures are reduced before they are changed
HELD = 128 << 20  # bytes of opened pictures that are kept

LIKE, OTHER_WAY, INSTEAD = "", "the other way", "another's"
RECOLOURED, SET_BACK = "another colour", "set back"
"""How something is changed: as it is in the other picture, which shows the cause; as far the opposite way, or other
content in its place; as in another picture, without the cause; in another colour; of a picture that shows the cause,
as in one that does not."""
_WAYS: Mapping[str, Callable[[Image.Image, Image.Image, str], Image.Image | None]] = {
    LIKE: like, OTHER_WAY: unlike, INSTEAD: like, RECOLOURED: recoloured, SET_BACK: like,
}  # fmt: skip


@final
class Change(NamedTuple):
    """number: of the picture changed. other: what it is made like. name: of ``altering``. way: one of those above."""

    number: int
    other: int
    name: str
    way: str = LIKE

    @property
    def variant(self) -> str:
        """In words, for a row of trials."""
        return f"{self.name}, {self.way}" if self.way else self.name


@final
class Opened:
    """Pictures of a collection by number, the last ones kept open; those that cannot be read are None."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._held = subject, OrderedDict[int, Image.Image | None]()
        self._bytes = 0

    def __call__(self, number: int) -> Image.Image | None:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        image = opened(self._subject, number)
        self._held[number] = image
        self._bytes += _size(image)
        while self._bytes > HELD and len(self._held) > 2:
            _, gone = self._held.popitem(last=False)
            self._bytes -= _size(gone)
        return image


def opened(subject: Subject, number: int) -> Image.Image | None:
    """Picture ``number``, RGB, no larger than MOST_SIDE at its shorter side; None where it cannot be read."""
    try:
        image = subject.pictures[number].open()
    except SaywhyError:
        return None
    times = MOST_SIDE / min(image.size)
    if times >= 1:
        return image
    return image.resize((max(1, round(image.width * times)), max(1, round(image.height * times))), Image.Resampling.BOX)


def changed_picture(subject: Subject, row: Mapping[str, Any]) -> Image.Image | None:
    """The picture that a row of trials is of, changed again; None where it cannot be."""
    name, _, way = row["variant"].partition(", ")
    return changed(lambda number: opened(subject, number), Change(row["number"], row["other"], name, way))


def changed(pictures: Callable[[int], Image.Image | None], change: Change) -> Image.Image | None:
    """The picture, changed; None where it cannot be, or would stay as it is."""
    image, donor = pictures(change.number), pictures(change.other)
    if image is None or donor is None:
        return None
    return _WAYS[change.way](image, donor, change.name)


def tried(
    subject: Subject, changes: Iterable[tuple[dict[str, Any], Change]], pictures: Opened, target: int
) -> Iterator[dict[str, Any]]:
    """Rows of trials: what the classifier says of each changed picture; those that cannot be changed are left out.

    changes: each with what its row has already. target: the class whose being said is a hit.
    """
    every = ((row, change, image) for row, change in changes if (image := changed(pictures, change)) is not None)
    size = CPU_BATCH if subject.classifier.device.type == "cpu" else BATCH
    while batch := list(islice(every, size)):
        logits = logits_of(subject, [image for _, _, image in batch])
        for (row, change, _), found in zip(batch, logits, strict=True):
            said = subject.classifier.said(found)
            yield row | {
                "number": change.number, "other": change.other, "variant": change.variant, "target": target,
                "after": said[0] if said else int(found.argmax()), "hit": target in said,
                "probability_after": float(subject.classifier.probabilities(found)[target]),
            }  # fmt: skip


def logits_of(subject: Subject, images: Sequence[Image.Image]) -> torch.Tensor:
    """(N, C) float32 on the CPU, of a batch."""
    pixels = subject.classifier.preprocess(images)
    if pixels.ndim == 4:
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # up to four times as fast on a CPU
    return subject.classifier.logits(pixels).float().cpu()


def _size(image: Image.Image | None) -> int:
    return 0 if image is None else 3 * image.width * image.height
