"""Pictures of an audit with one thing made like that of another picture, and what the classifier says of them.

A row of ``tables.TRIALS`` says which: the picture, the other one, and the change in words. So each can be made again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, final

from PIL import Image
from torch import Tensor

from saywhy.audits import swaps
from saywhy.audits.finding import LEVEL, SURROUNDINGS
from saywhy.audits.findings.outside import swapped
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.audits.swaps import Shown, as_picture, fits, odds
from saywhy.checks.outcomes import BATCH, CPU_BATCH, logits_of
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, proportion
from saywhy.pictures.altering import like, moved, recoloured, unlike

MOST_SIDE = 1024  # pixels of the shorter side: larger pictures are reduced before they are changed
FEW = 8  # pictures of one class, for a test of them alone
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
    """number: of the picture changed. other: what it is made like; of ``amounts``, by which it is moved, None.

    name: of ``altering``. way: one of those above.
    """

    number: int
    other: int | None
    name: str
    way: str = LIKE
    amounts: tuple[float, ...] = ()

    @property
    def variant(self) -> str:
        """In words, for a row of trials."""
        by = f" by {' '.join(f'{amount:+.4f}' for amount in self.amounts)}" if self.amounts else ""
        return f"{self.name}{by}" + (f", {self.way}" if self.way else "")

    @staticmethod
    def of(row: Mapping[str, Any]) -> Change:
        """That of a row of trials."""
        what, _, way = row["variant"].partition(", ")
        name, _, amounts = what.partition(" by ")
        return Change(row["number"], row["other"], name, way, tuple(float(one) for one in amounts.split()))


@final
class Opened:
    """Pictures of a collection by number, the last ones kept open; those that cannot be read are None."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._held = subject, OrderedDict[int, Image.Image | None]()
        self._bytes, self._shown = 0, swaps.Opened(subject)

    def shown(self, number: int) -> Shown | None:
        """As the classifier sees it, with the object that stands out."""
        return self._shown(number)

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
    """The picture that a row of trials is of, changed again; None where it cannot be.

    Of changed surroundings as the classifier sees it, in its frame.
    """
    found = changed(Opened(subject), Change.of(row))
    return as_picture(subject.classifier, found) if isinstance(found, Tensor) else found


def changed(pictures: Opened, change: Change) -> Image.Image | Tensor | None:
    """The picture, changed; preprocessed (C, h, w) where its surroundings are; None where it cannot be changed."""
    if change.name == SURROUNDINGS:
        whose, lends = (pictures.shown(number) for number in (change.number, change.other) if number is not None)
        return None if whose is None or lends is None or not fits(whose, lends) else swapped(whose, lends)
    image = pictures(change.number)
    if change.other is None:
        return None if image is None else moved(image, change.name, change.amounts)
    donor = pictures(change.other)
    return None if image is None or donor is None else _WAYS[change.way](image, donor, change.name)


def tried(
    subject: Subject, changes: Iterable[tuple[dict[str, Any], Change]], pictures: Opened, target: int
) -> Iterator[dict[str, Any]]:
    """Rows of trials: what the classifier says of each changed picture; those that cannot be changed are left out.

    changes: each with what its row has already. target: the class whose being said is a hit.
    """
    every = ((row, change, image) for row, change in changes if (image := changed(pictures, change)) is not None)
    size = CPU_BATCH if subject.classifier.device.type == "cpu" else BATCH
    while batch := list(islice(every, size)):
        logits = _logits(subject, [image for _, _, image in batch])
        for (row, change, _), found in zip(batch, logits, strict=True):
            said = subject.classifier.said(found)
            yield row | {
                "number": change.number, "other": change.other, "variant": change.variant, "target": target,
                "after": said[0] if said else int(found.argmax()), "hit": target in said,
                "probability_after": float(subject.classifier.probabilities(found)[target]),
            }  # fmt: skip


@final
class Counted(NamedTuple):
    """One test of a cause. given: rows of pictures that were given it; beside: of the controls.

    among: the class that all of them were called before; None for all classes. p: see ``odds``.
    """

    given: Sequence[Mapping[str, Any]]
    beside: Sequence[Mapping[str, Any]]
    among: int | None
    p: float

    @property
    def hits(self) -> int:
        return sum(row["hit"] for row in self.given)

    @property
    def effect(self) -> Interval:
        return proportion(self.hits, len(self.given))

    @property
    def null(self) -> float:
        return proportion(sum(row["hit"] for row in self.beside), len(self.beside)).value


def counted(rows: Sequence[Mapping[str, Any]]) -> list[Counted]:
    """The tests of one part of trials: over all pictures, and over those of the class that most of them were called.

    A cause often turns only the pictures of a class that is near: of others the object speaks louder.
    """
    given = [row for row in rows if Change.of(row).way == LIKE]
    beside = [row for row in rows if row["control"]]
    if not given:
        return []
    tests = [Counted(given, beside, None, odds(given, beside))]
    among, count = Counter(row["before"] for row in given).most_common(1)[0]
    if FEW <= count < len(given):
        given, beside = ([row for row in some if row["before"] == among] for some in (given, beside))
        tests.append(Counted(given, beside, among, odds(given, beside)))
    return tests


@final
class Part(NamedTuple):
    """One cause that was tried. about, target, place: of its trials, rows: these.

    tests: what was tested of it. best: the test that turned most, if it may be told; None where chance does as much, or
    there were no controls.
    """

    name: str
    about: str
    target: int
    place: str
    rows: Sequence[Mapping[str, Any]]
    tests: Sequence[Counted]

    @property
    def best(self) -> Counted | None:
        test = min(self.tests, key=lambda test: test.p)
        return test if test.p <= LEVEL and test.beside else None


def parts_of(view: View, family: str) -> tuple[int, list[Part]]:
    """How many causes of a family were tried, and those that came to a test."""
    asked = view.sql(
        "SELECT part, about, target, any_value(place) AS place FROM trials WHERE family = ? "
        "GROUP BY part, about, target ORDER BY part", [family],
    ).to_pylist()  # fmt: skip
    found = []
    for one in asked:
        rows = view.sql(
            "SELECT number, other, variant, control, before, hit FROM trials WHERE part = ? AND family = ? "
            "ORDER BY number, variant", [one["part"], family],
        ).to_pylist()  # fmt: skip
        if tests := counted(rows):
            found.append(Part(one["part"], one["about"], one["target"], one["place"] or "", rows, tests))
    return len(asked), found


def ways_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows by how something was changed."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(Change.of(row).way, []).append(row)
    return found


def _logits(subject: Subject, changed_ones: Sequence[Image.Image | Tensor]) -> Tensor:
    """(N, C) float32 on the CPU."""
    prepared = [one if isinstance(one, Tensor) else subject.classifier.preprocess([one])[0] for one in changed_ones]
    return logits_of(subject.classifier, prepared).float().cpu()


def _size(image: Image.Image | None) -> int:
    return 0 if image is None else 3 * image.width * image.height
