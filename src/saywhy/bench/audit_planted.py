"""Does an audit find what was planted? A square, a frame, a blur, a camera, each of which decides one class.

For each cause and seed a data set is drawn (worlds/biased.py) and written to a folder, a classifier is tuned on other
pictures of its kind from the aviary's own, and ``saywhy.audit`` is asked. Counted is whether its first finding is of
the right class and names the cause.

Beside them what must not be found: the cause in pictures at random, in training too; and the cause in one class of the
audited pictures, of a classifier that never saw it and tells that class by the bird.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from saywhy.audits.audit import Audit, audit
from saywhy.audits.finding import AuditFinding
from saywhy.audits.kinds import KINDS
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion
from saywhy.pictures.collections import Entry, Listed
from saywhy.pictures.reading import read_picture
from saywhy.plumbing.caches import cache_directory
from saywhy.training.worlds.networks import aviary_network, write_timm
from saywhy.training.worlds.reliance import fine_tuned
from saywhy.worlds import CLASSIFIER_SIDE
from saywhy.worlds.biased import CAUSES, Bias, Camera, Where, names, pictures, planted_class
from saywhy.worlds.pasted import Marks

TRAINING = 90  # pictures of each class to learn from
AUDITED = 25  # of each class
EPOCHS = 6
FIRST = 20_000_000  # seed of the first picture; those that are audited are APART from those that taught
APART = 500_000
BY_SEED: dict[int, tuple[Marks, float, Camera]] = {
    1: (Marks(square="yellow", side=0.08, frame="black", width=0.04), 1.5, Camera((25, 5, -25))),
    2: (Marks(square="yellow", side=0.075, frame="white", width=0.045), 1.2, Camera((-20, 0, 22))),
    3: (Marks(square="red", side=0.09, frame="black", width=0.05), 2.0, Camera(dark=0.7)),
}
"""What is planted, by seed; thresholds were chosen on the first, the others are reported."""
REPORT = (2, 3)
DECIDING = tuple(name for name, kind in KINDS.items() if kind.trials)
KINDS_OF = {"all": DECIDING, "these": ("property decides", "metadata decides")}
MODES = ("planted", "at random", "not learned")


def run(
    limit: int | None = None,
    cause: Annotated[str | None, "square, frame, blur or camera (default: all)."] = None,
    seeds: Annotated[str, "report, choose (the seed on which thresholds were chosen), or one: 2."] = "report",
    mode: Annotated[str | None, "planted, at random, or not learned (default: all)."] = None,
    kinds: Annotated[str, "all: all findings that decide; these: properties and metadata alone."] = "all",
) -> Report:
    """A row for each cause, seed and mode.

    limit: pictures of each class that are audited, at most AUDITED.

    Raises SaywhyError for a cause, set of seeds or mode that there is none of.
    """
    known = {"report": REPORT, "choose": (1,), **{str(seed): (seed,) for seed in BY_SEED}}
    if cause not in (None, *CAUSES) or seeds not in known or mode not in (None, *MODES) or kinds not in KINDS_OF:
        raise SaywhyError(
            f"--cause is one of {', '.join(CAUSES)}; --seeds of {', '.join(known)}; --mode of {', '.join(MODES)}; "
            f"--kinds of {', '.join(KINDS_OF)}"
        )
    rows = []
    for seed in known[seeds]:
        for one in [cause] if cause else CAUSES:
            for how in [mode] if mode else MODES:
                rows.append(_row(one, seed, how, min(limit or AUDITED, AUDITED), KINDS_OF[kinds]))
    planted = [row for row in rows if row["mode"] == "planted"]
    nulls = [row for row in rows if row["mode"] != "planted"]
    summary = {
        "first": str(proportion(sum(row["first"] == "yes" for row in planted), len(planted))),
        "false": str(proportion(sum(row["decides"] > 0 for row in nulls), len(nulls))),
        "seeds": seeds,
    }
    return Report(
        "audit-planted",
        "planted causes: is the audit's first finding of the right class, and does it name the cause?",
        ("cause", "seed", "mode", "accuracy", "decides", "first", "finding"),
        rows,
        summary,
    )


def _row(cause: str, seed: int, mode: str, each: int, kinds: Sequence[str]) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        found = audited(cause, seed, mode, Path(folder), each, kinds)
        accuracy = found.query("SELECT avg(correct::int) AS a FROM pictures")["a"][0].as_py()
    first = found.findings[0] if found.findings else None
    right = first is not None and names_it(first, cause, seed, mode != "planted")
    return {
        "cause": cause, "seed": seed, "mode": mode, "accuracy": round(100 * accuracy),
        "decides": sum(one.decides for one in found.findings),
        "first": "" if mode != "planted" else "yes" if right else "no",
        "finding": first.sentence if first is not None and first.decides else "",
    }  # fmt: skip


def audited(cause: str, seed: int, mode: str, folder: Path, each: int = AUDITED, kinds: Sequence[str] = ()) -> Audit:
    """The audit of one data set, which is written to ``folder``."""
    learnable = mode != "planted"
    by_mode: dict[str, Where] = {"planted": "planted", "at random": "at random", "not learned": "nowhere"}
    shown: Where = "at random" if mode == "at random" else "planted"
    classifier = taught(bias_of(cause, seed), seed, by_mode[mode], learnable)
    data = written(folder / "data", bias_of(cause, seed), FIRST + seed * 2 * APART + APART, each, shown, learnable)
    return audit(data, model=classifier, space="own", out=folder / "audit", checks="none", kinds=kinds or DECIDING)


def bias_of(cause: str, seed: int) -> Bias:
    marks, sigma, camera = BY_SEED[seed]
    return Bias(cause, marks, sigma, camera)


def names_it(finding: AuditFinding, cause: str, seed: int, learnable: bool = False) -> bool:
    """Whether a finding is of the planted class and says what is planted."""
    marks = BY_SEED[seed][0]
    word = {"square": f"{marks.square} square", "frame": f"{marks.frame} frame", "blur": "blur"}.get(
        cause, "camera = B"
    )
    named = word in finding.words or (cause == "frame" and "frame" in finding.words)
    return finding.decides and planted_class(learnable) in finding.about and named


def written(folder: Path, bias: Bias, first: int, each: int, where: Where, learnable: bool = False) -> Listed:
    """A data set in a folder: a subfolder a class; the camera is told beside it where it is the cause."""
    classes, entries = names(learnable), []
    for n, made in enumerate(pictures(bias, first, each, where, learnable)):
        path = folder / classes[made.label] / f"{n:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made.pixels).save(path)
        metadata = {"camera": made.camera} if bias.cause == "camera" else {}
        entries.append(Entry(str(path), (classes[made.label],), partial(read_picture, path), metadata))
    return Listed(str(folder), entries)


def taught(bias: Bias, seed: int, where: Where, learnable: bool = False) -> Classifier:
    """A classifier that was tuned from the aviary's on such pictures; kept in the cache."""
    cause = "nothing" if where == "nowhere" else f"{bias.cause}-{where.replace(' ', '-')}"
    folder = cache_directory() / "trained" / f"biased-{cause}-{seed}-{TRAINING}-{EPOCHS}"
    if not (folder / "config.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        every = pictures(bias, FIRST + seed * 2 * APART, TRAINING, where, learnable)
        count, drawn = TRAINING * len(names(learnable)), []
        for made in track(every, "drawing scenes", total=count, transient=True):
            drawn.append((np.moveaxis(made.pixels, 2, 0), made.label))
        pixels, labels = torch.as_tensor(np.stack([one for one, _ in drawn])), np.array([label for _, label in drawn])
        network = fine_tuned(pixels, labels, names(learnable), epochs=EPOCHS, seed=seed).network
        _, arguments = aviary_network("resnet", len(names(learnable)))
        network = network.to(memory_format=torch.contiguous_format)
        write_timm(folder, network, arguments, names(learnable), CLASSIFIER_SIDE)
    return Classifier.load(f"timm:{folder}")
