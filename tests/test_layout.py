"""The shape of the code: floors, no circle, and what a reader counts on in every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.layout import FLOOR, FLOORS, NEVER, arrows, faults, main, modules, room, room_arrows

MODULES = modules()


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    return arrows()


def test_there_is_no_circle_and_no_arrow_upwards(found: dict[str, set[str]]) -> None:
    assert faults(found) == []


def test_every_floor_has_its_rooms_and_no_room_has_two(found: dict[str, set[str]]) -> None:
    named = [name for rooms in FLOORS for name in rooms]
    assert len(named) == len(set(named))
    assert set(named) == {room(module) for module in found}
    assert {end for arrow in NEVER for end in arrow.split(" -> ")} <= set(named)


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("at the top", "from saywhy.upper.b import b"),
        ("inside a function", "def f():\n    from saywhy.upper.b import b"),
        ("under TYPE_CHECKING", "if TYPE_CHECKING:\n    from saywhy.upper.b import b"),
        ("as a module", "import saywhy.upper.b as b"),
        ("of a folder", "from saywhy.upper import b"),
    ],
)
def test_an_arrow_upwards_is_seen_wherever_it_stands(where: str, line: str, tmp_path: Path) -> None:
    for name, text in (("__init__.py", ""), ("lower/a.py", line), ("upper/b.py", "from saywhy.lower import a")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).parent.joinpath("__init__.py").touch()
    there = arrows(tmp_path)
    assert there["lower.a"] == {"upper.b"}, where
    assert any("no floor is named" in fault for fault in faults(there))
    assert ("upper", "lower") in room_arrows(there)


def test_circles_and_arrows_upwards_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    upwards = faults({"words.a": {"cli.app"}, "cli.app": set()})
    assert upwards == ["words.a -> cli.app: cli is not below words"]
    circle = faults({"words.a": {"words.b"}, "words.b": {"words.a"}})
    assert len(circle) == 1
    assert circle[0].startswith("a circle: words.")
    beside = faults({"metrics.a": {"checks.b"}, "checks.b": set()})
    assert beside == ["metrics.a -> checks.b: checks is not below metrics"]
    never = faults({"training.a": {"answers.b"}, "answers.b": set()})
    assert never == ["training.a -> answers.b: training makes networks, not answers"]


def test_the_layout_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    said = capsys.readouterr().out
    assert all(f"  {name} (" in said for name in FLOOR)
    assert "cli -> questions" in said
    assert said.rstrip().endswith("no circle, no arrow upwards")


@pytest.mark.parametrize("module", MODULES)
def test_every_file_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", MODULES)
def test_private_names_stay_in_their_file(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    taken = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("saywhy")
        for alias in node.names
    ]
    assert not [name for name in taken if name.startswith("_") and not name.startswith("__")]


def test_tests_mirror_the_rooms() -> None:
    """Every folder of tests is a room's, and every file of it tests a file or a folder of that room."""
    here = Path(__file__).parent
    for path in sorted(here.rglob("test_*.py")):
        parts = path.relative_to(here).with_suffix("").parts
        if len(parts) > 1:
            assert ".".join(parts[:-1]) in MODULES, f"{path} mirrors no room"


def test_contributing_names_every_room() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    rooms = {room(module) for module in MODULES} - {"saywhy", "__main__", "worlds.train"}
    assert not [name for name in rooms if f"{name}/" not in text and f"{name}.py" not in text]


def test_no_public_name_is_a_room() -> None:
    import saywhy

    assert not set(saywhy.__all__) & set(FLOOR) - {"saywhy"}
