"""How unusual a score is."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from saywhy.spaces.similarity import UNUSUAL, unusual_scores
from tests.helpers import unit


def test_unusual_is_relative_to_what_is_usual() -> None:
    """A phrase near everything (a hub) is not unusual anywhere, however high its cosine."""
    reference = F.normalize(torch.randn(200, 12) * 0.3 + torch.ones(12), dim=1)
    hub_text, rare = F.normalize(torch.ones(1, 12)), F.normalize(torch.randn(1, 12))
    image = F.normalize(rare + 0.3 * hub_text)
    _, unusual = unusual_scores(image, torch.cat([hub_text, rare]), reference)
    assert unusual[0, 1] > UNUSUAL > unusual[0, 0]
    _, same = unusual_scores(reference, torch.cat([hub_text, rare]), reference)
    torch.testing.assert_close(same.mean(0), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(same.std(0), torch.ones(2), rtol=1e-3, atol=1e-3)


def test_without_a_reference_the_vocabulary_is_what_is_usual() -> None:
    _, unusual = unusual_scores(unit(4, 12), unit(30, 12))
    torch.testing.assert_close(unusual.mean(1), torch.zeros(4), rtol=0, atol=1e-5)
    assert not unusual_scores(unit(4, 12), unit(1, 12))[1].any()
