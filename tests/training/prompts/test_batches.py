"""Batches depend on the step alone, and parts of them make the whole."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.truth import RationaleData
from saywhy.training.prompts import batches as tuning_batches
from saywhy.training.prompts.batches import Parts, Pictures, Plan, split_off, squashed
from tests.tuning import SIDE, SMALL, read, tiny_clip, write_pictures

SAMPLERS = [{"sampler": "epoch"}, {"sampler": "pair-balanced"}, {"sampler": "pair-balanced", "epoch_length": 7}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RationaleData:
    return read(write_pictures(tmp_path_factory.mktemp("pictures") / "data"))


@pytest.mark.parametrize("changes", SAMPLERS, ids=str)
def test_it_goes_on_wherever_it_was(data: RationaleData, changes: dict[str, object]) -> None:
    plan = Plan.of(data, replace(SMALL, batch_size=5, **changes))
    whole = list(plan.batches())
    assert len(whole) == plan.total == 3 * plan.per_epoch
    for first in range(plan.total + 1):
        assert list(plan.batches(first)) == whole[first:]
    assert list(Plan.of(data, replace(SMALL, batch_size=5, seed=1, **changes)).batches()) != whole


def test_an_epoch_sees_every_picture_once(data: RationaleData) -> None:
    plan = Plan.of(data, replace(SMALL, batch_size=5))
    batches = list(plan.batches())
    epochs = [list(chain(*batches[n : n + 3])) for n in range(0, 9, 3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert Plan.of(data, replace(SMALL, batch_size=500)).per_epoch == 1


def test_pairs_are_drawn_evenly(data: RationaleData) -> None:
    """A pair that has one picture is seen as often as one that has three."""
    fewer = replace(data, images=data.images[2:])
    plan = Plan.of(fewer, replace(SMALL, batch_size=50, steps=200, sampler="pair-balanced"))
    drawn = [fewer.images[n] for n in chain(*plan.batches())]
    counts = dict.fromkeys({(i.category, i.rationales) for i in fewer.images}, 0)
    for image in drawn:
        counts[image.category, image.rationales] += 1
    assert len(counts) == 4
    assert all(abs(count / len(drawn) - 0.25) < 0.02 for count in counts.values())


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (1, 3), (2, 2), (3, 2)])
def test_processes_and_parts_share_each_batch(data: RationaleData, processes: int, accumulate: int) -> None:
    plan = Plan.of(data, replace(SMALL, batch_size=5, accumulate=accumulate, sampler="pair-balanced"))
    shares = [iter(Parts(plan, 2, process, processes)) for process in range(processes)]
    for batch in plan.batches(2):
        parts = [list(islice(share, accumulate)) for share in shares]
        assert sorted(chain(*chain(*parts))) == sorted(batch)
    assert all(not list(share) for share in shares)


@pytest.mark.parametrize("share", [0.05, 0.34, 0.9])
def test_a_share_is_held_out_of_each_category(data: RationaleData, share: float) -> None:
    kept, held = split_off(data, share, seed=0)
    assert sorted(i.path for i in (*kept.images, *held.images)) == sorted(i.path for i in data.images)
    assert held.images
    assert {i.category for i in kept.images} == {i.category for i in data.images}
    if share > 0.1:
        counts = [sum(i.category == c for i in held.images) for c in (0, 1)]
        assert counts == [min(round(6 * share), 5)] * 2
    assert split_off(data, share, seed=0)[1].images == held.images
    assert split_off(data, share, seed=3)[1].images != held.images or share > 0.8


def test_a_file_is_never_on_both_sides(data: RationaleData) -> None:
    """Search engines find the same picture for several rationales; here each is listed twice."""
    twice = replace(data, images=tuple(chain(*((i, replace(i, rationales=(0,))) for i in data.images))))
    kept, held = split_off(twice, 0.4, seed=0)
    assert not {i.path for i in kept.images} & {i.path for i in held.images}
    assert len(kept.images) + len(held.images) == 24


def test_nothing_to_train_on_is_refused(data: RationaleData) -> None:
    with pytest.raises(SaywhyError, match="leaves none of 1 pictures to train on"):
        split_off(replace(data, images=data.images[:1]), 0.5, seed=0)
    with pytest.raises(SaywhyError, match="no picture to train on"):
        Plan.of(replace(data, images=()), SMALL)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_pictures_leave_the_others(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_batches, "HELD_BYTES", 0 if workers else 2**20)
    data = read(write_pictures(tmp_path / "data", 1))
    data.images[1].path.write_bytes(b"")
    pictures = Pictures(data, tiny_clip().transform)
    parts = list(pictures.load([[0, 1, 2], [1], [], [3]], workers))
    assert [part.pictures for part in parts] == [(0, 2), (), (), (3,)]
    assert [len(part.failures) for part in parts] == [1, 1, 0, 0]
    assert all(part.pixels.shape == (len(part.pictures), 3, SIDE, SIDE) for part in parts)
    assert bool(pictures.held) is (not workers)


def test_reading_takes_no_number_from_the_global_stream(data: RationaleData) -> None:
    transform = tiny_clip().transform
    before = torch.get_rng_state()
    list(Pictures(data, transform).load([[0, 1]], 0))
    assert torch.equal(before, torch.get_rng_state())


def test_squashing_keeps_all_of_the_picture() -> None:
    transform = tiny_clip().transform
    tall = Image.new("RGB", (20, 60))
    tall.paste((255, 255, 255), (0, 0, 20, 10))  # cropping to the middle would lose it
    white = transform(Image.new("RGB", (20, 20), "white"))[:, 0, 0]
    squash = squashed(transform)(tall)
    assert squash.shape == (3, SIDE, SIDE)
    torch.testing.assert_close(squash[:, 0, SIDE // 2], white)
    assert (transform(tall)[:, 0, SIDE // 2] < white).all()
    square = Image.effect_noise((SIDE, SIDE), 60).convert("RGB")
    torch.testing.assert_close(squashed(transform)(square), transform(square))
    with pytest.raises(SaywhyError, match="is not open_clip's"):
        squashed(lambda picture: transform(picture))
