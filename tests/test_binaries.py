"""A large binary is found wherever it has no place."""

from __future__ import annotations

from pathlib import Path

from tests.binaries import LARGEST, misplaced


def test_large_binaries_are_named_and_weights_are_not(tmp_path: Path) -> None:
    large, text, small = b"\0" * (LARGEST + 1), b"a" * (LARGEST + 1), b"\0" * LARGEST
    weights = "src/saywhy/worlds/weights/net/model.safetensors"
    for name, content in (("tool.whl", large), ("long.txt", text), ("small.bin", small), (weights, large)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    found = misplaced(["tool.whl", "long.txt", "small.bin", weights, "gone.bin"], tmp_path)
    assert [line.partition(":")[0] for line in found] == ["tool.whl"]
