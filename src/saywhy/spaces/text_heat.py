"""Heatmaps of texts, as a CLIP sees them: by LRP of the cosine, or by gScoreCAM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution.composites import Composite, composite_name, find_composite
from saywhy.attribution.gscorecam import CHANNELS, Track, gscorecam
from saywhy.attribution.lrp import default_composite, lrp
from saywhy.classifiers.borrowing import borrowed
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.types import Heatmap

METHODS = ("lrp", "gscorecam")
AT_ONCE = 4  # texts traced by LRP together; memory grows with them


def text_heat(
    tower: nn.Module,
    pixels: Tensor,
    texts: Tensor,
    scale: float,
    method: str = "lrp",
    channels: int = CHANNELS,
    track: Track = iter,
) -> Tensor:
    """(T, H, W) float32 on the CPU: where each text is. LRP's is signed, gScoreCAM's is zero or more.

    pixels: (1, 3, H, W), the picture that all texts are looked for in, or (T, 3, H, W), one for each; preprocessed.
    texts:  (T, d) unit vectors. scale: of cosines, CLIP's.
    channels, track: of gScoreCAM; see there.

    Raises SaywhyError for an unknown method, pictures that are neither one nor T, and as ``lrp`` and ``gscorecam``.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if len(pixels) not in (1, len(texts)):
        raise SaywhyError(f"{len(pixels)} pictures for {len(texts)} texts; give one picture for all, or one for each")
    texts = texts.to(pixels)
    if method == "gscorecam":
        if len(pixels) == 1:
            return gscorecam(tower, pixels, texts, scale, channels, track=track)
        each = zip(pixels.split(1), texts.split(1), strict=True)
        return torch.cat([gscorecam(tower, picture, text, scale, channels, track=track) for picture, text in each])
    return _relevance(tower, pixels.expand(len(texts), -1, -1, -1), texts, default_composite(tower, pixels))[0]


def text_maps(
    tower: nn.Module, batches: Iterable[Tensor], texts: Sequence[str], vectors: Tensor, scale: float, method: str,
    composite: str | Composite | None,
) -> Heatmap:  # fmt: skip
    """A Heatmap of N texts, one for each picture; its logits are cosines.

    batches: (n, 3, H, W), preprocessed, of N pictures in all. vectors: (N, d) unit, of the texts.
    composite: of LRP; None: the tower's default.

    Raises SaywhyError for a composite of a method that has none, and as ``text_heat``.
    """
    if composite is not None and method != "lrp":
        raise SaywhyError(f"a composite is a set of rules for method='lrp'; method={method!r} takes none")
    maps: list[Tensor] = []
    cosines: list[float] = []
    for pixels in batches:
        sought = vectors[len(cosines) : len(cosines) + len(pixels)].to(pixels)
        if method == "lrp":
            composite = composite or default_composite(tower, pixels)
            heat, found = _relevance(tower, pixels, sought, composite)
        else:
            heat = text_heat(tower, pixels, sought, scale, method)
            with torch.no_grad(), borrowed(tower) as shadow:
                found = (F.normalize(shadow(pixels), dim=1) * sought).sum(1)
        maps.append(heat)
        cosines += found.float().tolist()
    name = composite if composite is None or isinstance(composite, str) else composite_name(composite)
    return Heatmap(torch.cat(maps), tuple(texts), tuple(cosines), method, name)


def _relevance(tower: nn.Module, pixels: Tensor, texts: Tensor, composite: str | Composite) -> tuple[Tensor, Tensor]:
    """(N, H, W) relevance of the cosine between each picture and its text, and the (N,) cosines; on the CPU."""
    rules = find_composite(composite) if isinstance(composite, str) else composite
    maps, cosines = [], []
    for batch, shown in zip(texts.split(AT_ONCE), pixels.split(AT_ONCE), strict=True):

        def cosine(output: Tensor, batch: Tensor = batch) -> Tensor:
            return (F.normalize(output, dim=1) * batch).sum(1)

        relevance, found = lrp(tower, shown, cosine, rules)
        maps.append(relevance.sum(1).float().cpu())
        cosines.append(found.float().cpu())
    return torch.cat(maps), torch.cat(cosines)
