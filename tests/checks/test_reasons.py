"""Reasons put to the test, in spaces whose answer is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.answers.why import use_in_words
from saywhy.checks.reasons import check_reasons, settled
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import ECOR
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE
from saywhy.words.rationale_words import RationaleWords
from tests.helpers import bank_of

CLASSES, REASONS = 4, 24
WORDS = RationaleWords(
    tuple(f"bird {c}" for c in range(CLASSES)), tuple(f"thing {r}" for r in range(REASONS)),
    tuple((c,) for c in range(CLASSES)),
)  # fmt: skip
PLACE = np.zeros((64, 64), bool)
PLACE[4:20, 8:24] = True


def scorer(pairs: bool) -> PairScorer[object]:
    """Axis 0: what is red. Rationale 0 is about it, and so are, where pairs say so, all texts of category 0 with it."""
    rationales, categories = torch.full((REASONS, 3), 0.0), torch.zeros(CLASSES, 3)
    rationales[:, 2], rationales[0] = 1.0, torch.tensor([1.0, 0.0, 0.0])
    categories[:, 1] = 1.0
    texts = torch.zeros(CLASSES, REASONS, 3)
    texts[..., 2] = 1.0
    if pairs:
        texts[0, 0] = torch.tensor([1.0, 0.0, 0.0])
    return PairScorer(pairs=bank_of(WORDS, rationales, categories, texts), inverse=None, scoring=ECOR, scale=20.0)


def encode(images: Sequence[Image.Image]) -> Tensor:
    """By how much of a picture is red."""
    red = [(np.asarray(image, float)[..., 0] > 200).mean() / PLACE.mean() for image in images]
    return F.normalize(torch.tensor([[r, 0.3, 1.0 - r] for r in red], dtype=torch.float32), dim=1)


def shown() -> Image.Image:
    pixels = np.full((64, 64, 3), 60, np.uint8)
    pixels[PLACE] = (255, 0, 0)
    return Image.fromarray(pixels)


def test_a_rationale_that_text_and_picture_rest_on_is_borne_out() -> None:
    (use,) = check_reasons(shown(), [PLACE], encode, scorer(pairs=True), 0, [0])
    assert use.verdict == BORNE_OUT
    assert use.text.p == pytest.approx(1 / REASONS)  # above all 23 absent ones
    assert use.picture.p == pytest.approx(1 / 50)
    assert use.p == use.q == max(use.text.p, use.picture.p)
    assert use.picture.effect > 0
    assert use.picture.passes == 51
    before, after, elsewhere = use.picture.probability
    assert elsewhere is not None
    assert after < elsewhere <= before + 1e-6


def test_where_the_pair_does_not_depend_on_the_rationale_it_is_not_used() -> None:
    (use,) = check_reasons(shown(), [PLACE], encode, scorer(pairs=False), 0, [0])
    assert use.verdict == NOT_BORNE_OUT
    assert use.text.p == 1.0
    assert use.text.effect == pytest.approx(0, abs=1e-4)


def test_another_place_is_not_borne_out_and_an_unknown_one_not_testable() -> None:
    elsewhere = np.roll(PLACE, (36, 30), (0, 1))
    empty = np.zeros_like(PLACE)
    (wrong,) = check_reasons(shown(), [elsewhere], encode, scorer(pairs=True), 0, [0])
    assert wrong.verdict == NOT_BORNE_OUT
    (unknown,) = check_reasons(shown(), [empty], encode, scorer(pairs=True), 0, [0])
    assert unknown.verdict == NOT_TESTABLE
    assert unknown.p is None
    assert "its place is not known" in use_in_words(unknown)
    (failed,) = check_reasons(shown(), [empty], encode, scorer(pairs=False), 0, [0])
    assert failed.verdict == NOT_BORNE_OUT  # the text has failed, whatever the picture would have said


def test_reasons_of_a_picture_are_corrected_together() -> None:
    (use,) = check_reasons(shown(), [PLACE], encode, scorer(pairs=True), 0, [0])
    assert use.p is not None
    several = settled([use, *[replace(use, p=0.9)] * 5])
    assert several[0].q == pytest.approx(6 * use.p)
    assert several[0].verdict == NOT_BORNE_OUT


def test_random_places_of_a_blind_encoder_have_no_small_p() -> None:
    def blind(images: Sequence[Image.Image]) -> Tensor:
        noise = torch.rand(len(images), 3, generator=torch.Generator().manual_seed(len(images)))
        return F.normalize(noise, dim=1)

    rng = np.random.default_rng(0)
    held = 0
    for n in range(40):
        place = np.roll(PLACE, tuple(rng.integers(0, 64, 2)), (0, 1))
        (use,) = check_reasons(shown(), [place], blind, scorer(pairs=True), 0, [0], areas=19, seed=n)
        held += use.verdict == BORNE_OUT
    assert held <= 6
