"""Where networks run."""

from __future__ import annotations

import torch
from torch import nn

from saywhy.errors import SaywhyError


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; None, or an empty name: a GPU where there is one.

    Raises SaywhyError for a device that is not here, or that holds no numbers ("meta").
    """
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=name).cpu()
    except torch.OutOfMemoryError:
        raise  # it is there, and full
    except (RuntimeError, AssertionError, ImportError):  # no such name, no such GPU, torch without it
        raise SaywhyError(f"there is no device {str(name)!r} here; cpu is always there, cuda where a GPU is") from None
    return torch.device(name)


def device_of(network: nn.Module) -> torch.device:
    """Where a network's parameters are; of one without any, the CPU."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def dtype_of(network: nn.Module) -> torch.dtype:
    """What a network computes in: the type of its first parameter that is no whole number; of one without, float32."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
