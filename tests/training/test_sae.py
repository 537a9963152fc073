"""Training a sparse autoencoder, on features made from few directions out of many."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy import SaywhyError
from saywhy.classifiers.sae import SparseAutoencoder
from saywhy.plumbing.tensors import write_checkpoint
from saywhy.training import sae as training
from saywhy.training.sae import SaeSettings, train_sae

SETTINGS = SaeSettings(width=24, k=2, steps=600, batch=128, rate=3e-3)


def mixed(count: int = 1500) -> tuple[Tensor, Tensor, Tensor]:
    """Features, which of twelve directions each is made of, and the directions."""
    draw = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(12, 16, generator=draw), dim=1)
    there = torch.zeros(count, 12)
    for row in there:
        row[torch.randperm(12, generator=draw)[:2]] = 1
    size = there * (1 + torch.rand(count, 12, generator=draw))
    return size @ directions + 3, there, directions


@pytest.fixture(scope="module")
def made() -> SparseAutoencoder:
    return train_sae(mixed()[0], SETTINGS, "mine")


def test_it_finds_the_directions_that_features_are_made_of(made: SparseAutoencoder) -> None:
    _, _, directions = mixed()
    nearest = (F.normalize(made.decoder, dim=1) @ directions.T).max(0).values
    assert (nearest > 0.9).float().mean() >= 0.75
    assert made.story is not None
    assert made.story["R2"] > 0.8
    assert 0 <= made.story["dead"] < 1
    torch.testing.assert_close(made.decoder.norm(dim=1), torch.ones(24))


def test_each_picture_keeps_k_latents_and_other_units_do_not_matter(made: SparseAutoencoder) -> None:
    features = mixed()[0]
    assert ((made.latents(features) > 0).sum(1) <= 2).all()
    scaled = train_sae(100 * features, SETTINGS, "mine")
    torch.testing.assert_close(scaled.latents(100 * features) / 100, made.latents(features), rtol=0.05, atol=0.05)


def test_a_seed_gives_the_same_again_and_another_does_not(made: SparseAutoencoder) -> None:
    again = train_sae(mixed()[0], SETTINGS, "mine")
    torch.testing.assert_close(again.encoder, made.encoder, rtol=0, atol=0)
    other = train_sae(mixed()[0], SaeSettings(width=24, k=2, steps=5, seed=1), "mine")
    assert not torch.allclose(other.encoder, made.encoder)


def test_a_run_that_stopped_goes_on_to_the_same_end(
    made: SparseAutoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "EVERY_SECONDS", 0.0)

    def stop(step: int) -> None:
        if (tmp_path / "run").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sae(mixed()[0], SETTINGS, "mine", checkpoint=tmp_path / "run", advance=stop)
    monkeypatch.setattr(training, "EVERY_SECONDS", 1e9)
    taken: list[int] = []
    found = train_sae(mixed()[0], SETTINGS, "mine", checkpoint=tmp_path / "run", resume=True, advance=taken.append)
    torch.testing.assert_close(found.encoder, made.encoder, rtol=0, atol=0)
    assert sum(taken) == SETTINGS.steps
    assert taken[0] > 0
    with pytest.raises(SaywhyError, match="other settings"):
        train_sae(mixed()[0], SETTINGS, "another", checkpoint=tmp_path / "run", resume=True)
    write_checkpoint(tmp_path / "bad", {"mark": 0})
    with pytest.raises(SaywhyError, match="start again"):
        train_sae(mixed()[0], SETTINGS, "mine", checkpoint=tmp_path / "bad", resume=True)


def test_features_that_teach_nothing_are_refused() -> None:
    for features, said in (
        (torch.zeros(20, 4), "100 at least"),
        (torch.ones(200, 4), "are the same"),
        (torch.full((200, 4), torch.nan), "not finite"),
    ):
        with pytest.raises(SaywhyError, match=said):
            train_sae(features, SETTINGS, "mine")
    with pytest.raises(SaywhyError, match="more than the 4 latents"):
        SaeSettings(width=4, k=5)
