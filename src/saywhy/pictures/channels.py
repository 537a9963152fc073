"""Pictures that are given as a network takes them: any number of channels, with an RGB picture to look at."""

from __future__ import annotations

from typing import Any, TypeAlias, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.reading import PictureLike, read_picture

Display: TypeAlias = "PictureLike | int | tuple[int, int, int] | None"
"""What is looked at: a picture of the same scene, a channel in grey, three as red, green and blue; None: the first."""

LOW, HIGH = 0.02, 0.98  # quantiles of a channel that are shown as black and white


@final
class ChannelPicture(Image.Image):
    """An RGB picture to look at, which carries the channels (C, H, W) that a network is given for it.

    Its crops carry those of the crop. Whatever else is made of it is a plain picture, without channels.

    shown: what the RGB picture shows, for the record.
    whole: (H, W) of the picture it was cut from.
    """

    def __init__(self, display: Image.Image, channels: Tensor, shown: str, whole: tuple[int, int]) -> None:
        super().__init__()
        display.load()
        self.im, self._mode, self._size = display.im, display.mode, display.size  # as Pillow's own formats do
        self.channels, self.shown, self.whole = channels, shown, whole

    def crop(self, box: Any = None) -> Image.Image:
        """The crop, inside the picture, and its channels."""
        left, top, right, bottom = (0, 0, *self.size) if box is None else map(round, box)
        cut = self.channels[:, max(top, 0) : bottom, max(left, 0) : right]
        return ChannelPicture(super().crop((left, top, right, bottom)), cut, self.shown, self.whole)

    @property
    def tensor(self) -> Tensor:
        """(C, H, W) for the network; of a crop stretched to the size of the whole."""
        if self.channels.shape[1:] == self.whole:
            return self.channels
        return F.interpolate(self.channels[None], self.whole, mode="bilinear", antialias=True)[0]


@final
class AsGiven:
    """The transform of a network whose pictures are given as it takes them. shape: (C, H, W).

    Raises SaywhyError for a shape that is none.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
            raise SaywhyError(f"shape is (channels, height, width) of what the network takes, and not {shape!r}")
        self.shape = tuple(shape)

    def __call__(self, image: Image.Image) -> Tensor:
        """Raises SaywhyError for a picture without channels, or with others."""
        what = "an RGB picture" if not isinstance(image, ChannelPicture) else f"{tuple(image.tensor.shape)}"
        if not isinstance(image, ChannelPicture) or tuple(image.tensor.shape) != self.shape:
            raise SaywhyError(
                f"the network takes tensors of {self.shape}, and was given {what}; give a (C, H, W) tensor or an "
                "(H, W, C) array, or make the classifier with a transform"
            )
        return image.tensor

    def __repr__(self) -> str:
        return f"AsGiven({self.shape})"


def channel_picture(
    values: Tensor | np.ndarray, display: Display = None, value_range: tuple[Tensor, Tensor] | None = None
) -> ChannelPicture:
    """A picture of a (C, H, W) tensor, or of an (H, W, C) or (H, W) array: as they are, in float32.

    display:     see ``Display``. A picture is stretched to the size of the channels.
    value_range: (C,), (C,) what is black and what is white in each channel; None: its 2nd and its 98th percentile.

    Raises SaywhyError for other shapes, values that are not finite, and channels that are not there.
    """
    last = isinstance(values, np.ndarray)
    given = torch.as_tensor(np.asarray(values, np.float32) if last else values).detach().cpu().float()
    if given.dim() == 4 and len(given) == 1:
        given = given[0]
    if last and given.dim() in (2, 3):
        given = given.reshape(*given.shape[:2], -1).movedim(-1, 0)
    if given.dim() != 3 or not given.numel():
        kind = "an array (H, W, C)" if last else "a tensor (C, H, W)"
        raise SaywhyError(f"{tuple(values.shape)} is no picture's shape; one picture is {kind}")
    if not torch.isfinite(given).all():
        raise SaywhyError("the picture's channels have values that are not finite")
    height, width = given.shape[1:]
    if display is not None and not isinstance(display, int | tuple | list):
        shown = read_picture(display).resize((width, height), Image.Resampling.BICUBIC)
        return ChannelPicture(shown, given, "a picture that was given with it", (height, width))
    default = (0, 1, 2) if len(given) >= 3 else (0,)
    chosen = default if display is None else (display,) if isinstance(display, int) else tuple(display)
    if len(chosen) not in (1, 3) or not all(isinstance(n, int) and 0 <= n < len(given) for n in chosen):
        raise SaywhyError(f"display={display!r}: name one or three of the channels 0 to {len(given) - 1}, or a picture")
    picked = given[list(chosen)]
    if value_range is not None:
        low, high = (limit[list(chosen)] for limit in value_range)
        how = "from black to white as the network gets them"
    else:
        points = picked.flatten(1).quantile(torch.tensor([LOW, HIGH]), dim=1) if picked[0].numel() <= 1 << 24 else None
        low, high = points if points is not None else (picked.flatten(1).amin(1), picked.flatten(1).amax(1))
        how = "from the 2nd to the 98th percentile" if points is not None else "from the least to the greatest value"
    span = (high - low).clamp(min=1e-12)
    grey = ((picked - low[:, None, None]) / span[:, None, None]).clamp(0, 1).mul(255).round().byte()
    pixels = grey.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    names = "channel" if len(chosen) == 1 else "channels"
    said = f"{names} {', '.join(map(str, chosen))} of {len(given)}, {how}"
    return ChannelPicture(Image.fromarray(pixels), given, said, (height, width))
