"""An audit in TensorBoard: findings as text, their pictures above their maps, accuracy as scalars."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from saywhy.audits.exports.model_card import model_card
from saywhy.audits.exports.pictures import beside
from saywhy.audits.told import Told
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import shown

MOST, CLASSES = 50, 200  # findings with pictures; classes with a scalar


def write(told: Told, out: Path) -> str:
    """Event files in a folder. Raises SaywhyError where they cannot be written."""
    from torch.utils.tensorboard import SummaryWriter

    try:
        with SummaryWriter(str(out)) as writer:
            writer.add_text("audit/findings", model_card(told))
            writer.add_scalar("audit/findings", len(told.findings))
            writer.add_scalar("audit/findings that decide", sum(one.decides for one in told.findings))
            _scalar(writer, "audit/accuracy", told.overview.all.accuracy.value)
            _scalar(writer, "audit/calibration error", told.overview.error)
            for name, one in list(told.overview.classes.items())[:CLASSES]:
                _scalar(writer, f"accuracy/{shown(name, 80)}", one.accuracy.value)
                _scalar(writer, f"relevance on the object/{shown(name, 80)}", one.on_object.value)
            for n, finding in enumerate(told.findings[:MOST], start=1):
                tag = f"findings/{n:02d} {shown(finding.kind, 40)}"
                writer.add_text(tag, finding.sentence.replace("<", "&lt;"))
                if tiles := [tile for number in finding.examples[:8] if (tile := beside(told, number)) is not None]:
                    writer.add_image(tag, np.concatenate(tiles, 1), dataformats="HWC")
    except OSError as error:
        raise SaywhyError(f"{shown(out)}: cannot be written ({error.strerror or error})") from None
    return f"written: {shown(out)}; tensorboard --logdir {shown(out)} shows it"


def _scalar(writer: object, tag: str, value: float) -> None:
    if math.isfinite(value):
        writer.add_scalar(tag, value)  # type: ignore[attr-defined]
