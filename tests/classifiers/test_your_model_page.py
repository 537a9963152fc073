"""The code of docs/your-model.md runs as it stands there."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

import saywhy
from tests.helpers import TRANSFORM, FakeSpace, TinyNet, picture

PAGE = Path(__file__).parents[2] / "docs" / "your-model.md"


def test_every_piece_of_code_runs() -> None:
    pieces = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(pieces) >= 6
    names: dict[str, object] = {"network": TinyNet(3), "transform": TRANSFORM, "picture": picture()}
    names |= {"math": math, "torch": torch, "saywhy": saywhy, "space": FakeSpace()}
    for piece in pieces:
        exec(compile(piece, str(PAGE), "exec"), names)
