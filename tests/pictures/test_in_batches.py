"""Whatever fails, every picture has its result or its reason, in order, and the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import pytest
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure, Readable, bounded, in_batches, opened
from saywhy.pictures.sources import LabelledImage

Pair = tuple[str, Image.Image]


def unreadable(name: str) -> Image.Image:
    raise SaywhyError(f"{name}: not a picture")


def pictures(count: int, broken: Sequence[int] = ()) -> list[LabelledImage]:
    sizes = {n: partial(Image.new, "RGB", (n + 1, 1)) for n in range(count)}
    return [
        LabelledImage(f"in/{n}.png", None, partial(unreadable, f"in/{n}.png") if n in broken else sizes[n])
        for n in range(count)
    ]


def widths(batch: Sequence[Pair]) -> list[int]:
    return [image.width for _, image in batch]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_every_picture_has_its_result_in_order(size: int) -> None:
    batches: list[list[str]] = []

    def work(batch: Sequence[Pair]) -> list[int]:
        batches.append([name for name, _ in batch])
        return widths(batch)

    found = list(in_batches(pictures(7), work, batch_size=size))
    assert [(one.name, result) for one, result in found] == [(f"in/{n}.png", n + 1) for n in range(7)]
    assert max(map(len, batches)) == min(size, 7)
    assert [name for batch in batches for name in batch] == [f"{n}.png" for n in range(7)]


def test_what_cannot_be_read_is_a_value_and_the_others_go_on() -> None:
    advanced: list[int] = []
    found = list(in_batches(pictures(5, broken=[1, 4]), widths, batch_size=3, advance=advanced.append))
    first, last = (Failure(f"in/{n}.png", f"in/{n}.png: not a picture") for n in (1, 4))
    assert [result for _, result in found] == [first, 1, 3, 4, last]
    assert [one.name for one, _ in found] == [f"in/{n}.png" for n in (1, 0, 2, 3, 4)]
    assert sum(advanced) == 5


@pytest.mark.parametrize("one_by_one", [False, True])
def test_of_a_batch_that_fails_the_guilty_one_is_named(one_by_one: bool) -> None:
    def work(batch: Sequence[Pair]) -> Iterable[int]:
        def each() -> Iterator[int]:
            for _, image in batch:
                if image.width == 3:
                    raise SaywhyError("too wide")
                yield image.width

        return each() if one_by_one else list(each())

    found = list(in_batches(pictures(5), work, batch_size=5))
    assert [result for _, result in found] == [1, 2, Failure("in/2.png", "in/2.png: too wide"), 4, 5]


def test_a_fault_of_the_program_is_no_failure_of_a_picture() -> None:
    def work(batch: Sequence[Pair]) -> list[int]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_batches(pictures(2), work, batch_size=2))


def test_no_more_than_a_batch_is_open() -> None:
    open_now: list[int] = []

    def watched(n: int) -> Image.Image:
        open_now.append(n)
        return Image.new("RGB", (1, 1))

    many = [LabelledImage(str(n), None, partial(watched, n)) for n in range(100)]
    results = in_batches(many, widths, batch_size=4)
    for _ in range(5):
        next(results)
    assert len(open_now) == 8


def test_opened_pictures_come_with_what_is_known_of_them() -> None:
    first, second = opened(pictures(2, broken=[1]))
    assert first[0].name == "in/0.png"
    assert isinstance(first[1], Image.Image)
    assert second == (second[0], Failure("in/1.png", "in/1.png: not a picture"))


def test_what_cannot_be_read_is_told_once_and_left_out_of_every_pass() -> None:
    told: list[Failure] = []
    read = Readable(told.append)
    many = pictures(4, broken=[0, 2])
    for _ in range(3):
        assert [picture.name for picture, _ in read(many)] == ["in/1.png", "in/3.png"]
    assert [failure.name for failure in told] == ["in/0.png", "in/2.png"]
    assert read.failures == tuple(told)


def test_large_pictures_are_not_held_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saywhy.pictures.in_batches.MOST_PIXELS", 5)
    batches: list[list[int]] = []

    def work(batch: Sequence[Pair]) -> list[int]:
        batches.append(widths(batch))
        return widths(batch)

    advanced: list[int] = []
    found = list(in_batches(pictures(6), work, batch_size=4, advance=advanced.append))
    assert [result for _, result in found] == [1, 2, 3, 4, 5, 6]
    assert batches == [[1, 2, 3], [4, 5], [6]]
    assert sum(advanced) == 6
    images = [(str(n), Image.new("RGB", (n, 1))) for n in (1, 1, 1, 9, 5, 1)]
    assert [[name for name, _ in batch] for batch in bounded(images, 4)] == [["1", "1", "1", "9"], ["5"], ["1"]]
