"""Text embeddings, computed once and kept on disk.

One SQLite file per encoder, keyed by the encoder's name, the digest of its weights, and the text. Several processes may
use it at once. A damaged file is deleted and started again, and so is a damaged embedding.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saywhy.plumbing.caches import cache_directory, keeping
from saywhy.plumbing.names import in_utf8

Encode = Callable[[Sequence[str]], Tensor]
"""M texts -> (M, d) on the CPU, float32."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: it has other columns


_kept: ContextVar[bool] = ContextVar("kept", default=True)


@contextmanager
def nothing_kept() -> Iterator[None]:
    """While this lasts, texts that are encoded in this thread are looked up, and not kept: strangers typed them."""
    before = _kept.set(False)
    try:
        yield
    finally:
        _kept.reset(before)


def cached_encode(encoder: str, texts: Sequence[str], encode: Encode) -> Tensor:
    """(M, d) embeddings of M texts; those not yet known are encoded in one call and kept.

    encoder: name and weights' digest of what encodes; whatever changes the result must change it.

    Warns with a CacheWarning where they cannot be kept.
    """
    texts, path = [in_utf8(text) for text in texts], _path(encoder)
    known: dict[str, np.ndarray] = {}
    with keeping():
        _undamaged(path, lambda: known.update(_read(path, texts)))
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if missing:
        fresh = dict(zip(missing, encode(missing).float().cpu().numpy(), strict=True))
        known |= fresh
        with keeping():
            _undamaged(path, lambda: _write(path, fresh) if _kept.get() else None)
    return torch.from_numpy(np.stack([known[text] for text in texts]))


def _read(path: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Those that are kept and whole."""
    found: dict[str, np.ndarray] = {}
    if not path.exists():
        return found
    with closing(sqlite3.connect(path, timeout=30)) as database:
        for start in range(0, len(texts), 500):
            batch = texts[start : start + 500]
            marks = ",".join("?" * len(batch))
            rows = database.execute(f"SELECT text, vector, checksum FROM embeddings WHERE text IN ({marks})", batch)
            whole = ((text, vector) for text, vector, checksum in rows if checksum == _sum(vector))
            found.update((text, np.frombuffer(vector, np.float32)) for text, vector in whole)
    return found


def _write(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = ((text, row.tobytes(), _sum(row.tobytes())) for text, row in rows.items())
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS embeddings (text TEXT PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER)"
        )
        database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", kept)


def _undamaged(path: Path, use: Callable[[], object]) -> None:
    """Use the file; where it is damaged, delete it and use a new one."""
    try:
        use()
    except sqlite3.Error as error:  # one that is locked, full or not ours is left alone
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _DAMAGED:
            raise
        for file in (path, path.with_name(f"{path.name}-journal")):  # of the old file; it would damage the new one
            file.unlink(missing_ok=True)
        use()


def _sum(vector: object) -> int:
    """Of bytes; -1 of what is none."""
    return zlib.crc32(vector) if isinstance(vector, bytes) else -1


def _path(encoder: str) -> Path:
    return cache_directory() / "texts" / f"{hashlib.sha256(encoder.encode()).hexdigest()[:24]}.sqlite"
