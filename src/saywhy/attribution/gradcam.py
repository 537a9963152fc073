"""Grad-CAM on the last feature map that still has positions, in any network.

pytorch-grad-cam needs the layer and, for transformers, a reshape by hand, and returns the positive part scaled to 0..1;
here the layer is found by running the network, and the signed map is kept. A test compares the two.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution.lrp import Select
from saywhy.classifiers.layers import channels_first, positions
from saywhy.errors import SaywhyError


def grad_cam(network: nn.Module, pixels: Tensor, select: Select) -> tuple[Tensor, Tensor]:
    """(N, 1, H, W) Grad-CAM (Selvaraju et al. 2017, eq. 1-2, without the ReLU), and the (N,) explained scalars.

    The feature map is the output of the last module that gives one: (N, C, h, w), (N, h, w, C), or tokens (N, L, C)
    of which the last h * w form a square, with h, w > 1. Raises SaywhyError where there is none.
    """
    maps: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and positions(output) is not None:
            maps.append(output)

    handles = [module.register_forward_hook(keep) for module in network.modules() if module is not network]
    try:
        with torch.enable_grad():
            selected = select(network(pixels.detach().requires_grad_()))
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(selected.sum(), maps, allow_unused=True)
    # Behind the last attention only the class token is read: there the positions have no gradient.
    used = [(m, g) for m, g in zip(maps, gradients, strict=True) if g is not None and channels_first(g).any()]
    if not used:
        raise SaywhyError("Grad-CAM needs a feature map with positions, and this network has none; use method='lrp'")
    features, gradient = (channels_first(x.detach()) for x in used[-1])
    weights = gradient.mean((2, 3), keepdim=True)
    cam = (weights * features).sum(1, keepdim=True)
    return F.interpolate(cam, pixels.shape[-2:], mode="bilinear", align_corners=False), selected.detach()
