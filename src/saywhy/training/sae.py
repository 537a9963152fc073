"""Learns a small sparse autoencoder of a classifier's features: few directions out of many for each picture.

TopK with an auxiliary loss for latents that have fallen silent (Gao et al. 2024, "Scaling and evaluating sparse
autoencoders"). docs/audit-inside.md says why this one, and what it was chosen on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.classifiers.sae import SparseAutoencoder, active
from saywhy.errors import SaywhyError
from saywhy.plumbing.caches import weights_digest
from saywhy.plumbing.tensors import reading_checkpoint, write_checkpoint

FEWEST = 100  # pictures
HELD_OUT = 0.1  # share of the pictures, drawn at random, that is not learned from and says how much is explained
EVERY_SECONDS = 30.0  # between checkpoints
_AUXILIARY = 1 / 32  # weight of the loss of silent latents, as in the paper
_SILENT = 30  # steps without being active from which a latent counts as silent
_WARM, _COOL = 100, 0.3  # steps until the highest rate, and the share of all at the end in which it falls to 0


@final
@dataclass(frozen=True, kw_only=True)
class SaeSettings:
    """width: latents; 0: as many as features. k: of them active in a picture; 0: a sixth of the features, 4 to 32.

    steps of batch pictures each; rate: the highest, of Adam.

    Raises SaywhyError for numbers that cannot be.
    """

    width: int = 0
    k: int = 0
    steps: int = 2000
    batch: int = 256
    rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.k, self.seed) < 0 or min(self.steps, self.batch) < 1 or not self.rate > 0:
            raise SaywhyError("width, k and seed must be at least 0, steps and batch at least 1, and the rate above 0")
        if self.width and self.k > self.width:
            raise SaywhyError(f"k is {self.k}: more than the {self.width} latents that there are")

    def of(self, features: int) -> tuple[int, int]:
        """(width, k) for that many features."""
        width = self.width or features
        return width, min(self.k or min(max(4, features // 6), 32), width)


def train_sae(
    features: Tensor,
    settings: SaeSettings,
    classifier: str,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    advance: Callable[[int], object] = lambda steps: None,
) -> SparseAutoencoder:
    """The sparse autoencoder of (N, d) features, with a ``story``: R2 on pictures held out, silent share, settings.

    classifier: its fingerprint. checkpoint: a file that a run which takes long writes now and then; resume: go on from
    there. advance: is told how many more steps are done.

    Raises SaywhyError for features that are too few, all the same or not finite, and a checkpoint of another run.
    """
    features = features.float()
    if len(features) < FEWEST:
        raise SaywhyError(f"{len(features)} pictures teach no sparse autoencoder; {FEWEST} at least are needed")
    if not features.isfinite().all():
        raise SaywhyError("some features are not finite: the classifier gives no numbers for some pictures")
    held = torch.rand(len(features), generator=torch.Generator().manual_seed(settings.seed)) < HELD_OUT
    held[0] = True  # of very few none may be drawn
    mean = features[~held].mean(0)
    scale = (features[~held] - mean).square().mean().sqrt()
    if not scale > 0:
        raise SaywhyError("the features of all pictures are the same; there is nothing to learn")
    inputs = (features[~held] - mean) / scale
    width, k = settings.of(features.shape[1])
    run = _Run(inputs, width, k, settings)
    mark = {"settings": asdict(settings), "classifier": classifier, "data": weights_digest([features])}
    if resume:
        if checkpoint is None:
            raise SaywhyError("to resume, say which checkpoint")
        with reading_checkpoint(checkpoint) as state:
            if state["mark"] != mark:
                raise SaywhyError(f"{checkpoint}: is of a run with other settings, features or classifier; start again")
            run.load(state)
    advance(run.step)
    saved = time.monotonic()
    while run.step < settings.steps:
        run.take()
        advance(1)
        if checkpoint is not None and time.monotonic() - saved > EVERY_SECONDS:
            write_checkpoint(checkpoint, run.state() | {"mark": mark})
            saved = time.monotonic()
    # In the features' own units: the decoder's rows stay of length one, the latents take the scale.
    encoder, bias, decoder, offset = (one.detach() for one in run.parameters)
    back = mean + scale * offset
    made = SparseAutoencoder(encoder, scale * bias, decoder, back, back, k)
    some = made.latents(features)
    story = {
        "classifier": classifier, "width": width, "k": k, "pictures": len(features), "data": mark["data"],
        "R2": round(made.explained(features[held]), 4), "dead": round(float((~(some > 0).any(0)).float().mean()), 4),
        "settings": asdict(settings),
    }  # fmt: skip
    return SparseAutoencoder(encoder, scale * bias, decoder, back, back, k, story=story)


@final
class _Run:
    """The state of one run: four tensors, Adam, and how long each latent was silent."""

    def __init__(self, inputs: Tensor, width: int, k: int, settings: SaeSettings) -> None:
        self._inputs, self._k, self._settings = inputs, k, settings
        self._draw = torch.Generator().manual_seed(settings.seed)
        decoder = F.normalize(torch.randn(width, inputs.shape[1], generator=self._draw), dim=1)
        first = (decoder.clone(), torch.zeros(width), decoder, torch.zeros(inputs.shape[1]))
        self.parameters = [one.requires_grad_() for one in first]
        self._adam = torch.optim.Adam(self.parameters, lr=settings.rate)
        self._silent, self.step = torch.zeros(width), 0

    def take(self) -> None:
        """One step."""
        encoder, bias, decoder, offset = self.parameters
        settings = self._settings
        rate = min(1.0, (self.step + 1) / _WARM, (settings.steps - self.step) / max(1.0, _COOL * settings.steps))
        for group in self._adam.param_groups:
            group["lr"] = settings.rate * rate
        batch = self._inputs[torch.randint(len(self._inputs), (settings.batch,), generator=self._draw)]
        before = F.linear(batch - offset, encoder, bias)
        latents = active(before, self._k)
        rest = batch - latents @ decoder - offset
        loss = rest.square().mean()
        silent = self._silent > _SILENT
        if silent.any():
            among = before.masked_fill(~silent, -torch.inf)
            theirs = active(among, min(int(silent.sum()), max(1, batch.shape[1] // 2)))
            loss = loss + _AUXILIARY * (rest.detach() - theirs @ decoder).square().mean()
        self._adam.zero_grad()
        (loss * batch.shape[1]).backward()
        gradient = decoder.grad
        if gradient is not None:  # rows keep their length
            gradient -= (gradient * decoder.detach()).sum(1, keepdim=True) * decoder.detach()
        self._adam.step()
        with torch.no_grad():
            decoder.copy_(F.normalize(decoder, dim=1))
        self._silent = torch.where((latents > 0).any(0), 0, self._silent + 1)
        self.step += 1

    def state(self) -> dict[str, Any]:
        return {
            "parameters": [one.detach() for one in self.parameters], "adam": self._adam.state_dict(),
            "silent": self._silent, "step": self.step, "draw": self._draw.get_state(),
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for mine, other in zip(self.parameters, state["parameters"], strict=True):
                mine.copy_(other)
        self._adam.load_state_dict(state["adam"])
        self._silent, self.step = state["silent"], int(state["step"])
        self._draw.set_state(state["draw"])
