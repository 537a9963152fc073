"""Geometry by probing, against what is known of each transform."""

from __future__ import annotations

import pytest
import timm
import torch
from torchvision import transforms as T

from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import pixel_range, probe_geometry
from saywhy.types import Geometry

NORMAL = [T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
SIZES = [(500, 375), (375, 500), (224, 224), (640, 427), (301, 225), (1200, 900), (30, 20), (17, 33)]


def close(found: Geometry, scale: tuple[float, float], offset: tuple[float, float]) -> None:
    """The corners of the frame, within half a pixel or half a percent of the picture."""
    for axis in (0, 1):
        for edge in (0, found.frame[axis]):
            here = found.offset[axis] + found.scale[axis] * edge
            there = offset[axis] + scale[axis] * edge
            assert abs(here - there) < max(0.5, 0.005 * found.size[axis])


@pytest.mark.parametrize("size", SIZES)
def test_resize_and_centre_crop(size: tuple[int, int]) -> None:
    transform = T.Compose([T.Resize(256), T.CenterCrop(224), *NORMAL])
    resized = [int(256 * side / min(size)) for side in size]
    scale = tuple(side / new for side, new in zip(size, resized, strict=True))
    offset = tuple(round((new - 224) / 2) * s for new, s in zip(resized, scale, strict=True))
    found = probe_geometry(transform, size)
    assert (found.size, found.frame) == (size, (224, 224))
    close(found, scale, offset)


@pytest.mark.parametrize("size", SIZES)
def test_squash(size: tuple[int, int]) -> None:
    found = probe_geometry(T.Compose([T.Resize((96, 128)), *NORMAL]), size)
    assert found.frame == (128, 96)
    close(found, (size[0] / 128, size[1] / 96), (0, 0))


@pytest.mark.parametrize("size", SIZES[:5])
def test_timm_border_pads_around_the_picture(size: tuple[int, int]) -> None:
    """The longer side is resized to 224, the rest is padding: the frame reaches outside."""
    transform = timm.data.create_transform((3, 224, 224), is_training=False, crop_pct=1.0, crop_mode="border")
    resized = [round(224 * side / max(size)) for side in size]
    scale = tuple(side / new for side, new in zip(size, resized, strict=True))
    offset = tuple(-((224 - new) // 2) * s for new, s in zip(resized, scale, strict=True))
    close(probe_geometry(transform, size), scale, offset)


def test_centre_crop_without_resize() -> None:
    close(probe_geometry(T.Compose([T.CenterCrop(64), *NORMAL]), (100, 80)), (1, 1), (18, 8))


def test_grey_networks() -> None:
    transform = T.Compose([T.Resize((28, 28)), T.Grayscale(), T.ToTensor()])
    close(probe_geometry(transform, (56, 84)), (2, 3), (0, 0))


@pytest.mark.parametrize(
    "transform", [T.RandomResizedCrop(64), T.RandomRotation((30, 30)), T.RandomHorizontalFlip(1.0)], ids=str
)
def test_what_is_no_fixed_resize_or_crop_is_refused(transform: T.RandomResizedCrop) -> None:
    with pytest.raises(SaywhyError, match="evaluation transform"):
        probe_geometry(T.Compose([transform, T.Resize((64, 64)), *NORMAL]), (500, 375))


def test_boxes_are_clipped_to_the_picture() -> None:
    geometry = Geometry((400, 300), (224, 224), (1.5, 1.25), (20.0, 10.0))
    box = geometry.to_original((10, 20, 100, 120))
    assert box == (35, 35, 170, 160)
    assert geometry.to_original((-100, -100, 1000, 1000)) == (0, 0, 400, 300)
    assert geometry.to_original((500, 500, 501, 501)) == (399, 299, 400, 300)


def test_black_and_white_as_the_network_gets_them() -> None:
    low, high = pixel_range(T.Compose([T.Resize((8, 8)), *NORMAL]))
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(low, -mean / sd)
    torch.testing.assert_close(high, (1 - mean) / sd)
