"""Composites: which rule for which function. Every name a user may give as ``composite`` is a row of COMPOSITES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from saywhy.attribution.rules import AlphaBeta, Box, Epsilon, Flat, Gamma, Rule, ZPlus
from saywhy.plumbing.names import unknown


@final
@dataclass(frozen=True)
class Composite:
    """One rule per kind of function. Change one with ``dataclasses.replace``.

    convolution: rule of convolutions (a preceding or following BatchNorm is merged in where it can be).
    dense:       rule of ``F.linear``.
    first:       rule of the network's first linear map, which sees the picture; None: the rule of its kind. "box" is
                 z^B between black and white, as the classifier's own preprocessing makes them.
    attention:   "attnlrp" propagates through the softmax by its first-order Taylor expansion, which does not conserve
                 relevance (Achtibat et al. 2024, eq. 13-15); "cp" holds the attention weights constant, which does
                 (Ali et al. 2022).
    gate:        products with a sigmoid-like gate (squeeze-and-excitation, GLU). "signal": all relevance to the
                 signal, the gate is held constant (Arras et al. 2017); "uniform": half to each factor, as with every
                 other product of two activations (Achtibat et al. 2024, eq. 7).
    """

    convolution: Rule = Epsilon()
    dense: Rule = Epsilon()
    first: Rule | Literal["box"] | None = None
    attention: Literal["attnlrp", "cp"] = "cp"
    gate: Literal["signal", "uniform"] = "signal"


COMPOSITES: dict[str, Composite] = {
    # conserve relevance exactly, where biases are zero
    "epsilon": Composite(),
    "epsilon-plus": Composite(convolution=ZPlus()),
    "alpha2-beta1": Composite(convolution=AlphaBeta(2, 1)),
    "cp-lrp": Composite(),
    "cp-lrp-gamma": Composite(convolution=Gamma(0.25), dense=Gamma(0.05)),
    # spread over the picture at the first layer
    "epsilon-plus-flat": Composite(convolution=ZPlus(), first=Flat()),
    "epsilon-gamma-box": Composite(convolution=Gamma(0.25), first="box"),
    "alpha2-beta1-flat": Composite(convolution=AlphaBeta(2, 1), first=Flat()),
    # through the softmax of attention
    "attnlrp": Composite(convolution=Gamma(0.25), dense=Gamma(0.05), attention="attnlrp"),
    "attnlrp-epsilon": Composite(attention="attnlrp"),
}

DEFAULT_COMPOSITE = {"attention": "attnlrp", "convolution": "epsilon-plus"}
"""What is used where no composite is named, by whether the network attends."""


def find_composite(name: str) -> Composite:
    """The composite of that name. Raises SaywhyError, with the nearest names, where there is none."""
    if name not in COMPOSITES:
        raise unknown("composite", name, COMPOSITES)
    return COMPOSITES[name]


def composite_name(composite: Composite) -> str:
    """The name of a composite, or what it is made of where it has none."""
    return next((name for name, known in COMPOSITES.items() if known == composite), repr(composite))


__all__ = ["COMPOSITES", "DEFAULT_COMPOSITE", "Box", "Composite", "composite_name", "find_composite"]
