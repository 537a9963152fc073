"""The checkpoint of a run, from which it resumes bit for bit where it was stopped."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.truth import RationaleData
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.tensors import reading_checkpoint, write_checkpoint
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.pairs.beliefs import ReasonChance
from saywhy.spaces.pairs.on_disk import PromptBank
from saywhy.spaces.similarity import Usual
from saywhy.spaces.tuned import TunedSpace
from saywhy.spaces.visual_prompts import PromptedTower
from saywhy.training.prompts.batches import Plan

if TYPE_CHECKING:
    from accelerate import Accelerator


CHECKPOINT, HISTORY = "training.pt", "history.json"


def kept_row(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of the history whose prompts are kept: the first of those best on what was held out, else the last."""
    if history[-1]["validation"]:
        return max(history, key=lambda row: tuple(row["validation"].values()))
    return history[-1]


def diverged(run: Run) -> SaywhyError:
    return SaywhyError(
        f"the loss is no longer finite (step {run.done.step + 1}): start again with a lower --rate than "
        f"{run.plan.settings.rate:g}; what was learned before is in {run.out}"
    )


@final
@dataclass(eq=False)
class _Done:
    """The progress of a run: all that changes, except what prompts, optimiser and scaler hold themselves.

    losses, read: of each term the sum, and the number of pictures, since the last row of the history.
    best:         the prompts that did best on the validation pictures, with what was measured; None before.
    temperatures, usual, visible_from, visible_basis, chance: of the space, found at the end; usual: (2, R) mean and
                  deviation; chance: the fields of a ReasonChance.
    """

    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    read: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Tensor | None = None
    best_measured: tuple[float, ...] = ()
    temperatures: dict[str, float] = field(default_factory=dict)
    usual: Tensor | None = None
    visible_from: float | None = None
    visible_basis: str = "no pictures were held out to find it"
    chance: dict[str, Any] | None = None


@final
@dataclass(frozen=True, eq=False)
class Run:
    """tower: with the prompts; model: the same as accelerate prepared it. The optimiser is prepared too."""

    out: Path
    clip: ClipSpace
    plan: Plan
    validation: RationaleData | None
    bank: PromptBank
    accelerator: Accelerator
    tower: PromptedTower
    model: Any
    optimiser: Any
    done: _Done = field(default_factory=_Done)

    def space(self) -> TunedSpace:
        """With the best prompts so far, or the last where there is nothing to choose them by."""
        prompts = self.tower.prompts.detach().cpu().clone() if self.done.best is None else self.done.best
        usual = None
        if self.done.usual is not None:
            usual = Usual(self.done.usual[0], self.done.usual[1], self.done.visible_from, self.done.visible_basis)
        return TunedSpace(
            self.clip, prompts, self.plan.settings.objective, self.plan.data.words, self.bank.key,
            self.done.temperatures, usual, None if self.done.chance is None else ReasonChance(**self.done.chance),
        )  # fmt: skip

    def check(self) -> None:
        """Raises SaywhyError for prompts that are not finite, so that the last checkpoint stays."""
        if not self.tower.prompts.isfinite().all():
            raise diverged(self)

    def keep(self) -> None:
        """Write all files of the run: the checkpoint first, from which the others could be written again."""
        self.check()
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "identity": self._identity(),
            "done": vars(self.done),
            "prompts": self.tower.prompts.detach().cpu(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": _random_state(),
        }
        write_checkpoint(self.out / CHECKPOINT, state)
        about = {"settings": asdict(self.plan.settings), "steps": self.done.step, "history": self.done.history}
        write_whole(self.out / HISTORY, json.dumps(about, indent=1))
        self.space().save(self.out)

    def load(self) -> None:
        """Continue from what ``keep`` wrote."""
        with reading_checkpoint(self.out / CHECKPOINT) as state:
            self._check(state["identity"])
            with torch.no_grad():
                self.tower.prompts.copy_(state["prompts"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            vars(self.done).update(state["done"])
            if "visible_basis" not in state["done"]:
                self.done.usual = None  # an earlier saywhy looked back, and did not test what is visible
            _set_random_state(state["random"])

    def _identity(self) -> dict[str, Any]:
        """What must be the same to resume."""
        return {
            "settings": asdict(self.plan.settings),
            "CLIP": self.clip.key,
            "bank of texts": self.bank.key,
            "pictures": _digest(self.plan.data),
            "validation pictures": None if self.validation is None else _digest(self.validation),
        }

    def _check(self, before: dict[str, Any]) -> None:
        now = self._identity()
        old = before["settings"]
        if self.plan.settings.bank_mode == "full":  # parts of a batch add up to it: whoever ran out of memory may go on
            old = old | {"accumulate": self.plan.settings.accumulate}
        changed = [f"{k} {old.get(k)!r}, now {v!r}" for k, v in now["settings"].items() if old.get(k) != v]
        changed += [f"other {what}" for what in now if what != "settings" and before[what] != now[what]]
        if changed:
            raise SaywhyError(f"{self.out}: that run had {'; '.join(changed)}; use the same, or a new --out")


def _digest(data: RationaleData) -> str:
    """A digest of the pictures (their paths in the folder), their truths and the words."""
    digest = hashlib.sha256(repr(data.words).encode())
    for image in data.images:
        relative = image.path.relative_to(data.root) if image.path.is_relative_to(data.root) else image.path
        digest.update(f"{relative.as_posix()}\0{image.category}\0{image.rationales}\n".encode())
    return digest.hexdigest()[:16]


def _random_state() -> dict[str, Any]:
    """The state of Python, NumPy and torch, as plain values and tensors, which torch.load accepts with weights_only."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (whoever uses it goes on as well)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():  # else it goes on elsewhere, where none would fit
        torch.cuda.set_rng_state_all(state["cuda"])
