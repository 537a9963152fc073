"""Text embeddings, computed once and kept on disk.

One SQLite file per encoder, keyed by the encoder's name, the digest of its weights, and the text. Several processes may
use it at once; a damaged file is deleted and started again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saywhy.plumbing.caches import cache_directory

Encode = Callable[[Sequence[str]], Tensor]
"""M texts -> (M, d) on the CPU, float32."""


def cached_encode(encoder: str, texts: Sequence[str], encode: Encode) -> Tensor:
    """(M, d) embeddings of M texts; those not yet known are encoded in one call and kept.

    encoder: name and weights' digest of what encodes; whatever changes the result must change it.
    """
    texts = list(texts)
    try:
        return _cached_encode(encoder, texts, encode)
    except sqlite3.DatabaseError:  # damaged, or on a file system without locks: do without the cache
        _path(encoder).unlink(missing_ok=True)
        return encode(texts)


def _cached_encode(encoder: str, texts: list[str], encode: Encode) -> Tensor:
    path = _path(encoder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS texts (text TEXT PRIMARY KEY, embedding BLOB NOT NULL)")
        known: dict[str, bytes] = {}
        for start in range(0, len(texts), 500):
            batch = texts[start : start + 500]
            marks = ",".join("?" * len(batch))
            known.update(database.execute(f"SELECT text, embedding FROM texts WHERE text IN ({marks})", batch))
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            fresh = encode(missing).float().cpu().numpy()
            rows = [(text, row.tobytes()) for text, row in zip(missing, fresh, strict=True)]
            database.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", rows)
            known.update(rows)
    return torch.from_numpy(np.stack([np.frombuffer(known[text], np.float32) for text in texts]))


def _path(encoder: str) -> Path:
    return cache_directory() / "texts" / f"{hashlib.sha256(encoder.encode()).hexdigest()[:24]}.sqlite"
