"""Grad-CAM on the last feature map that still has positions, in any network.

pytorch-grad-cam needs the layer and, for transformers, a reshape by hand, and returns the positive part scaled to 0..1;
here the layer is found by running the network, and the signed map is kept. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution.lrp import Select, check_gradient
from saywhy.classifiers.borrowing import is_scripted
from saywhy.classifiers.grids import Layout, find_layouts, first_tensor
from saywhy.errors import SaywhyError


def grad_cam(network: nn.Module, pixels: Tensor, select: Select) -> tuple[Tensor, Tensor]:
    """(N, 1, H, W) Grad-CAM (Selvaraju et al. 2017, eq. 1-2, without the ReLU), and the (N,) explained scalars.

    The feature map is the output of the last module whose output lies on a grid of positions (grids.py), such that some
    gradient reaches them. Raises SaywhyError where there is none, and for modules of torch.jit.
    """
    if is_scripted(network):
        raise SaywhyError(
            "Grad-CAM hooks modules, and those of torch.jit take no hooks; explain the plain module, or use "
            'method="integrated-gradients"'
        )
    seen = find_layouts(network, pixels)
    maps: list[tuple[Tensor, Layout]] = []

    def keeper(name: str) -> Callable[..., None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            x = first_tensor(output)
            if isinstance(x, Tensor) and x.requires_grad and (layout := seen[name].of(x)) is not None:
                maps.append((x, layout))

        return keep

    handles = [network.get_submodule(name).register_forward_hook(keeper(name)) for name in seen]
    try:
        with torch.enable_grad():
            selected = select(network(pixels.detach().requires_grad_()))
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(selected.sum(), [x for x, _ in maps], allow_unused=True) if maps else ()
    reached = [
        (layout.view(x.detach()), layout.view(gradient))
        for (x, layout), gradient in zip(maps, gradients, strict=True)
        if gradient is not None
    ]
    if not reached:
        check_gradient(network, pixels)
        raise SaywhyError("Grad-CAM needs a feature map with positions, and this network has none; use method='lrp'")
    # Behind the last attention only the class token is read: there the positions have no gradient. Where none have any,
    # the map is zero.
    features, gradient = next((pair for pair in reversed(reached) if pair[1].any()), reached[-1])
    weights = gradient.mean((2, 3), keepdim=True)
    cam = (weights * features).sum(1, keepdim=True)
    return F.interpolate(cam, pixels.shape[-2:], mode="bilinear", align_corners=False), selected.detach()
