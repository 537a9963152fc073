"""Where the object is: what does not look like the edge of the picture. No class, no relevance, no network."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 64  # pixels of the reduced picture in which it is sought
EDGE = 0.06  # of the shorter side: how wide the edge is whose colours are those of the surroundings
COLOURS = 5  # Gaussians for them
CENTRAL = 0.35  # standard deviation of the weight of the middle, in sides
LEAST = 0.2  # of the largest piece's weight: smaller ones are none of the object
GROWN = 0.015  # of the shorter side: by how much it is made larger, so that its rim is in it


def object_mask(pixels: Tensor) -> np.ndarray | None:
    """(h, w) bool of a picture (C, h, w), of any number of channels and any scale; None where nothing stands out.

    A mixture of Gaussians learns the colours of the edge; what is improbable under it (Otsu's threshold), in pieces of
    some size near the middle, holes filled. On rendered birds it holds 99 % of the bird, with an IoU of .54: it is made
    to cover, not to be tight.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    shape = pixels.shape[1:]
    scale = max(1, round(min(shape) / SIDE))
    small = F.avg_pool2d(pixels.detach().cpu().double()[None], scale)[0].numpy()
    small = np.stack([ndimage.gaussian_filter(channel, 0.7) for channel in small])
    channels, height, width = small.shape
    edge = np.ones((height, width), bool)
    wide = max(2, round(EDGE * min(height, width)))
    edge[wide:-wide, wide:-wide] = False
    colours = small.reshape(channels, -1).T
    spread = float(colours.var())
    if not np.isfinite(spread) or spread < 1e-12 or edge.all():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an edge of fewer colours than Gaussians
        mixture = GaussianMixture(COLOURS, reg_covar=1e-3 * spread, random_state=0, max_iter=20, tol=1e-2)
        strange = -mixture.fit(colours[edge.ravel()]).score_samples(colours).reshape(height, width)
    strange = np.log1p(strange - strange.min())
    pieces, count = ndimage.label(ndimage.binary_opening(strange > threshold_otsu(strange)))
    if not count:
        return None
    down, across = np.mgrid[:height, :width]
    off = ((down / height - 0.5) ** 2 + (across / width - 0.5) ** 2) / (2 * CENTRAL**2)
    weights = ndimage.sum_labels(np.exp(-off), pieces, np.arange(1, count + 1))
    found = ndimage.binary_fill_holes(np.isin(pieces, 1 + np.flatnonzero(weights >= LEAST * weights.max())))
    found = ndimage.binary_dilation(found, iterations=max(1, round(GROWN * min(height, width))))
    large = F.interpolate(torch.as_tensor(found)[None, None].float(), (int(shape[0]), int(shape[1])))
    return large[0, 0].numpy() > 0
