"""Of which pictures nothing can be said: of one flat colour, or of a kind that a network does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image

from saywhy.pictures.channels import ChannelPicture
from saywhy.seen.layer_statistics import Eye
from saywhy.seen.typical import Typical

FLAT = 2  # of 255: a picture whose channels vary no more shows nothing
FLAT_SAID = "the picture is of one flat colour"


def is_flat(image: Image.Image) -> bool:
    """Whether a picture shows nothing but one colour; of given channels, whether none of them varies."""
    if isinstance(image, ChannelPicture):
        flat = image.tensor.flatten(1)
        return bool((flat == flat[:, :1]).all())
    values = np.asarray(image.convert("RGB"))
    return bool((np.ptp(values, (0, 1)) <= FLAT).all())


@final
@dataclass(frozen=True)
class Flat:
    """Silent where there is nothing to see."""

    def silences(self, images: Sequence[Image.Image]) -> list[str]:
        """FLAT_SAID for each picture of one flat colour, else ""."""
        return [FLAT_SAID if is_flat(image) else "" for image in images]


@final
@dataclass(frozen=True, eq=False)
class Foreign:
    """Silent where a network has not seen the like of a picture, as far as a reference shows."""

    eye: Eye
    typical: Typical

    def silences(self, images: Sequence[Image.Image]) -> list[str]:
        """Whose network does not know each picture, and what it knows; "" where it knows it."""
        said = (
            f"{self.eye.name} does not know pictures like this one; its first layers respond to it otherwise than to "
            f"{self.typical.basis}"
        )
        return ["" if known else said for known in self.typical.knows(self.eye.statistics(images))]
