"""Borrowing a network: it is given back exactly as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(network: nn.Module) -> Iterator[nn.Module]:
    """The network in evaluation mode, its parameters not requiring gradients; both restored on leaving."""
    training = [module for module in network.modules() if module.training]
    requiring = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        network.eval()
        for parameter in requiring:
            parameter.requires_grad_(False)
        yield network
    finally:
        for module in training:
            module.training = True
        for parameter in requiring:
            parameter.requires_grad_(True)
