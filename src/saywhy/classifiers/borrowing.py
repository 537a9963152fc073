"""Networks on loan: a shadow of a network to run, hook and trace; and copies of networks that have learned nothing.

Explaining needs a network in evaluation mode whose parameters require no gradient. Switching a network there and back
is seen by every other thread that uses it, and changes a map, or the statistics of a BatchNorm, without an error. So
the network itself is never touched. What runs is a shadow: other module objects around the same weights in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import partial
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from saywhy.plumbing.steps import step

CHECKPOINTING = ("grad_checkpointing", "gradient_checkpointing", "use_checkpoint")
"""Attributes by which libraries switch gradient checkpointing on: it saves memory in training, and breaks tracing."""
DEEP = 3  # lists in lists in lists are searched for modules, and no deeper


@contextmanager
def borrowed(network: nn.Module) -> Iterator[nn.Module]:
    """A shadow of the network: the same weights in the same memory, in evaluation mode, requiring no gradient.

    The shadow is the borrower's own: it may be hooked, and any number of threads may borrow the same network. It is
    made anew each time, in milliseconds, so that it is always like the network: its weights, attributes and hooks.

    A network whose modules are not Python objects (torch.jit) is lent itself, switched there and back, to one borrower
    at a time.

    Each loan is a step of the work (``plumbing.steps``): whoever waits for it may end it here.
    """
    step()
    if is_scripted(network):
        with _lock_of(network), frozen(network):
            yield network
    else:
        yield shadow(network)


def is_scripted(network: nn.Module) -> bool:
    """Whether some of the network's modules are compiled (torch.jit): they are no Python objects, and take no hooks."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in network.modules())


def shadow(network: nn.Module) -> nn.Module:
    """Other module objects around the same weights: what is set on them, hooked to them or switched stays with them.

    Parameters require no gradient, every module is in evaluation mode, and gradient checkpointing is off. Modules that
    stand in attributes, lists, tuples, dicts, bound methods and partial functions are followed. What ``torch.compile``
    wraps is unwrapped.
    """
    return _Shadows().of_module(network)


class _Shadows:
    """The shadows of one network's modules and parameters, each made once."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def of_module(self, module: nn.Module) -> nn.Module:
        if id(module) in self._made:
            return self._made[id(module)]
        if type(module).__name__ == "OptimizedModule" and isinstance(module._modules.get("_orig_mod"), nn.Module):
            return self.of_module(module.get_submodule("_orig_mod"))  # of torch.compile
        twin = object.__new__(type(module))
        self._made[id(module)] = twin
        for name, value in module.__dict__.items():
            if name == "training":
                value = False
            elif name == "_parameters":
                value = {key: self.of_parameter(parameter) for key, parameter in value.items()}
            elif name == "_modules":
                value = {key: child if child is None else self.of_module(child) for key, child in value.items()}
            elif name == "_buffers":
                value = {key: _ordinary(buffer) for key, buffer in value.items()}
            elif name.endswith("_hooks") or "_hooks_" in name:
                value = copy(value)
            elif name in CHECKPOINTING and value is True:
                value = False
            else:
                value = self.of_value(value)
            twin.__dict__[name] = value
        return twin

    def of_parameter(self, parameter: nn.Parameter | None) -> Any:
        if parameter is None or not (parameter.requires_grad or parameter.is_inference()):
            return parameter
        if id(parameter) not in self._made:
            plain, weights = type(parameter) is nn.Parameter, _ordinary(parameter).detach()
            self._made[id(parameter)] = nn.Parameter(weights, False) if plain else weights
        return self._made[id(parameter)]

    def of_value(self, value: Any, depth: int = 0) -> Any:
        """An attribute: itself, or its like where modules or parameters stand in it."""
        if isinstance(value, nn.Module):
            return self.of_module(value)
        if isinstance(value, nn.Parameter):
            return self.of_parameter(value)
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return MethodType(value.__func__, self.of_module(value.__self__))
        if isinstance(value, partial):
            args = (self.of_value(arg, depth) for arg in value.args)
            keywords = {key: self.of_value(arg, depth) for key, arg in value.keywords.items()}
            return partial(self.of_value(value.func, depth), *args, **keywords)
        if depth < DEEP and type(value) in (list, tuple):
            return type(value)(self.of_value(one, depth + 1) for one in value)
        if depth < DEEP and type(value) is dict:
            return {key: self.of_value(one, depth + 1) for key, one in value.items()}
        return value


def _ordinary(tensor: Any) -> Any:
    """A tensor that autograd may use: itself, or a copy of one that was made under ``torch.inference_mode``."""
    if not isinstance(tensor, Tensor) or not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_making_locks = threading.Lock()


def _lock_of(network: nn.Module) -> threading.RLock:
    with _making_locks:
        return _locks.setdefault(network, threading.RLock())


@contextmanager
def frozen(network: nn.Module) -> Iterator[nn.Module]:
    """The network itself in evaluation mode, its parameters not requiring gradients; both restored on leaving.

    For a network that nobody else uses meanwhile; ``borrowed`` is for all others.
    """
    training = [module for module in network.modules() if module.training]
    requiring = [parameter for parameter in network.parameters() if parameter.requires_grad]
    requiring = [parameter for parameter in requiring if not parameter.is_inference()]  # cannot be set back outside
    try:
        network.eval()
        for parameter in requiring:
            parameter.requires_grad_(False)
        yield network
    finally:
        for module in training:
            module.training = True
        for parameter in requiring:
            parameter.requires_grad_(True)


def untrained(network: nn.Module, seed: int) -> nn.Module:
    """A copy of the network that has learned nothing: every layer's weights initialised again by the layer itself.

    Parameters that no layer initialises (a class token) have their own values shuffled. The same seed draws the
    same on the same kind of device.
    """
    twin = deepcopy(network)
    forget(twin.modules(), seed)
    return twin


def forget(modules: Iterable[nn.Module], seed: int) -> None:
    """What ``untrained`` does, to the own parameters of some modules, in place: of a copy, not of a user's network."""
    drawn: set[int] = set()
    modules = list(modules)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.no_grad():
        torch.manual_seed(seed)
        for module in modules:
            draw = getattr(module, "reset_parameters", None)
            if callable(draw):
                draw()
                drawn |= {id(tensor) for tensor in module.parameters(recurse=False)}
        for parameter in (each for module in modules for each in module.parameters(recurse=False)):
            if id(parameter) not in drawn:
                drawn.add(id(parameter))
                order = torch.randperm(parameter.numel()).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
