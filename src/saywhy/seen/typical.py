"""Whether a network knows pictures of a kind: how far its responses to one lie from those to a reference.

Mahalanobis' distance with the covariance of Ledoit and Wolf (2004), on the statistics of the first layers. Of the
reference itself, the distances that count are those of pictures that were left out: the others are too small.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.plumbing.texts import parse_json

FEWEST = 30  # pictures of a reference
ROUGH = 100  # pictures below which more than REFUSED of fresh ones may be refused
REFUSED = 0.01
"""Share of fresh pictures of the reference's kind that are refused."""
AXES = 256  # directions that are told apart; the others vary as one
FOLDS = 10
SCALE_FLOOR = 0.05  # of the median deviation: a statistic that never varies in the reference still counts
CORE = 0.75  # share of a reference that is taken to be of one kind to begin with
STRANGE = 3.5  # deviations of log distances above their median, from which a picture of the reference is left out
MOST_STRANGE = 0.1  # share of a reference that is left out at most
ROUNDS = 4
_ARRAYS = ("centre", "scale", "axes", "variances")
_ADDED = "typical"  # what is kept in a file of something else is named by this
_DAMAGED = "is damaged, or no safetensors file"


@final
@dataclass(frozen=True, eq=False)
class Typical:
    """What is typical of the pictures that a network knows.

    centre, scale: (S,) mean and deviation of each statistic. axes: (R, S) directions of the scaled statistics, unit.
    variances:     (R,) along the axes. rest: in every other direction.
    threshold:     distance from which a picture is none of the kind.
    basis:         what it was made from: "800 scenes of the aviary".
    count:         how many pictures that were. strange: how many of them were left out, as they are like no others.
    layers:        of the network, in the order of their statistics. fingerprint: of the network.
    """

    centre: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float
    threshold: float
    basis: str
    count: int
    strange: int
    layers: tuple[str, ...]
    fingerprint: str

    @staticmethod
    def fit(statistics: Tensor, basis: str, layers: Sequence[str] = (), fingerprint: str = "") -> Typical:
        """From the (N, S) statistics of a reference, of which a few may be of another kind.

        Raises SaywhyError for fewer than FEWEST pictures, and for pictures that are all the same.
        """
        rows = statistics.double().numpy()
        if len(rows) < FEWEST:
            raise SaywhyError(f"{len(rows)} pictures do not say what is typical; give {FEWEST} or more, better {ROUGH}")
        if not np.isfinite(rows).all():
            raise SaywhyError("the network's responses to the reference are not finite; its weights are damaged")
        if not rows.std(0).any():
            raise SaywhyError(f"the {len(rows)} pictures of the reference are all the same")
        kept = _of_one_kind(rows)
        left_out = np.sort(_left_out(rows[kept]))
        rank = min(len(left_out), ceil((len(left_out) + 1) * (1 - REFUSED)))
        centre, scale, axes, variances, rest = _fitted(rows[kept])
        return Typical(
            centre, scale, axes, variances, rest, float(left_out[rank - 1]), basis, len(rows), len(rows) - len(kept),
            tuple(layers), fingerprint,
        )  # fmt: skip

    @property
    def rough(self) -> bool:
        """Whether it rests on few pictures."""
        return self.count < ROUGH

    def unusual(self, statistics: Tensor) -> Tensor:
        """(N,) distances of (N, S) statistics, to be held against ``threshold``."""
        rows = statistics.double().numpy()
        return torch.from_numpy(_distances(rows, self.centre, self.scale, self.axes, self.variances, self.rest))

    def knows(self, statistics: Tensor) -> list[bool]:
        """Of each row of (N, S) statistics, whether it is of the kind; one that is not finite is not."""
        return (self.unusual(statistics) <= self.threshold).tolist()

    def save(self, path: Path) -> Path:
        """Write one safetensors file. Raises SaywhyError where it cannot be written."""
        return write_tensors(path, self._tensors(), self._story(), make_folder=True)

    @staticmethod
    def load(path: Path) -> Typical:
        """What ``save`` wrote. Raises SaywhyError where there is none, or it is damaged."""
        with reading_tensors(path, "is no record of what is typical") as stored:
            return Typical._of(stored.story, stored.tensors)

    def _story(self) -> dict[str, Any]:
        return {
            "rest": self.rest, "threshold": self.threshold, "basis": self.basis, "count": self.count,
            "strange": self.strange, "layers": list(self.layers), "fingerprint": self.fingerprint,
        }  # fmt: skip

    def _tensors(self) -> dict[str, Tensor]:
        arrays = {name: torch.from_numpy(getattr(self, name)).float() for name in _ARRAYS}
        return arrays | {"axes": arrays["axes"].half()}

    @staticmethod
    def _of(story: dict[str, Any], tensors: dict[str, Tensor]) -> Typical:
        """Raises ValueError where the tensors do not fit each other."""
        arrays = {name: tensors[name].double().numpy() for name in _ARRAYS}
        size = len(arrays["centre"])
        if arrays["axes"].shape != (len(arrays["variances"]), size) or len(arrays["scale"]) != size:
            raise ValueError("its tensors do not fit each other")
        return Typical(
            **arrays, rest=float(story["rest"]), threshold=float(story["threshold"]), basis=str(story["basis"]),
            count=int(story["count"]), strange=int(story["strange"]), layers=tuple(map(str, story["layers"])),
            fingerprint=str(story["fingerprint"]),
        )  # fmt: skip


def add_typical(path: Path, found: Sequence[Typical]) -> Path:
    """Keep what networks know in a file of something else that was learned from the same pictures, which stays in it.

    Raises SaywhyError where the file cannot be read or written.
    """
    with reading_tensors(path, _DAMAGED, key=None) as stored:
        tensors, texts = stored.tensors, stored.metadata
    for n, typical in enumerate(found):
        tensors |= {f"{_ADDED}.{n}.{name}": tensor for name, tensor in typical._tensors().items()}
    return write_tensors(path, tensors, texts=texts | {_ADDED: json.dumps([one._story() for one in found])})


def typical_in(path: Path) -> list[Typical]:
    """What ``add_typical`` kept in a file; [] where that was nothing. Raises SaywhyError where it is damaged."""
    with reading_tensors(path, _DAMAGED, key=None) as stored:
        return [
            Typical._of(story, {name: stored.tensors[f"{_ADDED}.{n}.{name}"] for name in _ARRAYS})
            for n, story in enumerate(parse_json(stored.metadata.get(_ADDED, "[]"), _ADDED))
        ]


_Shape = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


def _fitted(rows: np.ndarray) -> _Shape:
    """Centre, scale, axes, variances and the variance of the rest, of (N, S) statistics."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    count, size = rows.shape
    centre, deviation = rows.mean(0), rows.std(0)
    scale = np.maximum(deviation, SCALE_FLOOR * np.median(deviation[deviation > 0]))
    scaled = (rows - centre) / scale
    shrinkage = ledoit_wolf_shrinkage(scaled, assume_centered=True)
    ridge = shrinkage * (scaled**2).mean()
    _, singular, axes = np.linalg.svd(scaled, full_matrices=False)
    variances = (1 - shrinkage) * singular**2 / count + ridge
    kept = min(AXES, len(variances))
    others = size - kept
    rest = (variances[kept:].sum() + ridge * (size - len(variances))) / others if others else 1.0
    coarse = axes[:kept].astype(np.float16).astype(np.float64)  # as it is saved
    return centre, scale, coarse, variances[:kept], float(rest)


def _distances(
    rows: np.ndarray, centre: np.ndarray, scale: np.ndarray, axes: np.ndarray, variances: np.ndarray, rest: float
) -> np.ndarray:
    scaled = (rows - centre) / scale
    along = scaled @ axes.T
    others = np.maximum((scaled**2).sum(1) - (along**2).sum(1), 0) if len(axes) < len(centre) else 0.0
    return np.sqrt((along**2 / variances).sum(1) + others / rest)


def _left_out(rows: np.ndarray) -> np.ndarray:
    """(N,) distances of each row from the others, a tenth of them left out at a time."""
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    found = np.empty(len(rows))
    for n in range(FOLDS):
        found[fold == n] = _distances(rows[fold == n], *_fitted(rows[fold != n]))
    return found


def _of_one_kind(rows: np.ndarray) -> np.ndarray:
    """Indices of the rows without the few that are unlike the rest.

    A few alike pictures of another kind hide behind the variance that they make. So it begins with those that are
    nearest to the medians, and takes in what is not strange to these, a few times over (as concentration steps of
    minimum covariance determinants do; there are too few pictures for that estimate itself).
    """
    centre = np.median(rows, 0)
    spread = np.median(np.abs(rows - centre), 0)
    scale = np.maximum(spread, SCALE_FLOOR * np.median(spread)) + 1e-12
    far = np.minimum(np.abs(rows - centre) / scale, 15).mean(1)
    kept = np.sort(np.argsort(far)[: ceil(CORE * len(rows))])
    for _ in range(ROUNDS):
        if not rows[kept].std(0).any():
            return np.arange(len(rows))
        distances = _distances(rows, *_fitted(rows[kept]))
        distances[kept] = _left_out(rows[kept])
        logs = np.log(np.maximum(distances, 1e-12))
        middle = np.median(logs[kept])
        limit = middle + STRANGE * 1.4826 * np.median(np.abs(logs[kept] - middle))
        nearest = np.argsort(logs)[: ceil((1 - MOST_STRANGE) * len(rows))]
        found = np.union1d(np.flatnonzero(logs <= limit), nearest)
        if np.array_equal(found, kept):
            break
        kept = found
    return kept
