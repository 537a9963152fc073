"""Model hubs: whether one can be reached, found out once and quickly."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit

TIMEOUT = 2.0  # seconds
HUBS = {"Hugging Face": "https://huggingface.co", "torchvision": "https://download.pytorch.org"}


@cache
def reachable(url: str) -> bool:
    """Whether the host of ``url`` takes a connection within TIMEOUT seconds."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), timeout=TIMEOUT):
            return True
    except OSError:
        return False


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
