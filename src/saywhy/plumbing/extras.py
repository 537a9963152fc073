"""Packages that only some commands need: they come with an extra, ``pip install 'saywhy[audit]'``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from saywhy.errors import SaywhyError

EXTRAS = {
    "pyarrow": "audit", "duckdb": "audit",
    "accelerate": "train", "tensorboard": "train",
    "captum": "peers", "zennit": "peers",
    "cleanlab": "metrics", "pycocoevalcap": "metrics", "torchmetrics": "metrics", "diffusers": "metrics",
    "ray": "ray", "datasets": "hf-datasets", "fiftyone": "fiftyone", "wandb": "wandb",
    "fastapi": "web", "uvicorn": "web", "python_multipart": "web",
}  # fmt: skip
"""Module -> the extra of pyproject.toml that brings it."""


def need(what: str, module: str) -> Any:
    """The module, imported. what: that cannot be done without it: "an audit".

    Raises SaywhyError, in one line that names the extra, where it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise SaywhyError(f"{what} needs {package}: pip install 'saywhy[{EXTRAS[package]}]'") from None
