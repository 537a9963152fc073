"""Where a map lies if biases take nothing, and what maps that never ask the network reach, beside the default.

``python -m tests.biases MODEL FOLDER [COUNT]`` prints the table of docs/relevance.md.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.filters import sobel
from torch import Tensor

from saywhy.attribution import MapWarning, attribute
from saywhy.attribution.composites import COMPOSITES, Composite
from saywhy.attribution.rules import LinearMap, ZPlus
from saywhy.checks.faithfulness import flip
from saywhy.classifiers.classifier import Classifier
from saywhy.intervals import interval
from saywhy.pictures.reading import read_picture


@final
@dataclass(frozen=True)
class WithoutBias:
    """z-plus whose denominators hold contributions of inputs only: what a bias took, they get."""

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        return ZPlus().gradient(replace(linear, bias=None), x, z, grad)  # type: ignore[type-var]


MAPS = {
    "epsilon-plus (default)": COMPOSITES["epsilon-plus"],
    "the same, biases get nothing": Composite(convolution=WithoutBias()),
    "epsilon-gamma-box": COMPOSITES["epsilon-gamma-box"],
}
CONTROLS = ("edges", "random")


def measured(classifier: Classifier, pictures: Sequence[Image.Image]) -> dict[str, np.ndarray]:
    """Map -> (pictures, 3): sum over logit; likeness to the default; score of flipping in shares of the margin.

    Likeness is Pearson's correlation of positive relevance over 16 x 16 cells. NaN: not asked of controls.
    """
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in (*MAPS, *CONTROLS)}
    for n, picture in enumerate(pictures):
        pixels = classifier.preprocess([picture])[0]
        logits = classifier.logits(pixels[None])[0].double()
        target = int(logits.argmax())
        margin = logits[target] - logits.mean()
        values, sums = [], []
        for composite in MAPS.values():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MapWarning)  # z-plus without biases promises no sum
                heatmap = attribute(classifier, pixels[None], target=target, composite=composite)
            values.append(torch.as_tensor(heatmap.values[0]).float())
            sums.append(float(values[-1].sum() / logits[target]))
        noise = torch.rand(values[0].shape, generator=torch.Generator().manual_seed(n))
        maps = torch.stack([*values, torch.as_tensor(sobel(pixels.mean(0).numpy())).float(), noise])
        cells = F.adaptive_avg_pool2d(maps.clamp(min=0)[:, None], 16).flatten(1)
        alike = torch.corrcoef(cells)[0].tolist()
        blurred = F.interpolate(F.adaptive_avg_pool2d(pixels[None], 4), pixels.shape[1:], mode="bilinear")[0]

        def score(changed: Tensor, target: int = target, margin: Tensor = margin) -> Tensor:
            given = classifier.logits(changed).double()
            return (given[:, target] - given.mean(1)) / margin

        flipped = flip(score, pixels, maps, blurred, side=16, steps=8, batch_size=8, seed=n).between.tolist()
        for name, *row in zip(found, [*sums, np.nan, np.nan], alike, flipped, strict=True):
            found[name].append((row[0], row[1], row[2]))
    return {name: np.array(rows) for name, rows in found.items()}


def main() -> None:
    model, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 30
    paths = sorted(folder.rglob("*.jpg"))
    chosen = np.random.default_rng(0).permutation(len(paths))[:count]
    found = measured(Classifier.load(model), [read_picture(paths[n]) for n in chosen])
    print(f"{model}, {len(chosen)} pictures of {folder}")
    print("| map | sum / logit, median | likeness to the default, median | flipping, mean and 95 % |")
    print("|---|---|---|---|")
    for name, rows in found.items():
        share, alike = ("" if np.isnan(rows[0, k]) else f"{np.median(rows[:, k]):.2g}" for k in (0, 1))
        flips = interval(rows[:, 2])
        print(f"| {name} | {share} | {alike} | {flips.value:.2f} ({flips.low:.2f}, {flips.high:.2f}) |")


if __name__ == "__main__":
    main()
