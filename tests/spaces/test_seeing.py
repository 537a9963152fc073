"""The region of a text is where it is in the picture, whatever the picture's size and what the frame cuts off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

import saywhy.spaces.seeing as module
import saywhy.spaces.text_heat as heat_module
from saywhy.bench.ecor import tables as ecor
from saywhy.bench.ecor.regions import BLIND, COLUMNS, middle, seen_trials, times_chance, where_rows
from saywhy.bench.ecor.study import EvaluationSet, Study
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import probe_geometry
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.seeing import as_seen, hot, on_picture, rationale_masks
from saywhy.spaces.text_heat import METHODS, text_heat
from saywhy.spaces.traits import tower_of
from saywhy.types import Geometry
from saywhy.words.rationale_words import spoken
from saywhy.worlds.aviary import SPECIES
from saywhy.worlds.closeups import Closeup, closeups
from saywhy.worlds.closeups import said as phrase_of
from tests.helpers import FakeSpace, picture, unit
from tests.questions.test_why import colour_clip, painted
from tests.tuning import SMALL, read, tiny_clip, write_pictures

CROPS = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()])
COLOURS = torch.eye(3)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


def cropping() -> ClipSpace:
    return replace(colour_clip(), transform=CROPS)


def coloured(size: tuple[int, int], boxes: Sequence[tuple[str, tuple[int, int, int, int]]]) -> Image.Image:
    image = Image.new("RGB", size)
    for colour, box in boxes:
        image.paste(colour, box)
    return image


@pytest.mark.parametrize("method", METHODS)
def test_masks_lie_where_the_text_is_in_the_pixels_of_each_picture(method: str) -> None:
    wide = painted(red=(0, 0, 64, 48), blue=(96, 72, 128, 96))
    small = coloured((24, 40), [("blue", (0, 0, 12, 20)), ("red", (12, 30, 24, 40))])
    texts = COLOURS[[0, 2, 2, 0]]
    masks = rationale_masks(colour_clip(), [wide, wide, small, small], texts, 0.05, method)
    boxes = [(0, 0, 64, 48), (96, 72, 128, 96), (0, 0, 12, 20), (12, 30, 24, 40)]
    for mask, one, (left, top, right, bottom) in zip(masks, [wide, wide, small, small], boxes, strict=True):
        assert mask.shape == (one.height, one.width)
        assert mask.dtype == bool
        assert mask.any()
        assert mask[top:bottom, left:right].sum() > 0.9 * mask.sum()


def test_the_share_is_of_the_frame_and_what_the_frame_cuts_off_is_never_in_it() -> None:
    """A landscape of red: its middle is the frame, and half of that is a quarter of the picture."""
    (mask,) = rationale_masks(cropping(), [coloured((128, 64), [("red", (0, 0, 128, 64))])], COLOURS[:1], 0.5)
    assert not mask[:, :32].any()
    assert not mask[:, 96:].any()
    assert mask.mean() == pytest.approx(0.25, abs=0.02)


def test_where_nothing_speaks_for_the_text_the_mask_is_empty() -> None:
    (mask,) = rationale_masks(colour_clip(), [painted(red=(0, 0, 64, 48))], -COLOURS[:1])
    assert not mask.any()


def test_together_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip()
    pictures = [picture(40 + 9 * n, 30 + 5 * n, n) for n in range(5)]
    texts = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    together = rationale_masks(clip, pictures, texts)
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(heat_module, "AT_ONCE", 1)
    for one, text, mask in zip(pictures, texts, together, strict=True):
        (alone,) = rationale_masks(clip, [one], text[None])
        assert (alone != mask).mean() < 0.02  # equals may change places
    assert [mask.shape for mask in rationale_masks(clip, pictures, texts)] == [mask.shape for mask in together]
    assert rationale_masks(clip, [], texts[:0]) == []


@pytest.mark.parametrize("method", METHODS)
def test_one_picture_for_all_texts_is_each_of_them_in_it(method: str) -> None:
    tower, clip = tower_of(tiny_clip())
    pixels = clip.transform(picture())[None]
    texts = torch.nn.functional.normalize(torch.randn(6, 16), dim=1)
    for_all = text_heat(tower, pixels, texts, 20.0, method)
    assert for_all.shape == (6, *pixels.shape[-2:])
    torch.testing.assert_close(for_all, text_heat(tower, pixels.repeat(6, 1, 1, 1), texts, 20.0, method))


def test_a_mask_goes_to_the_pixels_that_the_geometry_says() -> None:
    area = np.zeros((4, 4), bool)
    area[1, 2] = True
    mask = on_picture(area, Geometry((10, 8), (4, 4), (2.0, 2.0), (1.0, 0.0)))
    assert np.argwhere(mask).tolist() == [[2, 5], [2, 6], [3, 5], [3, 6]]
    full = on_picture(np.ones((4, 4), bool), Geometry((10, 8), (4, 4), (2.0, 2.0), (1.0, 0.0)))
    assert full[:, 1:9].all()
    assert not full[:, [0, 9]].any()
    padded = on_picture(area, Geometry((2, 2), (4, 4), (1.0, 1.0), (-1.0, -1.0)))
    assert np.argwhere(padded).tolist() == [[0, 1]]


@pytest.mark.parametrize("size", [(128, 64), (40, 90), (20, 31), (32, 32)])
def test_what_is_seen_is_seen_the_same(size: tuple[int, int]) -> None:
    whole = picture(*size)
    seen = as_seen(whole, CROPS)
    assert max(seen.size) <= max(32, *size)
    assert (CROPS(seen) - CROPS(whole)).abs().mean() < 0.03
    geometry = probe_geometry(CROPS, seen.size)
    assert geometry.to_original((0, 0, 32, 32)) == pytest.approx((0, 0, *seen.size), abs=1)


def test_single_hot_pixels_are_no_region() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[10:30, 10:30] = 1 + 0.1 * np.indices((20, 20)).sum(0) % 0.2
    heat[np.arange(40, 64, 8), np.arange(40, 64, 8)] = 1.2
    assert hot(heat, 0.05)[10:30, 10:30].sum() == hot(heat, 0.05).sum()
    assert not hot(-heat).any()


def test_what_cannot_be_looked_for_is_refused() -> None:
    clip, red = colour_clip(), painted(red=(0, 0, 64, 48))
    with pytest.raises(SaywhyError, match="2 texts for 1 pictures"):
        rationale_masks(clip, [red], COLOURS[:2])
    with pytest.raises(SaywhyError, match="rationales need a CLIP, as it is or tuned; a fake space is not one"):
        rationale_masks(FakeSpace(), [red], COLOURS[:1])  # type: ignore[arg-type]
    with pytest.raises(SaywhyError, match="no method 'cam'; there are lrp, gscorecam"):
        rationale_masks(clip, [red], COLOURS[:1], method="cam")
    with pytest.raises(SaywhyError, match="share of the picture must lie above 0"):
        rationale_masks(clip, [red], COLOURS[:1], 0.0)
    with pytest.raises(SaywhyError, match="2 pictures for 3 texts"):
        text_heat(*tower_of(clip)[:1], torch.zeros(2, 3, 32, 32), COLOURS, 20.0)


# -- in the benchmark -------------------------------------------------------------------------------------------------


def test_photographs_lose_what_the_text_is_about(tmp_path: Path) -> None:
    """Red is gone from the changed picture; equal areas elsewhere leave it."""
    red = coloured((160, 80), [("grey", (0, 0, 160, 80)), ("red", (60, 20, 72, 32)), ("red", (0, 0, 30, 80))])
    paths = [tmp_path / f"{n}.png" for n in range(20)]
    for path in paths:
        red.save(path)
    clip = cropping()
    heat_of_red = torch.tensor([[1.0, -0.5, -0.5]]).repeat(20, 1)
    made = list(seen_trials(clip, paths, heat_of_red, 3, range(20)))
    assert len(made) == 20
    for one in made:
        assert one.picture.size == one.changed.size == (32, 32)  # the frame, without the red that it cuts off
        assert len(one.elsewhere) == 3
    amounts = [np.mean([_redness(image) for image in some]) for some in (
        [one.picture for one in made], [one.changed for one in made], [image for one in made for image in one.elsewhere]
    )]  # fmt: skip
    assert amounts[1] < 0.5 * amounts[0]
    assert amounts[2] > 0.8 * amounts[0]


def _redness(image: Image.Image) -> float:
    pixels = np.asarray(image, float)
    return float((pixels[..., 0] - pixels[..., 1]).clip(0).mean())


def test_times_chance() -> None:
    rng = np.random.default_rng(0)
    part = np.zeros((20, 20), bool)
    part[:5, :8] = True  # a tenth of the picture
    assert times_chance([part] * 9, [part] * 9).value == pytest.approx(10)
    assert times_chance([~part] * 9, [part] * 9).value == 0
    assert times_chance([np.zeros_like(part)], [part]).value == 0
    assert np.isnan(times_chance([part], [np.zeros_like(part)]).value)
    masks = [np.roll(part, rng.integers(20, size=2), (0, 1)) for _ in range(2000)]
    found = times_chance(masks, [part] * 2000)
    assert found.low < 1 < found.high
    half = times_chance([part, ~part], [part, part])
    assert half.low <= half.value <= half.high


def test_the_middle_is_in_the_middle() -> None:
    mask = middle(Image.new("RGB", (40, 30)))
    assert mask.shape == (30, 40)
    assert mask.mean() == pytest.approx(0.15, abs=0.01)
    assert np.argwhere(mask).mean(0) == pytest.approx((14.5, 19.5), abs=0.5)


@pytest.mark.parametrize("name", ["clip", "untrained"])
def test_photographs_are_put_to_both_tests_of_use(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecor, "TESTED", 7)
    data = read(write_pictures(tmp_path / "pictures"))
    study = Study(tiny_clip(), data, data, EvaluationSet.of("photographs", data), None, SMALL, 1)
    uses = ecor._use(study, name, study.test)
    assert set(uses) == {ecor.NAMED, ecor.ANOTHERS}
    for which, use in uses.items():
        assert use.text is not None
        assert use.picture is not None
        assert use.both is not None
        assert use.picture.count == use.right <= 7
        assert use.both.count == use.text.count
        assert "used by picture" in ecor._use_row(name, which, use)


def test_where_regions_lie_is_told_beside_what_knows_nothing() -> None:
    scenes = closeups(list(SPECIES)[:3], 6, "validation")
    said = [[spoken(phrase) for phrase in phrases_in_view(scene)] for scene in scenes]
    texts = {phrase: unit(1, 16)[0] for some in said for phrase in some}
    rows = where_rows({"tiny": tiny_clip()}, scenes, said, texts)
    assert [row["method"] for row in rows] == ["tiny", BLIND]
    assert set(rows[0]) == set(COLUMNS)
    assert all(row["lrp low"] <= row["lrp"] <= row["lrp high"] for row in rows)
    assert 0 < rows[0]["pictures"] <= 6
    alone = [some[:1] for some in said]  # the part that the picture was taken for, which is in the middle
    assert where_rows({"tiny": tiny_clip()}, scenes, alone, texts) == []


def phrases_in_view(scene: Closeup) -> list[str]:
    return [phrase_of(attribute, SPECIES[scene.species][attribute]) for attribute in scene.rationales]
