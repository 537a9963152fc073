"""What is packed comes back, whatever its shape; what is damaged is said in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.answers import packing
from saywhy.errors import SaywhyError
from saywhy.types import Geometry, Picture
from tests.pictures.broken import encoded


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5), (1, 2, 3, 4)])
def test_floats_come_back_to_the_bit(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape) * 1e20
    document = json.loads(json.dumps(packing.pack_floats(values)))
    assert torch.equal(packing.unpack_floats(document), values)


def test_bytes_come_back() -> None:
    bits = np.packbits(np.random.default_rng(0).random(100) < 0.5)
    assert packing.unpack(packing.pack(bits), 13) == bits.tobytes()
    assert packing.unpack(packing.pack(bits[::2]), 7) == bits[::2].tobytes()  # not contiguous
    bomb = packing.pack(np.zeros(10**7, np.uint8))
    for size in (13, 10**8, 1 << 40):
        with pytest.raises(ValueError, match="expected"):
            packing.unpack(bomb, size)


def test_json_is_strict_and_numbers_that_are_none_come_back() -> None:
    text = packing.to_json({"format": "x", "a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (2, -float("inf"))}})
    document = packing.from_json(text, "x", "an x")
    assert document == {"format": "x", "a": None, "b": [None, 1.5], "c": {"d": [2, None]}}
    assert np.isnan(packing.number(document["a"]))
    assert packing.number(1.5) == 1.5


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[" * 100_000, "not JSON"), ("[]", "not an x"), ("3", "not an x"), ('{"format": "y"}', "'x'")],
)
def test_other_documents_are_refused(text: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        packing.from_json(text, "x", "an x")


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("b"), ValueError("c"), AttributeError("d")])
def test_damage_is_one_error_and_other_faults_are_not_hidden(error: Exception) -> None:
    with pytest.raises(SaywhyError, match="this thing is damaged"), packing.whole("thing"):
        raise error
    with pytest.raises(ZeroDivisionError), packing.whole("thing"):
        _ = 1 / 0


def test_pictures_and_geometries_come_back() -> None:
    picture = Picture("a.jpg", 30, 20, encoded(Image.new("RGB", (30, 20)), "JPEG"))
    geometry = Geometry((30, 20), (8, 8), (2.5, 2.5), (-1.0, 0.5))
    document = json.loads(json.dumps([packing.picture_document(picture), packing.geometry_document(geometry)]))
    assert packing.read_picture(document[0]) == picture
    assert packing.read_geometry(document[1]) == geometry


@pytest.mark.parametrize(
    "change",
    [{"offset": [float("nan"), 0]}, {"offset": [1e300, 0]}, {"scale": [0, 1]}, {"frame": [10**9, 8]}, {"size": [0, 1]}],
)
def test_a_frame_that_is_not_on_the_picture_is_damage(change: dict[str, list[float]]) -> None:
    document = packing.geometry_document(Geometry((30, 20), (8, 8), (2.5, 2.5), (-1.0, 0.5)))
    with pytest.raises(ValueError, match="its frame"):
        packing.read_geometry(document | change)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.JSON"
    packing.save_as(path, "a thing", {".json": lambda: "one", ".png": lambda: b"two"})
    assert path.read_text() == "one"

    def fails() -> str:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        packing.save_as(path, "a thing", {".json": fails, ".png": lambda: b"two"})
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.JSON"]
    with pytest.raises(SaywhyError, match=r"a thing is saved as \.json or \.png"):
        packing.save_as(tmp_path / "a.pdf", "a thing", {".json": lambda: "one", ".png": lambda: b"two"})
