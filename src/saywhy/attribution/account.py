"""Where the logit went that did not reach the pixels, counted in the backward pass that makes the map.

Relevance of any tensor is value times gradient, so what a constant takes is its own value times the gradient at the
place where it is added. Counted are sums per picture only, one read of a gradient at each such place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

CONSTANTS, HELD, SOFTMAX = "constants", "held", "softmax"
"""What takes relevance: biases, tokens, position embeddings and all else that is added whatever the picture; parts that
depend on the picture and let no gradient through (detach, no_grad, or held constant by the composite); the softmax of
attention under AttnLRP, whose rule does not conserve."""
KINDS = (CONSTANTS, HELD, SOFTMAX)


class Account:
    """Relevance that ends elsewhere than on the pixels, by kind and picture.

    The axis of pictures is the first of a tensor, or the second where that alone has their number (as in transformers
    that put tokens first), or folded into the first (windows, heads). Sums over all pictures are exact in any layout.
    """

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self._notes: dict[str, list[Tensor]] = defaultdict(list)
        self._open = True

    def took(self, relevance: Tensor, kind: str = CONSTANTS) -> None:
        """Note relevance, of any shape that has an axis of pictures."""
        if self._open:
            self._notes[kind].append(self._per_picture(relevance.detach()))

    def added(self, y: Tensor, constant: Any, factor: float = 1.0) -> None:
        """Note, once the gradient of y is known, what a constant takes that was added into it.

        constant: a number, or a tensor that broadcasts to y; infinities (of masks) count as nothing.
        """
        if not y.requires_grad or not (isinstance(constant, Tensor) or constant):
            return
        kind = HELD if is_held(constant) else CONSTANTS
        value = torch.as_tensor(constant, device=y.device).detach()

        def note(gradient: Tensor | None) -> None:
            if gradient is None:  # of an input that a function gives none to
                return
            # The sum over the axes along which the constant repeats first: what remains is as small as the constant.
            shape = (1,) * (gradient.dim() - value.dim()) + value.shape
            pictures = self._axis(gradient.shape)
            axes = [a for a, size in enumerate(shape) if size == 1 and a != pictures]
            total = gradient.sum(axes, keepdim=True, dtype=_wide(gradient)) if axes else gradient
            self.took(total * (value.view(shape) * factor).nan_to_num(posinf=0, neginf=0), kind)

        y.register_hook(note)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """While in the context nothing is noted: what passes back is no gradient."""
        self._open = False
        try:
            yield
        finally:
            self._open = True

    def passed(self, x: Tensor, factor: float, kind: str = SOFTMAX) -> None:
        """Note ``factor`` times the relevance of x, once its gradient is known."""
        if x.requires_grad:
            value = x.detach()  # without its history, which would make a circle of the hook

            def note(gradient: Tensor | None) -> None:
                if gradient is not None:
                    self.took((value * gradient).nan_to_num() * factor, kind)

            x.register_hook(note)

    def totals(self, kind: str) -> Tensor:
        """(N,) float64: what was taken from each picture, signed."""
        return self._sum(self._notes[kind])

    def size(self) -> Tensor:
        """(N,) float64: the sum of all that was noted, without signs; what rounding errors are small against."""
        return self._sum([note.abs() for kind in (CONSTANTS, HELD) for note in self._notes[kind]])

    def _sum(self, notes: list[Tensor]) -> Tensor:
        if not notes:
            return torch.zeros(self.pictures, dtype=torch.float64)
        return torch.stack(notes).sum(0).double().cpu()

    def _axis(self, shape: torch.Size) -> int:
        return 1 if len(shape) > 1 and shape[0] != self.pictures == shape[1] else 0

    def _per_picture(self, relevance: Tensor) -> Tensor:
        if relevance.dim() and self._axis(relevance.shape):
            relevance = relevance.transpose(0, 1)
        if relevance.dim() and len(relevance) % self.pictures == 0:
            return relevance.reshape(self.pictures, -1).sum(1, dtype=_wide(relevance))
        return (relevance.sum(dtype=_wide(relevance)) / self.pictures).expand(self.pictures)


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def is_held(value: Any) -> bool:
    """Whether a tensor depends on the picture though no gradient passes through it; see ``hold``."""
    return getattr(value, "_saywhy_held", False)


def hold(result: Any) -> None:
    """Mark the tensors in a function's result that depend on the picture and carry no gradient."""
    for value in result if isinstance(result, tuple | list) else (result,):
        if isinstance(value, Tensor) and not value.requires_grad:
            value._saywhy_held = True  # type: ignore[attr-defined]
