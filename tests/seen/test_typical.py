"""Fresh pictures of the reference's kind are refused about as seldom as promised; others are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.seen.typical import AXES, FEWEST, Typical, add_typical, typical_in

SIZE = 60


def drawn(count: int, seed: int, size: int = SIZE) -> torch.Tensor:
    """Statistics that vary together, as those of a network do."""
    mixing = np.random.default_rng(1).normal(size=(size, size)) * np.geomspace(1, 0.01, size)
    rows = np.random.default_rng(seed).normal(size=(count, size)) @ mixing.T
    return torch.from_numpy(rows)


@pytest.mark.parametrize("count", [FEWEST, 50, 100, 400])
@pytest.mark.parametrize("size", [SIZE, 2 * AXES])
def test_few_fresh_ones_are_refused_however_few_the_reference_has(count: int, size: int) -> None:
    lost = []
    for seed in range(4):
        typical = Typical.fit(drawn(count, seed, size), "")
        lost.append(1 - np.mean(typical.knows(drawn(500, 100 + seed, size))))
    assert np.mean(lost) < 0.01 + 2 / count


def test_distances_of_the_reference_itself_would_be_too_small() -> None:
    reference, fresh = drawn(100, 0), drawn(500, 1)
    typical = Typical.fit(reference, "")
    itself = float(typical.unusual(reference).quantile(0.99))
    assert (typical.unusual(fresh) > itself).float().mean() > 0.1
    assert typical.threshold > itself


def test_statistics_that_do_not_go_together_are_seen_though_each_is_usual() -> None:
    fresh, rng = drawn(200, 1), np.random.default_rng(0)
    mixed = torch.stack([fresh[torch.from_numpy(rng.permutation(200)), n] for n in range(SIZE)], 1)
    typical = Typical.fit(drawn(400, 0), "")
    assert np.mean(typical.knows(fresh)) > 0.9
    assert np.mean(typical.knows(mixed)) < 0.05


@pytest.mark.parametrize("count", [100, 200])
def test_a_few_of_another_kind_among_the_reference_do_not_hide_their_kind(count: int) -> None:
    rest = drawn(count - count // 20, 0)
    away = torch.randn(SIZE, generator=torch.Generator().manual_seed(0)).sign() * 4 * rest.std(0)
    others = drawn(count // 20, 5) * 0.3 + away
    typical = Typical.fit(torch.cat([rest, others]), "")
    assert typical.strange >= len(others)
    assert not any(typical.knows(others))
    assert np.mean(typical.knows(drawn(500, 1))) > 0.96


def test_a_statistic_that_never_varies_in_the_reference_counts_when_it_does() -> None:
    reference = torch.cat([drawn(100, 0), torch.zeros(100, 1, dtype=torch.float64)], 1)
    other = torch.cat([drawn(20, 1), torch.full((20, 1), 50.0, dtype=torch.float64)], 1)
    typical = Typical.fit(reference, "")
    assert not any(typical.knows(other))
    assert torch.isfinite(typical.unusual(other)).all()


def test_what_is_not_finite_is_not_known() -> None:
    typical = Typical.fit(drawn(50, 0), "")
    assert typical.knows(torch.full((1, SIZE), torch.nan)) == [False]


def test_it_is_kept_whole_and_small(tmp_path: Path) -> None:
    typical = Typical.fit(drawn(400, 0, 600), "400 things", ("layer1", "layer2"), "abc")
    path = typical.save(tmp_path / "typical.safetensors")
    again = Typical.load(path)
    fresh = drawn(200, 1, 600)
    torch.testing.assert_close(again.unusual(fresh), typical.unusual(fresh), rtol=1e-3, atol=1e-3)
    assert again.knows(fresh) == typical.knows(fresh)
    assert (again.basis, again.layers, again.fingerprint, again.count) == (
        "400 things",
        ("layer1", "layer2"),
        "abc",
        400,
    )
    assert path.stat().st_size < 600 * AXES * 2 + 10_000


def test_what_is_typical_can_stand_in_a_file_of_something_else(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "probes.safetensors", {"weights": torch.ones(3)}, {"a": 1}, key="probes")
    assert typical_in(path) == []
    several = [Typical.fit(drawn(50, n), f"{n}", ("a",), f"print {n}") for n in (0, 1)]
    add_typical(path, several)
    with reading_tensors(path, "is damaged", key="probes") as stored:
        assert stored.story == {"a": 1}
        assert torch.equal(stored.tensors["weights"], torch.ones(3))
    fresh = drawn(20, 5)
    for one, again in zip(several, typical_in(path), strict=True):
        assert (again.basis, again.fingerprint) == (one.basis, one.fingerprint)
        torch.testing.assert_close(again.unusual(fresh), one.unusual(fresh), rtol=1e-3, atol=1e-3)
    with pytest.raises(SaywhyError, match="No such file"):
        typical_in(tmp_path / "none.safetensors")


def test_too_few_the_same_and_damaged_are_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="29 pictures do not say what is typical; give 30"):
        Typical.fit(drawn(29, 0), "")
    with pytest.raises(SaywhyError, match="all the same"):
        Typical.fit(torch.ones(40, SIZE), "")
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(SaywhyError, match="no record of what is typical"):
        Typical.load(tmp_path / "x.safetensors")
