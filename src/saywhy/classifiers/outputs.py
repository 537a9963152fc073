"""What a network returns, and the logits in it: one of several tensors, what goes into a softmax, one logit as two.

All of it is seen by running the network once on noise; no architecture is special.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saywhy.classifiers.borrowing import frozen, is_scripted
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

Key = str | int
"""Names one of the tensors that a network returns: a key, an attribute or an index."""
SINGLE, MULTI, BINARY = "single-label", "multi-label", "binary"
TASKS = {
    SINGLE: "one class of several: a softmax over the logits",
    MULTI: "any number of labels: a sigmoid of each logit",
    BINARY: "one logit, for a class or against it: its sigmoid",
}
ENDS = {"softmax": SINGLE, "log_softmax": SINGLE, "sigmoid": MULTI, "logsigmoid": MULTI}
"""Functions that may come after the logits -> the task they are for."""
PROBABILITIES, CHANCES = "probabilities that sum to one", "probabilities of each label"
MIXED = {PROBABILITIES: SINGLE, CHANCES: MULTI}
"""Ends that are no function of torch (a mean of softmaxes or sigmoids, a scripted network) -> the task they are for."""
SMALL = 2**16  # values a picture, above which a tensor is no output of a classifier, but attention


@final
class AsLogits(nn.Module):
    """A network whose output is (N, C) logits, whatever it returns.

    key:  which of the tensors it returns; None: it returns one.
    end:  the function in ENDS that it ends with; what goes into it is returned. Of MIXED: it returns probabilities, and
          their logarithms, or those of their odds, are returned. None: it returns logits.
    last: which call of a function in ENDS that is, counted from the last one, which is 0.
    sign: +1 or -1 for a network of one logit x: returned are sign * (x, -x). 0: not that.
    """

    def __init__(
        self, network: nn.Module, key: Key | None = None, end: str | None = None, last: int = 0, sign: int = 0
    ) -> None:
        super().__init__()
        self.network, self.key, self.end, self.last, self.sign = network, key, end, last, sign
        self.training = network.training

    def forward(self, pixels: Tensor) -> Tensor:
        with _Tap(self.last + 1 if self.end in ENDS else 0) as tap:
            output = as_rows(pick(self.network(pixels), self.key), len(pixels))
        if self.end in ENDS:
            call = tap.calls[0]
            assert call is not None, "of a limited number every call is kept"
            output = call.given.reshape(output.shape)
        elif self.end in MIXED:
            least = torch.finfo(output.dtype).tiny
            odds = output if self.end == PROBABILITIES else output / (1 - output).clamp(min=least)
            output = odds.clamp(min=least).log()
        return torch.cat([output, -output] if self.sign > 0 else [-output, output], 1) if self.sign else output


@final
@dataclass(frozen=True)
class Reading:
    """How a network's output is read. key, end, last: see ``AsLogits``. classes: of its logits. task: of TASKS."""

    key: Key | None
    end: str | None
    last: int
    classes: int
    task: str
    alone: bool  # it returns nothing else, or which of the tensors is meant was said
    squeezed: bool  # it leaves out axes of one: of one picture it may return (C,)


@final
@dataclass(frozen=True, eq=False)
class _Call:
    """A call of a function in ENDS, with what went in and came out."""

    name: str
    given: Tensor
    result: Tensor


class _Tap(TorchFunctionMode):
    """Keeps the last ``count`` calls of functions in ENDS (None: all on SMALL tensors), and whether axes are left out.

    A call that is not kept is still counted, as None.
    """

    def __init__(self, count: int | None = None) -> None:
        super().__init__()
        self.calls: deque[_Call | None] = deque(maxlen=count)
        self.squeezed = False
        self._all = count is None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        in_place = name == "sigmoid_"
        given = args[0] if args else kwargs.get("input")
        if in_place and isinstance(given, Tensor):
            given = given.clone()
        result = func(*args, **kwargs)
        self.squeezed |= name in ("squeeze", "squeeze_") and len(args) + len(kwargs) == 1
        if (in_place or name in ENDS) and isinstance(given, Tensor) and isinstance(result, Tensor):
            kept = not self._all or (result.dim() > 0 and result.numel() <= SMALL * len(result))
            self.calls.append(_Call("sigmoid" if in_place else name, given, result) if kept else None)
        return result


def read_output(
    network: nn.Module, noise: Tensor, name: str, labels: int | None, key: Key | None, task: str | None
) -> Reading:
    """What the network returns for noise, and how that is read.

    labels: how many class names there are; None: nobody knows. key, task: as the user says; None: to be found.

    Raises SaywhyError where it returns nothing that can be logits, several tensors that may be, features instead of
    logits, and where the task does not fit.
    """
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    with torch.no_grad(), frozen(network), _Tap() as tap:
        output = network(noise)
    chosen = _find_key(output, len(noise), name, labels, key)
    found = pick(output, chosen)
    rows = as_rows(found, len(noise))
    if getattr(network, "num_classes", None) == 0:
        raise headless(name, found)
    fitting = [
        (last, call)
        for last, call in enumerate(reversed(tap.calls))
        if call is not None and call.result.numel() == rows.numel()
    ]
    ending = [(last, call.name) for last, call in fitting if torch.equal(call.result.reshape(rows.shape), rows)]
    last, end = ending[0] if ending else (0, None)
    unseen = is_scripted(network) and (task == MULTI or rows.shape[1] == 1)
    mixed = any(call.name == "sigmoid" for _, call in fitting) or unseen
    if rows.shape[1] > 1:
        if end in ("softmax", "log_softmax") and not _sums_to_one(rows if end == "softmax" else rows.exp()):
            raise SaywhyError(f"{name} ends with a {end} that is not over its classes; give it dim=1")
        if end is None and _sums_to_one(rows):
            end = PROBABILITIES
    elif end in ("softmax", "log_softmax"):
        raise SaywhyError(f"{name} ends with a {end} over one logit, which is always the same; use a sigmoid")
    if end is None and mixed and bool(((rows >= 0) & (rows <= 1)).all()):
        end = CHANCES
    alone = key is not None or len(tensors_of(output)) < 2
    reading = Reading(chosen, end, last, rows.shape[1], SINGLE, alone, tap.squeezed)
    return replace(reading, task=_find_task(network, reading, name, task))


def headless(name: str, output: Tensor) -> SaywhyError:
    """To be raised for a network that ends with features."""
    return SaywhyError(
        f"{name} has no head: it returns {_shape(output)} features, not logits of classes; build it with its classes "
        "(timm: num_classes=...)"
    )


def ends_with_nothing(network: nn.Module, noise: Tensor) -> bool:
    """Whether the last layer that runs is an Identity: what libraries put in the place of a head taken off."""
    if is_scripted(network):
        return False  # takes no hooks
    last: list[nn.Module] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        last[:] = [module]

    handles = [m.register_forward_hook(note) for m in network.modules() if not any(m.children())]
    try:
        with torch.no_grad(), frozen(network):
            network(noise)
    finally:
        for handle in handles:
            handle.remove()
    return bool(last) and isinstance(last[0], nn.Identity)


def tensors_of(output: Any) -> dict[Key, Tensor]:
    """The tensors in what a network returns, by key, attribute or index; {} of a tensor."""
    items: Any
    if isinstance(output, Tensor):
        return {}
    if isinstance(output, Mapping):
        items = output.items()
    elif hasattr(output, "_asdict"):
        items = output._asdict().items()
    elif isinstance(output, tuple | list):
        items = enumerate(output)
    else:
        names = (*getattr(output, "__dict__", ()), *getattr(output, "__slots__", ()), "logits")
        items = [(n, getattr(output, n, None)) for n in names if not n.startswith("_")]
    return {key: value for key, value in items if isinstance(value, Tensor)}


def pick(output: Any, key: Key | None) -> Any:
    """What a network returns under that key, attribute or index, all of it for None; None where there is nothing."""
    if key is None:
        return output
    if isinstance(output, Mapping):
        return output.get(key)
    if isinstance(key, int):
        inside = isinstance(output, tuple | list) and -len(output) <= key < len(output)
        return output[key] if inside else None
    return getattr(output, key, None)


def as_rows(output: Tensor, count: int) -> Tensor:
    """(N, C) of (N, C) or (N,), and of what a ``squeeze`` leaves of one picture's: (C,), or one number."""
    return output.reshape(count, -1) if output.dim() < 2 else output


def _find_key(output: Any, count: int, name: str, labels: int | None, key: Key | None) -> Key | None:
    if isinstance(output, Tensor):
        if key is not None:
            raise SaywhyError(f"{name} returns one tensor, {_shape(output)}; leave output= out")
        if not _may_be_logits(output, count):
            raise SaywhyError(f"{name} returns {_shape(output)}; expected (N, classes) logits")
        return None
    tensors = tensors_of(output)
    if key is not None:
        named = pick(output, key)
        if not isinstance(named, Tensor):
            raise unknown("tensor", key, map(str, tensors), lead=f"{name} returns no")
        if not _may_be_logits(named, count):
            raise SaywhyError(f"{name} returns {_shape(named)} as {key!r}; expected (N, classes) logits")
        return key
    candidates = {k: tensor for k, tensor in tensors.items() if _may_be_logits(tensor, count)}
    if "logits" in candidates:
        return "logits"
    widths = {k: as_rows(tensor, count).shape[1] for k, tensor in candidates.items()}
    fitting = [k for k, width in widths.items() if labels in (None, width)]
    if not fitting and labels == 2:  # names of the two classes of one logit
        fitting = [k for k, width in widths.items() if width == 1]
    if len(fitting) == 1:
        return fitting[0]
    if not candidates:
        raise SaywhyError(f"{name} returns {type(output).__name__}, no (N, classes) logits in it{_listed(tensors)}")
    which = "which of its tensors is the logits?"
    if labels is not None and not fitting:
        which = f"no tensor in it has {labels} columns, one per class name."
    raise SaywhyError(f"{name} returns {type(output).__name__}; {which} Say output=, one of{_listed(candidates)[1:]}")


def _may_be_logits(tensor: Tensor, count: int) -> bool:
    return tensor.is_floating_point() and tensor.dim() in (1, 2) and len(tensor) == count and tensor.numel() > 0


def _listed(tensors: Mapping[Key, Tensor]) -> str:
    return ": " + ", ".join(f"{key!r} {_shape(t)}" for key, t in tensors.items()) if tensors else ""


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(['N', *map(str, tensor.shape[1:])])}{',' if tensor.dim() == 1 else ''})"


def _sums_to_one(rows: Tensor) -> bool:
    close = 1e-4 if rows.dtype in (torch.float32, torch.float64) else 2e-2
    return bool((rows >= 0).all() and ((rows.float().sum(1) - 1).abs() < close).all())


def _find_task(network: nn.Module, reading: Reading, name: str, task: str | None) -> str:
    if reading.classes == 1:
        if task not in (None, BINARY):
            raise SaywhyError(f"{name} has one logit, which is task='binary', not {task!r}")
        return BINARY
    if task == BINARY:
        raise SaywhyError(f"{name} has {reading.classes} logits, and task='binary' is for one; use 'single-label'")
    ended = (ENDS | MIXED).get(reading.end or "")
    if ended and task not in (None, ended):
        raise SaywhyError(f"{name} ends with {reading.end}, which is task={ended!r}, not {task!r}")
    described = str(getattr(getattr(network, "config", None), "problem_type", None))  # as transformers says it
    if described == "regression" and task is None:
        raise SaywhyError(f"{name} is a network for regression; it has no classes to explain")
    return task or ended or (MULTI if described == "multi_label_classification" else SINGLE)
