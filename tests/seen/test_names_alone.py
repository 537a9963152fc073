"""What is shown where class names are all that words were learned from: little, of the whole picture, and no fact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from saywhy.questions.explain import explain_pictures
from saywhy.questions.labels import encode_vocabulary
from saywhy.questions.names_and_defaults import resolve_seen
from saywhy.seen.names import NamesCheck
from saywhy.seen.names_alone import BASIS, WORDS, NamesAlone, names_alone
from saywhy.spaces.own import ClassifierSpace
from saywhy.spaces.text_encoder import load_encoder
from saywhy.types import Vocabulary
from tests.helpers import picture, tiny_classifier

NAMES = [f"{colour} {kind}" for colour in ("red", "green", "black") for kind in ("dog", "boat", "hat", "owl")]
WORDS_OF = Vocabulary(
    ("red wings", "green wings", "blue wings", "red bill", "green bill", "blue bill", "a dog", "a long tail"),
    ("wing", "wing", "wing", "bill", "bill", "bill", "animal", "part"),
)


def _alone() -> tuple[NamesAlone, ClassifierSpace]:
    torch.manual_seed(0)
    classifier = replace(tiny_classifier(12), labels=tuple(NAMES))
    space = ClassifierSpace(classifier, load_encoder())
    texts = encode_vocabulary(WORDS_OF, space)
    return names_alone(space, classifier.labels, space.reference(), WORDS_OF, texts), space


def test_only_words_that_names_teach_and_no_parts() -> None:
    alone, _ = _alone()
    assert alone.vocabulary.phrases == ("red", "green")
    assert alone.silences([picture()]) == [""]


def test_the_whole_picture_has_words_and_no_region() -> None:
    alone, space = _alone()
    whole, first, second = alone.near(alone.texts[1], space.name, regions=2, top=5)
    assert [label.text for label in whole.labels] == ["green", "red"]
    assert (first.labels, second.labels) == ((), ())
    claim, _ = alone.claims(whole, NAMES.index("green boat"))
    assert (claim.said, claim.there, claim.basis, claim.about) == (False, None, BASIS, "picture")
    assert claim.echo  # the class is a green one


def test_at_most_a_few_words() -> None:
    alone, _ = _alone()
    assert len(alone.near(alone.texts.sum(0) * 9, "x", regions=0, top=50)[0].labels) <= WORDS
    assert len(alone.near(alone.texts.sum(0) * 9, "x", regions=0, top=1)[0].labels) <= 1


def test_the_name_alone_is_known_by_the_text_encoder() -> None:
    alone, _ = _alone()
    red, green = (alone.by_name[:, n] for n in (0, 1))
    assert red[:4].min() > red[4:].max() or red[:4].mean() > red[4:].mean() + 1
    assert green[4:8].mean() > green[:4].mean()


def test_an_answer_of_few_classes_has_regions_no_words_and_says_why() -> None:
    classifier = tiny_classifier()
    space = ClassifierSpace(classifier, load_encoder())
    seen = resolve_seen(space, WORDS_OF)
    (answer,) = explain_pictures([("x", picture())], classifier, WORDS_OF, space, seen=seen)
    assert isinstance(seen.names, NamesCheck)
    assert "5 classes" in answer.silence or "numbers or codes" in answer.silence
    assert answer.claims == ()
    assert answer.concepts.labels == ()
    assert answer.settings["class names"] == str(seen.names)
    assert answer.silence in answer.summary


def test_an_answer_that_understands_its_names_says_no_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, space = _alone()
    understood = NamesCheck(0.9, 0.5, 0.5, 0.6, 0.6, 12, True, "")
    monkeypatch.setattr("saywhy.seen.names.check_names", lambda *_, **__: understood)
    monkeypatch.setattr("saywhy.seen.names._kept", lambda _: None)
    classifier = space.classifier
    seen = resolve_seen(space, WORDS_OF)
    answers = explain_pictures([(str(n), picture(seed=n)) for n in range(6)], classifier, WORDS_OF, space, seen=seen)
    for answer in answers:
        assert all(finding.labels == () for finding in answer.findings)
        assert {claim.text for claim in answer.claims} <= set(alone.vocabulary.phrases)
        assert not any(claim.said for claim in answer.claims)
        assert answer.silence == ""
        assert BASIS in answer.summary
        assert "class names" in answer.settings


def test_a_vocabulary_of_no_such_word_is_silent() -> None:
    alone, space = _alone()
    vocabulary = Vocabulary(("a beak", "a tail"), ("part", "part"))
    texts = encode_vocabulary(vocabulary, space)
    silent = names_alone(space, NAMES, space.reference(), vocabulary, texts)
    (reason,) = silent.silences([picture()])
    assert "class names" in reason
    assert silent.near(alone.texts[0], space.name, regions=1, top=5)[0].labels == ()
