"""Features of pictures, computed once and kept on disk: a second run over the same pictures is instant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
from saywhy.plumbing.caches import cache_directory
from saywhy.plumbing.tensors import reading_tensors, write_tensors


def cached_features(classifier: Classifier, paths: Sequence[Path], *, batch_size: int = 32) -> Tensor:
    """(N, d) features of N picture files, on the CPU.

    The key is the network's weights and transform, and the files' paths, sizes and times. A damaged file is computed
    again.

    Raises SaywhyError for a picture that cannot be read, and where the features cannot be written.
    """
    digest = hashlib.sha256(classifier.fingerprint.encode())
    for path in paths:
        status = path.stat() if path.exists() else None
        digest.update(f"{path.resolve()}|{status and (status.st_size, status.st_mtime_ns)}\n".encode())
    kept = cache_directory() / "features" / f"{digest.hexdigest()[:24]}.safetensors"
    if kept.is_file():
        with suppress(SaywhyError), reading_tensors(kept, "holds no features", key=None) as file:
            return file.tensors["features"]
    starts = range(0, len(paths), batch_size)
    features = torch.cat(
        [
            classifier.features(classifier.preprocess([read_picture(p) for p in paths[start : start + batch_size]]))
            .float()
            .cpu()
            for start in track(starts, "looking at the pictures", transient=True, disable=len(starts) < 3)
        ]
    )
    write_tensors(kept, {"features": features}, make_folder=True)
    return features
