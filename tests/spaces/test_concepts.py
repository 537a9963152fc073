"""The space of concept probes: cosines are scores, strangers are refused, and what is saved is what is read."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from torch import Tensor

import saywhy
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.names_and_defaults import check_space_name, resolve_seen, resolve_space, resolve_vocabulary
from saywhy.seen.evidence import gather
from saywhy.spaces.concepts import ConceptSpace, Probes
from saywhy.types import Space
from tests.helpers import picture, tiny_classifier

PHRASES = ("red crown", "hooked bill", "striped wing")


def probes_of(classifier: Classifier, threshold: float = 0.9) -> Probes:
    torch.manual_seed(0)
    width = classifier.head.weight.shape[1]
    return Probes(
        phrases=PHRASES, groups=("crown", "bill", "wing"), attributes=("", "", ""), weights=torch.randn(3, width),
        mean=torch.rand(width) / width, scale=torch.full((width,), 0.5), base=torch.tensor([0.5, 0.2, 0.1]),
        spread=torch.ones(3), auc=torch.tensor([[0.9, 0.8, 0.95]] * 2 + [[0.5, 0.4, 0.6]]),
        held=torch.tensor([True, True, False]), counts=torch.ones(3, 4, dtype=torch.long),
        platt=torch.tensor([0.1, 1.0, 2.0, 1.0, 0.5]), reference=torch.randn(12, width).half() / 4, threshold=threshold,
        precision=0.9, basis="probes fitted on 9 pictures (drawn), cross-validated by picture", learned_from="drawn",
        teacher="", left_out=(("A beak", "one picture with it; 8 are needed"),), classifier=classifier.fingerprint,
    )  # fmt: skip


@pytest.fixture
def space() -> ConceptSpace:
    classifier = tiny_classifier()
    return ConceptSpace(classifier, probes_of(classifier))


def images() -> list:
    return [picture(seed=n) for n in range(4)]


def there(space: ConceptSpace, vectors: Tensor) -> Tensor:
    texts = space.encode_texts(PHRASES)
    words = resolve_vocabulary(None, space.classifier, space)
    return torch.stack(
        [space.calibration.there(one) for one in gather([v[None] for v in vectors], texts[: len(words)], words, space)]
    )


def test_a_cosine_is_the_score_up_to_a_factor_of_the_phrase(space: ConceptSpace) -> None:
    assert isinstance(space, Space)
    vectors, texts = space.encode_images(images()), space.encode_texts(PHRASES)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    scores = space.probes.scores(space.features(images()))
    torch.testing.assert_close(space.scores(vectors @ texts.T, range(3)), scores, rtol=1e-4, atol=1e-5)


def test_probabilities_come_from_the_whole_picture_and_only_of_what_is_held(space: ConceptSpace) -> None:
    assert space.vocabulary.phrases == PHRASES[:2]
    vectors = space.encode_images(images())
    expected = space.probes.probabilities(space.probes.scores(space.features(images())))
    torch.testing.assert_close(there(space, vectors), expected[:, :2], rtol=1e-3, atol=1e-4)
    assert expected[:, 2].isnan().all()
    known = resolve_seen(space, space.vocabulary).calibration
    assert known is not None
    assert known.threshold == 0.9


def test_a_phrase_that_no_picture_taught_is_refused(space: ConceptSpace) -> None:
    assert space.encode_texts(["a Red  crown"]).shape == (1, 17)
    with pytest.raises(SaywhyError, match="there is no probe for 'red crowns'; did you mean red crown"):
        space.encode_texts(["red crowns"])
    with pytest.raises(SaywhyError, match="'A beak' was left out of the probes: one picture with it"):
        space.encode_texts(["a beak"])


def test_what_is_saved_is_what_is_read(space: ConceptSpace, tmp_path: Path) -> None:
    path = space.save(tmp_path / "probes.safetensors")
    again = ConceptSpace.load(path, space.classifier)
    torch.testing.assert_close(again.encode_images(images()), space.encode_images(images()))
    assert again.calibration.basis == space.calibration.basis
    assert again.probes.left_out == space.probes.left_out
    assert again.vocabulary == space.vocabulary
    probes_of(space.classifier, threshold=inf).save(path)
    assert ConceptSpace.load(path, space.classifier).calibration.threshold == inf
    other = tiny_classifier(classes=6)
    with pytest.raises(SaywhyError, match="belong to another classifier"):
        ConceptSpace.load(path, other)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SaywhyError, match="holds no concept probes"):
        ConceptSpace.load(path, space.classifier)


def test_a_map_of_a_phrase_explains_its_row(space: ConceptSpace) -> None:
    found = space.text_maps(images()[:2], ["red crown", "hooked bill"])
    assert found.targets == ("red crown", "hooked bill")
    assert found.values.shape[0] == 2
    assert found.values.abs().sum() > 0


def test_explain_says_what_is_probable_and_shows_where(space: ConceptSpace, tmp_path: Path) -> None:
    path = space.save(tmp_path / "probes.safetensors")
    check_space_name(f"concepts:{path}")
    assert isinstance(resolve_space(f"concepts:{path}", space.classifier), ConceptSpace)
    with pytest.raises(SaywhyError, match="there is no file"):
        check_space_name("concepts:nowhere")
    found = saywhy.explain(images()[0], model=space.classifier, space=f"concepts:{path}", phrases=["a red crown"])
    chances = there(space, space.encode_images(images()[:1]))[0]
    claimed = {claim.text: claim for claim in found.claims}
    assert set(claimed) == set(PHRASES[:2])
    for phrase, chance in zip(PHRASES, chances.tolist(), strict=False):
        assert claimed[phrase].there == pytest.approx(chance, abs=1e-3)
        assert claimed[phrase].said == (chance >= 0.9)
        assert claimed[phrase].basis == space.probes.basis
    assert found.phrases[0].text == "a red crown"
    assert "words learned from pictures (drawn)" in found.concepts.space


def test_words_of_unknown_quality_are_near_and_no_facts() -> None:
    classifier = tiny_classifier()
    probes = probes_of(classifier)
    unsure = replace(probes, held=torch.zeros_like(probes.held), left_out=((probes.phrases[0], "of one class"),))
    space = ConceptSpace(classifier, unsure)
    assert space.vocabulary.phrases == probes.phrases[:1]
    assert "cannot be known from drawn" in space.calibration.unknown
    assert "do not hold" in ConceptSpace(classifier, replace(unsure, left_out=())).calibration.unknown
