"""Features of pictures, computed once and kept on disk: a second run over the same pictures is instant."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
from saywhy.pictures.transforms import transform_digest
from saywhy.plumbing.caches import CacheWarning, cache_directory, keeping, versions, weights_digest
from saywhy.plumbing.tensors import reading_tensors, write_tensors

_LIBRARIES = ("torch", "torchvision", "timm", "transformers", "pillow")


def cached_features(classifier: Classifier, paths: Sequence[Path], *, batch_size: int = 32) -> Tensor:
    """(N, d) features of N picture files, on the CPU.

    The key is the network's weights, what its transform makes of pictures, what computes them (device, precision,
    versions of the libraries), and the files' paths, sizes and times. What is damaged on disk is computed again.

    Raises SaywhyError for a picture that cannot be read. Warns with a CacheWarning where the features cannot be kept:
    on a full disk, and of a transform that draws at random.
    """
    transform = transform_digest(classifier.transform)
    if transform is None:
        warnings.warn(
            f"the transform of {classifier.name} gives a picture another result each time: its features are not kept",
            CacheWarning,
        )
        return _features(classifier, paths, batch_size)
    computed = f"{classifier.dtype} {classifier.device.type} {versions(*_LIBRARIES)}"
    digest = hashlib.sha256(f"{classifier.fingerprint} {transform} {computed}\n".encode())
    for path in paths:
        status = path.stat() if path.exists() else None
        digest.update(f"{path.resolve()}|{status and (status.st_size, status.st_mtime_ns)}\n".encode())
    kept = cache_directory() / "features" / f"{digest.hexdigest()[:24]}.safetensors"
    if kept.is_file():
        with suppress(SaywhyError), reading_tensors(kept, "holds no features") as file:
            if file.story == weights_digest([file.tensors["features"]]):
                return file.tensors["features"]
    features = _features(classifier, paths, batch_size)
    with keeping():
        write_tensors(kept, {"features": features}, weights_digest([features]), make_folder=True)
    return features


def _features(classifier: Classifier, paths: Sequence[Path], batch_size: int) -> Tensor:
    starts = range(0, len(paths), batch_size)
    return torch.cat(
        [
            classifier.features(classifier.preprocess([read_picture(p) for p in paths[start : start + batch_size]]))
            .float()
            .cpu()
            for start in track(starts, "looking at the pictures", transient=True, disable=len(starts) < 3)
        ]
    )
