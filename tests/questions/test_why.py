"""An answer names what is there, says where, and does not claim what does not stand out."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from saywhy.answers.why import Reason, Why, say, untold
from saywhy.errors import SaywhyError
from saywhy.questions.options import WhyOptions
from saywhy.questions.why import METHODS, why, why_pictures
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.pairs.beliefs import FEATURES, ReasonChance
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.similarity import Usual, usual_scores
from saywhy.words.rationale_words import RationaleWords, with_article
from tests.helpers import FakeSpace
from tests.networks import Colours
from tests.spaces.pairs.test_ranking import Held

COLOURS = ("red", "green", "blue")
WORDS = RationaleWords(
    ("red robin", "blue tit", "green parrot"),
    ("a red breast", "a blue cap", "a green back", "a blue tail"),
    ((0,), (1, 3), (2,)),
)


def colour_clip() -> ClipSpace:
    """A CLIP without weights: pictures by how much they have of each colour, texts by the colours they name."""

    def tokens(texts: list[str]) -> Tensor:
        return torch.tensor([[1.0 * text.count(colour) + 0.05 for colour in COLOURS] for text in texts])

    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    return ClipSpace("colours", Colours(), nn.Identity(), transform, tokens, torch.device("cpu"), "clip:colours:0", 20)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


def bank_for(clip: ClipSpace, words: RationaleWords) -> Held:
    c, r = len(words.categories), len(words.rationales)
    pairs = [words.pair_text(i, j) for i in range(c) for j in range(r)]
    rationales, categories, texts = (
        clip.encode_texts_once(some) for some in (words.rationale_texts(), words.category_texts(), pairs)
    )
    return Held(rationales, categories, texts.unflatten(0, (c, r)))


def painted(**boxes: tuple[int, int, int, int]) -> Image.Image:
    """A black picture, 128 x 96, with boxes of colours."""
    image = Image.new("RGB", (128, 96))
    for colour, box in boxes.items():
        image.paste(colour if colour != "green" else "lime", box)
    return image


RED = painted(red=(0, 0, 64, 48), blue=(96, 72, 128, 96))
USUAL = Usual(torch.tensor([0.3] * 4), torch.tensor([0.1] * 4), 2.0, "tested on pictures")


def asked(image: Image.Image = RED, **options: object) -> Why:
    clip = colour_clip()
    return why(image, clip, WORDS, bank_for(clip, WORDS), **options)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_there_is_named_and_where_it_is(method: str) -> None:
    found = asked(method=method, k=1, usual=USUAL)
    assert found.sentence == "This is a red robin because there is a red breast."
    (reason,) = found.reasons
    assert (reason.rationale, reason.rank, reason.listed, reason.visible) == ("a red breast", 1, True, True)
    assert found.probability > 0.8
    if method == "none":
        assert reason.heat is None
        return
    assert reason.heat is not None
    assert reason.heat.shape == (2, 32, 32)
    for heat in reason.heat.clamp(min=0):
        assert heat[:16, :16].sum() > 0.8 * heat.sum() > 0  # the red box, in the frame


def test_votes_and_alternatives_are_all_pairs_that_were_ranked() -> None:
    found = asked(k=5)
    ranks = [one.rank for one in (*found.reasons, *found.alternatives)]
    assert sorted(ranks) == [1, 2, 3, 4, 5]
    assert [one.rank for one in found.reasons] == sorted(one.rank for one in found.reasons)
    assert {one.category for one in found.alternatives}.isdisjoint({found.category})
    assert all(0 < reason.probability * reason.given < 1 for reason in found.reasons)
    everything = asked(k=100)
    assert len(everything.reasons) + len(everything.alternatives) == 12
    joint = sum(reason.probability * reason.given for reason in everything.reasons)
    joint += sum(other.joint for other in everything.alternatives)
    assert joint == pytest.approx(1, abs=1e-4)
    own = sum(reason.probability * reason.given for reason in everything.reasons)
    assert everything.probability == pytest.approx(own, abs=1e-4)


def test_where_nothing_listed_stands_out_nothing_is_claimed() -> None:
    """Among pictures that are all red, red is nothing to speak of."""
    clip = colour_clip()
    pictures = [painted(red=(0, 0, 60 + n, 50), blue=(96, 60 + n, 128, 96)) for n in range(12)]
    usual = usual_scores(clip.encode_images(pictures), bank_for(clip, WORDS).rationales)
    found = asked(usual=replace(usual, visible_from=2.0))
    assert found.visible is False
    assert not any(claim.said for claim in found.claims)
    assert found.sentence == "This looks like a red robin, but none of its listed rationales is visible."
    assert asked(usual=usual, visible_from=-5.0).sentence.startswith(
        "This is a red robin because there is a red breast"
    )


def test_few_rationales_and_no_reference_say_nothing_of_what_stands_out() -> None:
    found = asked()
    assert found.visible is None
    assert {(reason.visible, reason.unusual) for reason in found.reasons} == {(None, None)}
    assert found.sentence == "This looks like a red robin; whether there is a red breast cannot be told."


def test_what_is_usual_alone_says_nothing_of_what_is_visible() -> None:
    """How far a rationale stands out is known, and not how far true and absent ones do."""
    found = asked(usual=Usual(USUAL.mean, USUAL.std))
    assert all(reason.unusual is not None and reason.visible is None for reason in found.reasons)
    assert found.visible is None
    assert found.sentence.endswith("cannot be told.")
    assert untold(found) == (
        "whether a rationale is visible cannot be told: no pictures say how far true and absent rationales stand out"
    )
    for text in (found.to_json(), found._repr_html_()):
        assert "how far true and absent rationales stand out" in text
    assert untold(asked(usual=USUAL)) == ""


def test_claims_say_what_may_be_said_and_what_that_rests_on() -> None:
    found = asked(usual=USUAL)
    assert (
        [claim.text for claim in found.claims if claim.said]
        == [reason.rationale for reason in found.reasons if reason.visible]
        != []
    )
    assert {(claim.about, claim.there, claim.basis) for claim in found.claims} == {
        ("picture", None, "tested on pictures")
    }
    assert [claim.said for claim in found.claims] == sorted((claim.said for claim in found.claims), reverse=True)
    assert json.loads(found.to_json())["claims"][0]["said"] is True
    assert Why.from_json(found.to_json()).claims == found.claims
    asked_for = asked(visible_from=0.5, usual=Usual(USUAL.mean, USUAL.std)).claims[0]
    assert (asked_for.said, asked_for.basis) == (True, "visible from +0.5 sd on, as was asked for")


def sure(probability: float, threshold: float = 0.9) -> ReasonChance:
    """The same probability for every rationale."""
    intercept = float(np.log(probability / (1 - probability)))
    return ReasonChance((0.0,) * len(FEATURES) + (intercept,), ("rationale", "pair"), 5, threshold, "calibrated on 9")


def test_a_rationale_is_said_where_it_is_sure_enough() -> None:
    found = asked(usual=USUAL, chance=sure(0.95))
    assert found.sentence == "This is a red robin because there is a red breast."
    assert {(round(claim.there or 0, 4), claim.basis) for claim in found.claims} == {(0.95, "calibrated on 9")}
    assert {claim.text for claim in found.claims if claim.said} == {
        reason.rationale for reason in found.reasons if reason.listed
    }
    unsure = asked(usual=USUAL, chance=sure(0.6))
    assert unsure.sentence == "This looks like a red robin; whether there is a red breast cannot be told."
    assert not any(claim.said for claim in unsure.claims)
    assert "60 %" in unsure._repr_html_()
    assert untold(unsure) == ""  # it is known how probable it is


@pytest.mark.parametrize(
    "options",
    [
        {"decide": "vote"}, {"k": 4}, {"scoring": Scoring(weight=0.5)}, {"scoring": Scoring(conditional="category")},
        {"scoring": Scoring(("pair",))}, {"usual": None}, {"visible_from": 0.0},
    ],
)  # fmt: skip
def test_probabilities_hold_for_the_options_they_were_fitted_for(options: dict[str, object]) -> None:
    found = asked(chance=sure(0.99), **{"usual": USUAL, "method": "none"} | options)
    assert all(claim.there is None for claim in found.claims)


def test_a_shortlist_has_other_probabilities() -> None:
    found = why(RED, colour_clip(), WORDS, None, usual=USUAL, chance=sure(0.99), method="none")
    assert all(claim.there is None for claim in found.claims)


def test_an_answer_of_an_earlier_saywhy_is_read() -> None:
    document = json.loads(asked().to_json())
    for name in ("claims", "rival"):
        del document[name]
    del document["settings"]["visible because"]
    read = Why.from_json(json.dumps(document))
    assert (read.claims, read.rival) == ((), None)
    assert "cannot be told" in untold(read)


def test_the_likeliest_category_is_said_and_the_vote_where_it_differs() -> None:
    """Three weak pairs of one category outvote a strong one of another."""
    clip, words = colour_clip(), replace(WORDS, lists=((0,), (1, 3), (2,)))
    bank = bank_for(clip, words)
    image = clip.encode_images([RED])[0]
    texts = torch.nn.functional.normalize(torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    texts = texts - (texts @ image)[..., None] * image  # nothing fits ...
    texts = torch.nn.functional.normalize(texts, dim=-1)
    texts[1, 0] = image  # ... but one pair of the blue tit, and, less so, three of the red robin
    texts[0, :3] = torch.nn.functional.normalize(0.7 * image + 0.7 * texts[0, :3], dim=-1)
    bank = replace(bank, texts=texts)
    options = {"scoring": Scoring(("pair",)), "k": 4, "method": "none"}
    found = why(RED, clip, words, bank, **options)
    voted = why(RED, clip, words, bank, decide="vote", **options)
    assert (found.category, found.rival) == ("blue tit", "red robin")
    assert (voted.category, voted.rival) == ("red robin", "blue tit")
    assert found.sentence.endswith("; the best pairs vote for a red robin.")
    assert voted.sentence.endswith("; it is voted for, a blue tit is likelier.")
    assert found.probability > voted.probability
    assert "red robin" in found._repr_html_()
    assert asked(k=1).rival is None


def test_a_category_without_a_list_has_no_visible_rationale() -> None:
    clip, words = colour_clip(), replace(WORDS, lists=((), (0, 1, 3), (2,)))
    found = why(RED, clip, words, bank_for(clip, words), usual=USUAL)
    assert found.sentence == "This looks like a red robin, but no rationale is listed for it."
    assert not any(reason.listed for reason in found.reasons)


def test_a_shortlist_of_everything_is_exact_but_for_saying_so() -> None:
    clip = colour_clip()
    exact, short = asked(method="none"), why(RED, clip, WORDS, None, method="none")
    assert (exact.settings["exact"], short.settings["exact"]) == (True, False)
    assert exact.sentence == short.sentence
    for one, other in zip(exact.reasons, short.reasons, strict=True):
        assert one.rationale == other.rationale
        assert (one.score, one.probability, one.given) == pytest.approx(
            (other.score, other.probability, other.given), abs=1e-4
        )


@pytest.mark.parametrize("exact", [True, False])
def test_pictures_together_are_answered_as_alone(exact: bool) -> None:
    clip = colour_clip()
    bank = bank_for(clip, WORDS) if exact else None
    pictures = [("red", RED), ("blue", painted(blue=(0, 0, 90, 90))), ("green", painted(green=(9, 9, 90, 90)))]
    together = list(why_pictures(pictures, clip, WORDS, bank, WhyOptions(scoring=Scoring(conditional="category"))))
    assert [one.category for one in together] == ["red robin", "blue tit", "green parrot"]
    for (name, picture), one in zip(pictures, together, strict=True):
        alone = why(picture, clip, WORDS, bank, scoring=Scoring(conditional="category"))
        assert one.picture.name == name
        assert (one.sentence, one.probability) == (alone.sentence, pytest.approx(alone.probability, abs=1e-5))


def test_the_document_holds_everything() -> None:
    found = asked(usual=USUAL, scoring=Scoring(weight=0.5, temperatures={"pair": 2.0}))
    document = json.loads(found.to_json())
    assert document["sentence"] == found.sentence
    assert document["settings"]["temperatures"] == {"pair": 2.0}
    assert document["settings"]["weight"] == 0.5
    for told, reason in zip(document["reasons"], found.reasons, strict=True):
        assert told["rationale"] == reason.rationale
        assert reason.heat is not None
        values = np.frombuffer(zlib.decompress(base64.b64decode(told["heat"]["values"])), "<f4")
        assert np.array_equal(values.reshape(told["heat"]["shape"]), reason.heat.numpy())


def reason(rationale: str, visible: bool | None) -> Reason:
    return Reason(rationale, 1, 0.0, 0.5, 0.5, True, None, visible, None)


@pytest.mark.parametrize(
    ("seen", "visible", "sentence"),
    [
        ([True, True, True], True, "This is an owl because there is r0 and r1."),
        ([False, True, True], True, "This is an owl because there is r1 and r2."),
        ([None], None, "This looks like an owl; whether there is r0 cannot be told."),
        ([False, False], True, "This looks like an owl; the best reason found, r0, does not stand out."),
        ([True], False, "This looks like an owl, but none of its listed rationales is visible."),
    ],
)
def test_sentences(seen: Sequence[bool | None], visible: bool | None, sentence: str) -> None:
    assert say("owl", [reason(f"r{n}", one) for n, one in enumerate(seen)], visible) == sentence


def test_what_is_not_listed_for_the_category_is_never_stated() -> None:
    foreign, own = replace(reason("a red bill", True), listed=False), reason("a long tail", True)
    assert say("owl", [foreign, own], True) == "This is an owl because there is a long tail."
    assert say("owl", [foreign], True).endswith("the best reason found, a red bill, is not one of its own.")


@pytest.mark.parametrize(
    "said",
    [
        "an owl", "a robin", "an umbrella", "a unicorn", "a European bison", "an hourglass", "a house",
        "an Old English", "a ukulele", "a one armed bandit", "a large bill", "the sea",
    ],
)  # fmt: skip
def test_articles(said: str) -> None:
    name = said if said.startswith("the") else said.split(" ", 1)[1]
    assert with_article(name) == said
    assert with_article(said) == said


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(SaywhyError, match="no method 'cam'; there are lrp, gscorecam, none"):
        asked(method="cam")
    with pytest.raises(SaywhyError, match="rationales need a CLIP, as it is or tuned; a fake space is not one"):
        why(RED, FakeSpace(), WORDS, None)  # type: ignore[arg-type]
    with pytest.raises(SaywhyError, match="no such file"):
        why("absent.jpg", colour_clip(), WORDS, None)
    with pytest.raises(SaywhyError, match="inverse bank"):
        asked(scoring=Scoring(("rationale", "inverse")))


def test_an_array_is_answered_like_the_picture() -> None:
    of_array, of_picture = (why(image, colour_clip(), WORDS, None, method="none") for image in (np.asarray(RED), RED))
    assert of_array.picture == of_picture.picture
    assert of_array.sentence == of_picture.sentence


def test_of_a_picture_that_shows_nothing_nothing_is_said(tmp_path: Path) -> None:
    clip = colour_clip()
    answer = why(Image.new("RGB", (32, 32), "red"), clip, WORDS, None)
    assert answer.silence == "the picture is of one flat colour"
    assert answer.sentence == "What this is, and why, is not said: the picture is of one flat colour."
    assert (answer.reasons, answer.alternatives, answer.visible) == ((), (), None)
    page = answer.save(tmp_path / "why.html").read_text()
    assert "not said" in page
    assert not any(rationale in page for rationale in WORDS.rationales)
    assert Why.from_json(answer.to_json()).silence == answer.silence
    answer.save(tmp_path / "why.png")
