"""Where did the classifier look? ``attribute`` answers with a heatmap, by any of METHODS."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saywhy.attribution.composites import COMPOSITES, Composite, find_composite
from saywhy.attribution.gradcam import grad_cam
from saywhy.attribution.gradients import gradient_x_input, integrated_gradients
from saywhy.attribution.lrp import check_gradient, check_quantised, default_composite, exact_gradients, lrp
from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.outputs import PROBABILITIES, AsLogits
from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import device_of, dtype_of
from saywhy.plumbing.names import unknown
from saywhy.types import Heatmap

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.classifiers.classifier import Classifier

METHODS = {
    "lrp": "layer-wise relevance propagation: one forward and one backward pass, rules by a composite",
    "gradient-x-input": "gradient times input: LRP with the epsilon rule and no other",
    "integrated-gradients": "gradients averaged on the way from the mean colour to the picture (Sundararajan 2017)",
    "grad-cam": "the last feature map, weighted by its gradients (Selvaraju 2017): coarse",
}


def attribute(
    classifier: Classifier,
    images: Tensor | Sequence[Image],
    target: int | str | Sequence[int | str] | None = None,
    method: str = "lrp",
    composite: str | Composite | None = None,
    *,
    batch_size: int = 16,
    **options: Any,
) -> Heatmap:
    """Relevance of every pixel of the preprocessed frame for one class per picture.

    >>> heatmap = attribute(classifier, [picture])  # the predicted class, by LRP
    >>> heatmap.values.shape
    torch.Size([1, 224, 224])

    images:     pictures, or an (N, C, H, W) tensor that is already preprocessed.
    target:     the class to explain by index or name, one for all or one each; None: the predicted one.
    method:     a name from METHODS.
    composite:  for LRP, a name from COMPOSITES or a ``Composite``; None: what the literature found best for networks
                that attend ("attnlrp") and for those that do not ("epsilon-plus").
    batch_size: pictures at once; memory grows with it and with nothing else.
    options:    of the method: ``steps`` (integrated-gradients, default 32).

    Returns a Heatmap (N, H, W), summed over colour channels, on the CPU. Raises SaywhyError for an unknown name, a
    class that does not exist, or logits that are not finite.
    """
    check_method(method, composite)
    pixels = images if isinstance(images, Tensor) else classifier.preprocess(images)
    targets = _targets(target, len(pixels), classifier)

    batches = []
    for start in range(0, len(pixels), batch_size):
        chosen = None if targets is None else targets[start : start + batch_size]
        batch = pixels[start : start + batch_size]
        batches.append(_attribute_batch(classifier, batch, chosen, method, composite, options))
    if not batches:
        return Heatmap(torch.zeros(0, *pixels.shape[-2:]), (), (), method, None)
    return Heatmap(
        torch.cat([b.values for b in batches]),
        sum((b.targets for b in batches), ()),
        sum((b.logits for b in batches), ()),
        method,
        batches[0].composite,
    )


def check_method(method: str, composite: str | Composite | None = None) -> None:
    """Raises SaywhyError for an unknown method or composite, and for a composite of a method that has none."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if composite is not None and method != "lrp":
        raise SaywhyError(f"a composite is a set of rules for method='lrp'; method={method!r} takes none")
    if isinstance(composite, str):
        find_composite(composite)


def _attribute_batch(
    classifier: Classifier,
    pixels: Tensor,
    targets: Tensor | None,
    method: str,
    composite: str | Composite | None,
    options: dict[str, Any],
) -> Heatmap:
    network = classifier.network
    check_quantised(network)
    pixels = pixels.to(device_of(network), dtype_of(network))
    chosen: list[int] = []

    def select(output: Tensor) -> Tensor:
        """The explained logit of each picture; which class that is, is decided in the pass that is explained."""
        if not torch.isfinite(output).all():
            raise SaywhyError(f"{classifier.name} gives logits that are not finite; its weights or input are damaged")
        classes = output.argmax(1) if targets is None else targets.to(output.device)
        chosen[:] = classes.tolist()
        return output.gather(1, classes[:, None])[:, 0]

    name = None
    if method == "lrp":
        if composite is None:
            # A mean of softmaxes must not be held constant, as attention's may be.
            averaged = isinstance(network, AsLogits) and network.end == PROBABILITIES
            composite = "attnlrp" if averaged else default_composite(network, pixels)
        name = composite if isinstance(composite, str) else _name_of(composite)
        rules = find_composite(composite) if isinstance(composite, str) else composite
        pixel_range = classifier.pixel_range if rules.first == "box" else None
        relevance, logits = lrp(network, pixels, select, rules, pixel_range)
    else:
        function = {
            "gradient-x-input": gradient_x_input,
            "integrated-gradients": integrated_gradients,
            "grad-cam": grad_cam,
        }[method]
        with torch.inference_mode(False), exact_gradients(pixels.device), borrowed(network) as shadow:
            try:
                relevance, logits = function(shadow, pixels.clone(), select, **options)
            except RuntimeError:
                check_gradient(shadow, pixels)  # where that is the reason, it says which module cuts it
                raise
    values = relevance.sum(1).float().cpu()
    return Heatmap(values, tuple(chosen), tuple(logits.float().tolist()), method, name)


def _targets(target: int | str | Sequence[int | str] | None, count: int, classifier: Classifier) -> Tensor | None:
    if target is None:
        return None
    several: Any = target
    if isinstance(target, str | Integral) or getattr(target, "ndim", None) == 0:
        several = [target] * count
    chosen = [classifier.class_index(t) for t in several]
    if len(chosen) != count:
        raise SaywhyError(f"{len(chosen)} targets for {count} pictures: give one for all, or one each")
    return torch.tensor(chosen)


def _name_of(composite: Composite) -> str:
    return next((name for name, known in COMPOSITES.items() if known == composite), repr(composite))


__all__ = ["COMPOSITES", "METHODS", "Composite", "attribute", "check_method", "lrp"]
