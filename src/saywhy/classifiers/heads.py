"""The linear head of any network: the feature vectors of which its logits are a linear function, found by watching it.

Whatever multiplies features with weights is a torch function (``linear``, ``matmul``, ...), in a module or not. What
goes into the last of these are the candidates. A tiny shift is added to each, and autograd says what becomes of it on
the way to the logits: where that is the same for every picture, and nothing else makes pictures differ, the logits are
``features @ weight.T + bias``. The weight is that derivative: of several heads averaged, of low-rank updates (LoRA),
normalised or scaled weights, a BatchNorm or a temperature after the head, it is what the network effectively does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saywhy.classifiers.borrowing import borrowed
from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import device_of, dtype_of
from saywhy.plumbing.names import first_line

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
LINEAR = {"linear", "matmul", "__matmul__", "__rmatmul__", "mm", "addmm", "bmm", "baddbmm", "einsum", *CONVOLUTIONS}
"""Names of the torch functions that multiply features with weights."""
LAST = 16  # different tensors that went into linear functions last, which are candidates
ROWS = 128  # of a weight, measured at once
WHOLE = (torch.float32, torch.float64)
SAME, SAME_HALF = 1e-3, 5e-2  # of a derivative's size: so much may two of them differ that should be one
ROUNDING, ROUNDING_CUDA, ROUNDING_HALF = 1e-5, 1e-3, 2e-2  # of the logits' size; convolutions on GPUs are in TF32

Place = tuple[int, int | str]
"""Which call of a function in LINEAR, counted in one run of the network, and which of its arguments."""


@final
@dataclass(frozen=True, eq=False)
class Head:
    """The linear map that makes the logits: ``logits = features @ weight.T + bias``. weight (C, d), bias (C,)."""

    weight: Tensor
    bias: Tensor


@final
@dataclass(frozen=True)
class HeadPlace:
    """Where a network's features go into linear functions.

    vectors: the places of each feature vector; where there are several, features are all of them, one after the other.
    calls:   how many calls of linear functions a run has.
    width:   how many features there are.
    shape:   of one picture that the network takes.
    """

    vectors: tuple[tuple[Place, ...], ...]
    calls: int
    width: int
    shape: tuple[int, ...]


def find_head(network: nn.Module, shape: Sequence[int]) -> tuple[HeadPlace | None, str]:
    """Where the features are of which the logits are a linear function; or None, and why there are none.

    A vector that stands at several positions counts by its mean over them (a network that pools after its last linear
    layer). Of several that would do, the last one is taken, and one alone before several together.

    network: (N, *shape) -> (N, C) logits.
    """
    with _exactly(network, shape, seed=0) as (shadow, pictures):
        with torch.no_grad(), _Survey(len(pictures)) as survey:
            shadow(pictures)
        if not survey.places:
            return None, "no linear function was seen in it"
        candidates = [tuple(places) for places in reversed(survey.places.values())]
        try:
            tests = _tests(shadow, pictures, candidates)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # torch.no_grad inside, functions without gradient
            return None, f"no gradient leads from its last linear layer to its logits ({first_line(error)})"
        alone = [[n] for n in range(len(candidates))]
        parallel = [n for n in range(len(candidates)) if all(test.constant[n] and test.rows[n].any() for test in tests)]
        for chosen in alone + [parallel[:count] for count in range(2, len(parallel) + 1)]:
            if not all(test.explained(chosen) for test in tests):
                continue
            places = tuple(candidates[n] for n in chosen)
            far = _tests(shadow, pictures.flip(-1), places, away=10)
            if all(
                there.explained(range(len(chosen))) and there.same_rows([here.rows[n] for n in chosen])
                for here, there in zip(tests, far, strict=True)
            ):
                width = sum(tests[0].vectors[n].shape[1] for n in chosen)
                return HeadPlace(places, survey.calls, width, tuple(shape)), ""
    return None, "its logits are no linear function of what goes into its last linear layers"


def measure_head(network: nn.Module, place: HeadPlace) -> Head:
    """The weight and bias that the network effectively has there, float32, on the CPU.

    Raises SaywhyError where ``features @ weight.T + bias`` are not its logits (any longer).
    """
    with _exactly(network, place.shape, seed=1) as (shadow, pictures):
        weight, features, logits = (found.double().cpu() for found in run_with_weight(shadow, pictures, place))
    biases = logits - features @ weight.T
    bias = biases.mean(0)
    if (biases - bias).abs().max() > 10 * _rounding(pictures) * logits.abs().max():
        raise SaywhyError("the network's logits are no longer a linear function of its features; load it again")
    return Head(weight.float(), bias.float())


def run_with_features(network: nn.Module, pixels: Tensor, place: HeadPlace) -> tuple[Tensor, Tensor]:
    """(N, d) features and (N, C) logits of one run, both with their gradients where these are enabled.

    network: as it was when the place was found, or its shadow. Raises SaywhyError where it runs otherwise now.
    """
    with _At(place.vectors) as at:
        logits = network(pixels)
    at.check(place)
    return torch.cat(at.vectors, 1), logits


def run_with_weight(network: nn.Module, pixels: Tensor, place: HeadPlace) -> tuple[Tensor, Tensor, Tensor]:
    """(C, d) the weight that the network has in this run, and its (N, d) features and (N, C) logits; all detached.

    network, and what is raised: as for ``run_with_features``.
    """
    with torch.inference_mode(False), torch.enable_grad():
        with _At(place.vectors, away=0) as at:
            logits = network(pixels.clone())
        at.check(place)
        weight = torch.cat([_derivative(logits[:1], shift) for shift in at.shifts], 1)
    return weight, torch.cat(at.vectors, 1).detach(), logits.detach()


@final
class OtherRows(nn.Module):
    """A network that reads its own features by other rows than its head's: pixels -> (N, K) ``features @ rows.T``.

    place: where its features are. rows: (K, d).
    """

    def __init__(self, network: nn.Module, place: HeadPlace, rows: Tensor) -> None:
        super().__init__()
        self.network, self.place = network, place
        self.register_buffer("rows", rows)

    def forward(self, pixels: Tensor) -> Tensor:
        features, _ = run_with_features(self.network, pixels, self.place)
        return F.linear(features, self.get_buffer("rows"))


def revive(network: nn.Module, classes: int) -> None:
    """Give random weights, always the same, to layers for that many classes that are all zero.

    Some libraries start a head at zero; at random weights nothing could be found out about it.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and len(module.weight) == classes and not module.weight.any():
            generator = torch.Generator(module.weight.device).manual_seed(0)
            nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)


# -- watching a network -----------------------------------------------------------------------------------------------


class _Calls(TorchFunctionMode):
    """Counts the calls of linear functions, and may look at, and change, the tensors that go into each."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in LINEAR:
            channel = 1 if name in CONVOLUTIONS else -1
            args = [self.given((self.calls, n), value, channel) for n, value in enumerate(args)]
            kwargs = {key: self.given((self.calls, key), value, channel) for key, value in kwargs.items()}
            self.calls += 1
        return func(*args, **kwargs)

    def given(self, place: Place, value: Any, channel: int) -> Any:
        """What the function gets for this argument. channel: the axis of features, where it is a tensor."""
        raise NotImplementedError


@final
class _Survey(_Calls):
    """Where the last LAST tensors with a row a picture went in; a tensor that went in at several places is one."""

    def __init__(self, pictures: int) -> None:
        super().__init__()
        self._pictures = pictures
        self.places: dict[Any, list[Place]] = {}
        self._alive: dict[Any, Tensor] = {}  # so that no two have the same address

    def given(self, place: Place, value: Any, channel: int) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1 and len(value) == self._pictures:
            key = value.data_ptr(), value.shape, value.stride(), channel
            self._alive[key] = value
            self.places.setdefault(key, []).append(place)
            if len(self.places) > LAST:
                oldest = next(iter(self.places))
                del self.places[oldest], self._alive[oldest]
        return value


@final
class _At(_Calls):
    """Keeps the vectors that go in at some places, each as (N, d), before a shift is added to them.

    away: None: no shift is added; else one that is random and so many times as large as the vector, against it in every
          second picture. Of zero it serves for gradients alone.
    """

    def __init__(self, vectors: Sequence[Sequence[Place]], *, away: float | None = None) -> None:
        super().__init__()
        self._number = {place: n for n, places in enumerate(vectors) for place in places}
        self._away = away
        self._draw = torch.Generator().manual_seed(0)
        self._vectors: dict[int, Tensor] = {}
        self._shifts: dict[int, Tensor] = {}

    def given(self, place: Place, value: Any, channel: int) -> Any:
        number = self._number.get(place)
        if number is None or not isinstance(value, Tensor):
            return value
        if number not in self._vectors:
            self._vectors[number] = value.movedim(channel, 1).flatten(2).mean(2) if value.dim() > 2 else value
            if self._away is not None:
                self._shifts[number] = self._shift(self._vectors[number].detach(), self._away).requires_grad_()
        if self._away is None:
            return value
        shift = self._shifts[number]
        return value + shift.reshape(*shift.shape, *[1] * (value.dim() - 2)).movedim(1, channel)

    def _shift(self, vector: Tensor, away: float) -> Tensor:
        size = away * vector.float().pow(2).mean(1, keepdim=True).sqrt()
        random = torch.randn(1, vector.shape[1], generator=self._draw).to(vector.device)
        signs = 1 - 2 * (torch.arange(len(vector), device=vector.device)[:, None] % 2)
        return (size * signs * random).to(vector.dtype)

    @property
    def vectors(self) -> list[Tensor]:
        return [self._vectors[n] for n in sorted(self._vectors)]

    @property
    def shifts(self) -> list[Tensor]:
        return [self._shifts[n] for n in sorted(self._shifts)]

    def check(self, place: HeadPlace) -> None:
        """Raises SaywhyError where the network did not run as it did when the place was found."""
        if self.calls != place.calls or sum(vector.shape[1] for vector in self.vectors) != place.width:
            raise SaywhyError(
                f"the network calls {self.calls} linear functions, and called {place.calls} when its head was found; "
                "load it again"
            )


@contextmanager
def _exactly(network: nn.Module, shape: Sequence[int], seed: int) -> Iterator[tuple[nn.Module, Tensor]]:
    """A shadow of the network, in its own precision and with gradients, and (2, *shape): fine and coarse noise."""
    device, dtype = device_of(network), dtype_of(network)
    plain, cpu = (torch.autocast(kind, enabled=False) for kind in (device.type, "cpu"))
    with torch.inference_mode(False), torch.enable_grad(), plain, cpu, borrowed(network) as shadow:
        draw = torch.Generator().manual_seed(seed)
        fine, coarse = (torch.randn(1, *shape, generator=draw) for _ in range(2))
        coarse = F.interpolate(10 * F.adaptive_avg_pool2d(coarse, 7), tuple(shape[-2:]))
        yield shadow, torch.cat([fine, coarse]).to(device, dtype)


# -- telling a linear function by what becomes of shifts --------------------------------------------------------------


def _tests(
    network: nn.Module, pictures: Tensor, places: Sequence[Sequence[Place]], away: float = 0
) -> tuple[_Test, _Test]:
    """Two random mixtures of the logits, in one run with shifts at those places."""
    with _At(places, away=away) as at:
        logits = network(pictures)
    draw = torch.Generator().manual_seed(0)
    first, second = (torch.randn(logits.shape[1], generator=draw).to(logits.device, logits.dtype) for _ in range(2))
    return _Test(logits, first, at), _Test(logits, second, at)


@final
class _Test:
    """A mixture of the logits as a function of each vector: is its derivative the same for all pictures?

    vectors:  (N, d) each, with their shifts. rows: (d,) each, the derivative, its mean over pictures.
    constant: whether it is the same, for each vector.
    """

    def __init__(self, logits: Tensor, mixture: Tensor, at: _At) -> None:
        mixed = (logits * mixture).sum(1)
        gradients = torch.autograd.grad(mixed.sum(), at.shifts, retain_graph=True, allow_unused=True)
        known = [torch.zeros_like(s) if g is None else g for g, s in zip(gradients, at.shifts, strict=True)]
        self._rounding = _rounding(logits)
        self.vectors = [(v + s).detach().double() for v, s in zip(at.vectors, at.shifts, strict=True)]
        self.rows = [gradient.double().mean(0) for gradient in known]
        self.constant = [self._same(gradient, row) for gradient, row in zip(known, self.rows, strict=True)]
        parts = logits.detach().double() * mixture.double()
        self._values, self._size = parts.sum(1), float(parts.norm(dim=1).max())

    def explained(self, numbers: Sequence[int]) -> bool:
        """Whether what those vectors do not explain is the same for all pictures."""
        if not all(self.constant[n] for n in numbers):
            return False
        rest = self._values.clone()
        for n in numbers:
            rest -= self.vectors[n] @ self.rows[n]
        return bool((rest - rest.mean()).abs().max() <= self._rounding * self._size)

    def same_rows(self, rows: Sequence[Tensor]) -> bool:
        """Whether the derivatives are those."""
        return all(self._same(mine, row) for mine, row in zip(self.rows, rows, strict=True))

    def _same(self, gradient: Tensor, row: Tensor) -> bool:
        close = SAME if gradient.dtype in WHOLE else SAME_HALF
        return bool((gradient.double() - row).abs().max() <= close * row.abs().max())


def _rounding(tensor: Tensor) -> float:
    if tensor.dtype not in WHOLE:
        return ROUNDING_HALF
    return ROUNDING if tensor.device.type == "cpu" else ROUNDING_CUDA


def _derivative(logits: Tensor, shift: Tensor) -> Tensor:
    """(C, d) the derivative of (1, C) logits by the first row of a shift (N, d).

    By rows where classes are fewer than features; else by columns: the gradient is linear in what is asked for, and the
    derivative of that is the same matrix, turned.
    """
    classes, width = logits.shape[1], shift.shape[1]
    if classes <= width:
        unit = torch.eye(classes, device=logits.device, dtype=logits.dtype)
        rows = [
            torch.autograd.grad(logits, shift, part[:, None], retain_graph=True, is_grads_batched=True)[0][:, 0]
            for part in unit.split(ROWS)
        ]
        return torch.cat([row.detach() for row in rows])
    asked = torch.zeros_like(logits).requires_grad_()
    (gradient,) = torch.autograd.grad(logits, shift, asked, retain_graph=True, create_graph=True)
    unit = torch.eye(width, device=logits.device, dtype=logits.dtype)
    columns = [
        torch.autograd.grad(gradient[:1], asked, part[:, None], retain_graph=True, is_grads_batched=True)[0][:, 0]
        for part in unit.split(ROWS)
    ]
    return torch.cat([column.detach() for column in columns]).T
