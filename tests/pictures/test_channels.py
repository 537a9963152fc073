"""Pictures of any number of channels: what is looked at, what a crop carries, and what is no picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.channels import AsGiven, ChannelPicture, channel_picture

VALUES = torch.arange(5 * 6 * 8, dtype=torch.float32).view(5, 6, 8)


def test_a_tensor_has_channels_first_and_an_array_last() -> None:
    one = channel_picture(VALUES)
    assert torch.equal(one.tensor, VALUES)
    assert one.size == (8, 6)
    last = VALUES.movedim(0, -1).numpy()
    for other in map(channel_picture, (last, last[None], VALUES[None].to(torch.float64))):
        assert torch.equal(other.tensor, VALUES)
    assert channel_picture(np.ones((6, 8), np.uint16)).tensor.shape == (1, 6, 8)


@pytest.mark.parametrize(
    ("display", "channels"), [(None, (0, 1, 2)), ((3, 2, 1), (3, 2, 1)), ([4, 0, 4], (4, 0, 4)), (2, (2, 2, 2))]
)
def test_what_is_looked_at_is_said_and_true(display: object, channels: tuple[int, int, int]) -> None:
    values = torch.rand(5, 6, 8)
    found = channel_picture(values, display)  # type: ignore[arg-type]
    seen = np.asarray(found)
    for colour, channel in enumerate(channels):
        flat = values[channel].flatten()
        low, high = flat.quantile(0.02), flat.quantile(0.98)
        expected = ((values[channel] - low) / (high - low)).clamp(0, 1) * 255
        assert np.abs(seen[..., colour] - expected.numpy()).max() <= 1
    named = ", ".join(map(str, dict.fromkeys(channels) if len(set(channels)) == 1 else channels))
    assert named in found.shown
    assert "percentile" in found.shown


def test_black_and_white_may_be_known_and_a_picture_may_be_given() -> None:
    known = channel_picture(torch.full((3, 6, 8), 0.5), None, (torch.zeros(3), torch.ones(3)))
    assert set(np.asarray(known).flatten()) == {128}
    red = channel_picture(VALUES, Image.new("RGB", (80, 60), "red"))
    assert red.size == (8, 6)
    assert (np.asarray(red) == (255, 0, 0)).all()
    assert "was given with it" in red.shown


def test_a_crop_carries_the_channels_of_the_crop_stretched_to_the_whole() -> None:
    whole = channel_picture(VALUES)
    crop = whole.crop((2, 1, 6, 4))
    assert isinstance(crop, ChannelPicture)
    assert crop.size == (4, 3)
    assert torch.equal(crop.channels, VALUES[:, 1:4, 2:6])
    assert np.array_equal(np.asarray(crop), np.asarray(whole)[1:4, 2:6])
    assert crop.tensor.shape == VALUES.shape
    assert crop.tensor.min() >= crop.channels.min()
    again = crop.crop((0, 0, 2, 2))
    assert isinstance(again, ChannelPicture)
    assert again.tensor.shape == VALUES.shape
    plain = whole.resize((4, 3))
    assert not isinstance(plain, ChannelPicture)  # no network of channels takes it for one


@pytest.mark.parametrize(
    ("values", "display", "message"),
    [
        (torch.zeros(2, 5, 6, 8), None, r"\(2, 5, 6, 8\) is no picture's shape"),
        (torch.zeros(8), None, "no picture's shape"),
        (torch.zeros(0, 6, 8), None, "no picture's shape"),
        (np.zeros((2, 6, 8, 5)), None, r"one picture is an array \(H, W, C\)"),
        (torch.full((5, 6, 8), torch.inf), None, "not finite"),
        (VALUES, 5, "one or three of the channels 0 to 4"),
        (VALUES, (0, 1), "one or three of the channels"),
        (VALUES, "missing.png", "missing.png: no such file"),
    ],
)
def test_what_is_no_picture_is_refused(values: object, display: object, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        channel_picture(values, display)  # type: ignore[arg-type]


def test_a_network_of_channels_takes_no_other_picture() -> None:
    given = AsGiven((5, 6, 8))
    assert torch.equal(given(channel_picture(VALUES)), VALUES)
    for other, message in ((Image.new("RGB", (8, 6)), "an RGB picture"), (channel_picture(VALUES[:3]), r"\(3, 6, 8\)")):
        with pytest.raises(SaywhyError, match=rf"takes tensors of \(5, 6, 8\), and was given {message}"):
            given(other)
    for shape in ((5, 6), (0, 6, 8), (5.0, 6, 8)):
        with pytest.raises(SaywhyError, match="shape is"):
            AsGiven(shape)  # type: ignore[arg-type]
