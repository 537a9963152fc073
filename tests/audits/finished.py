"""Made-up audits that are finished: rows, thumbnails and findings, as a run leaves them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saywhy.audits.conclude import keep
from saywhy.audits.finding import AuditFinding
from saywhy.audits.store import ROWS, Store
from saywhy.intervals import Interval, proportion

LABELS = ("crow", "gull", "wren")


def finished(
    folder: Path,
    right: Mapping[str, tuple[int, int]] | None = None,
    findings: Sequence[AuditFinding] = (),
    *,
    tests: Mapping[str, Any] | None = None,
    on_object: Mapping[str, float] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    errors: Sequence[Mapping[str, Any]] = (),
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    model: str = "made",
    thumbnails: Sequence[bytes] = (),
) -> Path:
    """right: class -> (pictures that are right, pictures); wrong ones are called as the next class.

    on_object: class -> mean share of relevance on the object. rows: what is other about the first rows.
    """
    right = {"crow": (30, 30), "gull": (25, 30), "wren": (30, 30)} if right is None else right
    labels = list(right)
    on_object = on_object or {}
    story = {
        "versions": {"saywhy": "0"}, "model": {"name": model, "fingerprint": "f", "task": "single-label",
        "labels": labels}, "space": "own", "calibration": None,
        "vocabulary": {"name": "made", "phrases": ["grass"], "groups": [""], "attributes": [""]},
        "data": {"name": "made", "digest": "d", "pictures": sum(count for _, count in right.values())},
        "options": {"seed": 0, "chunk": 100_000, "method": "lrp"},
    }  # fmt: skip
    pictures, regions, shown = [], [], []
    small = thumbnails or [jpeg()]
    noise = np.random.default_rng(0)
    for n, label in enumerate(labels):
        for k in range(right[label][1]):
            number, correct = len(pictures), k < right[label][0]
            said = label if correct else labels[(n + 1) % len(labels)]
            share = float(np.clip(on_object.get(label, 0.9) + noise.normal(0, 0.05), 0, 1))
            pictures.append(
                {
                    "number": number,
                    "file": f"{number}.jpg",
                    "truth": label,
                    "truths": [label],
                    "prediction": said,
                    "predicted": labels.index(said),
                    "probability": 0.9 if correct else 0.6,
                    "correct": correct,
                    "true_class": n,
                    "border": 0.1,
                    "on_object": share,
                    "object_area": 0.3,
                    "cells": [1 / 9] * 9,
                    "width": 12,
                    "height": 9,
                    "metadata": {},
                    "words": [],
                }
            )
            if number < len(rows):
                pictures[-1].update(rows[number])
            regions.append(
                {
                    "number": number,
                    "region": 1,
                    "share": 0.5,
                    "labels": ["feather", "grass"],
                    "left": 1,
                    "top": 1,
                    "right": 5,
                    "bottom": 5,
                }
            )
            if number % 3 == 0:
                shown.append(
                    {"number": number, "thumbnail": small[number % len(small)], "map": small[number % len(small)]}
                )
    store = Store.create(folder, story)
    made = {"pictures": pictures, "regions": regions, "errors": errors, "shown": shown}
    store.commit(ROWS, "00000000", made)
    for name, more in (tables or {}).items():
        store.commit(name, "more", {name.split("/")[0]: more})
    told = {one.kind: {"tests": 1, "note": ""} for one in findings} if tests is None else tests
    keep(store, findings, dict(told))
    return folder


def finding(kind: str = "outside decides", about: str = "gull", **changes: Any) -> AuditFinding:
    """A made-up finding, with whatever is to be other about it."""
    values: dict[str, Any] = {
        "sentence": f"What surrounds {about} decides.", "decides": True, "effect": proportion(17, 20),
        "unit": "of pictures turned into the class", "words": ("grass",), "null": 0.05, "p": 1e-6, "q": 1e-5,
        "examples": (30, 33, 36), "counters": (0, 3), "verified": (5, 6),
    }  # fmt: skip
    return AuditFinding(kind, (about,), **(values | changes))


def effect(value: float, half: float = 0.05) -> Interval:
    return Interval(value, value - half, value + half)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), "teal").save(buffer, "JPEG")
    return buffer.getvalue()
