"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

PACK = Path(__file__).resolve().parents[2] / "shared" / "pack"


@pytest.fixture(scope="session")
def pack() -> Path:
    """The folder of real models, photographs and texts; tests that need it skip where it is absent."""
    if not PACK.is_dir():
        pytest.skip(f"needs the real models and photographs of {PACK}")
    return PACK


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a module's tests keep is not the user's, and is there for the next of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAYWHY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
