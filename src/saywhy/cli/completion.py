"""Names that a shell completes. They are written down here, so that completing a word imports no network library."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

METHODS = ("lrp", "gradient-x-input", "integrated-gradients", "grad-cam")
COMPOSITES = (
    "epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-gamma-box", "alpha2-beta1", "alpha2-beta1-flat", "cp-lrp",
    "cp-lrp-gamma", "attnlrp", "attnlrp-epsilon",
)  # fmt: skip
CHECKS = ("none", "fast", "full")
TASKS = ("single-label", "multi-label", "binary")
CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "box", "hamming", "lanczos")
SOURCES = ("timm:", "torchvision:", "hf:", "imagenet", "python:")


def among(names: Callable[[], Sequence[str]]) -> Callable[[str], list[str]]:
    """What completes a word: those of the names that begin with it."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def models() -> list[str]:
    from saywhy.worlds import TOWERS, WORLDS

    return [*SOURCES, *(f"world:{name}" for name in WORLDS), *(f"world:{name}/{TOWERS[1]}" for name in WORLDS)]


def spaces() -> list[str]:
    from saywhy.questions.names_and_defaults import SPACES

    return list(dict.fromkeys(re.sub(r"(?<=:)[A-Z/]+$", "", name) for name in SPACES))


def vocabularies() -> list[str]:
    from saywhy.questions.names_and_defaults import VOCABULARIES

    return list(VOCABULARIES)


def benchmarks() -> list[str]:
    from saywhy.bench import BENCHMARKS

    return list(BENCHMARKS)
