"""What a model holds inside: of a made-up audit, in which the truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saywhy import SaywhyError
from saywhy.audits.findings.inside import find
from saywhy.audits.inside import (
    CHANNEL,
    KEPT,
    ROW,
    components,
    correlations,
    drawn_correlations,
    look_inside,
    parts_of,
    sample,
)
from saywhy.audits.store import View
from tests.audits.made_up import CHANNELS, NAMED, PHRASES, made_up


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    return made_up(tmp_path_factory.mktemp("inside") / "audit").view()


def test_channels_are_named_by_what_they_go_with_and_the_others_are_not(view: View) -> None:
    found = {one.index: one for one in components(view, kinds=(CHANNEL,))}
    assert len(found) == CHANNELS
    assert [found[k].name for k in range(NAMED)] == list(PHRASES[:NAMED])
    assert sum(found[k].said for k in range(NAMED, CHANNELS)) <= 1  # the level is 5 % of what is said
    for k in range(NAMED):
        assert found[k].fit.low > 0.3
        assert found[k].control < 0.1
    assert all(not one.name for one in found.values() if not one.said)


def test_what_matters_most_is_first_and_speaks_for_its_class(view: View) -> None:
    first, second, *_, last = components(view, kinds=(CHANNEL,))
    assert (first.index, second.index) == (0, 1)
    assert first.speaks_for[0][0] == "first"
    assert "first" not in dict(first.speaks_against)
    assert first.contribution.low > last.contribution.high
    shares = [one.contribution.value for one in components(view, kinds=(CHANNEL,))]
    assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_a_row_stands_for_what_decides_its_class(view: View) -> None:
    rows = {one.called: one for one in components(view, kinds=(ROW,))}
    assert rows["row of first"].name == "water"
    assert rows["row of second"].name == "snow"


def test_examples_are_the_most_active_pictures(view: View) -> None:
    inside = look_inside(view)
    one = next(one for one in components(view, inside=inside, kinds=(CHANNEL,)) if one.index == 2)
    places = [int(np.flatnonzero(inside.numbers == n)[0]) for n in one.examples]
    assert inside.features[places, 2].min() >= np.sort(inside.features[:, 2])[-len(places)]


def test_names_that_the_same_search_finds_under_dealt_class_names_are_not_said(tmp_path: Path) -> None:
    import torch

    from saywhy.plumbing.tensors import reading_tensors, write_tensors

    view = made_up(tmp_path / "audit").view()
    with reading_tensors(tmp_path / "audit" / KEPT, "no head") as file:
        tensors, story = dict(file.tensors), file.story
    mixed = [np.random.default_rng(n).permutation(len(PHRASES)) for n in range(5)]
    tensors["dealt"] = torch.stack([tensors["texts"][torch.from_numpy(order)] for order in mixed])
    write_tensors(tmp_path / "audit" / KEPT, tensors, story)
    found = components(view, kinds=(CHANNEL,))  # whatever the phrases are called, they fit as well
    assert not any(one.said for one in found)


def test_correlations_agree_with_numpy_and_so_do_the_draws() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(50, 3)), rng.normal(size=(50, 4))
    np.testing.assert_allclose(correlations(a, b), np.corrcoef(a.T, b.T)[:3, 3:], atol=1e-5)
    drawn = drawn_correlations(a, b[:, :3], 400)
    spread = drawn.std(0)
    np.testing.assert_allclose(spread, 1 / np.sqrt(50), rtol=0.35)


def test_the_finding_names_the_foremost_channels_and_says_that_it_only_goes_with_them(view: View) -> None:
    found = find(view)
    assert len(found.p) == CHANNELS + 4  # and a row of each class
    assert found.findings[0].words[0] == "water"
    assert not found.findings[0].decides
    assert "goes with 'water'" in found.findings[0].sentence


def test_an_audit_without_its_head_is_told_in_a_note(tmp_path: Path) -> None:
    store = made_up(tmp_path / "audit")
    (tmp_path / "audit" / KEPT).unlink()
    assert "was not kept" in find(store.view()).note
    with pytest.raises(SaywhyError, match="was not kept"):
        look_inside(store.view())


def test_few_pictures_give_no_names(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="40 at least"):
        look_inside(made_up(tmp_path / "audit", count=20).view())


def test_with_the_words_of_other_pictures_hardly_any_name_is_said(view: View) -> None:
    inside = look_inside(view)
    said = 0
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(inside.numbers))
        dealt = replace(inside, vectors=inside.vectors[order])
        said += sum(one.said for one in components(None, inside=dealt, kinds=(CHANNEL,)))
    assert said <= 0.05 * 5 * CHANNELS


def test_a_large_audit_is_sampled_always_alike(view: View) -> None:
    some, again = sample(view, 50), sample(view, 50)
    assert list(some.numbers) == list(again.numbers) == sorted(some.numbers)
    assert (len(some.numbers), some.of) == (50, 400)
    everything = sample(view)
    np.testing.assert_array_equal(everything.features[some.numbers], some.features)


def test_where_labels_do_not_compete_a_component_adds_what_the_head_says(view: View) -> None:
    inside = look_inside(view)
    _, apart = parts_of(inside, CHANNEL)
    _, plain = parts_of(replace(inside, competing=False), CHANNEL)
    np.testing.assert_allclose(plain, inside.weight)
    np.testing.assert_allclose(apart, inside.weight - inside.weight.mean(0), atol=1e-6)
    logits, _ = parts_of(replace(inside, competing=False), ROW)
    np.testing.assert_allclose(logits, inside.features @ inside.weight.T + inside.bias, atol=1e-5)
