"""An audit in Weights & Biases: a run with a table of findings with their pictures, and one of classes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from saywhy.audits.exports.pictures import beside
from saywhy.audits.told import Told
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import first_line, shown

MOST, PICTURES = 1000, 4  # findings of the table; pictures of a finding
FINDING = (
    "kind", "about", "sentence", "decides", "effect", "low", "high", "unit", "chance", "p", "q", "borne out", "tested",
    "words", "place",
)  # fmt: skip
CLASS = ("class", "pictures", "accuracy", "low", "high", "on object", "on border")


def write(told: Told, out: Path) -> str:
    """A run in a folder: offline, unless WANDB_MODE says otherwise, so that nothing is sent.

    Raises SaywhyError where the run cannot be started.
    """
    import wandb

    os.environ.setdefault("WANDB_DATA_DIR", str(out.resolve()))  # what is not sent yet stays with the run
    mode: Any = os.environ.get("WANDB_MODE", "offline")
    try:
        out.mkdir(parents=True, exist_ok=True)
        manifest = {key: value for key, value in told.store.manifest.items() if key != "vocabulary"}
        run = wandb.init(
            mode=mode, dir=str(out), project=os.environ.get("WANDB_PROJECT", "saywhy"), job_type="audit",
            config=manifest, settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip
    except (OSError, wandb.Error) as error:
        raise SaywhyError(f"{shown(out)}: the run cannot be started ({first_line(error)})") from None
    with run:
        findings = wandb.Table(columns=[*FINDING, *(f"picture {n + 1}" for n in range(PICTURES))])
        for one in told.findings[:MOST]:
            tiles = [tile for number in one.examples if (tile := beside(told, number)) is not None][:PICTURES]
            pictures = [wandb.Image(tile) for tile in tiles] + [None] * (PICTURES - len(tiles))
            hits, tested = one.verified or (None, None)
            effect = one.effect
            findings.add_data(
                one.kind, ", ".join(one.about), one.sentence, one.decides,
                *map(_number, (effect.value, effect.low, effect.high)), one.unit,
                _number(one.null), one.p, one.q, hits, tested, ", ".join(one.words), one.place, *pictures,
            )  # fmt: skip
        classes = wandb.Table(columns=list(CLASS))
        for name, of in told.overview.classes.items():
            accuracy = of.accuracy
            classes.add_data(
                name, of.pictures,
                *map(_number, (accuracy.value, accuracy.low, accuracy.high, of.on_object.value, of.border.value)),
            )  # fmt: skip
        run.log({"findings": findings, "classes": classes})
        run.summary["findings"] = len(told.findings)
        run.summary["findings that decide"] = sum(one.decides for one in told.findings)
        run.summary["accuracy"] = _number(told.overview.all.accuracy.value)
        place = Path(run.dir).parent
    return f"written: {shown(place)}" + (f"; wandb sync {shown(place)} sends it" if mode == "offline" else "")


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
