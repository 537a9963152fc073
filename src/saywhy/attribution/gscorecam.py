"""gScoreCAM: where a text is in a picture, by showing CLIP the picture through its own channels (Chen et al. 2022).

As Score-CAM, each channel of a late layer is laid over the picture as a mask, and is weighted by what the masked
picture scores; only the channels with the largest gradients are tried. Written from the paper ("gScoreCAM: What
objects is CLIP looking at?", ACCV 2022, section 3) and checked against its authors' code, which needs CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.grids import find_layouts
from saywhy.classifiers.layers import caught, stages
from saywhy.errors import SaywhyError

CHANNELS = 300  # of the paper
Track = Callable[[Sequence[int]], Iterable[int]]
"""Iterates over the batches, and may show progress."""


def gscorecam(
    network: nn.Module,
    pixels: Tensor,
    texts: Tensor,
    scale: float = 100.0,
    channels: int = CHANNELS,
    batch_size: int = 32,
    track: Track = iter,
) -> Tensor:
    """(T, H, W) float32 on the CPU: where in one picture each of T texts is; zero or more, in no unit.

    network:    an image tower, (N, 3, H, W) -> (N, d). A ``PromptedTower``'s prompts, which stand behind the
                patches, are left out of the map.
    pixels:     (1, 3, H, W), preprocessed: where a mask is 0 the picture has its mean colour.
    texts:      (T, d) unit vectors. scale: of cosines, CLIP's; a large one leaves few channels in the map.
    channels:   tried for each text: those whose activation, raised everywhere, raises the cosine most.
    batch_size: masked pictures at once. One picture is encoded for each channel that any text tries.

    The layer is the last one with positions: a ResNet's last stage, a ViT's last block. Behind that, a ViT reads its
    class token alone, whose gradient then chooses the channels, as in the authors' code. Unlike there, channels that
    are not tried weigh nothing, where the softmax gave them exp(0).

    Raises SaywhyError for a network without such a layer, more than one picture, or cosines that are not finite.
    """
    if len(pixels) != 1:
        raise SaywhyError(f"gScoreCAM takes one picture at a time, not {len(pixels)}")
    texts = texts.to(pixels)
    with torch.inference_mode(False), borrowed(network) as shadow:
        maps, gradients = _channels(shadow, pixels, texts)
        tried = gradients.topk(min(channels, len(maps)), 1).indices  # (T, k)
        needed = tried.unique()
        with torch.no_grad():
            starts = range(0, len(needed), batch_size)
            masked = [_encoded(shadow, pixels, maps[needed[s : s + batch_size]]) for s in track(starts)]
        cosines = torch.cat(masked) @ texts.T  # (needed, T)
    if not torch.isfinite(cosines).all():
        raise SaywhyError("masked pictures have cosines that are not finite; the space's weights are damaged")
    places = torch.searchsorted(needed, tried)
    weights = (scale * cosines.T.gather(1, places)).softmax(1)
    cams = torch.einsum("tk,tkhw->thw", weights, maps[tried]).clamp(min=0)
    return F.interpolate(cams[:, None], pixels.shape[-2:], mode="bilinear", align_corners=True)[:, 0].float().cpu()


def _channels(network: nn.Module, pixels: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """(C, h, w) activations of the last layer with positions, and (T, C) the cosines' gradients summed over it."""
    seen = find_layouts(network, pixels)
    layer = stages(network, pixels, seen=seen)[-1]
    layout = seen[layer].layout
    with torch.enable_grad(), caught(network, layer) as outputs:
        cosines = F.normalize(network(pixels.clone().requires_grad_()), dim=1) @ texts.T
    (output,) = outputs
    gradients = [torch.autograd.grad(cosine, output, retain_graph=True)[0] for cosine in cosines[0]]
    # Tokens: of all, so that the class token's gradient counts, which is the only one behind the last attention.
    summed = [gradient.sum(layout.axes)[0] for gradient in gradients]
    return layout.view(output.detach())[0], torch.stack(summed)


def _encoded(network: nn.Module, pixels: Tensor, maps: Tensor) -> Tensor:
    """(B, d) unit vectors of the picture under each of (B, h, w) maps, stretched to 0..1."""
    masks = F.interpolate(maps[:, None], pixels.shape[-2:], mode="bilinear", align_corners=True)
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    return F.normalize(network(pixels * (masks - low) / (high - low + 1e-6)), dim=1)
