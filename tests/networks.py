"""Small networks of the layouts that occur, and pictures for them: for tests of surgery and of heatmaps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 64


def resnet() -> nn.Module:
    import timm

    torch.manual_seed(0)
    return calibrated(timm.create_model("test_resnet", num_classes=5))


def calibrated(network: nn.Module) -> nn.Module:
    """With the statistics of pictures in its batch norms, without which signals of random weights die out."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the average over all that is seen
    with torch.no_grad():
        network.train()(pixels(16, seed=99))
    return network.eval()


def vit(**options: int) -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=5, **{"img_size": SIZE, "patch_size": 8} | options).eval()


def swin() -> nn.Module:
    """Channels last, four stages in one Sequential."""
    import timm

    torch.manual_seed(0)
    options = {"img_size": SIZE, "window_size": 4, "embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)}
    return timm.create_model("swin_tiny_patch4_window7_224", **options).eval()


def clip_resnet() -> nn.Module:
    from open_clip.modified_resnet import ModifiedResNet

    torch.manual_seed(0)
    tower = ModifiedResNet(layers=[1, 1, 1, 1], output_dim=16, heads=4, image_size=SIZE, width=8)
    for name, parameter in tower.named_parameters():
        if name.endswith("bn3.weight"):  # starts at zero: blocks would pass on their input
            nn.init.ones_(parameter)
    return calibrated(tower)


def clip_vit() -> nn.Module:
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer(
        image_size=SIZE, patch_size=8, width=32, layers=4, heads=2, mlp_ratio=2.0, output_dim=16
    ).eval()
    nn.init.normal_(tower.positional_embedding, std=0.1)
    return tower


def two_convolutions(channels: int = 8) -> nn.Sequential:
    """ "0": convolution, "1": normalisation, "2": ReLU in place, "3": a convolution that halves the grid."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(True), nn.Conv2d(channels, 6, 3, 2, 1)
    ).eval()


def pixels(count: int, size: int = SIZE, seed: int = 0) -> Tensor:
    """(count, 3, size, size): coloured blotches. The same seed shows the same at another size."""
    blotches = torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    grain = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed + 1))
    return F.interpolate(blotches, (size, size), mode="bicubic") + 0.3 * F.interpolate(grain, (size, size))


def batches(count: int, batch: int, sizes: tuple[int, int] = (SIZE, SIZE)) -> Iterator[tuple[Tensor, Tensor]]:
    """The same pictures for a source and a target."""
    return zip(*(pixels(count, size).split(batch) for size in sizes), strict=True)


class Colours(nn.Module):
    """(N, 3, H, W) -> (N, 3): how much of each colour there is, by maps of a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.AvgPool2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).mean((2, 3)) + 1e-3
