"""Layers as maps: every layout is read and written alike, and the layers worth reading are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saywhy.classifiers.layers import (
    caught,
    convolutions,
    find_layer,
    recorded,
    resized,
    rewritten,
    stages,
)
from saywhy.errors import SaywhyError
from tests.networks import clip_resnet, clip_vit, pixels, resnet, swin, two_convolutions, vit


def grids(network: nn.Module, names: tuple[str, ...]) -> list[tuple[int, int]]:
    with torch.no_grad(), recorded(network, names) as maps:
        network(pixels(1))
    return [tuple(maps[name].shape[-2:]) for name in names]  # type: ignore[misc]


def test_resizing_keeps_means_and_constants() -> None:
    maps = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(resized(maps, (4, 2)).mean((2, 3)), maps.mean((2, 3)))
    assert resized(maps, (8, 8)) is maps
    for grid in ((3, 5), (16, 16), (4, 16), (1, 1)):
        assert resized(maps, grid).shape == (2, 3, *grid)
        torch.testing.assert_close(resized(torch.full((1, 1, 8, 8), 2.5), grid), torch.full((1, 1, *grid), 2.5))
    torch.testing.assert_close(resized(maps[:, :, :1, :1], (4, 4)), maps[:, :, :1, :1].expand(-1, -1, 4, 4))


# -- finding layers ---------------------------------------------------------------------------------------------------


def test_a_resnet_has_four_stages() -> None:
    assert stages(resnet(), pixels(1)) == ("layer1", "layer2", "layer3", "layer4")
    assert stages(clip_resnet(), pixels(1)) == ("layer1", "layer2", "layer3", "layer4")


def torchvision_swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 16, [1, 1, 1, 1], [1, 2, 4, 8], [4, 4]).eval()


def convnext() -> nn.Module:
    import timm

    return timm.create_model("test_convnext").eval()


def efficientnet() -> nn.Module:
    import timm

    return timm.create_model("test_efficientnet").eval()


def transformers_resnet() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    return ResNetForImageClassification(sizes).eval()


@pytest.mark.parametrize(
    "make", [resnet, clip_resnet, swin, torchvision_swin, convnext, efficientnet, transformers_resnet]
)
def test_stages_are_four_and_shrink(make: Callable[[], nn.Module]) -> None:
    """Also where all stages lie in one module, and windows and bottlenecks have grids of their own."""
    network = make()
    assert grids(network, stages(network, pixels(1))) == [(16, 16), (8, 8), (4, 4), (2, 2)]


def test_stages_inside_of_a_module_of_ones_own() -> None:
    """A backbone whose output is the last map: what lies in it is not its own affair."""

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = (nn.Conv2d(n, 8, 3, 2, 1) for n in (3, 8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.third(self.second(self.first(x)))

    network = nn.Sequential(Backbone(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert stages(network, pixels(1)) == ("0.first", "0.second", "0")


def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(SIZE, 8, num_layers=4, num_heads=2, hidden_dim=32, mlp_dim=64).eval()


def transformers_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": SIZE, "patch_size": 8}
    return ViTForImageClassification(ViTConfig(num_hidden_layers=4, **sizes)).eval()


SIZE = 64
BLOCKS = {
    vit: ["blocks.1", "blocks.2", "blocks.3", "blocks.5"],
    clip_vit: [f"transformer.resblocks.{n}" for n in range(4)],
    torchvision_vit: [f"encoder.layers.encoder_layer_{n}" for n in range(4)],
    transformers_vit: [f".{n}" for n in range(4)],  # "vit.encoder.layer" or "vit.layers", as the version has it
}


@pytest.mark.parametrize("make", BLOCKS)
def test_a_vit_has_four_blocks(make: Callable[[], nn.Module]) -> None:
    network = make()
    found = stages(network, pixels(1))
    assert len(found) == 4
    assert all(name.endswith(end) for name, end in zip(found, BLOCKS[make], strict=True))
    assert grids(network, found) == [(8, 8)] * 4
    with_class = stages(network, pixels(1), class_tokens=True)
    assert with_class == tuple(part for name in found for part in (name, f"{name}:class"))
    assert grids(network, with_class) == [(8, 8), (1, 1)] * 4


def test_few_blocks_and_no_class_token() -> None:
    import timm

    network = timm.create_model("test_vit", img_size=64, patch_size=8, depth=1, class_token=False, global_pool="avg")
    assert stages(network, pixels(1), class_tokens=True) == ("blocks.0",)


def test_convolutions_are_all_and_only_those() -> None:
    network = two_convolutions()
    assert convolutions(network, pixels(1)) == ("0", "3")
    found = convolutions(resnet(), pixels(1))
    assert {"layer1.0.conv1", "layer4.0.conv2"} <= set(found)
    assert all(isinstance(resnet().get_submodule(name), nn.Conv2d) for name in found)


def test_a_network_without_maps_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    with pytest.raises(SaywhyError, match="Sequential has no layers whose output has positions"):
        stages(network, pixels(1))


# -- reading and writing ----------------------------------------------------------------------------------------------


def test_what_is_recorded_is_what_the_layer_put_out() -> None:
    """Also where the next layer works in place."""
    network, x = two_convolutions(), pixels(2)
    with torch.no_grad(), recorded(network, ["0", "1", "2"]) as maps:
        network(x)
        torch.testing.assert_close(maps["1"], network[1](network[0](x)))
        torch.testing.assert_close(maps["2"], maps["1"].relu())
        assert maps["1"].min() < 0


def test_tokens_are_recorded_in_their_places() -> None:
    network, x = vit(), pixels(2)
    outputs: list[Tensor] = []
    handle = network.get_submodule("blocks.2").register_forward_hook(lambda m, a, output: outputs.append(output))
    with torch.no_grad(), recorded(network, ["blocks.2", "blocks.2:class"]) as maps:
        network(x)
    handle.remove()
    assert torch.equal(maps["blocks.2"][1, :, 3, 5], outputs[-1][1, 1 + 3 * 8 + 5])
    assert torch.equal(maps["blocks.2:class"][1, :, 0, 0], outputs[-1][1, 0])


class Pair(nn.Module):
    """A block that returns its map and something else."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind, self.inner = kind, nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return self.kind([self.inner(x), "attention"])


class Unpacked(nn.Module):
    def __init__(self, kind: type) -> None:
        super().__init__()
        self.block = Pair(kind)

    def forward(self, x: Tensor) -> Tensor:
        found, rest = self.block(x)
        assert rest == "attention"
        return found


@pytest.mark.parametrize("kind", [tuple, list])
def test_blocks_that_return_several_things(kind: type) -> None:
    network, x = Unpacked(kind), pixels(1, 8)
    with (
        torch.no_grad(),
        recorded(network, ["block"]) as maps,
        rewritten(network, {"block": lambda view: view.mul_(2)}),
    ):
        changed = network(x)
    torch.testing.assert_close(maps["block"] * 2, changed)
    assert stages(network, x) == ("block",)


@pytest.mark.parametrize(
    ("make", "layer"),
    [(resnet, "layer2"), (swin, "layers.1"), (vit, "blocks.3"), (vit, "blocks.3:class"), (clip_vit, "conv1")],
)
def test_what_is_written_arrives_and_nothing_else_changes(make: Callable[[], nn.Module], layer: str) -> None:
    network, x = make(), pixels(2)
    with torch.no_grad():
        before = network(x)

        def add(view: Tensor) -> None:
            view[:, 1] += 3

        with recorded(network, [layer]) as own:
            network(x)
        with rewritten(network, {layer: add}), recorded(network, [layer]) as maps:
            changed = network(x)
        added = torch.zeros_like(own[layer])
        added[:, 1] = 3
        torch.testing.assert_close(maps[layer] - own[layer], added)
        assert not torch.allclose(changed, before)
        assert torch.equal(network(x), before)


def test_tokens_and_class_token_are_written_apart() -> None:
    network, x = vit(), pixels(1)
    edits = {"blocks.3": lambda view: view.fill_(1), "blocks.3:class": lambda view: view.fill_(2)}
    with torch.no_grad(), rewritten(network, edits), recorded(network, list(edits)) as maps:
        network(x)
    assert torch.equal(maps["blocks.3"], torch.ones_like(maps["blocks.3"]))
    assert torch.equal(maps["blocks.3:class"], torch.full_like(maps["blocks.3:class"], 2))


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_no_hooks_stay_behind() -> None:
    network = resnet()
    stages(network, pixels(1))
    with pytest.raises(SaywhyError), recorded(network, ["layer1", "no such"]):
        raise AssertionError("unreachable")
    with (
        pytest.raises(ZeroDivisionError),
        recorded(network, ["layer1"]),
        rewritten(network, {"layer1": lambda v: None}),
    ):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError):
        stages(network, torch.zeros(1, 7, 64, 64))
    assert hooks(network) == 0


@pytest.mark.parametrize(
    ("network", "layer", "message"),
    [
        (resnet, "layer5", "no layer 'layer5'; did you mean layer4"),
        (resnet, "fc", "layer fc: its output of shape .* is not a map"),
        (resnet, "layer1:class", "has no class token"),
        (vit, "patch_embed:class", "has no class token"),
        (vit, "blocks.9:class", "no layer 'blocks.9'; did you mean blocks"),
        (swin, "layers.0:class", "has no class token"),
    ],
)
def test_layers_that_are_no_maps_are_refused(network: Callable[[], nn.Module], layer: str, message: str) -> None:
    made = network()
    with pytest.raises(SaywhyError, match=message), torch.no_grad(), recorded(made, [layer]):
        made(pixels(1))
    assert hooks(made) == 0


def test_an_output_that_is_no_tensor_is_refused() -> None:
    class Strange(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"map": x}

    network = nn.Sequential(Strange())
    with pytest.raises(SaywhyError, match=r"layer 0: its output, dict, is not a map"), recorded(network, ["0"]):
        network(pixels(1))


def test_find_layer() -> None:
    network = vit()
    assert find_layer(network, "blocks.1:class") is network.get_submodule("blocks.1")


# -- one position, and outputs as they are ----------------------------------------------------------------------------


def test_maps_of_one_position_are_maps_channels_first() -> None:
    """After pooling there is no doubt where the channels are; of (N, 1, 1, C) there is."""

    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), Last(), nn.Flatten())
    with torch.no_grad(), recorded(network, ["1"]) as maps:
        network(pixels(2, 8))
    assert maps["1"].shape == (2, 4, 1, 1)
    for layer, message in (("2", "is not a map"), ("3", "is not a map"), ("1:class", "has no class token")):
        with pytest.raises(SaywhyError, match=message), recorded(network, [layer]):
            network(pixels(2, 8))


def test_what_is_caught_is_the_last_output_with_its_graph() -> None:
    network, x = resnet(), pixels(1)
    with caught(network, "layer4") as outputs:
        assert outputs == []
        network(x + 1)
        logits = network(x)
    (maps,) = outputs
    assert torch.autograd.grad(logits.sum(), maps)[0].any()
    with torch.no_grad(), recorded(network, ["layer4"]) as own:
        network(x)
    assert torch.equal(maps.detach(), own["layer4"])
    assert hooks(network) == 0


def test_of_several_outputs_the_first_is_caught_and_hooks_are_gone_after_an_error() -> None:
    network = Unpacked(tuple)
    with torch.no_grad(), caught(network, "block") as outputs:
        found = network(pixels(1, 8))
    assert torch.equal(outputs[0], found)
    with pytest.raises(RuntimeError), caught(network, "block"):
        network(torch.zeros(1, 7, 8, 8))
    assert hooks(network) == 0
    with pytest.raises(SaywhyError, match="no layer 'blok'; did you mean block"), caught(network, "blok"):
        raise AssertionError("unreachable")
