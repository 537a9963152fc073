"""Where things are kept on disk, and the digest by which weights are known there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor


def cache_directory() -> Path:
    """Where saywhy keeps what can be computed again: $SAYWHY_CACHE, else the user's cache folder."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("SAYWHY_CACHE") or user_cache_dir("saywhy"))


def weights_digest(tensors: Iterable[Tensor]) -> str:
    """A digest of weights: shapes, and up to 1024 evenly spaced values of each tensor.

    Quick on large models, and different after any training step, which changes every value a little.
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, len(flat) // 1024)].float().cpu().numpy()
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(np.ascontiguousarray(sample).tobytes())
    return digest.hexdigest()[:16]
