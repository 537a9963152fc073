"""Model hubs: whether one can be reached, found out once and quickly."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import first_line, shown
from saywhy.plumbing.texts import read_json

TIMEOUT = 2.0  # seconds
HUBS = {"Hugging Face": "https://huggingface.co", "torchvision": "https://download.pytorch.org"}


SETTINGS = (
    "config.json", "open_clip_config.json", "preprocessor_config.json", "tokenizer_config.json", "modules.json",
)  # fmt: skip
"""Files of a model's folder that say how it is built."""
MOST_LAYERS = 10_000


def check_settings(folder: str | Path) -> None:
    """Look at the settings of a model's folder before a library does.

    Raises SaywhyError for JSON that ``parse_json`` refuses, and for so many layers that building them has no end.
    """
    for path in (Path(folder) / name for name in SETTINGS):
        if os.path.exists(path):
            for name, value in _numbers(read_json(path, loose=True), ""):
                if value > MOST_LAYERS and re.search("layer|depth|block|stage", name):
                    raise SaywhyError(f"{shown(path)}: {shown(name, 40)} is {value:,}, over {MOST_LAYERS:,}")


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """The numbers of a document, each with the name it stands under."""
    if isinstance(value, int | float):
        yield name, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else ((name, inner) for inner in value):
            yield from _numbers(inner, key)


@cache
def reachable(url: str) -> bool:
    """Whether the host of ``url`` takes a connection within TIMEOUT seconds."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), timeout=TIMEOUT):
            return True
    except OSError:
        return False


def why_absent(error: BaseException) -> str:
    """Why a model did not load, in a few words: libraries say at length that there is no hub, each in its own way."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled | socket.gaierror):
            return "no hub can be reached, and it is not in the local cache"
        cause = cause.__cause__ or cause.__context__
    return first_line(error)


@contextmanager
def patience() -> Iterator[None]:
    """Keeps huggingface_hub from retrying for a minute where there is no hub: it looks into its local cache only."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    endpoint = getattr(constants, "ENDPOINT", HUBS["Hugging Face"])
    constants.HF_HUB_OFFLINE = before or not reachable(endpoint)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
