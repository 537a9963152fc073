"""No large binary slips into the repository: ``make lint`` lists the tracked ones that have no place there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGEST = 200_000  # bytes
PLACES = ("src/saywhy/worlds/weights/", "src/saywhy/worlds/samples/", "src/saywhy/spaces/data/", "docs/images/")


def tracked(root: Path = ROOT) -> list[str]:
    """The files that git tracks, and those that it would take with ``git add``."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def misplaced(names: Iterable[str], root: Path = ROOT) -> list[str]:
    """Those that hold a zero byte, are above LARGEST, and lie in none of PLACES."""
    found = []
    for name in names:
        path = root / name
        if not name.startswith(PLACES) and path.is_file() and path.stat().st_size > LARGEST and _is_binary(path):
            found.append(f"{name}: a binary of {path.stat().st_size:,} bytes; at most {LARGEST:,} outside {PLACES}")
    return found


def _is_binary(path: Path) -> bool:
    """As git tells: there is a zero byte in the first 8,000."""
    with path.open("rb") as file:
        return b"\0" in file.read(8000)


def main() -> int:
    """Prints them; 1 where there is one."""
    found = misplaced(tracked())
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
