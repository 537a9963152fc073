"""The code of docs/your-model.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.helpers import TRANSFORM, TinyNet, picture

PAGE = Path(__file__).parents[2] / "docs" / "your-model.md"


def test_every_piece_of_code_runs() -> None:
    pieces = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(pieces) >= 2
    names = {"network": TinyNet(3), "transform": TRANSFORM, "picture": picture()}
    for piece in pieces:
        exec(compile(piece, str(PAGE), "exec"), names)
