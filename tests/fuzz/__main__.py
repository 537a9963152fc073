"""``python -m tests.fuzz pictures|texts COUNT SEED``: so many broken files, and what became of them. ``make fuzz``.

Texts are shared out over their kinds: 2 in 100 of each kind of a model's settings, the others alike.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.surviving import Survival, survive

OF_MODELS = 0.02


def pictures(count: int, seed: int, folder: Path) -> Iterator[tuple[str, Survival]]:
    """One row. Nothing else is imported, so that the memory is that of pictures."""
    from saywhy.pictures.reading import read_picture
    from tests.pictures.broken import mutated

    yield "pictures", survive(((folder / name, content) for name, content in mutated(count, seed)), read_picture)


def texts(count: int, seed: int, folder: Path) -> Iterator[tuple[str, Survival]]:
    """A row for each kind of text."""
    from tests.fuzz import kinds
    from tests.fuzz.texts import mutated

    numbers = dict.fromkeys(kinds.models(folder), round(OF_MODELS * count))
    plain, rest = list(kinds.texts(folder)), count - sum(numbers.values())
    numbers |= {kind: rest // len(plain) + (n < rest % len(plain)) for n, kind in enumerate(plain)}
    for kind, number in numbers.items():
        files = ((kind.path, content) for content in mutated(kind, number, seed))
        yield f"{kind.name}{kind.path.suffix}", survive(files, kind.read)


def main() -> None:
    what, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    found = []
    with TemporaryDirectory() as folder:
        os.environ["SAYWHY_CACHE"] = str(Path(folder) / "cache")
        for name, survival in {"pictures": pictures, "texts": texts}[what](count, seed, Path(folder)):
            found.append(survival)
            print(f"{name}: {survival}", flush=True)
    print(f"{what}, seed {seed}: {sum(found[1:], found[0])}")


if __name__ == "__main__":
    main()
