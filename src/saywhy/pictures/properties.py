"""What a picture is like, whatever it shows: how bright, how sharp, how large. No network is asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from saywhy.pictures.plain import measured


def properties(image: Image.Image) -> Mapping[str, float]:
    """Name -> number, of an RGB picture.

    brightness: the mean luma (Rec. 601), 0..1. contrast: its deviation. sharpness: the logarithm of the variance of its
    Laplacian. red, blue: the cast, how far the mean of a channel lies above the luma's, of 0..1.
    pixels: the logarithm to base 2 of how many there are. aspect: the same of width over height.
    """
    from scipy.ndimage import laplace

    shown = measured(image).astype(np.float32) / 255
    luma = shown @ np.array([0.299, 0.587, 0.114], np.float32)
    red, _, blue = shown.mean((0, 1)) - luma.mean()
    return {
        "brightness": float(luma.mean()), "contrast": float(luma.std()),
        "sharpness": float(np.log(1e-7 + laplace(luma).var())), "red": float(red), "blue": float(blue),
        "pixels": float(np.log2(image.width * image.height)), "aspect": float(np.log2(image.width / image.height)),
    }  # fmt: skip
