"""The mapper of zero-shot natural language explanations: an MLP trained on the class names alone.

Sammani and Deligiannis 2025, section 3.1, appendices D, I and N. What it leaves open is said where it is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn
from torch.func import functional_call

FLIPPED, DROPPED = 0.3, 0.5  # input dropout: with which probability a text loses which share of its values


class _Network(nn.Module):
    """W1, norm, GELU, dropout, W2, norm, and where asked the gate that the paper calls learned soft dropout."""

    def __init__(self, inputs: int, outputs: int, soft_dropout: bool) -> None:
        super().__init__()
        hidden = 2 * inputs if soft_dropout else 4 * outputs  # appendix I
        self.first, self.first_norm = nn.Linear(inputs, hidden), nn.LayerNorm(hidden)
        self.second, self.second_norm = nn.Linear(hidden, outputs), nn.LayerNorm(outputs)
        # "GLU ... also uses layer normalization", its shape is not given: h * sigmoid(LN(V h)), a scale in 0..1 for
        # each dimension as the text of section 3.1 says.
        self.gate = nn.Sequential(nn.Linear(outputs, outputs), nn.LayerNorm(outputs)) if soft_dropout else None

    def forward(self, texts: Tensor) -> Tensor:
        hidden = F.dropout(F.gelu(self.first_norm(self.first(texts))), 0.5, self.training)
        rows = self.second_norm(self.second(hidden))
        return rows if self.gate is None else rows * self.gate(rows).sigmoid()


@final
@dataclass(frozen=True, eq=False)
class MLP:
    """A trained network. parameters: its tensors by name."""

    parameters: Mapping[str, Tensor]
    inputs: int
    outputs: int
    soft_dropout: bool

    @torch.no_grad()
    def __call__(self, texts: Tensor) -> Tensor:
        with torch.device("meta"):
            network = _Network(self.inputs, self.outputs, self.soft_dropout).eval()
        return F.normalize(functional_call(network, dict(self.parameters), F.normalize(texts, dim=1)), dim=1)


def fit_mlp(
    texts: Tensor,
    targets: Tensor,
    *,
    loss: str = "cosine",
    input_dropout: bool = True,
    soft_dropout: bool = True,
    epochs: int = 2500,
    rate: float = 5e-3,
    seed: int = 0,
) -> MLP:
    """Full batch, Adam, cosine annealing; the switches are the rows of the paper's Table 6.

    loss:   "cosine" (equation 1) or "mse".
    epochs: 0 leaves the random parameters as they are.
    """
    if loss not in ("cosine", "mse"):
        raise ValueError(f"loss {loss!r}: cosine or mse")
    x, y = F.normalize(texts, dim=1), targets
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = _Network(x.shape[1], y.shape[1], soft_dropout).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs))
        for _ in track(range(epochs), "fitting the MLP", transient=True, disable=epochs < 100):
            rows = network(_dropped(x) if input_dropout else x)
            error = (1 - F.cosine_similarity(rows, y)).sum() if loss == "cosine" else F.mse_loss(rows, y)
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
            schedule.step()
    parameters = {name: value.detach() for name, value in network.state_dict().items()}
    return MLP(parameters, x.shape[1], y.shape[1], soft_dropout)


def _dropped(texts: Tensor) -> Tensor:
    """Each text, with a probability of FLIPPED, without DROPPED of its values, the others scaled up as by dropout."""
    flipped = torch.rand(len(texts), 1) < FLIPPED
    return torch.where(flipped, F.dropout(texts, DROPPED), texts)
