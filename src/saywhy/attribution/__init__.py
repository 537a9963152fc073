"""Where did the classifier look? ``attribute`` answers with a heatmap, by any of METHODS."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from saywhy.attribution.composites import COMPOSITES, Composite, composite_name, find_composite
from saywhy.attribution.gradcam import grad_cam
from saywhy.attribution.gradients import gradient_x_input, integrated_gradients
from saywhy.attribution.lrp import (
    Select,
    check_gradient,
    check_quantised,
    check_values,
    default_composite,
    exact_gradients,
    lrp,
    trace,
)
from saywhy.attribution.missing import where_cut, where_missing, why_empty
from saywhy.attribution.self_check import NOISE, NOISE_OF_STEPS, MapWarning, check_maps, said
from saywhy.classifiers.borrowing import borrowed, is_scripted
from saywhy.classifiers.outputs import MIXED, AsLogits
from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import device_of, dtype_of
from saywhy.plumbing.names import unknown
from saywhy.types import Geometry, Heatmap, MapCheck

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
    space: LooksForTexts | None = None,
    batch_size: int = 16,
    plain: Tensor | None = None,
    names: Sequence[str] | None = None,
    **options: Any,
) -> Heatmap:
    """Relevance of every pixel of the preprocessed frame for one class, or one phrase, per picture.

    >>> heatmap = attribute(classifier, [picture])  # the predicted class, by LRP
    >>> heatmap.values.shape
    torch.Size([1, 224, 224])
    >>> heatmap = attribute(classifier, [picture], "a red crown", space=own)  # where does it see that?

    images:     pictures, or an (N, C, H, W) tensor that is already preprocessed.
    target:     the class to explain by index or name, one for all or one each; None: the predicted one. With a space,
                texts that name no class are phrases, and relevance is for what the space finds of them: in the
                classifier's own ``features @ row``, as of a class's row; in a CLIP the cosine, in CLIP's own frame.
    space:      where phrases are looked for: the classifier's own, or a CLIP.
    method:     a name from METHODS; of phrases in a CLIP "lrp" or "gscorecam".
    composite:  for LRP, a name from COMPOSITES or a ``Composite``; None: what the literature found best for networks
                that attend ("attnlrp") and for those that do not ("epsilon-plus").
    batch_size: pictures at once; memory grows with it and with nothing else.
    plain:      (N, C) logits of the same pictures, where they are known: the pass that is explained must agree.
    names:      what the pictures are called in a warning; None: by number.
    options:    of the method: ``steps`` (integrated-gradients, default 32).

    Returns a Heatmap (N, H, W), summed over colour channels, on the CPU, with a check of each map: does it add up to
    the logit? Warns with a MapWarning of each that does not, or is zero everywhere. Raises SaywhyError for an unknown
    name, a class that does not exist, for logits or maps that are not finite, and a space that cannot look for phrases.
    """
    phrases = None if space is None else _phrases(target, len(images), classifier)
    if space is not None and phrases is not None:
        return _look_for(phrases, space, classifier, images, method, composite, batch_size, options)
    check_method(method, composite)
    pixels = images if isinstance(images, Tensor) else classifier.preprocess(images)
    targets = _targets(target, len(pixels), classifier)

    batches = []
    for start in range(0, len(pixels), batch_size):
        chosen = None if targets is None else targets[start : start + batch_size]
        batch = pixels[start : start + batch_size]
        known = None if plain is None else plain[start : start + batch_size]
        batches.append(_attribute_batch(classifier, batch, chosen, method, composite, known, options))
    if not batches:
        return Heatmap(torch.zeros(0, *pixels.shape[-2:]), (), (), method, None)
    checks = sum((b.checks for b in batches), ())
    for n, check in enumerate(checks):
        if not check.holds:
            picture = f"picture {n + 1} of {len(checks)}" if names is None else names[n]
            warnings.warn(f"{picture}: {said(check, method)}", MapWarning, stacklevel=2)
    shares = [b.channels for b in batches if b.channels is not None]
    return Heatmap(
        torch.cat([b.values for b in batches]),
        sum((b.targets for b in batches), ()),
        sum((b.logits for b in batches), ()),
        method,
        batches[0].composite,
        checks,
        torch.cat(shares) if shares else None,
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
    plain: Tensor | None,
    options: dict[str, Any],
) -> Heatmap:
    network = classifier.network
    check_quantised(network)
    pixels = pixels.to(device_of(network), dtype_of(network))
    chosen: list[int] = []
    largest: list[Tensor] = []
    differences: list[float | None] = [None] * len(pixels)

    def select(output: Tensor) -> Tensor:
        """The explained logit of each picture; which class that is, is decided in the pass that is explained."""
        if not torch.isfinite(output).all():
            half = "float16 overflows; use float32 or bfloat16"
            cause = half if output.dtype == torch.float16 else "its weights or input are damaged"
            raise SaywhyError(f"{classifier.name} gives logits that are not finite; {cause}")
        if plain is not None:
            differences[:] = check_values(network, plain.to(output.device), output.detach()).tolist()
        classes = output.argmax(1) if targets is None else targets.to(output.device)
        chosen[:] = classes.tolist()
        largest[:] = [output.detach().abs().amax(1)]
        return output.gather(1, classes[:, None])[:, 0]

    if method != "lrp":
        relevance, logits, explained = _by_gradients(network, pixels, select, chosen, method, options)
        noise = NOISE_OF_STEPS if method == "integrated-gradients" else None
        checks = check_maps(relevance, logits, explained, noise=noise)
        name, rules, pixel_range = None, None, None
    else:
        # Softmaxes or sigmoids that are mixed must not be held constant, as attention's and gates' may be; and the
        # logarithm of the mixture has no rule.
        averaged = isinstance(network, AsLogits) and network.end in MIXED
        if composite is None:
            composite = "attnlrp" if averaged else default_composite(network, pixels)
        name = composite if isinstance(composite, str) else composite_name(composite)
        rules = find_composite(composite) if isinstance(composite, str) else composite
        pixel_range = classifier.pixel_range if rules.first == "box" else None
        traced = trace(network, pixels, select, rules, pixel_range)
        relevance, logits = traced.relevance, traced.logits
        checks = check_maps(
            relevance,
            logits,
            logits,
            traced.account,
            noise=None if averaged else NOISE[logits.dtype],
            largest=largest[0],
        )

    classes = list(chosen)
    for n, check in enumerate(checks):
        if not check.holds:
            one, only = pixels[n : n + 1], _logit_of(classes[n])
            if check.empty and (reason := why_empty(network, one, only)):
                checks[n] = replace(check, reason=reason)
            elif rules is not None and not check.cancels:
                checks[n] = _looked_into(check, network, one, only, rules, pixel_range)
            elif not check.cancels and not is_scripted(network):
                checks[n] = replace(check, reason=where_cut(network, one))
    values = relevance.sum(1).float().cpu()
    checks = [replace(check, difference=difference) for check, difference in zip(checks, differences, strict=True)]
    empty = torch.tensor([check.empty for check in checks])
    values[empty] = 0
    shares = None
    if relevance.shape[1] == pixels.shape[1] not in (1, 3):
        positive = relevance.clamp(min=0).sum((2, 3)).float().cpu()
        shares = positive / positive.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return Heatmap(values, tuple(classes), tuple(logits.float().tolist()), method, name, tuple(checks), shares)


def _by_gradients(
    network: nn.Module, pixels: Tensor, select: Select, chosen: list[int], method: str, options: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Relevance, the explained logits, and what the maps should add up to; None where these are in no unit.

    chosen: the explained classes, which ``select`` puts there.
    """
    function: Callable[..., tuple[Tensor, Tensor]] = {
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
        if method == "grad-cam":
            return relevance, logits, None
        if method == "integrated-gradients":
            with torch.no_grad():
                return relevance, logits, logits - shadow(torch.zeros_like(pixels[:1]))[0, chosen]
        return relevance, logits, logits


def _logit_of(index: int) -> Select:
    return lambda output: output[:, index]


def _looked_into(
    check: MapCheck, network: nn.Module, pixels: Tensor, select: Select, rules: Composite, pixel_range: Any
) -> MapCheck:
    """The check of a map that does not seem to add up, made again for the picture alone, where no layout of tensors can
    mix pictures up; with the place of the loss, where it is one."""
    alone = trace(network, pixels, select, rules, pixel_range)
    (check,) = check_maps(alone.relevance, alone.logits, alone.logits, alone.account, noise=NOISE[pixels.dtype])
    if check.holds:
        return check
    return replace(check, reason=where_missing(network, pixels, select, rules, pixel_range, check))


@runtime_checkable
class LooksForTexts(Protocol):
    """A space that says where a text is in a picture: a classifier's own, a CLIP. It imports nothing."""

    def text_maps(
        self, images: Any, texts: Sequence[str], *, method: str, composite: Any, batch_size: int, **options: Any
    ) -> Heatmap:
        """A Heatmap of N pictures, each for its text. Arguments as of ``attribute``."""

    def text_frame(self, image: Image) -> Geometry:
        """Where these maps lie on a picture."""


def _phrases(target: Any, count: int, classifier: Classifier) -> list[str] | None:
    """The phrases among targets, one for each picture; None where all are classes."""
    several = [target] * count if isinstance(target, str) else target
    if not isinstance(several, list | tuple):
        return None
    named = [isinstance(one, str) and not classifier.names_class(one) for one in several]
    if not any(named):
        return None
    if not all(named):
        raise SaywhyError(
            f"{several[named.index(False)]!r} is a class and {several[named.index(True)]!r} is none; "
            "explain classes and phrases in two calls"
        )
    if len(several) != count:
        raise SaywhyError(f"{len(several)} targets for {count} pictures: give one for all, or one each")
    return list(several)


def _look_for(
    phrases: list[str], space: LooksForTexts, classifier: Classifier, images: Any, method: str,
    composite: str | Composite | None, batch_size: int, options: dict[str, Any],
) -> Heatmap:  # fmt: skip
    whose = getattr(space, "name", type(space).__name__)
    if not isinstance(space, LooksForTexts):
        raise SaywhyError(
            f"{whose} cannot say where a phrase is in a picture; the classifier's own space and CLIPs can"
        )
    owner = getattr(space, "classifier", None)
    if owner is not None and owner is not classifier and owner.fingerprint != classifier.fingerprint:
        raise SaywhyError(f"the space belongs to {owner.name}, not to {classifier.name}; use its own")
    return space.text_maps(images, phrases, method=method, composite=composite, batch_size=batch_size, **options)


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


__all__ = ["COMPOSITES", "METHODS", "Composite", "LooksForTexts", "MapWarning", "attribute", "check_method", "lrp"]
