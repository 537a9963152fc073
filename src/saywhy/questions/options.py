"""How each question is asked: frozen records that the command line, a benchmark, a worker or a web page build alike.

They hold plain values (``dataclasses.asdict`` gives JSON), compare and hash by them, and say each default once. What a
name stands for (a model, a space, a vocabulary) is resolved by ``choices``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from saywhy.errors import SaywhyError
from saywhy.spaces.surgery.options import DEFAULT_MATCH, DEFAULT_SURGERY, MatchOptions, Surgery


@final
@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """How pictures are explained.

    target:    the class to explain, by index or name; None: the predicted one.
    method:    one of ``attribution.METHODS``. composite: its rules, for "lrp"; None: chosen by the network.
    regions:   how many at most. top: labels of each, and of the whole picture.

    Raises SaywhyError for an unknown method or composite, and numbers below one.
    """

    target: int | str | None = None
    method: str = "lrp"
    composite: str | None = None
    regions: int = 3
    top: int = 3

    def __post_init__(self) -> None:
        from saywhy.attribution import check_method

        check_method(self.method, self.composite)
        if self.regions < 1 or self.top < 1:
            raise SaywhyError(f"regions and labels are one or more; asked for are {self.regions} and {self.top}")


@final
@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """How a classifier is put into CLIP before captions are asked of it.

    matching: which channels are matched, and how. surgery: how matched channels take the place of CLIP's.
    share:    replace this share (0..1) of the channels, the best matched; None: all that are matched.
    """

    matching: MatchOptions = DEFAULT_MATCH
    surgery: Surgery = DEFAULT_SURGERY
    share: float | None = None
