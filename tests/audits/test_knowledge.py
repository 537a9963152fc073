"""Searching what a model holds, and comparing it with another's: made-up audits, of which the truth is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saywhy import SaywhyError
from saywhy.audits.finding import LEVEL
from saywhy.audits.inside import CHANNEL, LATENT, Inside, components, look_inside
from saywhy.audits.knowledge import compare, search
from saywhy.classifiers.sae import SparseAutoencoder
from tests.audits.made_up import CHANNELS, NAMED, PHRASES, made_up

ORDER = np.random.default_rng(5).permutation(CHANNELS)
LOST = 3  # the phrase that the other model's channels do not go with


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    return look_inside(made_up(tmp_path_factory.mktemp("mine") / "audit").view())


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Inside:
    return look_inside(made_up(tmp_path_factory.mktemp("theirs") / "audit", order=ORDER, lost=(LOST,)).view())


class Says:
    """A space that knows one text."""

    name = "a made-up space"

    def __init__(self, vector: np.ndarray) -> None:
        self.vector = torch.from_numpy(vector)[None].float()

    def encode_images(self, images: object) -> torch.Tensor:
        raise NotImplementedError

    def encode_texts(self, texts: object) -> torch.Tensor:
        return self.vector


def test_a_text_finds_the_channel_that_goes_with_it(mine: Inside) -> None:
    found = components(None, inside=mine, kinds=(CHANNEL,))
    for k in range(NAMED):
        first, second, *_ = search(mine, found, PHRASES[k])
        assert first.component.index == k
        assert first.fit.low > second.fit.high
    (hit, *_) = search(mine, found, "H2O", Says(mine.texts[0]))  # type: ignore[arg-type]
    assert hit.component.index == 0
    with pytest.raises(SaywhyError, match="'H2O' is not of the audit's vocabulary"):
        search(mine, found, "H2O")


def test_what_nothing_goes_with_is_no_hit(mine: Inside) -> None:
    (hit, *_) = search(mine, components(None, inside=mine, kinds=(CHANNEL,)), PHRASES[7])
    assert hit.fit.low < 0.2


def test_a_model_with_the_same_inside_in_another_order_has_all_counterparts_of_what_is_named(
    mine: Inside, theirs: Inside
) -> None:
    found = compare(mine, theirs, same=True)
    other = {one.component.index: one.other.index for one in found.counterparts}
    for k in set(range(NAMED)) - {LOST}:
        assert ORDER[other[k]] == k
    lost = {one.component.index for one in found.lost}
    assert LOST in lost
    assert not lost & (set(range(NAMED)) - {LOST})


def test_the_phrase_that_one_model_lacks_is_told_and_no_other(mine: Inside, theirs: Inside) -> None:
    told = [one for one in compare(mine, theirs, same=True).phrases if one.q <= LEVEL]
    assert [one.phrase for one in told] == [PHRASES[LOST]]
    assert told[0].more.low > 0.2
    assert told[0].components[0] == f"channel {LOST}"
    back = [one for one in compare(theirs, mine, same=True).phrases if one.q <= LEVEL]
    assert [one.phrase for one in back] == [PHRASES[LOST]]
    assert back[0].more.high < -0.2


def test_a_model_is_like_itself(mine: Inside) -> None:
    found = compare(mine, mine, same=True)
    assert not found.lost
    assert not found.gained
    assert all(one.more.value == 0 for one in found.phrases)
    assert not [one for one in found.phrases if one.q <= LEVEL]


def test_other_pictures_are_compared_by_what_components_go_with(mine: Inside, tmp_path: Path) -> None:
    other = look_inside(made_up(tmp_path / "audit", seed=0, count=300).view())
    found = compare(mine, replace(other, numbers=other.numbers + 1000), same=False)
    assert not found.same
    assert all(np.isnan(one.likeness.low) for one in found.counterparts)
    json.dumps(found.document())


def test_latents_are_compared_where_both_have_some(mine: Inside) -> None:
    sae = SparseAutoencoder(torch.eye(CHANNELS), torch.zeros(CHANNELS), torch.eye(CHANNELS), *torch.zeros(2, CHANNELS))
    found = compare(mine, mine, same=True, saes=(sae, sae))
    assert {one.component.kind for one in found.counterparts} == {LATENT}


def test_own_spaces_and_other_vocabularies_are_not_compared(mine: Inside, theirs: Inside) -> None:
    with pytest.raises(SaywhyError, match="its own opinion"):
        compare(replace(mine, dealt=mine.texts[None]), theirs, same=True)
    with pytest.raises(SaywhyError, match="other vocabularies"):
        compare(replace(mine, phrases=mine.phrases[::-1]), theirs, same=True)
    with pytest.raises(SaywhyError, match="in common"):
        compare(replace(mine, numbers=mine.numbers + 390), theirs, same=True)
