"""How well pictures are named with their rationales: what was ranked, against what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True, eq=False)
class Ranked:
    """The first K (category, rationale) pairs of N pictures, best first."""

    categories: np.ndarray  # (N, K) int
    rationales: np.ndarray  # (N, K) int
    scores: np.ndarray  # (N, K) float
