"""Does a map depend on what the network has learned, and hold still where nothing changes? Sanity checks of a method.

Cascading parameter randomisation (Adebayo et al. 2018): layers forget what they have learned, from the head down, and
the map should change. How alike maps are is told by Spearman's correlation, of signed values and without signs, and by
SSIM, and depends on how it is told. Randomising from the top keeps the scale of what comes up from below, so that maps
stay more alike than they should (Binder et al. 2023): read the last step, beside an edge detector, which never changes.
Beside it the rise of a map's complexity from the trained network to the random one, which needs no likeness and no
order of layers (eMPRT, Hedstroem et al. 2024; here without its histogram, as ``entropy``).

The network that is checked is never touched: what forgets is a copy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from saywhy.attribution import MapWarning, attribute
from saywhy.checks.faithfulness import entropy, max_sensitivity, rank_correlation
from saywhy.classifiers.borrowing import borrowed, forget, is_scripted
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.attribution import Composite
    from saywhy.types import MapCheck

Explain = Callable[[Classifier, Tensor, Tensor], Tensor]
"""(classifier, (N, C, h, w) pixels, (N,) classes) -> (N, h, w) signed maps: a method, seen from outside."""
STEPS = 8
NOISE = 0.02  # standard deviation, over the range of the pictures' values
DRAWS = 4
WINDOW = 7  # pixels of SSIM's


# -- how alike are two maps? ------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike N pairs of maps are, each (N,), 1 where they are the same; NaN where one is constant or not finite.

    signed:   Spearman's correlation. absolute: the same without signs. ssim: without signs, each over its largest.
    """

    signed: Tensor
    absolute: Tensor
    ssim: Tensor


def alike(a: Tensor, b: Tensor) -> Likeness:
    """Of (N, h, w) and (N, h, w) maps."""
    from skimage.metrics import structural_similarity

    first, second = a.flatten(1), b.flatten(1)
    window = min(WINDOW, (min(a.shape[1:]) - 1) // 2 * 2 + 1)
    scaled = [one.abs() / one.abs().amax((1, 2), keepdim=True) for one in (a.double(), b.double())]
    ssim = [
        structural_similarity(left.numpy(), right.numpy(), win_size=window, data_range=1.0)
        for left, right in zip(*scaled, strict=True)
    ]
    return Likeness(
        rank_correlation(first, second),
        rank_correlation(first.abs(), second.abs()),
        torch.tensor(ssim, dtype=torch.float64),
    )


# -- the network forgets ----------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Randomisation:
    """What becomes of N maps while a network forgets from its head down, in S steps.

    layers:  the lowest layer that each step reaches, S names; the last step reaches all.
    steps:   likeness to the maps of the trained network after each, S.
    complexity: (N,) ``entropy`` of the last maps less that of the first.
    """

    layers: tuple[str, ...]
    steps: tuple[Likeness, ...]
    complexity: Tensor


def parameter_randomisation(
    classifier: Classifier,
    pixels: Tensor,
    targets: Tensor,
    explain: Explain,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Randomisation:
    """Cascading parameter randomisation of one method on one network, for the same classes throughout.

    pixels: (N, C, h, w). targets: (N,). steps: at most; the first is the head alone, the rest as many layers each.

    Raises SaywhyError for a network that is compiled (torch.jit), or has no layer with parameters.
    """
    before = explain(classifier, pixels, targets)
    names, found = list[str](), list[Likeness]()
    after = before
    for name, twin in forgetting(classifier.network, pixels[:1], steps, seed):
        after = where_there_are_maps(explain, replace(classifier, network=twin), pixels, targets)
        names.append(name)
        found.append(alike(before, after))
    return Randomisation(tuple(names), tuple(found), entropy(after) - entropy(before))


def where_there_are_maps(explain: Explain, classifier: Classifier, pixels: Tensor, targets: Tensor) -> Tensor:
    """(N, h, w) maps; NaN of those that are not finite, as of random networks may happen."""
    try:
        return explain(classifier, pixels, targets)
    except SaywhyError:
        if len(pixels) == 1:
            return torch.full((1, *pixels.shape[2:]), torch.nan)
        each = zip(pixels.split(1), targets.split(1), strict=True)
        return torch.cat([where_there_are_maps(explain, classifier, *one) for one in each])


def forgetting(network: nn.Module, pixels: Tensor, steps: int, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network, each of which has forgotten more than the one before, with the lowest layer that it forgot.

    Each copy is used until the next is asked for. pixels: (1, C, h, w), to see in which order layers run.
    """
    if is_scripted(network):
        raise SaywhyError(
            "a network that is compiled by torch.jit cannot be randomised layer by layer; give the plain one"
        )
    order = layers_of(network, pixels)[::-1]
    if not order:
        raise SaywhyError("the network has no layer with parameters; there is nothing to randomise")
    twin = deepcopy(network)
    modules = dict(twin.named_modules())
    rest, parts = len(order) - 1, min(steps, len(order)) - 1
    bounds = [1, *(1 + round(rest * k / parts) for k in range(1, parts + 1))]
    done = 0
    for bound in bounds:
        forget([modules[name] for name in order[done:bound]], seed + bound)
        done = bound
        yield order[bound - 1], twin


def layers_of(network: nn.Module, pixels: Tensor) -> list[str]:
    """Names of the modules that have parameters of their own, in the order in which they run.

    One that never runs by itself (its parent reads its weights) counts where its parent does.
    """
    ran: dict[str, int] = {}

    def note(name: str) -> None:
        ran.setdefault(name, len(ran))

    with torch.no_grad(), borrowed(network) as shadow:
        for name, module in shadow.named_modules():
            module.register_forward_pre_hook(lambda module, args, name=name: note(name))
        device = next((p.device for p in shadow.parameters()), pixels.device)
        dtype = next((p.dtype for p in shadow.parameters()), pixels.dtype)
        shadow(pixels.to(device, dtype, copy=True))
    having = [name for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))]

    def when(name: str) -> int:
        while name and name not in ran:
            name = name.rpartition(".")[0]
        return ran.get(name, 0)

    return sorted(having, key=when)


# -- the picture is a little noisy ------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Stability:
    """How N maps hold still under small noise, where the class that is predicted stays; NaN where it never does.

    alike: (N,) mean Spearman's correlation with the map of the picture as it is.
    moved: (N,) max-sensitivity: the farthest that a map moves, over its size.
    kept:  (N,) share of draws in which the prediction stays.
    """

    alike: Tensor
    moved: Tensor
    kept: Tensor


def noise_stability(
    classifier: Classifier,
    pixels: Tensor,
    targets: Tensor,
    explain: Explain,
    *,
    noise: float = NOISE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Stability:
    """noise: standard deviation of what is added to each value, over the range of all values of ``pixels``."""
    size = noise * float(pixels.max() - pixels.min())
    generator = torch.Generator().manual_seed(seed)
    before, said = explain(classifier, pixels, targets), classifier.logits(pixels).argmax(1)
    similar, moved, kept = list[Tensor](), list[Tensor](), list[Tensor]()
    for _ in range(draws):
        changed = pixels + size * torch.randn(pixels.shape, generator=generator)
        same = (classifier.logits(changed).argmax(1) == said).cpu()
        after = explain(classifier, changed, targets)
        similar.append(torch.where(same, rank_correlation(before.flatten(1), after.flatten(1)), torch.nan))
        moved.append(torch.where(same, max_sensitivity(before, after[:, None]), torch.nan))
        kept.append(same.double())
    far = torch.stack(moved).nan_to_num(-1).amax(0)
    return Stability(torch.stack(similar).nanmean(0), torch.where(far < 0, torch.nan, far), torch.stack(kept).mean(0))


# -- all of it, of a method of ``attribute`` --------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Sanity:
    """The sanity checks of one method on one network and N pictures.

    completeness: (N,) what each map adds up to, over what it has to account for (the logit); NaN of one in no unit.
    """

    method: str
    composite: str | None
    randomisation: Randomisation
    stability: Stability
    completeness: Tensor

    def __str__(self) -> str:
        last = self.randomisation.steps[-1]
        what = self.method if self.composite is None else f"{self.method} ({self.composite})"

        def mean(values: Tensor) -> str:
            return f"{float(values.nanmean()):.2f}"

        lines = [
            f"{what}, {len(self.completeness)} pictures",
            f"likeness to a random network's maps: Spearman {mean(last.signed)} (without signs {mean(last.absolute)}), "
            f"SSIM {mean(last.ssim)}; 0 is best, an edge detector has 1",
            f"with small noise: Spearman {mean(self.stability.alike)}, moved by {mean(self.stability.moved)} of their "
            f"size at most, where the prediction stays ({100 * float(self.stability.kept.mean()):.0f} %)",
        ]
        if not self.completeness.isnan().all():
            lines.append(f"they add up to {100 * float(self.completeness.nanmean()):.0f} % of the logit")
        return "\n".join(lines)


def sanity(
    classifier: Classifier,
    images: Tensor | Sequence[Image],
    method: str = "lrp",
    composite: str | Composite | None = None,
    *,
    steps: int = STEPS,
    noise: float = NOISE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Sanity:
    """Sanity checks of a method on your own network and pictures; the network is left as it is.

    >>> print(sanity(Classifier.from_module(network, transform=transform), pictures))

    images: pictures, or an (N, C, h, w) tensor that is already preprocessed; ten to thirty tell enough. The predicted
    class of each is explained throughout.

    Takes N (1 + steps + draws + 1) maps. Raises SaywhyError as ``attribute``, and as ``parameter_randomisation``.
    """
    pixels = images if isinstance(images, Tensor) else classifier.preprocess(images)
    if not len(pixels):
        raise SaywhyError("there is no picture to check maps of; give some")
    explain = by(method, composite)
    heat = attribute(classifier, pixels, method=method, composite=composite)
    if heat.composite is not None and composite is None:  # as the network is; a random one must have the same
        explain = by(method, heat.composite)
    targets = torch.tensor(heat.targets)
    return Sanity(
        method,
        heat.composite,
        parameter_randomisation(classifier, pixels, targets, explain, steps=steps, seed=seed),
        noise_stability(classifier, pixels, targets, explain, noise=noise, draws=draws, seed=seed),
        completeness(heat.checks),
    )


def by(method: str, composite: str | Composite | None = None) -> Explain:
    """A method of ``attribute``. Maps that do not add up, as those of random networks, give no warnings."""

    def explain(classifier: Classifier, pixels: Tensor, targets: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MapWarning)
            return attribute(classifier, pixels, targets.tolist(), method, composite).values

    return explain


def completeness(checks: Sequence[MapCheck]) -> Tensor:
    """(N,) what maps add up to over what they have to account for; NaN of those in no unit, and of a logit of 0."""
    return torch.tensor(
        [check.relevance / check.explained if check.explained else torch.nan for check in checks], dtype=torch.float64
    )
