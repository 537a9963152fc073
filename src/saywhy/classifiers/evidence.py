"""Maps of the evidence that a classifier finds for each class, whose mean is its logits.

The channels of a layer carry more than the decision uses: two that see the colour may cancel in the head. Their sums
with the head's weights, class by class, are what the decision is made of (the class activation maps of Zhou et al.
2016), and nothing is left in them that cancels.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.grids import Seen, find_layouts
from saywhy.classifiers.heads import HeadPlace, run_with_weight
from saywhy.classifiers.layers import caught, stages
from saywhy.classifiers.outputs import MULTI
from saywhy.errors import SaywhyError

EVIDENCE = "evidence"
"""The one layer of a ClassEvidence that others read: (N, classes, h, w)."""
CLOSE, CLOSE_HALF = 1e-3, 1e-2  # of the features' size: so far may the mean of the last maps lie from them


@final
class ClassEvidence(nn.Module):
    """A classifier's network, its logits taken apart: pixels -> (N, C) logits, less their mean where classes compete.

    Where the head reads the mean of the last maps (ResNet, DenseNet, EfficientNet, ...) the module ``evidence`` returns
    (N, C, h, w), whose means over positions are those logits without the head's biases. For any other network it
    returns the logits, at one position.
    """

    def __init__(
        self,
        network: nn.Module,
        competing: bool,
        stage: str | None = None,
        seen: Seen | None = None,
        head: HeadPlace | None = None,
    ) -> None:
        super().__init__()
        self.network, self.competing, self.stage, self.seen, self.head = network, competing, stage, seen, head
        self.evidence = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        if self.stage is None or self.seen is None or self.head is None:
            maps = self.network(pixels)[:, :, None, None]
        else:
            with caught(self.network, self.stage) as outputs:
                weight, _, _ = run_with_weight(self.network, pixels, self.head)
            layout = self.seen.of(outputs[0]) or find_layouts(self.network, pixels)[self.stage].layout
            maps = torch.einsum("cd,ndhw->nchw", weight.to(outputs[0].dtype), layout.view(outputs[0]))
        return self.evidence(maps - maps.mean(1, keepdim=True) if self.competing else maps).mean((2, 3))


def class_evidence(classifier: Classifier, pixels: Tensor) -> ClassEvidence:
    """The classifier's network with its evidence as a layer. pixels: (N, 3, h, w) of any picture, to find it by.

    Evidence is for one class against the others, but where any number of labels may be true: there it is for each.
    """
    network, pixels = classifier.network, pixels.to(classifier.device, classifier.dtype)
    competing = classifier.task != MULTI
    if classifier.has_head:
        try:
            seen = find_layouts(network, pixels)
            stage = stages(network, pixels, seen=seen)[-1]
        except SaywhyError:
            return ClassEvidence(network, competing)
        with torch.no_grad(), borrowed(network) as shadow, caught(shadow, stage) as outputs:
            shadow(pixels)
        features = classifier.features(pixels).float()
        means = seen[stage].layout.view(outputs[0]).float().mean((2, 3))
        close = CLOSE if outputs[0].dtype == torch.float32 else CLOSE_HALF
        if means.shape == features.shape and bool((means - features).norm() <= close * features.norm()):
            return ClassEvidence(network, competing, stage, seen[stage], classifier.head_place)
    return ClassEvidence(network, competing)
