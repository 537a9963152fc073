"""One sentence a picture: who chooses it, what its words weigh, and when nothing is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions import narrate as module
from saywhy.questions.narrate import WHOLE, finished, looked_at, narrate, weigh
from saywhy.questions.sentences.language_model import LanguageModel, load_language_model
from saywhy.questions.sentences.scoring import Scorer
from saywhy.spaces.clip import load_clip
from saywhy.spaces.own import ClassifierSpace
from saywhy.spaces.similarity import FEWEST, unusual_scores
from saywhy.types import Claim, Sentence, Vocabulary
from tests.helpers import FakeSpace, picture, sample_images
from tests.writers import WordSpace, word_tokenizer, writer

SMALL: dict[str, Any] = {"prompts": ["a bird"], "beams": 2, "candidates": 4, "read": 3, "longest": 7, "shortest": 4}


class Shares(FakeSpace):
    """A text lies at the share of its words that name each colour, and at what else it says."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        rows = [[float(colour in text) for colour in self.colours] for text in texts]
        return F.normalize(torch.tensor(rows) + 0.1, dim=1)


def red(seed: int = 0) -> Image.Image:
    """A picture that is almost all red, and not flat."""
    image = Image.new("RGB", (24, 24), (200 + seed, 5, 5))
    image.putpixel((3, 3), (5, 200, 5))
    return image


def blue() -> Image.Image:
    image = Image.new("RGB", (24, 24), (5, 5, 220))
    image.putpixel((3, 3), (5, 200, 5))
    return image


@pytest.fixture
def _written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer writes what the test says, for every picture."""
    monkeypatch.setattr(
        module, "guided_drafts", lambda writer, scorer, **_: [list(request.param) for _ in scorer.pictures]
    )


def written(*texts: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("_written", [texts], indirect=True, ids=[texts[0] if texts else "nothing"])


def only(sentences: list[Sentence]) -> Sentence:
    [sentence] = sentences
    return sentence


WORDS = Vocabulary(("red bird", "green bird"), ("", ""), {"": ("a {}",)})


def claim(text: str, there: float | None) -> Claim:
    return Claim(text, "picture", "a space", 0.5, there, "nobody knows", said=(there or 0) > 0.9)


@pytest.mark.usefixtures("_written")
@written("a red bird", "a green bird")
def test_with_claims_only_facts_are_said_or_why_not() -> None:
    def said(*claims: Claim) -> Sentence:
        return only(narrate([red()], Shares(), writer(), claims=[claims], vocabulary=WORDS))

    fact = said(claim("green bird", 0.95), claim("red bird", 0.2))
    assert (fact.text, fact.facts, fact.written) == ("a green bird.", ("green bird",), True)
    assert not any(word.idle for word in fact.words)
    assert fact.score == pytest.approx(next(d.score for d in fact.drafts if d.text == fact.text))
    unsure = said(claim("green bird", 0.5))
    assert (unsure.text, unsure.refusal) == ("", "nothing of what may be there is sure enough to be said")
    assert [draft.text for draft in unsure.drafts] == ["a red bird.", "a green bird."]
    assert said(claim("green bird", None)).refusal == "nobody knows"


# -- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_written")
@written("a blue bird", "a red bird with the", "a red bird", "a green bird", "the")
def test_the_draft_that_fits_best_is_said() -> None:
    sentence, other = narrate([red(), blue()], Shares(), writer())
    assert (sentence.text, other.text) == ("a red bird.", "a blue bird.")
    assert [draft.text for draft in sentence.drafts] == ["a red bird.", "a green bird.", "a blue bird."]
    assert (sentence.score, sentence.judged) == (sentence.drafts[0].score, sentence.drafts[0].judged)
    assert sentence.score == sentence.judged
    assert (sentence.space, sentence.judge, sentence.method) == (Shares.name, Shares.name, "guided")
    assert sentence.refusal is None
    assert sentence.perplexity == writer().perplexities(["a red bird."])[0]
    assert math.isnan(sentence.unusual), "this space does not know what is usual"
    vector = Shares().encode_images([red()])
    assert sentence.score == pytest.approx(float((vector @ Shares().encode_texts([sentence.text]).T)[0, 0]))


@pytest.mark.usefixtures("_written")
@written("a blue bird", "a red bird")
def test_a_judge_of_another_opinion_chooses_and_both_scores_are_said() -> None:
    class Contrary(Shares):
        name = "a contrary space"

        def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
            return super().encode_images(images).flip(1)

    sentence = only(narrate([red()], Shares(), writer(), judge=Contrary()))
    assert sentence.text == "a blue bird."
    assert (sentence.space, sentence.judge) == (Shares.name, "a contrary space")
    assert sentence.judged > sentence.score
    best, second = sentence.drafts
    assert second.score > best.score
    assert best.judged > second.judged


@pytest.mark.usefixtures("_written")
@written("a red cock", "a blue bird")
def test_words_unfit_to_be_said_are_not_said_unless_they_are_names() -> None:
    assert only(narrate([red()], Shares(), writer())).text == "a blue bird."
    assert only(narrate([red()], Shares(), writer(), allowed=["cock"])).text == "a red cock."
    assert only(narrate([red()], Shares(), writer(), appropriate=False)).text == "a red cock."


@pytest.mark.usefixtures("_written")
@written("a red cunt", "fuck the")
def test_where_no_draft_is_fit_nothing_is_said() -> None:
    sentence = only(narrate([red()], Shares(), writer()))
    assert (sentence.text, sentence.drafts, sentence.words) == ("", (), ())
    assert sentence.refusal == "every draft had words that are not fit to be said"
    assert math.isnan(sentence.score)


@pytest.mark.usefixtures("_written")
@written("the of", "")
def test_where_no_draft_says_anything_nothing_is_said() -> None:
    assert only(narrate([red()], Shares(), writer())).refusal == "no draft came to an end"


@pytest.mark.parametrize("method", ["guided", "prefix"])
def test_a_flat_picture_gets_no_sentence_and_the_others_get_theirs(method: str) -> None:
    flat = Image.new("RGB", (20, 20), (200, 10, 10))
    flat.putpixel((0, 0), (202, 10, 10))
    settings = SMALL if method == "guided" else {"sentences": 2, "candidates": 4, "longest": 7, "prompts": ["a bird"]}
    sentences = narrate([flat, picture(), flat, picture(seed=1)], WordSpace(), writer(), method=method, **settings)
    assert [bool(s.text) for s in sentences] == [False, True, False, True]
    assert {s.refusal for s in sentences[::2]} == {"the picture is of one flat colour"}
    assert [s.encodings for s in sentences[::2]] == [0, 0]
    assert sentences[1].encodings > 0
    without = narrate([picture(), picture(seed=1)], WordSpace(), writer(), method=method, **settings)
    assert [s.text for s in without] == [s.text for s in sentences[1::2]]
    assert narrate([flat], WordSpace(), writer())[0].text == ""
    assert narrate([], WordSpace(), writer()) == []


def test_an_unknown_way_to_write_is_named() -> None:
    with pytest.raises(SaywhyError, match="no way to write 'sung'; there are guided, prefix"):
        narrate([red()], Shares(), writer(), method="sung")


@pytest.mark.parametrize(
    ("method", "longest", "settings"),
    [("guided", 14, {"beams": 2, "read": 3}), ("prefix", 11, {"sentences": 1})],
)
def test_a_sentence_may_fill_the_writers_positions_and_no_more(
    method: str, longest: int, settings: dict[str, Any]
) -> None:
    writes = writer(tokenizer=word_tokenizer(("a", "bird", "with", "red", "blue", "wings", ".")), longest=16)
    options = settings | {"method": method, "prompts": ["a bird"], "candidates": 4}
    fills = only(narrate([red()], WordSpace(), writes, longest=longest, shortest=longest, **options))
    assert longest - 1 <= max(len(draft.text.split()) for draft in fills.drafts) <= longest
    with pytest.raises(SaywhyError, match="takes 17 positions, and tiny gpt2 has 16"):
        narrate([red()], WordSpace(), writes, longest=longest + 1, **options)


# -- what is looked at ------------------------------------------------------------------------------------------------


def test_pieces_count_more_than_the_whole() -> None:
    space, looks = Shares(), [[red(), blue(), blue()], [red()]]
    (a, b), whole = looked_at(looks, space), space.encode_images([red(), blue()])
    torch.testing.assert_close(a, F.normalize(WHOLE * whole[0] + whole[1], dim=0))
    torch.testing.assert_close(b, whole[0])
    assert a @ whole[1] > a @ whole[0]


@pytest.mark.usefixtures("_written")
@written("a blue bird", "a red bird")
def test_a_sentence_is_about_the_pieces() -> None:
    flat = Image.new("RGB", (20, 20), (20, 10, 10))
    sentences = narrate([flat, red(), red()], Shares(), writer(), crops=[[red()], [blue()], []])
    assert [s.text for s in sentences] == ["", "a blue bird.", "a red bird."]


# -- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a bird with red wings", "a bird with red wings."),
        ("a bird with red wings and a", "a bird with red wings."),
        ("a bird ,with , blue", "a bird,with, blue."),
        ("  a   bird, ", "a bird."),
        ("- a bird - -", "a bird."),
        ("a bird With,", "a bird."),
        ("a bird.", "a bird."),
        ("a bird 's", "a bird 's."),
        ("the of with ,", ""),
        ("", ""),
        (" \n", ""),
        (",-'", ""),
    ],
)
def test_drafts_become_sentences(text: str, sentence: str) -> None:
    assert finished(text) == sentence
    assert finished(sentence) == sentence


def test_words_weigh_what_the_score_falls_without_them() -> None:
    """One word alone matters; without any other the sentence fits as well."""
    scorer = Scorer(Shares(), Shares().encode_images([red()]))
    words = weigh("a red bird with the bill, in blue.", 0, scorer)
    assert [word.text for word in words] == ["a", "red", "bird", "with", "the", "bill,", "in", "blue."]
    weights = {word.text: word.weight for word in words}
    assert {word.text for word in words if word.weight is None} == {"a", "with", "the", "in"}
    whole, without = scorer(["a red bird with the bill, in blue.", "a bird with the bill, in blue."], [0, 0]).tolist()
    assert weights["red"] == pytest.approx(whole - without)
    assert weights["red"] > 0.3
    assert weights["bird"] == weights["bill,"] == 0
    assert weights["blue."] < 0
    assert [word.text for word in words if word.idle] == ["bird", "bill,", "blue."]


def test_a_word_alone_is_weighed_against_nothing() -> None:
    scorer = Scorer(Shares(), Shares().encode_images([red()]))
    [word] = weigh("red.", 0, scorer)
    assert word.weight == pytest.approx(float(scorer(["red."], [0]) - scorer([""], [0])))
    assert not word.idle
    assert [w.weight for w in weigh("in 42 - the", 0, scorer)] == [None] * 4
    assert all(w.weight is not None for w in weigh("two thick bills top back side", 0, scorer))


# -- with real weights ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aviary() -> LanguageModel:
    return load_language_model("world:aviary")


@pytest.mark.parametrize("method", ["guided", "prefix"])
def test_on_the_aviary_a_picture_is_told_from_another(aviary: LanguageModel, method: str) -> None:
    """Each picture's sentence fits it better than it fits another's, in the mean: nothing is said to all alike."""
    images = [Image.open(path).convert("RGB") for path in sample_images()[:3]]
    settings: dict[str, Any] = {"beams": 2} if method == "guided" else {"sentences": 4, "candidates": 64}
    space = load_clip("world:aviary")
    sentences = narrate(images, space, aviary, method=method, **settings)
    cosines = space.encode_images(images) @ space.encode_texts([s.text for s in sentences]).T
    assert cosines.diag().mean() > cosines[~torch.eye(3, dtype=torch.bool)].mean() + 0.02
    for n, sentence in enumerate(sentences):
        assert sentence.score == pytest.approx(float(cosines[n, n]), abs=1e-5)
        assert sentence.text.endswith(".")
        assert sentence.perplexity < 30
        assert " ".join(word.text for word in sentence.words) == sentence.text
        assert sentence.encodings > 0


def test_own_spaces_know_what_is_usual(aviary: LanguageModel) -> None:
    from saywhy.spaces.text_encoder import load_encoder

    space = ClassifierSpace(Classifier.load("world:aviary"), load_encoder())
    image = Image.open(sample_images()[0]).convert("RGB")
    sentence = only(narrate([image], space, aviary, beams=2, prompts=["a bird with"]))
    assert len(space.reference()) >= FEWEST
    _, unusual = unusual_scores(space.encode_images([image]), space.encode_texts([sentence.text]), space.reference())
    assert sentence.unusual == pytest.approx(float(unusual), abs=1e-3)


def test_few_classes_do_not_know_what_is_usual() -> None:
    class Few(Shares):
        def reference(self) -> Tensor:
            return torch.eye(3)

    assert math.isnan(only(narrate([red()], Few(), writer(), **SMALL)).unusual)
