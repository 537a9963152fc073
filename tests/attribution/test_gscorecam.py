"""gScoreCAM agrees with a loop over channels, finds what is there, and leaves the network as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution.gscorecam import gscorecam
from saywhy.classifiers.layers import find_layer, stages
from saywhy.errors import SaywhyError
from saywhy.spaces.visual_prompts import PromptedTower, draw_prompts
from tests.helpers import unit
from tests.networks import SIZE, Colours, clip_resnet, clip_vit, pixels, two_convolutions

TOWERS = {"vit": clip_vit, "resnet": clip_resnet}


def by_loops(
    network: nn.Module, x: Tensor, text: Tensor, scale: float, channels: int, prompted: nn.Module | None = None
) -> Tensor:
    """(H, W) for one text: the paper's algorithm, a channel at a time. prompted: the network with prompts in it."""
    whole = network if prompted is None else prompted
    kept: list[Tensor] = []
    handle = find_layer(network, stages(network, x)[-1]).register_forward_hook(lambda m, a, out: kept.append(out))
    cosine = F.cosine_similarity(whole(x.clone().requires_grad_()), text[None])
    handle.remove()
    (output,), (gradient,) = kept[0].detach(), torch.autograd.grad(cosine, kept[0])[0]
    if output.dim() == 2:  # a ViT's tokens, class token first; the gradient is the class token's
        side = SIZE // 8
        maps, importance = output[1 : 1 + side**2].T.reshape(-1, side, side), gradient[0]
        assert not gradient[1:].any()
    else:
        maps, importance = output, gradient.mean((1, 2))
    best = importance.argsort(descending=True)[:channels]
    scores = []
    for c in best:
        mask = F.interpolate(maps[None, None, c], x.shape[-2:], mode="bilinear", align_corners=True)
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-6)
        scores.append(scale * F.cosine_similarity(whole(x * mask), text[None])[0].detach())
    weights = torch.stack(scores).softmax(0)
    cam = sum(w * maps[c] for w, c in zip(weights, best, strict=True))
    assert isinstance(cam, Tensor)
    return F.interpolate(cam.relu()[None, None], x.shape[-2:], mode="bilinear", align_corners=True)[0, 0]


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("channels", [1, 5, 64])
def test_it_is_the_loop_over_channels(name: str, channels: int) -> None:
    network, x = TOWERS[name](), pixels(1)
    texts = unit(3, network(x).shape[1])
    found = gscorecam(network, x, texts, 30.0, channels)
    assert found.shape == (3, SIZE, SIZE)
    assert (found >= 0).all()
    for one, text in zip(found, texts, strict=True):
        assert torch.allclose(one, by_loops(network, x, text, 30.0, channels), atol=1e-4 * float(one.max()))


def test_it_finds_what_a_text_is_about() -> None:
    x = torch.zeros(1, 3, 32, 32)
    x[:, 0, :12, :12] = 1  # red, upper left
    x[:, 2, 20:, 16:] = 1  # blue, lower right
    red, blue = gscorecam(Colours(), x, torch.eye(3)[[0, 2]], 100.0)
    assert red[:16, :16].sum() > 0.9 * red.sum() > 0
    assert blue[16:, 12:].sum() > 0.9 * blue.sum() > 0


@pytest.mark.parametrize("tower", TOWERS.values(), ids=TOWERS)
def test_batches_do_not_matter_and_each_channel_is_tried_once(tower: Callable[[], nn.Module]) -> None:
    network, x = tower(), pixels(1)
    texts = unit(4, network(x).shape[1])
    seen: list[int] = []

    def track(steps: Sequence[int]) -> Sequence[int]:
        seen.append(len(steps))
        return steps

    pictures = []
    handle = network.register_forward_hook(lambda m, a, out: pictures.append(len(a[0])))
    one = gscorecam(network, x, texts, 30.0, 10, batch_size=1, track=track)
    handle.remove()
    assert torch.allclose(one, gscorecam(network, x, texts, 30.0, 10, batch_size=64), atol=1e-5 * float(one.max()))
    tried = pictures[2:]  # after the runs that find the layer and the gradients
    assert seen == [len(tried)]
    assert 10 <= len(tried) <= 40
    assert set(tried) == {1}


def test_the_network_is_given_back_as_it_was() -> None:
    network = clip_vit().train()
    gscorecam(network, pixels(1), unit(1, 16), channels=2)
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())


@pytest.mark.parametrize(("deep", "count"), [(False, 0), (False, 3), (True, 20), (True, 40)])
def test_prompts_behind_the_patches_are_no_part_of_the_map(deep: bool, count: int) -> None:
    """Whatever their number, be it one that would make a square of other tokens."""
    plain, x = clip_vit(), pixels(1)
    tower = PromptedTower(plain, draw_prompts(plain, count, deep, 0, 1e-4))
    texts = unit(2, tower(x).shape[1])
    found = gscorecam(tower, x, texts, 30.0, 4)
    for one, text in zip(found, texts, strict=True):
        assert torch.allclose(one, by_loops(plain, x, text, 30.0, 4, tower), atol=1e-4 * float(one.max()))


def test_what_it_cannot_do_is_refused() -> None:
    network = clip_vit()
    with pytest.raises(SaywhyError, match="one picture at a time, not 2"):
        gscorecam(network, pixels(2), unit(1, 16))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 8))
    with pytest.raises(SaywhyError, match="no layers whose output has positions"):
        gscorecam(flat, pixels(1), unit(1, 8))
    broken = two_convolutions()
    broken = nn.Sequential(broken, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    width = broken(pixels(1)).shape[1]
    with pytest.raises(SaywhyError, match="not finite"):
        gscorecam(broken, pixels(1) * math.nan, unit(1, width))
