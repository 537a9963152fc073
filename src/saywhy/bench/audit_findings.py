"""How long all findings of an audit take, and what memory, over a million rows that are made up.

The rows have the real schema, with lists as long as real ones, and vectors; classes differ in words and places, and
80 % of predictions are right. Every kind's ``find`` runs in one process, which does nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.progress import track

from saywhy.bench import Report
from saywhy.errors import SaywhyError

PART = 20_000  # rows of a part
CLASSES, PHRASES, FEATURES, VECTOR = 1000, 140, 512, 512
REGIONS = 3  # of a picture, on average
SECONDS, GIBIBYTES = 60, 2


def run(
    limit: int | None = None,
    rows: Annotated[str, "pictures that are made up"] = "1000000",
    folder: Annotated[str, "where the rows are written, kept and found again; a temporary folder by default"] = "",
) -> Report:
    """A row a kind of finding, and one for all. limit: kinds of findings at most. Raises SaywhyError for no number."""
    if not rows.isdigit() or int(rows) < 1:
        raise SaywhyError(f"--rows {rows}: expected a whole number, at least 1")
    place = Path(folder) if folder else Path(tempfile.mkdtemp(prefix="saywhy-rows-"))
    try:
        make_up(place, int(rows))
        size = sum(file.stat().st_size for file in place.rglob("*.parquet"))
        script = [
            sys.executable,
            "-c",
            "from saywhy.bench.audit_findings import measure; import sys; measure(*sys.argv[1:])",
        ]
        done = subprocess.run([*script, str(place), str(limit or "")], capture_output=True, text=True, env=os.environ)
        if done.returncode:
            raise SaywhyError(f"the findings ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
        found = json.loads(done.stdout.splitlines()[-1])
    finally:
        if not folder:
            shutil.rmtree(place, ignore_errors=True)
    total, peak = found["seconds"], found["peak"]
    return Report(
        "audit-findings",
        f"all findings over {int(rows):,} rows ({size / 1e9:.1f} GB): {total:.0f} s (aim {SECONDS}), {peak:.2f} GiB "
        f"at most (aim {GIBIBYTES}); {found['start']:.2f} GiB before the first",
        ("kind", "seconds", "CPU seconds", "peak, GiB", "findings", "tests"),
        [*found["kinds"], {"kind": "all", "seconds": total, "CPU seconds": found["cpu"],
                           "peak, GiB": peak,
                           "findings": sum(one["findings"] for one in found["kinds"]),
                           "tests": sum(one["tests"] for one in found["kinds"])}],
        {"rows": int(rows), "bytes": size, "within": total <= SECONDS and peak <= GIBIBYTES},
    )  # fmt: skip


def measure(folder: str, limit: str = "") -> None:
    """Print as JSON how long each kind's findings take in this process, and the most memory that it had by then."""
    import time

    from saywhy.audits.finding import corrected
    from saywhy.audits.kinds import KINDS, module_of
    from saywhy.audits.store import Store

    view = Store.open(folder).view()
    begin, busy, kinds, start = time.perf_counter(), time.process_time(), [], _peak()
    tested = []
    for name, kind in list(KINDS.items())[: int(limit) if limit else None]:
        since, worked = time.perf_counter(), time.process_time()
        tested.append(module_of(kind).find(view))
        kinds.append({"kind": name, "seconds": time.perf_counter() - since,
                      "CPU seconds": time.process_time() - worked, "peak, GiB": _peak(),
                      "findings": len(tested[-1].findings), "tests": len(tested[-1].p)})  # fmt: skip
    corrected(tested)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - busy
    print(json.dumps({"kinds": kinds, "seconds": seconds, "cpu": cpu, "peak": _peak(), "start": start}))


def _peak() -> float:
    """GiB of memory that this process had at most."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def make_up(
    folder: Path, rows: int, classes: int = CLASSES, *, phrases: int = PHRASES, features: int = FEATURES,
    vector: int = VECTOR, part: int = PART, seed: int = 0,
) -> None:  # fmt: skip
    """An audit of made-up rows; what is there already is not made again.

    Pictures of class c have phrase c modulo ``phrases`` more often, and more relevance in cell c modulo 9. Of class 0,
    wrong predictions go to class 1, and have phrase 5. ``split`` is train or test; test pictures are darker and less
    often right.
    """
    import torch

    from saywhy.audits.inside import write_inside
    from saywhy.audits.store import ROWS, Store
    from saywhy.classifiers.heads import Head
    from saywhy.types import Vocabulary

    words = [f"phrase {n}" for n in range(phrases)]
    store = Store.create(folder, {
        "model": {"name": "made up", "fingerprint": "", "task": "single-label",
                  "labels": [f"class {n}" for n in range(classes)]},
        "space": "made up", "calibration": None,
        "vocabulary": {"name": "made up", "phrases": words, "groups": [f"part {n % 12}" for n in range(phrases)],
                       "attributes": [""] * phrases},
        "data": {"name": "made up", "digest": str(seed), "pictures": rows},
        "options": {"seed": seed, "chunk": part, "sample": 20, "tries": 6, "features": features, "vector": vector},
    })  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    head = Head(torch.randn(classes, features, generator=draw), torch.zeros(classes))
    parts = tuple(f"part {n % 12}" for n in range(phrases))
    write_inside(folder, head, Vocabulary(tuple(words), parts), torch.randn(phrases, vector, generator=draw))
    done = store.parts(ROWS)
    numbers = [n for n in range(-(-rows // part)) if f"{n:08d}" not in done]
    for n in track(numbers, "making rows up", transient=True, disable=len(numbers) < 5):
        tables = _part(np.arange(n * part, min(rows, (n + 1) * part)), classes, words, features, vector, seed)
        store.commit(ROWS, f"{n:08d}", tables)


def _part(number: np.ndarray, classes: int, words: list[str], features: int, vector: int, seed: int) -> dict[str, Any]:
    import pyarrow as pa

    from saywhy.audits.tables import GRID, KEPT, schema

    random, count, phrases = np.random.default_rng([seed, int(number[0])]), len(number), len(words)
    true = random.integers(0, classes, count)
    test = random.random(count) < 0.5
    wrong = random.random(count) < np.where(test, 0.25, 0.15)
    predicted = np.where(wrong, np.where(true == 0, 1 % classes, random.integers(0, classes, count)), true)
    probability = np.where(wrong, random.uniform(0.2, 0.9, count), random.uniform(0.5, 1.0, count)).astype("f4")
    kept = min(KEPT, classes)
    others = (predicted[:, None] + np.arange(kept) * np.where(np.arange(kept) == 1, 1, 37)) % classes
    rest = (1 - probability)[:, None] * np.array([0, *(0.5 ** np.arange(1, kept))])
    probabilities = np.hstack([probability[:, None], rest[:, 1:]]).astype("f4")
    if kept > 1:  # the truth is the runner-up of most wrong predictions
        others[:, 1] = np.where(wrong, true, others[:, 1])
    cells = random.dirichlet(np.ones(9), count)
    cells[np.arange(count), true % 9] += 0.15
    cells /= cells.sum(1, keepdims=True)

    def lists(values: Any, lengths: np.ndarray, kind: Any) -> Any:
        return pa.ListArray.from_arrays(pa.array(np.append(0, lengths.cumsum()).astype("i4")), pa.array(values, kind))

    def texts(which: np.ndarray, lengths: np.ndarray) -> Any:
        flat = pa.DictionaryArray.from_arrays(pa.array(which.astype("i4")), pa.array(words)).cast(pa.string())
        return pa.ListArray.from_arrays(pa.array(np.append(0, lengths.cumsum()).astype("i4")), flat)

    def packed(values: np.ndarray) -> Any:
        wide = values.shape[1] * values.itemsize
        flat = pa.py_buffer(np.ascontiguousarray(values).tobytes())
        return pa.Array.from_buffers(
            pa.binary(),
            len(values),
            [None, pa.py_buffer((np.arange(len(values) + 1) * wide).astype("i4").tobytes()), flat],
        )

    def drawn(length: int, of: np.ndarray) -> np.ndarray:
        """(of, length) phrases, the class's own first for most, and that of a mark for confused ones."""
        start, step = random.integers(0, phrases, len(of)), random.integers(1, 7, len(of))
        found = (start[:, None] + step[:, None] * np.arange(length)) % phrases
        own = random.random(len(of)) < 0.6
        found[own, 0] = true[of[own]] % phrases
        marked = wrong[of] & (true[of] == 0)
        found[marked, 0] = 5 % phrases
        return found

    said = drawn(2, np.arange(count))
    regions = random.integers(1, 2 * REGIONS, count)
    of = np.repeat(np.arange(count), regions)
    shares = random.uniform(0.1, 0.6, len(of)).astype("f4")
    properties = np.stack([random.normal(0.5 - 0.1 * test, 0.1), *random.normal(size=(6, count))], axis=1).astype("f4")
    names = ["brightness", "contrast", "sharpness", "red", "blue", "pixels", "aspect"]
    hundred, seven = np.full(count, 2), np.full(count, 7)

    def offsets(lengths: np.ndarray) -> Any:
        return pa.array(np.append(0, lengths.cumsum()).astype("i4"))

    centres = np.random.default_rng(seed).normal(size=(classes, max(features, vector))).astype("f4")
    labels = [f"class {n}" for n in range(classes)]

    def called(which: np.ndarray) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(which.astype("i4")), pa.array(labels)).cast(pa.string())

    noise = random.normal(size=(count, max(features, vector))).astype("f4")
    columns: dict[str, Any] = {
        "number": pa.array(number), "file": pa.array([f"folder/{n:09d}.jpg" for n in number.tolist()]),
        "truth": called(true), "truths": pa.ListArray.from_arrays(offsets(np.ones(count, int)), called(true)),
        "metadata": pa.MapArray.from_arrays(
            offsets(hundred), pa.array(["split", "camera"] * count),
            pa.array(np.stack([np.where(test, "test", "train"), random.choice(["a", "b", "c"], count)], 1).ravel()),
        ),
        "width": pa.array(np.full(count, 500)), "height": pa.array(np.full(count, 375)),
        "prediction": called(predicted), "predicted": pa.array(predicted), "probability": pa.array(probability),
        "logit": pa.array((10 * probability).astype("f4")), "runner_up": called(others[:, min(1, kept - 1)]),
        "runner_up_probability": pa.array(probabilities[:, min(1, kept - 1)]), "true_class": pa.array(true),
        "true_probability": pa.array(np.where(wrong, 0.1, probability).astype("f4")),
        "correct": pa.array(predicted == true),
        "classes": lists(others.ravel().astype("i4"), np.full(count, kept), pa.int32()),
        "probabilities": lists(probabilities.ravel(), np.full(count, kept), pa.float32()),
        "shares": lists(shares, regions, pa.float32()),
        "cells": lists(cells.ravel().astype("f4"), np.full(count, 9), pa.float32()),
        "border": pa.array(random.random(count).astype("f4")), "on_object": pa.array(random.random(count).astype("f4")),
        "object_area": pa.array(random.random(count).astype("f4")), "holds": pa.array(np.ones(count, bool)),
        "properties": pa.MapArray.from_arrays(offsets(seven), pa.array(names * count), pa.array(properties.ravel())),
        "words": texts(said.ravel(), np.full(count, 2)),
        "there": lists(random.uniform(0.8, 1, 2 * count).astype("f4"), np.full(count, 2), pa.float32()),
        "concepts": texts(drawn(5, np.arange(count)).ravel(), np.full(count, 5)),
        "unusual": lists(random.uniform(0, 3, 5 * count).astype("f4"), np.full(count, 5), pa.float32()),
        "silence": pa.nulls(count, pa.string()),
        "relevance": packed((random.random((count, GRID * GRID)) / GRID**2).astype("<f2")),
        "look": packed(random.integers(0, 256, (count, GRID * GRID * 3)).astype("u1")),
        "vector": packed((centres[true, :vector] + noise[:, :vector]).astype("<f2")),
        "features": packed((centres[true, :features] + noise[:, :features]).astype("<f2")),
        "profile": packed((noise[:, :phrases] if noise.shape[1] >= phrases else random.normal(size=(count, phrases)))
                          .astype("<f2")),
    }  # fmt: skip
    labelled = drawn(5, of)
    boxes = random.integers(0, 200, (len(of), 2))
    of_regions: dict[str, Any] = {
        "number": pa.array(number[of]),
        "region": pa.array(np.arange(len(of)) - np.repeat(regions.cumsum() - regions, regions) + 1),
        "left": pa.array(boxes[:, 0]), "top": pa.array(boxes[:, 1]), "right": pa.array(boxes[:, 0] + 60),
        "bottom": pa.array(boxes[:, 1] + 60), "x": pa.array(random.random(len(of)).astype("f4")),
        "y": pa.array(random.random(len(of)).astype("f4")), "area": pa.array(np.full(len(of), 0.05, "f4")),
        "share": pa.array(shares), "labels": texts(labelled.ravel(), np.full(len(of), 5)),
        "unusual": lists(random.uniform(0, 3, 5 * len(of)).astype("f4"), np.full(len(of), 5), pa.float32()),
        "cosines": lists(random.uniform(0, 0.3, 5 * len(of)).astype("f4"), np.full(len(of), 5), pa.float32()),
        "said": texts(labelled[:, 0], np.ones(len(of), int)),
    }  # fmt: skip
    tables = {"pictures": columns, "regions": of_regions}
    return {
        name: pa.table([found[field.name].cast(field.type) if not isinstance(found[field.name], pa.MapArray)
                        else found[field.name] for field in schema(name)], schema=schema(name))
        for name, found in tables.items()
    } | {"errors": schema("errors").empty_table()}  # fmt: skip
