"""A linear classifier by hand: what each change does to its logits is known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saywhy.classifiers.classifier import Classifier

SIDE = 16


class Linear(nn.Module):
    """Logits are weights . pixels; of class 0 the weights are given, of the others zero."""

    def __init__(self, weights: Tensor, classes: int = 3) -> None:
        super().__init__()
        rows = torch.zeros(classes, weights.numel())
        rows[0] = weights.flatten()
        self.fc = nn.Linear(weights.numel(), classes, bias=False)
        self.fc.weight.data = rows

    def forward(self, pixels: Tensor) -> Tensor:
        return self.fc(pixels.flatten(1))


def linear_classifier(weights: Tensor, classes: int = 3) -> Classifier:
    """weights: (3, SIDE, SIDE) of class 0."""
    return Classifier.from_module(Linear(weights, classes).eval(), shape=(3, SIDE, SIDE), name="linear")
