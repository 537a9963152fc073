"""ICIS, the baseline of zero-shot classification from text alone: two autoencoders that learn to decode each other.

Christensen et al. 2023, "Image-free classifier injection for zero-shot classification", with the settings of its code
(ExplainableML/ImageFreeZSL). With the head's biases it learns each row with its bias, as published, and ``head`` gives
both back, at whatever length the decoder has, which its loss leaves free. As a mapper it gives unit rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

HIDDEN = 2048
WINDOW, SLOPE, PATIENCE = 10, 2e-3, 5  # training ends when the mean loss of ten epochs falls slower, five times running


@final
@dataclass(frozen=True, eq=False)
class ICIS:
    """The way from texts to weights: the encoder of the one autoencoder, the decoder of the other.

    encoder: (hidden, k) and (hidden,). decoder: (d, hidden) and (d,), or one more for the bias.
    with_bias: whether the decoder's last value is the bias.
    """

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    with_bias: bool = False

    def __call__(self, texts: Tensor) -> Tensor:
        return F.normalize(self.head(texts)[0], dim=1)

    def head(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """(M, d) rows as they are decoded, and (M,) biases; 0 where none were learned."""
        hidden = F.relu(F.linear(F.normalize(texts, dim=1), self.encoder, self.encoder_bias))
        decoded = F.linear(hidden, self.decoder, self.decoder_bias)
        return (decoded[:, :-1], decoded[:, -1]) if self.with_bias else (decoded, decoded.new_zeros(len(decoded)))


def fit_icis(
    texts: Tensor,
    targets: Tensor,
    *,
    unseen: Tensor | None = None,
    bias: Tensor | None = None,
    epochs: int = 1000,
    batch_size: int = 16,
    rate: float = 1e-5,
    seed: int = 0,
) -> ICIS:
    """unseen: (U, k) embeddings of classes to come; their texts, never their weights, train the text autoencoder.

    bias: (C,) of the head, to be learned with its rows: targets are then the rows as they are, not of unit length.
    """
    if bias is not None:
        targets = torch.cat([targets, bias.float()[:, None]], 1)
    x = F.normalize(texts, dim=1)
    known = len(x)
    if unseen is not None:
        x = torch.cat([x, F.normalize(unseen, dim=1)])
    y = torch.cat([targets, targets.new_zeros(len(x) - known, targets.shape[1])])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), Progress(transient=True) as progress:
        torch.manual_seed(seed)
        from_text, to_text = nn.Linear(x.shape[1], HIDDEN), nn.Linear(HIDDEN, x.shape[1])
        from_weight, to_weight = nn.Linear(y.shape[1], HIDDEN), nn.Linear(HIDDEN, y.shape[1])
        layers = nn.ModuleList([from_text, to_text, from_weight, to_weight])
        for layer in (from_text, to_text, from_weight, to_weight):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        optimiser = torch.optim.Adam(layers.parameters(), lr=rate, fused=True)
        bar = progress.add_task("fitting ICIS", total=epochs)
        losses: list[float] = []
        slow = 0
        for _ in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(x), generator=generator).split(batch_size):
                seen = rows[rows < known]
                from_texts = F.relu(from_text(x[rows]))
                error = (1 - F.cosine_similarity(to_text(from_texts), x[rows])).mean()
                if len(seen):
                    of_seen, from_weights = from_texts[rows < known], F.relu(from_weight(y[seen]))
                    error = error + (1 - F.cosine_similarity(to_weight(of_seen), y[seen])).mean()
                    error = error + (1 - F.cosine_similarity(to_weight(from_weights), y[seen])).mean()
                    error = error + (1 - F.cosine_similarity(to_text(from_weights), x[seen])).mean()
                optimiser.zero_grad()
                error.backward()
                optimiser.step()
                total += float(error.detach()) * len(rows)
            losses.append(total / len(x))
            progress.advance(bar)
            if len(losses) >= 2 * WINDOW:
                fall = (sum(losses[-2 * WINDOW : -WINDOW]) - sum(losses[-WINDOW:])) / WINDOW / WINDOW
                slow = slow + 1 if fall < SLOPE else 0
                if slow >= PATIENCE:
                    break
    encoder, encoder_bias = from_text.weight.detach(), from_text.bias.detach()
    decoder, decoder_bias = to_weight.weight.detach(), to_weight.bias.detach()
    return ICIS(encoder, encoder_bias, decoder, decoder_bias, with_bias=bias is not None)
