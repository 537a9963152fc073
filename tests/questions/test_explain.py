"""The main path, on small networks and on the embedded world."""

from __future__ import annotations

import io
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saywhy
from saywhy.answers.explanation import Explanation
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.explain import explain, explain_pictures
from saywhy.seen.evidence import Evidence
from saywhy.seen.gate import Seen
from saywhy.types import Vocabulary
from saywhy.worlds.scenes import draw
from tests.helpers import FakeSpace, picture, tiny_classifier

WORDS = Vocabulary(("red", "green", "blue", "thing", "other"), ("",) * 5)


def test_an_explanation_holds_together(tmp_path: Path) -> None:
    picture(200, 120).save(tmp_path / "bird.png")
    classifier = tiny_classifier()
    e = explain(tmp_path / "bird.png", model=classifier, vocabulary=WORDS, space=FakeSpace(), top=2)
    assert (e.picture.name, e.picture.width, e.picture.height) == ("bird.png", 200, 120)
    assert e.target == e.predictions[0]
    assert e.heatmap.targets == (e.target.index,)
    assert e.heatmap.logits[0] == pytest.approx(e.target.logit, rel=1e-4)
    assert len(e.findings) == len(e.regions) >= 1
    assert [f.region for f in e.findings] == list(range(len(e.regions)))
    assert e.concepts.region is None
    assert all(len(f.labels) == 2 and f.space == FakeSpace.name for f in (*e.findings, e.concepts))
    assert e.target.name in e.summary
    assert e.settings["composite"] == "epsilon-plus"
    assert all(0 <= r.box[0] < r.box[2] <= 200 and 0 <= r.box[1] < r.box[3] <= 120 for r in e.regions)


def test_an_array_and_bytes_are_explained_like_the_picture(tmp_path: Path) -> None:
    picture().save(tmp_path / "bird.png")
    classifier = tiny_classifier()
    as_bytes = (tmp_path / "bird.png").read_bytes()
    expected = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace())
    for image in (np.asarray(picture()), as_bytes, io.BytesIO(as_bytes)):
        e = explain(image, model=classifier, vocabulary=WORDS, space=FakeSpace())
        assert e.picture == expected.picture
        assert e.picture.name == "picture"
        assert torch.equal(e.heatmap.values, expected.heatmap.values)


def test_the_target_can_be_chosen_by_name() -> None:
    classifier = tiny_classifier()
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), target="teapot")
    assert e.target.name == "teapot"
    assert e.heatmap.targets == (3,)


def test_many_pictures_get_what_each_gets_alone() -> None:
    classifier, images = (
        tiny_classifier(),
        [("a", picture(90, 60, 1)), ("b", picture(60, 90, 2)), ("c", picture(64, 64, 3))],
    )
    together = explain_pictures(images, classifier, WORDS, FakeSpace())
    for one, pair in zip(together, images, strict=True):
        (alone,) = explain_pictures([pair], classifier, WORDS, FakeSpace())
        assert one.summary == alone.summary
        assert [r.box for r in one.regions] == [r.box for r in alone.regions]
        torch.testing.assert_close(one.heatmap.values, alone.heatmap.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["gradient-x-input", "integrated-gradients", "grad-cam"])
def test_every_method_explains(method: str) -> None:
    e = explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace(), method=method)
    assert e.heatmap.method == e.settings["method"] == method


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2000, 60)])
def test_odd_sizes_are_explained(size: tuple[int, int]) -> None:
    e = explain(Image.new("RGB", size, (90, 200, 30)), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace())
    assert all(r.box[2] <= size[0] and r.box[3] <= size[1] for r in e.regions)
    assert "<img" in e._repr_html_()


class Certain:
    """Knows that the first phrase is there, that the second is not, and nothing of the others."""

    threshold, basis, shifts, places = 0.9, "calibrated on nothing", False, True

    def there(self, evidence: Evidence) -> torch.Tensor:
        return torch.tensor([0.99, 0.2, *[torch.nan] * (len(evidence.vocabulary) - 2)])


def test_without_a_calibration_no_word_is_a_fact() -> None:
    e = explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace())
    assert e.claims
    assert not any(c.said or c.there is not None for c in e.claims)
    assert not any(word in e.summary for word in WORDS.phrases)


def test_what_is_calibrated_is_said_in_the_look_where_it_stands_out() -> None:
    e = explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace(), calibration=Certain(), top=5)
    facts = [claim for claim in e.claims if claim.said]
    assert [(claim.text, claim.there) for claim in facts] == [("red", pytest.approx(0.99))]
    assert facts == list(e.claims[:1])
    scores = {f.region: {label.text: label.unusual for label in f.labels} for f in (e.concepts, *e.findings)}
    best = max(scores, key=lambda region: scores[region]["red"])
    assert facts[0].about == ("picture" if best is None else f"region {best + 1}")
    assert {claim.there for claim in e.claims if claim.text == "blue"} == {None}
    assert "red" in e.summary
    assert "green" not in e.summary


def test_a_picture_that_is_doubted_gets_relevance_and_regions_and_no_words() -> None:
    class Doubtful:
        def silences(self, images: Sequence[Image.Image]) -> list[str]:
            return ["" if image.width > 64 else "it is too small" for image in images]

    seen = Seen(Certain(), (Doubtful(),))
    images = [("small", picture(64, 64, 1)), ("large", picture(96, 64, 2))]
    small, large = explain_pictures(images, tiny_classifier(), WORDS, FakeSpace(), seen=seen)
    assert small.silence == "it is too small"
    assert small.regions
    assert small.claims == ()
    assert not any(f.labels for f in (small.concepts, *small.findings))
    assert "it is too small" in small.summary
    assert large.claims
    assert not large.silence


def test_public_names_are_there() -> None:
    assert saywhy.explain is explain
    assert all(getattr(saywhy, name) is not None for name in saywhy.__all__)
    assert dir(saywhy) == sorted(saywhy.__all__)
    with pytest.raises(AttributeError):
        saywhy.nonsense  # noqa: B018


def test_a_picture_that_is_not_there_is_named() -> None:
    with pytest.raises(SaywhyError, match="no such file"):
        explain("none.jpg", model=tiny_classifier())


def test_what_a_person_sees_in_a_console_is_short() -> None:
    classifier = tiny_classifier()
    assert repr(classifier) == "<Classifier tiny: TinyNet, 5 classes, head of 16 features, on cpu>"
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), regions=1)
    several = repr([e, e])
    assert len(several) < 300
    assert e.target.name in several
    assert repr(e.heatmap) == f"<Heatmap (1, 32, 32) by lrp (epsilon-plus) for classes ({e.target.index},)>"
    assert len(repr(e.regions[0])) < 100


def test_a_figure_shows_itself_in_a_notebook() -> None:
    e = explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace())
    assert e.figure()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_a_list_gives_a_list_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saywhy.questions import explain as module

    picture(seed=1).save(tmp_path / "bird.png")
    sizes: list[int] = []
    whole = module.explain_pictures

    def watched(pictures: list[tuple[str, Image.Image]], *rest: object) -> list[Explanation]:
        sizes.append(len(pictures))
        return whole(pictures, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "explain_pictures", watched)
    options = {"model": tiny_classifier(), "vocabulary": WORDS, "space": FakeSpace()}
    images = [tmp_path / "bird.png", picture(seed=2), np.asarray(picture(seed=3)), torch.rand(3, 32, 32)]
    found = explain(images, batch_size=3, **options)
    assert sizes == [3, 1]
    assert [e.picture.name for e in found] == ["bird.png", "picture", "picture", "picture"]
    for one, image in zip(found, images, strict=True):
        alone = explain(image, **options)
        assert isinstance(alone, Explanation)
        torch.testing.assert_close(one.heatmap.values, alone.heatmap.values, rtol=1e-4, atol=1e-6)
    assert explain([], **options) == []
    assert len(explain((picture(),), **options)) == 1


def test_the_first_bad_picture_of_a_list_is_named(tmp_path: Path) -> None:
    options = {"model": tiny_classifier(), "vocabulary": WORDS, "space": FakeSpace()}
    with pytest.raises(SaywhyError, match=r"picture 2 of 3: none.jpg: no such file"):
        explain([picture(), "none.jpg", b"nothing"], **options)
    with pytest.raises(SaywhyError, match=r"picture 1 of 1: .*no picture's shape"):
        explain([torch.zeros(2, 3, 32, 32)], **options)
    with pytest.raises(SaywhyError, match=r"'tepot'.*did you mean teapot"):
        explain([picture()], target="tepot", **options)
    with pytest.raises(SaywhyError, match="batch_size"):
        explain([picture()], batch_size=0, **options)


class Features:
    """A space of a classifier's features as they are."""

    name = "the features"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier, self.runs = classifier, 0

    def encode_features(self, features: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(features, dim=1)

    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        self.runs += 1
        return self.encode_features(self.classifier.features(self.classifier.preprocess(images)))

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(len(texts), 16, generator=torch.Generator().manual_seed(0)))


def test_a_space_of_the_classifiers_features_sees_regions_in_the_same_pass() -> None:
    classifier = tiny_classifier()
    space = Features(classifier)
    images = [picture(), picture(200, 120).rotate(90)]
    both = explain(images, model=classifier, vocabulary=WORDS, space=space, target=("toucan", "teapot"))
    assert space.runs == 0
    whole = space.encode_images(images) @ space.encode_texts(WORDS.phrases).T
    for e, cosines in zip(both, whole, strict=True):
        for one in e.each:
            assert one.settings["regions seen"] == "in the last map"
            assert [label.score for label in one.concepts.labels] == pytest.approx(
                cosines.topk(3).values.tolist(), abs=1e-4
            )
            assert len(one.findings) == len(one.regions) > 0
    alone = explain(images[1], model=classifier, vocabulary=WORDS, space=space, target=("toucan", "teapot"))
    for a, b in zip(alone.each, both[1].each, strict=True):
        for mine, theirs in zip(a.findings, b.findings, strict=True):
            assert [x.score for x in mine.labels] == pytest.approx([x.score for x in theirs.labels], abs=1e-4)


def test_where_the_pass_does_not_give_them_regions_are_seen_as_crops() -> None:
    classifier = tiny_classifier()
    space = Features(classifier)
    assert explain(picture(), model=classifier, vocabulary=WORDS, space=space, calibration=Certain()).claims[0].said
    assert space.runs == 0

    class Shifting(Certain):
        shifts = True

    e = explain(picture(), model=classifier, vocabulary=WORDS, space=space, calibration=Shifting())  # it needs crops
    assert space.runs == 2
    assert e.settings["regions seen"] == "as crops"
    other = Features(replace(classifier, network=deepcopy(classifier.network)))
    assert explain(picture(), model=classifier, vocabulary=WORDS, space=other).settings["regions seen"] == "as crops"
    assert "regions seen" not in explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace()).settings


def test_of_what_its_networks_do_not_know_nothing_is_said_but_where_it_looked() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    bird, foreign = explain([draw("species", 5_400_000, 160)[0].image, noise], model="world:aviary")
    assert bird.silence == ""
    assert all(finding.labels for finding in (*bird.findings, bird.concepts))
    assert "does not know pictures like this one" in foreign.silence
    assert foreign.silence in foreign.summary
    assert not any(finding.labels for finding in (*foreign.findings, foreign.concepts))
    assert (foreign.claims, foreign.phrases, foreign.contrast, foreign.sentence) == ((), (), None, None)
    assert foreign.heatmap.values.abs().sum() > 0
    assert foreign.regions
