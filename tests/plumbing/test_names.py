"""One sentence for every name that is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saywhy.plumbing.names import SHORT, meant, shown, unknown

FEW = ("epsilon", "epsilon-plus", "attnlrp")
MANY = tuple(f"resnet{n}" for n in range(2 * SHORT))


@pytest.mark.parametrize(
    ("name", "known", "options", "sentence"),
    [
        ("epsilonplus", FEW, {}, "there is no x 'epsilonplus'; did you mean epsilon-plus, epsilon?"),
        ("EPSILON-PLUS", FEW, {}, "there is no x 'EPSILON-PLUS'; did you mean epsilon-plus, epsilon?"),
        ("gamma", FEW, {}, "there is no x 'gamma'; there are epsilon, epsilon-plus, attnlrp"),
        ("gamma", FEW[:1], {}, "there is no x 'gamma'; there is epsilon"),
        ("gamma", (), {}, "there is no x 'gamma'; there are none"),
        ("gamma", (), {"see": "the list"}, "there is no x 'gamma'; see the list"),
        ("gamma", FEW, {"see": "the list"}, "there is no x 'gamma'; there are epsilon, epsilon-plus, attnlrp"),
        ("gamma", MANY, {"see": "the list"}, "there is no x 'gamma'; see the list"),
        ("gamma", MANY, {}, f"there is no x 'gamma'; there are {', '.join(MANY)}"),
        ("resnet9", MANY, {"near": MANY}, "there is no x 'resnet9'; did you mean resnet0, resnet1, resnet2?"),
        ("epsil", FEW, {"cutoff": 1}, "there is no x 'epsil'; there are epsilon, epsilon-plus, attnlrp"),
        ("gamma", FEW[:1], {"lead": "the net has no"}, "the net has no x 'gamma'; there is epsilon"),
        ("gamma", FEW[:1], {"also": ", nor a file"}, "there is no x 'gamma', nor a file; there is epsilon"),
        ("fox kitt", ("kit_fox",), {"alike": lambda one: " ".join(sorted(one.replace("_", " ").split()))},
         "there is no x 'fox kitt'; did you mean kit_fox?"),
    ],
)  # fmt: skip
def test_the_sentence(name: str, known: tuple[str, ...], options: dict[str, Any], sentence: str) -> None:
    assert str(unknown("x", name, known, **options)) == sentence


def test_names_that_read_the_same_are_said_once() -> None:
    assert (
        str(unknown("x", "Robins", iter(["Robin", "robin", "Robin"]))) == "there is no x 'Robins'; did you mean Robin?"
    )


def test_a_misspelled_path_gets_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "photos" / "cats" / "Tom.jpg").touch()
    assert meant("photos/cats/tomm.jpg") == meant("photos/cats/tom.png") == "; did you mean photos/cats/Tom.jpg?"
    assert meant("Fotos/cats/Tom.jpg") == "; did you mean photos/cats/Tom.jpg?"
    assert meant(tmp_path / "photo" / "dogs") == f"; did you mean {tmp_path}/photos?"
    for nothing in ("entirely/else", "", "/", "photos/cats/else.jpg", "photos/cats/Tom.jpg/inside", "a\0b", "x" * 5000):
        assert meant(nothing) == ""


def test_names_are_shown_in_one_line() -> None:
    assert shown("a b.jpg") == "a b.jpg"
    assert shown("Größe 大\u3000猫.png") == "Größe 大\u3000猫.png"
    assert shown("a\nb\x1b[31m\0\u202e\udcff") == r"a\nb\x1b[31m\x00\u202e\udcff"
    assert len(shown("x" * 10_000)) < 500
