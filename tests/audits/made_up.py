"""A made-up audit whose truth is known: no picture is looked at, and no network is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from saywhy.audits.inside import write_inside
from saywhy.audits.rows import packed
from saywhy.audits.store import ROWS, Store
from saywhy.classifiers.heads import Head
from saywhy.types import Vocabulary

PHRASES = ("water", "snow", "sand", "grass", "a red wing", "a blue wing", "a black bill", "a long tail")
CHANNELS, NAMED = 20, 6
LABELS = ("first", "second", "third", "fourth")


def made_up(
    folder: Path, count: int = 400, seed: int = 0, *, order: np.ndarray | None = None, lost: tuple[int, ...] = (),
    noise: float = 0.3,
) -> Store:  # fmt: skip
    """Channel k < NAMED goes with phrase k, of which channel 0 decides the class "first"; the rest is chance.

    order: where each channel stands instead; another model of the same pictures. lost: phrases that no channel goes
    with. The pictures depend on the seed alone.
    """
    rng = np.random.default_rng(seed)
    there = rng.random((count, len(PHRASES))) < 0.3
    basis = np.linalg.qr(rng.normal(size=(32, 32)))[0][: len(PHRASES)]
    vectors = there @ basis + 0.1 * rng.normal(size=(count, 32)) + 2 * rng.normal(size=32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    own = np.random.default_rng([seed, 0 if order is None else 1])
    features = noise * own.normal(size=(count, CHANNELS))
    for k in range(NAMED):
        if k not in lost:
            features[:, k] += there[:, k]
    weight = 0.05 * rng.normal(size=(len(LABELS), CHANNELS))
    weight[0, 0], weight[1, 1], weight[2, 2] = 4, 3, 2
    features, weight = np.maximum(features, 0), weight
    if order is not None:
        features, weight = features[:, order], weight[:, order]
    predicted = (features @ weight.T + np.array([-2, -1.4, -0.9, 0.2])).argmax(1)
    rows = [
        {
            "number": n, "file": f"{n}.jpg", "predicted": int(predicted[n]), "prediction": LABELS[predicted[n]],
            "features": packed(torch.from_numpy(features[n])), "vector": packed(torch.from_numpy(vectors[n])),
        }
        for n in range(count)
    ]  # fmt: skip
    words = {
        "phrases": PHRASES, "groups": ["it"] * len(PHRASES), "attributes": [""] * len(PHRASES), "name": "made up",
    }  # fmt: skip
    story = {
        "model": {"name": "made up", "fingerprint": str(order is None), "task": "single-label", "labels": LABELS},
        "space": "a made-up space", "vocabulary": words, "options": {"chunk": count, "seed": 0},
        "data": {"name": "nowhere", "digest": f"{count} {seed}", "pictures": count},
    }  # fmt: skip
    store = Store.create(folder, story)
    store.commit(ROWS, "00000000", {"pictures": rows})
    head = Head(torch.from_numpy(weight.copy()).float(), torch.zeros(len(LABELS)))
    groups = ("it",) * len(PHRASES)
    write_inside(folder, head, Vocabulary(PHRASES, groups, name="made up"), torch.from_numpy(basis.copy()))
    return store
