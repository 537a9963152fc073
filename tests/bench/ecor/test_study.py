"""What the study of ECOR measures on: pictures with their truth, and runs that are trained once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.bench.ecor import study as ecor_study
from saywhy.bench.ecor.study import (
    HELD_OUT,
    KNOWN,
    EvaluationSet,
    Study,
    _aviary,
    _some,
    folder_study,
    gold_of,
    scoring_of,
)
from saywhy.errors import SaywhyError
from saywhy.pictures.rationale_data import read_rationale_data
from saywhy.pictures.rationale_folders import write_doubly_right
from saywhy.pictures.truth import RationaleData
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.pairs.on_disk import build_bank
from saywhy.spaces.pairs.ranking import rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.words.rationale_words import spoken
from saywhy.worlds.aviary import SPECIES
from saywhy.worlds.closeups import said
from tests.tuning import COLOURS, LISTS, SMALL, read, tiny_clip, write_pictures

pytestmark = pytest.mark.usefixtures("own_cache")

SHORT = replace(SMALL, steps=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RationaleData:
    return read(write_pictures(tmp_path_factory.mktemp("pictures") / "data"))


@pytest.fixture(scope="module")
def clip() -> ClipSpace:
    return tiny_clip()


def study_of(data: RationaleData, clip: ClipSpace, seeds: int = 2) -> Study:
    return Study(clip, data, data, EvaluationSet.of("test", data), None, SHORT, seeds)


def test_held_out_species_are_none_of_the_others() -> None:
    assert len(HELD_OUT) == 12
    assert not set(HELD_OUT) & set(KNOWN)
    assert set(HELD_OUT) | set(KNOWN) == set(SPECIES)


def test_a_run_is_trained_once_and_clip_not_at_all(
    data: RationaleData, clip: ClipSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, trained = study_of(data, clip), []
    step = "saywhy.training.prompts.tuning._step"
    from saywhy.training.prompts import tuning as prompt_tuning

    whole = prompt_tuning._step
    monkeypatch.setattr(step, lambda *arguments: trained.append(1) or whole(*arguments))
    assert (study.runs("ecor"), study.runs("clip"), study.runs("untrained")) == (range(2), range(1), range(1))
    assert study.space("clip", 0) is study.space("untrained", 0) is clip
    assert not trained
    first = study.space("ecor", 0)
    assert len(trained) == 2
    assert study.space("ecor", 0) is first
    again = study_of(data, clip).space("ecor", 0)  # another command, later
    assert len(trained) == 2
    assert torch.equal(again.prompts, first.prompts)  # type: ignore[union-attr]
    other = study.space("ecor", 1)
    assert not torch.equal(other.prompts, first.prompts)  # type: ignore[union-attr]
    assert len(trained) == 4
    changed = replace(data, images=data.images[:-1])
    Study(clip, changed, data, study.test, None, SHORT, 1).space("ecor", 0)
    assert len(trained) == 6


def test_it_ranks_as_the_parts_it_is_made_of(data: RationaleData, clip: ClipSpace) -> None:
    study = study_of(data, clip)
    vectors = clip.encode_images([Image.open(image.path) for image in data.images])
    torch.testing.assert_close(study.vectors("clip", 0, data), vectors)
    assert study.vectors("clip", 0, data) is study.vectors("clip", 0, data)
    bank, inverse = build_bank(clip, data.words), build_bank(clip, data.words, inverse=True)
    for scoring in (scoring_of("clip"), Scoring(), Scoring(("rationale", "inverse"))):
        found = study.ranked("clip", 0, study.test, scoring)
        scorer = PairScorer(pairs=bank, inverse=inverse, scoring=scoring, scale=clip.scale)
        expected = rank(vectors, scorer, 5)
        assert np.array_equal(found.categories, expected.categories)
        assert np.array_equal(found.rationales, expected.rationales)
    assert scoring_of("clip").terms == ("pair",)
    assert scoring_of("untrained") == Scoring()


def test_random_words_take_the_places_of_rationales(data: RationaleData, clip: ClipSpace) -> None:
    study = study_of(data, clip)
    plain, noise, other = study.bank(data.words), study.bank(data.words, scrambled=0), study.bank(data.words, False, 1)
    assert noise is study.bank(data.words, scrambled=0)
    assert noise.words.lists == plain.words.lists
    assert noise.words.categories == plain.words.categories
    assert not set(noise.words.rationales) & {*plain.words.rationales, *other.words.rationales}
    assert torch.equal(noise.categories, plain.categories)
    assert not torch.isclose(noise.rationales, plain.rationales).all(1).any()


def test_scenes_are_those_of_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(SPECIES)[:3]
    folder, scenes = _aviary("known", names, ("train", "validation", "test"), 0.04)
    data, known = (read_rationale_data(folder, "test", gold=gold) for gold in ("query", "all"))
    assert len(scenes) == len(data.images) == 4
    for image, more, scene in zip(data.images, known.images, scenes, strict=True):
        assert np.array_equal(Image.open(image.path), scene.image)
        assert data.words.categories[image.category] == spoken(scene.species)
        (named,) = image.rationales
        own = SPECIES[scene.species]
        assert data.words.rationales[named] == spoken(said(scene.attribute, own[scene.attribute]))
        assert named in more.rationales
        assert len(more.rationales) == len(scene.rationales)
    assert {split: len(read_rationale_data(folder, split).images) for split in ("train", "validation")} == {
        "train": 8, "validation": 2,
    }  # fmt: skip

    def write(*arguments: object) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr(ecor_study, "write_doubly_right", write)
    again, same = _aviary("known", names, ("train", "validation", "test"), 0.04)
    assert again == folder
    assert [one.seed for one in same] == [one.seed for one in scenes]


def test_some_are_spread_evenly_over_those_that_can_be_read(tmp_path: Path) -> None:
    data = read(write_pictures(tmp_path / "data"))
    data.images[0].path.write_bytes(b"no picture")
    whole = _some(data, None)
    assert whole.images == data.images[1:]
    four = _some(data, 4)
    assert len(four.images) == 4
    assert {image.category for image in four.images} == {image.category for image in data.images}
    assert _some(data, 100).images == whole.images
    for image in data.images:
        image.path.write_bytes(b"no picture")
    with pytest.raises(SaywhyError, match="none of the 12 pictures can be opened"):
        _some(data, None)
    with pytest.raises(SaywhyError, match="there is no picture in it"):
        _some(replace(data, images=()), None)


def test_folders_are_split_into_what_is_trained_on_and_what_is_asked(
    tmp_path: Path, clip: ClipSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecor_study, "load_clip", lambda name: clip)
    for name, count in (("one", 3), ("other", 2)):
        pictures = (
            (split, category, [rationale], Image.new("RGB", (24, 20), (*COLOURS[rationale][:2], 9 * n)))
            for split in ("train", "test")
            for category, listed in LISTS.items()
            for rationale in listed
            for n in range(count)
        )
        write_doubly_right(tmp_path / name, pictures, LISTS)
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    study = folder_study(one, other, replace(SMALL, validation=0.25), 3)
    assert study.transfer is not None
    parts = (study.train, study.validation, study.test.data, study.transfer.data)
    assert [len(part.images) for part in parts[2:]] == [12, 8]
    assert len(study.train.images) + len(study.validation.images) == 12
    assert study.validation.images
    assert not {i.path for i in study.train.images} & {i.path for i in study.validation.images}
    assert (study.test.name, study.transfer.name, study.seeds, study.settings.validation) == ("one", "other", 3, 0.0)
    assert study.test.known is study.test.scenes is None
    assert folder_study(one, one, SMALL, 1).transfer is None
    assert len(folder_study(one, None, SMALL, 1, limit=5).test.data.images) == 5
    gold = gold_of(study.test.data.images)
    assert gold.categories.tolist() == [image.category for image in study.test.data.images]
    assert gold.rationales == tuple(frozenset(image.rationales) for image in study.test.data.images)
