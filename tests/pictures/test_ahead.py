"""Pictures opened ahead of their turn: the same ones, in order, few at a time."""

import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from saywhy import SaywhyError
from saywhy.pictures import ahead as module
from saywhy.pictures.ahead import ahead
from saywhy.pictures.in_batches import Failure, in_batches
from saywhy.pictures.reading import read_picture


@dataclass
class _Picture:
    number: int
    log: list[int] = field(repr=False)
    side: int = 4

    @property
    def name(self) -> str:
        return f"{self.number}.png"

    def open(self) -> Image.Image:
        self.log.append(self.number)
        if self.number == 3:
            raise SaywhyError("3.png: is broken")
        return Image.new("RGB", (self.side, self.side), (self.number, 0, 0))


def _settled(log: list[int], count: int) -> None:
    until = time.monotonic() + 5
    while len(log) < count and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.02)


@pytest.mark.parametrize("most", [0, 1, 5, 100])
def test_they_come_in_order_each_once(most: int) -> None:
    log = list[int]()
    with ahead([_Picture(n, log) for n in range(12)], most) as pictures:
        found = list(in_batches(pictures, lambda batch: [image.getpixel((0, 0)) for _, image in batch], batch_size=4))
    results = {one.picture.number: result for one, result in found}
    assert results.pop(3) == Failure("3.png", "3.png: is broken")
    assert results == {n: (n, 0, 0) for n in range(12) if n != 3}
    assert sorted(log) == list(range(12))


def test_so_many_are_opened_ahead_and_no_more() -> None:
    log = list[int]()
    with ahead((_Picture(n, log) for n in range(50)), 5) as pictures:
        next(pictures).open()
        _settled(log, 6)
        assert log == list(range(6))
    assert not any(thread.name.startswith("saywhy-reading") for thread in threading.enumerate())
    assert len(log) == 6


def test_large_ones_wait_until_those_before_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", 4 * 100 * 100 - 1)
    log = list[int]()
    with ahead((_Picture(n + 10, log, 100) for n in range(20)), 12) as pictures:
        first = next(pictures)
        _settled(log, 4)
        assert log == [10, 11, 12, 13]
        assert first.open().width == 100
        assert [one.open().getpixel((0, 0))[0] for one in pictures] == list(range(11, 30))  # type: ignore[index]


def test_decoders_warnings_are_not_heard_and_settings_come_back(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")

    class Warned:
        name = "one.png"

        def open(self) -> Image.Image:
            image = read_picture(tmp_path / "one.png")
            warnings.warn_explicit("corrupt EXIF", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
            return image

    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with ahead([Warned()] * 20, 4) as pictures:
            for picture in pictures:
                with warnings.catch_warnings():
                    picture.open()
    assert not heard
    assert warnings.filters == before
