"""An audit where people already look: FiftyOne, Weights & Biases, TensorBoard, a model card. One module each."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple, final

from saywhy.audits.told import told
from saywhy.plumbing.extras import need
from saywhy.plumbing.names import unknown


@final
class Export(NamedTuple):
    """module: here, with ``write(told, out) -> str``, which says where it is. needs: a package of an extra.

    out: where it is written beside the audit's rows where nothing is said; "" for nowhere: it is given as a text.
    """

    module: str
    out: str = ""
    needs: str = ""


EXPORTS: dict[str, Export] = {
    "fiftyone": Export("to_fiftyone", "fiftyone", "fiftyone"),
    "wandb": Export("to_wandb", "wandb", "wandb"),
    "tensorboard": Export("to_tensorboard", "tensorboard", "tensorboard"),
    "model-card": Export("model_card"),
}
"""Name -> export."""


def export(folder: str | Path, to: str, out: Path | None = None) -> str:
    """Write an audit for another tool; says where it is, or gives the text itself.

    to: of EXPORTS. out: a folder; of a model card, a file. Raises SaywhyError for names that are not known, a package
    that is not installed, and what the other tool refuses.
    """
    if to not in EXPORTS:
        raise unknown("export", to, EXPORTS)
    chosen = EXPORTS[to]
    if chosen.needs:
        need(f"an export to {to}", chosen.needs)
    found = told(folder)
    place = out or (found.store.folder / chosen.out if chosen.out else None)
    return str(import_module(f"saywhy.audits.exports.{chosen.module}").write(found, place))
