"""Networks on loan: frozen for a while and restored exactly; and copies of them that have learned nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
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


def untrained(network: nn.Module, seed: int) -> nn.Module:
    """A copy of the network that has learned nothing: every layer's weights initialised again by the layer itself.

    Parameters that no layer initialises (a class token) have their own values shuffled. The same seed draws the
    same on the same kind of device.
    """
    copy = deepcopy(network)
    drawn: set[int] = set()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
        torch.manual_seed(seed)
        for module in copy.modules():
            draw = getattr(module, "reset_parameters", None)
            if callable(draw):
                draw()
                drawn |= {id(tensor) for tensor in module.parameters(recurse=False)}
        for parameter in copy.parameters():
            if id(parameter) not in drawn:
                order = torch.randperm(parameter.numel()).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copy
