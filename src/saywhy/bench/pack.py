"""Where the real models and pictures of benchmarks are."""

from __future__ import annotations

import os
from pathlib import Path

from saywhy.errors import SaywhyError


def find_pack() -> Path:
    """The folder of real models and pictures: $SAYWHY_PACK, or ../shared/pack. SaywhyError where there is none."""
    pack = Path(os.environ.get("SAYWHY_PACK", "../shared/pack"))
    if not (pack / "cub-crops").is_dir():
        raise SaywhyError(f"{pack}: the real models and birds were not found; set SAYWHY_PACK to their folder")
    return pack
