"""Grids: which values of a layer belong to which place is known from what the network did, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saywhy.attribution.gradcam import grad_cam
from saywhy.classifiers.grids import Layout, find_layouts
from saywhy.classifiers.layers import recorded, rewritten
from saywhy.errors import SaywhyError


def of_timm(name: str, **options: Any) -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **options).eval()


SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}
STAGES = {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)}


def of_transformers(kind: str, **options: Any) -> nn.Module:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(num_labels=5, **options)
    return getattr(transformers, f"{kind}ForImageClassification")(config).eval()


BLOCKS = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 2}


def of_open_clip(name: str) -> nn.Module:
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    if name == "resnet":
        return ModifiedResNet([1, 1, 1, 1], 16, 4, 64, 8).eval()
    return VisionTransformer((64, 96), 16, 32, 2, 2, 2.0, output_dim=16).eval()


Case = tuple[Callable[[], nn.Module], tuple[int, int], str, tuple[int, int], int, int]
NETWORKS: dict[str, Case] = {
    # name: network, picture (h, w), a layer, its grid, tokens before it, its number of axes
    "timm ViT, square": (
        lambda: of_timm("vit_tiny_patch16_224", img_size=64, **SMALL), (64, 64), "blocks.1", (4, 4), 1, 1,
    ),
    "timm ViT of 12 x 14, whose tokens and class token could be 13 x 13": (
        lambda: of_timm("vit_tiny_patch16_224", img_size=(192, 224), **SMALL), (192, 224), "blocks.1", (12, 14), 1, 1,
    ),
    "timm ViT of a dynamic size": (
        lambda: of_timm("vit_tiny_patch16_224", dynamic_img_size=True, **SMALL), (160, 224), "norm", (10, 14), 1, 1,
    ),
    "DeiT, distilled": (
        lambda: of_timm("deit_tiny_distilled_patch16_224", img_size=(64, 96), **SMALL),
        (64, 96), "blocks.1", (4, 6), 2, 1,
    ),
    "ViT with 4 registers": (
        lambda: of_timm("vit_small_patch14_reg4_dinov2", img_size=(56, 84), **SMALL),
        (56, 84), "blocks.1", (4, 6), 5, 1,
    ),
    "EVA": (
        lambda: of_timm("eva02_tiny_patch14_224", img_size=(56, 84), **SMALL), (56, 84), "blocks.1", (4, 6), 1, 1,
    ),
    "DINOv3, EVA with 4 registers": (
        lambda: of_timm("vit_small_patch16_dinov3", img_size=(64, 96), **SMALL), (64, 96), "blocks.1", (4, 6), 5, 1,
    ),
    "ViT without a class token": (
        lambda: of_timm("vit_base_patch16_siglip_gap_224", img_size=(64, 96), **SMALL),
        (64, 96), "blocks.1", (4, 6), 0, 1,
    ),
    "timm Swin, channels last": (
        lambda: of_timm("swin_tiny_patch4_window7_224", img_size=(128, 192), window_size=4, **STAGES),
        (128, 192), "layers.3", (4, 6), 0, 2,
    ),
    "timm SwinV2": (
        lambda: of_timm("swinv2_tiny_window8_256", img_size=(128, 192), window_size=4, **STAGES),
        (128, 192), "layers.2", (8, 12), 0, 2,
    ),
    "LeViT": (lambda: of_timm("levit_128s"), (224, 224), "stages.2", (4, 4), 0, 1),
    "PVT-v2": (lambda: of_timm("pvt_v2_b0"), (64, 96), "stages.3", (2, 3), 0, 2),
    "ConvNeXt": (lambda: of_timm("convnext_atto"), (64, 96), "stages.3", (2, 3), 0, 2),
    "MaxViT": (lambda: of_timm("maxvit_rmlp_pico_rw_256"), (256, 256), "stages.3", (8, 8), 0, 2),
    "Mixer": (lambda: of_timm("mixer_s32_224"), (224, 224), "blocks.1", (7, 7), 0, 1),
    "XCiT, whose attention is between channels": (
        lambda: of_timm("xcit_tiny_12_p16_224", **SMALL), (64, 96), "norm", (4, 6), 1, 1,
    ),
    "Hiera, whose tokens stand in the order of its windows": (
        lambda: of_timm("hiera_tiny_224", embed_dim=16, num_heads=1, stages=(1, 1, 2, 1)),
        (224, 224), "blocks.3", (14, 14), 0, 1,
    ),
    "TResNet, space to depth": (lambda: of_timm("tresnet_m"), (64, 96), "body.layer4", (2, 3), 0, 2),
    "ResNet": (lambda: of_timm("resnet18"), (64, 96), "layer4", (2, 3), 0, 2),
    "transformers ViT": (
        lambda: of_transformers("ViT", image_size=(64, 96), **BLOCKS), (64, 96), "vit.layernorm", (4, 6), 1, 1,
    ),
    "transformers BEiT": (
        lambda: of_transformers("Beit", image_size=64, **BLOCKS), (64, 64), "beit.layernorm", (4, 4), 1, 1,
    ),
    "transformers Swin": (
        lambda: of_transformers(
            "Swin", image_size=(96, 128), embed_dim=16, depths=[1, 2], num_heads=[1, 2], window_size=4
        ),
        (96, 128), "swin.layernorm", (12, 16), 0, 1,
    ),
    "transformers ConvNext": (
        lambda: of_transformers("ConvNext", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]),
        (64, 96), "convnext.encoder.stages.3", (2, 3), 0, 2,
    ),
    "transformers CvT": (
        lambda: of_transformers("Cvt", embed_dim=[16, 32, 48], num_heads=[1, 2, 3]),
        (64, 96), "cvt.encoder.stages.2.layers.9", (4, 6), 1, 1,
    ),
    "open_clip ViT": (lambda: of_open_clip("vit"), (64, 96), "transformer.resblocks.1", (4, 6), 1, 1),
    "open_clip ResNet": (lambda: of_open_clip("resnet"), (64, 64), "layer4", (2, 2), 0, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_grid_of_every_kind_of_network_is_known(name: str) -> None:
    """And no layer of any of them has a grid of another shape than the picture's."""
    make, size, layer, grid, start, axes = NETWORKS[name]
    network = make()
    seen = find_layouts(network, torch.randn(1, 3, *size))
    found = seen[layer].layout
    assert (found.grid, found.start, len(found.axes)) == (grid, start, axes)
    assert all(x.grid[0] * size[1] == x.grid[1] * size[0] for one in seen.values() for x in one.layouts)
    assert not hooks(network)


# LeViT's subsampling has no way around its attention, which with random weights attends evenly.
@pytest.mark.parametrize("name", sorted({*NETWORKS} - {"LeViT"}))
def test_what_changes_in_a_corner_of_the_picture_changes_in_that_corner_of_the_map(name: str) -> None:
    make, size, layer, (height, width), *_ = NETWORKS[name]
    network = make()
    one = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    other = one.clone()
    other[:, :, : size[0] // height, -(size[1] // width) :] *= -3  # the upper right corner
    with torch.no_grad(), recorded(network, [layer]) as maps:
        network(one)
        before = maps[layer]
        network(other)
        changed = (maps[layer] - before).norm(dim=1)[0]
    assert changed[: (height + 1) // 2, width // 2 :].max() == changed.max() > 1.01 * changed[-1, 0]


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


# -- what a network does with its tokens ------------------------------------------------------------------------------


class Tokens(nn.Module):
    """Patches of four pixels, in an order that ``arrange`` makes of (N, 8, h, w), between tokens that are no patches.

    The logits grow with the patches' brightness.
    """

    def __init__(self, arrange: Callable[[Tensor], Tensor], before: int = 0, behind: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.block, self.head = nn.Conv2d(3, 8, 4, 4, bias=False), nn.Linear(8, 8), nn.Linear(8, 2)
        for weight in self.parameters():
            nn.init.uniform_(weight, 0, 0.2)
        self.arrange, self.before, self.behind = arrange, before, behind

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.arrange(self.patches(x))
        if self.before or self.behind:
            first, last = (torch.ones(len(x), count, 8) for count in (self.before, self.behind))
            tokens = torch.cat([first, tokens, last], 1)
        tokens = self.block(tokens)
        return self.head(tokens[:, self.before : tokens.shape[1] - self.behind].flatten(1, -2).mean(1))


def row_by_row(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (1, 0), (5, 0), (1, 1), (0, 3), (12, 13)])
@pytest.mark.parametrize("corner", [(slice(0, 4), slice(20, 24)), (slice(12, 16), slice(0, 4))])
def test_grad_cam_is_brightest_in_the_bright_corner(before: int, behind: int, corner: tuple[slice, slice]) -> None:
    """4 x 6 patches among any number of other tokens, also as many as make a square of all: 24 + 25 = 49."""
    x = torch.zeros(2, 3, 16, 24)
    x[(slice(None), slice(None), *corner)] = 1
    cam, _ = grad_cam(Tokens(row_by_row, before, behind), x, lambda y: y[:, 0])
    cam = cam - cam.amin((2, 3), keepdim=True)
    assert (cam[(slice(None), slice(None), *corner)].sum((1, 2, 3)) > 0.5 * cam.sum((1, 2, 3))).all()


def in_windows(x: Tensor) -> Tensor:
    return x.unflatten(2, (2, 2)).unflatten(4, (3, 2)).permute(0, 2, 4, 3, 5, 1).flatten(1, 4)


ORDERS: Mapping[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...] | None]] = {
    "row by row": (row_by_row, (1,)),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), (1, 2)),
    "columns first": (lambda x: x.permute(0, 3, 2, 1), (2, 1)),
    "column by column": (lambda x: row_by_row(x.transpose(2, 3)), (1,)),
    "upside down": (lambda x: row_by_row(x.flip(2)), (1,)),
    "in windows": (in_windows, (1,)),
    "in any order": (lambda x: row_by_row(x)[:, torch.randperm(24)], (1,)),
    "every second row": (lambda x: row_by_row(x[:, :, ::2]), (1,)),
    "rows from below": (lambda x: x.flip(2).permute(0, 2, 3, 1), None),
    "a part": (lambda x: row_by_row(x)[:, :20], None),
    "the upper rows": (lambda x: row_by_row(x)[:, :18], None),
    "the inner part": (lambda x: x[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1), None),
    "twice": (lambda x: row_by_row(x).repeat(1, 2, 1), None),
    "mixed": (lambda x: torch.ones(24, 24) @ row_by_row(x), None),
    "sorted": (lambda x: row_by_row(x).sort(1).values, None),
    "a spectrum": (lambda x: torch.fft.fft(row_by_row(x), dim=1).real, None),
    "pooled by strips": (lambda x: x.mean(3).transpose(1, 2), None),
}


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_that_is_no_grid_has_no_layout(order: str) -> None:
    arrange, axes = ORDERS[order]
    x = torch.randn(1, 3, 16, 24)
    torch.manual_seed(0)
    seen = find_layouts(Tokens(arrange), x)
    assert seen["patches"].layout.grid == (4, 6)
    assert (seen["block"].layout.axes if "block" in seen else None) == axes


@pytest.mark.parametrize("order", [name for name, (_, axes) in ORDERS.items() if axes and name != "in any order"])
def test_maps_are_read_in_their_places_whatever_the_order(order: str) -> None:
    arrange, axes = ORDERS[order]
    network = Tokens(arrange, before=1 if axes == (1,) else 0)
    with torch.no_grad(), recorded(network, ["patches", "block"]) as maps:
        network(torch.randn(2, 3, 16, 24))
    patches = maps["patches"][:, :, ::2] if order == "every second row" else maps["patches"]
    torch.testing.assert_close(maps["block"], network.block(patches.movedim(1, -1)).movedim(-1, 1))


def test_tokens_in_an_order_of_their_own_are_read_and_not_written() -> None:
    network = Tokens(in_windows)
    with (
        torch.no_grad(),
        rewritten(network, {"block": lambda view: view.zero_()}),
        pytest.raises(SaywhyError, match="layer block: its tokens stand in an order of their own"),
    ):
        network(torch.randn(2, 3, 16, 24))


def test_heads_and_texts_have_no_layout() -> None:
    """Keys of 24 positions in 2 heads are no 24 x 4 map, and tokens that are no picture's have no grid."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.keys, self.text = nn.Conv2d(3, 8, 4, 4), nn.Identity(), nn.Embedding(9, 8)

        def forward(self, x: Tensor) -> Tensor:
            tokens = row_by_row(self.patches(x))
            keys = self.keys(tokens.unflatten(2, (2, 4)).transpose(1, 2))
            return keys.sum((1, 2)) + self.text(torch.arange(9))[None].sum((1, 2)).view(1, 1)

    assert list(find_layouts(Heads(), torch.randn(1, 3, 16, 24))) == ["patches"]


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout((1, 5, 4, 6), (4, 6), (2, 3)), (2, 5, 4, 6)),
        (Layout((1, 4, 6, 5), (4, 6), (1, 2)), (2, 4, 6, 5)),
        (Layout((1, 6, 4, 5), (4, 6), (2, 1)), (2, 6, 4, 5)),
        (Layout((1, 25, 5), (4, 6), (1,), 1), (2, 25, 5)),
        (Layout((1, 5, 27), (4, 6), (2,), 2), (2, 5, 27)),
    ],
)
def test_what_is_written_to_the_view_is_in_the_tensor(layout: Layout, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    view = layout.view(x)
    assert view.shape == (2, 5, 4, 6)
    view[1, 3, 2, 1] = 7
    assert x.sum() == 7
    place = x[1].nonzero()[0].tolist()
    (channels,) = {0, 1, 2}.intersection(range(x.dim() - 1)) - {axis - 1 for axis in layout.axes}
    assert place[channels] == 3
    found = [place[axis - 1] for axis in layout.axes]
    assert found == ([2, 1] if len(found) == 2 else [layout.start + 2 * 6 + 1])


def test_a_module_that_is_called_twice_has_both_layouts() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.AvgPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.pool(x)).mean((2, 3))

    (seen,) = find_layouts(Twice(), torch.randn(1, 3, 16, 24)).values()
    assert [one.grid for one in seen.layouts] == [(8, 12), (4, 6)]
    first = seen.of(torch.zeros(7, 3, 8, 12))
    assert first is not None
    assert first.grid == (8, 12)
    assert seen.of(torch.zeros(7, 3, 8, 8)) is None


def test_grad_cam_refuses_a_network_whose_positions_are_not_known() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 24, 2))
    with pytest.raises(SaywhyError, match="needs a feature map with positions"):
        grad_cam(flat, torch.randn(1, 3, 16, 24), lambda y: y[:, 0])
