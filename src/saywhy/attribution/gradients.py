"""Gradient methods: what LRP is measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saywhy.attribution.lrp import Select
from saywhy.plumbing.extras import need


def gradient_x_input(network: nn.Module, pixels: Tensor, select: Select) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) gradient times input, and the (N,) explained scalars."""
    leaf = pixels.detach().requires_grad_()
    with torch.enable_grad():
        selected = select(network(leaf))
        (gradient,) = torch.autograd.grad(selected.sum(), leaf)
    return (leaf * gradient).detach(), selected.detach()


def integrated_gradients(network: nn.Module, pixels: Tensor, select: Select, steps: int = 32) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) integrated gradients by captum, from the zero of the network's input (with the usual
    normalisation the mean colour), and the (N,) explained scalars.

    Their sum is the difference of the scalar between picture and baseline, up to the error of ``steps`` points
    (Sundararajan et al. 2017, completeness). Time and memory: ``steps`` passes, no more than one batch of pictures at
    a time.
    """
    need("integrated gradients", "captum")
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        output = network(pixels)
        selected = select(output)
        # The class is that of the picture, also half way to the baseline: find it once, then hold on to it.
        classes = (output == selected[:, None]).int().argmax(1)

    def explained(batch: Tensor) -> Tensor:
        return network(batch).gather(1, classes.repeat(len(batch) // len(classes))[:, None])[:, 0]

    relevance = IntegratedGradients(explained).attribute(
        pixels, n_steps=steps, internal_batch_size=max(len(pixels), 1), method="gausslegendre"
    )
    return relevance.detach().to(pixels.dtype), selected
