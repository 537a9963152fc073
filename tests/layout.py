"""The rooms of the package: which floor each stands on, and every import between them. ``make layout`` prints it.

An import counts wherever it stands: at the top of a file, inside a function, or under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "saywhy"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("types", "intervals"),
    ("plumbing",),
    ("words",),
    ("worlds",),
    ("pictures",),
    ("classifiers",),
    ("attribution",),
    ("spaces",),
    ("metrics", "checks", "answers"),
    ("seen",),
    ("questions", "training"),
    ("audits",),
    ("bench", "web", "saywhy"),
    ("cli", "worlds.train"),
    ("__main__",),
)
"""From the ground up. A room imports from floors below its own, and from no room beside it."""

NEVER: Mapping[str, str] = {
    "training -> answers": "training makes networks, not answers",
    "saywhy -> bench": "only the command line runs benchmarks",
}
"""Arrows that point down, and are wrong all the same."""

FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Dotted name under the package -> file; the package itself is "saywhy"."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "saywhy"] = path
    return found


def room(module: str) -> str:
    """The room that a module stands in: its folder, or its own name where the floors name it."""
    return module if module in FLOOR else module.split(".")[0]


def imports(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module or ""]
            if any(f"{node.module}.{alias.name}".removeprefix("saywhy.") in known for alias in node.names):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "saywhy":
                inside = name.removeprefix("saywhy.") if "." in name else "saywhy"
                yield inside if inside in known else inside.rpartition(".")[0] or "saywhy"


def arrows(source: Path = SOURCE) -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    known = modules(source)
    return {module: set(imports(path, known)) - {module} for module, path in known.items()}


def room_arrows(found: Mapping[str, set[str]]) -> dict[tuple[str, str], list[str]]:
    """(room, room it imports) -> "module -> module" for each import behind that arrow."""
    between: dict[tuple[str, str], list[str]] = defaultdict(list)
    for module, others in found.items():
        for other in sorted(others):
            if room(module) != room(other):
                between[room(module), room(other)].append(f"{module} -> {other}")
    return dict(sorted(between.items(), key=lambda arrow: (-FLOOR.get(arrow[0][0], 99), arrow[0])))


def faults(found: Mapping[str, set[str]]) -> list[str]:
    """What is wrong: rooms without a floor, arrows that do not point down, forbidden arrows, and circles of files."""
    wrong = [
        f"{module}: no floor is named for the room {room(module)!r}" for module in found if room(module) not in FLOOR
    ]
    if wrong:
        return wrong
    for (above, below), why in room_arrows(found).items():
        if FLOOR[below] >= FLOOR[above]:
            wrong += [f"{arrow}: {below} is not below {above}" for arrow in why]
        if reason := NEVER.get(f"{above} -> {below}"):
            wrong += [f"{arrow}: {reason}" for arrow in why]
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        wrong.append(f"a circle: {' -> '.join(reversed(error.args[1]))}")
    return wrong


def main() -> int:
    """Prints rooms by floor, the arrows between them, and what is wrong; 1 where something is."""
    found = arrows()
    members: dict[str, list[str]] = defaultdict(list)
    for module in found:
        members[room(module)].append(module)
    for floor, rooms in reversed(list(enumerate(FLOORS))):
        for name in rooms:
            print(f"floor {floor:2}  {name} ({len(members[name])})")
    print()
    for (above, below), why in room_arrows(found).items():
        print(f"{above} -> {below}  ({len(why)})")
    wrong = faults(found)
    print("\n" + ("\n".join(wrong) if wrong else "no circle, no arrow upwards"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
