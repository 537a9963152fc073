"""Phrases that were asked for: a map of each, and whether it stands out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saywhy.attribution import attribute
from saywhy.errors import SaywhyError
from saywhy.questions.explain import explain, explain_pictures
from saywhy.questions.options import ExplainOptions
from saywhy.spaces.similarity import UNUSUAL
from saywhy.types import Vocabulary
from tests.attribution.test_phrases import own
from tests.helpers import FakeSpace, picture, tiny_classifier
from tests.questions.test_why import colour_clip, painted

WORDS = Vocabulary(("red", "green", "blue", "thing", "other"), ("",) * 5)
PHRASES = ("a red thing", "toucan")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


def test_each_phrase_has_its_map_in_the_classifiers_own_space() -> None:
    """A phrase that is asked for as one is a phrase, though a class has that name."""
    classifier = tiny_classifier()
    space = own(classifier)
    options = ExplainOptions(phrases=PHRASES, method="gradient-x-input")
    pictures = [("one", picture(seed=1)), ("other", picture(60, 90, seed=2))]
    for (_, image), found in zip(pictures, explain_pictures(pictures, classifier, WORDS, space, options), strict=True):
        assert [p.text for p in found.phrases] == list(PHRASES)
        vectors = space.encode_images([image])
        for phrase in found.phrases:
            assert phrase.heatmap.targets == (phrase.text,)
            assert phrase.heatmap.method == "gradient-x-input"
            assert phrase.geometry == classifier.geometry(image.size)
            assert phrase.score == pytest.approx(float((vectors @ space.encode_texts([phrase.text]).T)[0, 0]), abs=1e-5)
            assert phrase.fits == (phrase.unusual >= UNUSUAL)
        alone = attribute(classifier, [image], "a red thing", "gradient-x-input", space=space)
        torch.testing.assert_close(found.phrases[0].heatmap.values, alone.values, rtol=1e-4, atol=1e-7)


def test_a_clip_has_maps_in_its_own_frame_by_lrp() -> None:
    image = painted(red=(0, 0, 64, 48), blue=(96, 72, 128, 96))
    found = explain(
        image, model=tiny_classifier(), vocabulary=WORDS, space=colour_clip(), phrases=["red"], method="grad-cam"
    )
    (phrase,) = found.phrases
    assert (phrase.heatmap.method, phrase.geometry.frame) == ("lrp", (32, 32))
    positive = phrase.heatmap.positive[0]
    assert positive[:16, :16].sum() > 0.9 * positive.sum() > 0


def test_a_space_without_maps_is_refused_and_nothing_else_is_asked_of_it() -> None:
    with pytest.raises(SaywhyError, match="a fake space cannot say where a phrase is"):
        explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace(), phrases=["red"])
    assert explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace()).phrases == ()


def test_an_empty_phrase_is_refused() -> None:
    with pytest.raises(SaywhyError, match="a phrase to look for is empty"):
        explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=colour_clip(), phrases=["red", " "])
