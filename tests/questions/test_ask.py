"""Captions asked of pictures: what is kept, which of two groups, and with which intervals; on scores that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.answers.captions import Answers
from saywhy.answers.captions_findings import _judgement, above, answers_findings, headline, told
from saywhy.answers.captions_measures import concept_table, contrast, kept, verdict
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval
from saywhy.questions.ask import ask, chance_contrast, read_groups
from tests.helpers import FakeSpace

GROUPS = (("red", "green"), ("a five", "an eight", "a nine"))


def answers(before: Tensor, after: Tensor | None = None, **others: object) -> Answers:
    names = tuple(map(str, range(len(before))))
    found = Answers(
        GROUPS, before, after, names, None, None, 10.0, ("CLIP", "CLIP, operated")[: 1 + (after is not None)]
    )
    return replace(found, **others)


def scores(count: int = 200) -> Tensor:
    """Cosines of five captions, of unequal base similarity."""
    return 0.1 * torch.randn(count, 5) + torch.tensor([0.3, 0.1, 0.2, 0.25, 0.4])


def contrasted(before: Tensor, factor: float, columns: slice) -> Tensor:
    """The same, with the contrasts of some captions times a factor."""
    after = before.clone()
    mean = before[:, columns].mean(1, keepdim=True)
    after[:, columns] = mean + factor * (before[:, columns] - mean)
    return after


# -- what is typed ----------------------------------------------------------------------------------------------------


def test_bars_make_groups_and_the_rest_is_one() -> None:
    assert read_groups(["a dog", "red|green", " a cat "]) == (("a dog", "a cat"), ("red", "green"))
    assert read_groups(["red | green", "a five|an eight"]) == (("red", "green"), ("a five", "an eight"))


@pytest.mark.parametrize("texts", [[], [""], ["a", "a"], ["a|"], ["a|b|a"], ["  "]])
def test_groups_that_are_none(texts: list[str]) -> None:
    with pytest.raises(SaywhyError):
        read_groups(texts)


# -- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 0.0, 0.4, -0.5, 1.7])
def test_kept_is_the_factor_of_the_contrasts(factor: float) -> None:
    before = scores()
    found = answers(before, contrasted(before, factor, slice(2, 5)))
    assert kept(found, 1).value == pytest.approx(factor, abs=1e-5)
    assert kept(found, 0).value == pytest.approx(1, abs=1e-5)
    assert verdict(found, 1, 0).value == pytest.approx(factor - 1, abs=1e-5)


def test_shifts_change_nothing() -> None:
    """Of all captions of a picture, and of a caption in all pictures."""
    before = scores()
    after = before + torch.randn(len(before), 1) + torch.randn(5)
    assert kept(answers(before, after), 1).value == pytest.approx(1, abs=1e-5)


def test_nothing_is_kept_by_chance() -> None:
    found = kept(answers(scores(3000), scores(3000)), 1)
    assert abs(found.value) < 0.05
    assert found.low < 0 < found.high


def test_a_slope_by_hand() -> None:
    before, after = scores(50), scores(50)
    x, y = (some.double()[:, 2:] - some.double()[:, 2:].mean(1, keepdim=True) for some in (before, after))
    x, y = x - x.mean(0), y - y.mean(0)
    assert kept(answers(before, after), 1).value == pytest.approx(float((x * y).sum() / (x * x).sum()), abs=1e-9)


def test_the_verdict_is_antisymmetric() -> None:
    found = answers(scores(), scores())
    one, other = verdict(found, 0, 1), verdict(found, 1, 0)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.value == pytest.approx(kept(found, 0).value - kept(found, 1).value)


def test_intervals_cover() -> None:
    """Of forty data sets the true value lies in the 95 % interval of 33 or more."""
    inside = 0
    for _ in range(40):
        before = scores(80)
        after = contrasted(before, 0.5, slice(2, 5)) + 0.1 * torch.randn(80, 5)
        found = kept(answers(before, after), 1)
        inside += found.low < 0.5 < found.high
    assert inside >= 33


def test_intervals_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answers(scores(), scores())
    once = kept(found, 0)
    monkeypatch.setattr("saywhy.intervals.BLOCK", 7 * 200)
    again = kept(found, 0)
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda: answers(scores()), "only after surgery"),
        (lambda: replace(answers(scores(), scores()), groups=(("red",), *GROUPS[1:])), "stands alone"),
        (lambda: answers(torch.full((9, 5), 0.3), scores(9)), "does not tell"),
        (lambda: answers(scores(1), scores(1)), "there is one"),
    ],
)
def test_what_cannot_be_said_is_refused(found: object, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        kept(found(), 0)  # type: ignore[operator]


def test_of_a_contrast_that_is_not_in_the_pictures_there_is_no_share() -> None:
    before = scores()
    found = answers(before, before, noise=(0.05, 10.0))
    assert kept(found, 0).value == pytest.approx(1)
    with pytest.raises(SaywhyError, match=r'CLIP itself does not tell "a five \| an eight \| a nine" apart in these'):
        kept(found, 1)
    findings = answers_findings(found)
    assert [(one["kind"], one["by chance"]) for one in findings] == [("kept", 0.05), ("alike", 10.0)]
    assert told(findings) == [one["sentence"] for one in findings]  # without a verdict what is kept is said
    x = before.double()[:, :2] - before.double()[:, :2].mean(1, keepdim=True)
    assert findings[0]["contrast"] == pytest.approx(float((x - x.mean(0)).square().sum(1).mean().sqrt()))


class Drawn(FakeSpace):
    """Each text anywhere in a space of 40 dimensions."""

    def __init__(self) -> None:
        self.texts: dict[str, Tensor] = {}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        for text in texts:
            self.texts.setdefault(text, F.normalize(torch.randn(40), dim=0))
        return torch.stack([self.texts[text] for text in texts])


@pytest.mark.parametrize("along", [True, False])
def test_a_contrast_is_in_the_pictures_where_they_vary_along_it(along: bool) -> None:
    """Beside directions at random and words of no meaning."""
    torch.manual_seed(1)
    space = Drawn()
    red, green = space.encode_texts(["a red digit", "a green digit"])
    images = 0.3 * torch.randn(100, 40)
    if along:
        images += torch.randn(100, 1) * (red - green)
    covariance = torch.cov(images.double().T, correction=0)
    found = answers(images @ torch.stack([red, green, red, red, green]).T, images[:, :5])
    chance = chance_contrast(["a red digit", "a green digit"], space, covariance)
    assert (contrast(found, 0) > chance) == along
    words = [text for text in space.texts if text.startswith("a ") and text.endswith(" digit")]
    assert len(words) > 50  # what the captions have in common stays
    assert chance_contrast(["alone"], space, covariance) == 0


@pytest.mark.parametrize("captions", [["a watermark", "a", "no"], ["!", "?"], ["a b", "b a"]])
def test_captions_without_words_of_their_own_have_a_chance_too(captions: list[str]) -> None:
    assert chance_contrast(captions, Drawn(), torch.eye(40, dtype=torch.float64)) > 0


def test_above_a_hundred_nothing_more_is_said_than_holds() -> None:
    def of(*shares: tuple[float, float]) -> str:
        return above([{"kind": "kept", "kept": {"low": low, "high": high}} for low, high in shares])

    assert of((0.9, 1.2), (0.0, 0.02)) == ""
    assert of((1.5, 1.7), (-0.01, 0.02)).endswith("than in CLIP itself, and with hardly anything else that was asked.")
    assert of((1.5, 1.7), (0.6, 0.8)).endswith("than in CLIP itself.")
    assert of((1.5, 1.7), (1.1, 1.2)).endswith("than in CLIP itself.")
    assert of((1.5, 1.7)).endswith("than in CLIP itself.")  # nothing else was asked


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_means_shares_and_wins() -> None:
    before, after = scores(), scores()
    found = answers(before, after)
    rows = concept_table(found)
    assert [row["caption"] for row in rows] == list(found.captions)
    for n, row in enumerate(rows):
        assert row["similarity before"].value == pytest.approx(float(before[:, n].mean()), abs=1e-6)
        assert row["influence"].value == pytest.approx(float((after - before)[:, n].mean()), abs=1e-6)
        assert row["influence"].low < row["influence"].value < row["influence"].high
    for when in ("before", "after"):
        for group in (0, 1):
            some = [row for row in rows if row["group"] == group]
            assert sum(row[f"share {when}"].value for row in some) == pytest.approx(1, abs=1e-6)
            assert sum(row[f"wins {when}"] for row in some) == pytest.approx(100)
    assert rows[0]["wins before"] == pytest.approx(100 * float((before[:, 0] > before[:, 1]).double().mean()))
    assert torch.allclose(found.shares(before)[:, :2], (10 * before[:, :2]).softmax(1))


def test_subsets_are_classes_and_right_and_wrong() -> None:
    found = answers(scores(4), classes=("cat", "dog", "dog", None), predicted=("cat", "cat", "dog", "dog"))
    subsets = {name: np.flatnonzero(rows).tolist() for name, rows in found.subsets().items()}
    assert subsets == {"all": [0, 1, 2, 3], "cat": [0], "dog": [1, 2], "right": [0, 2], "wrong": [1]}
    assert set(replace(found, judged=False).subsets()) == {"all", "cat", "dog"}
    assert set(replace(found, classes=("wrong", "all", "dog", "dog")).subsets()) == {
        "all", "class wrong", "class all", "dog", "right", "wrong",
    }  # fmt: skip
    assert {row["pictures"]: row["count"] for row in concept_table(found)} == {
        name: len(rows) for name, rows in subsets.items()
    }


def test_without_surgery_there_is_no_after() -> None:
    row = concept_table(answers(scores()))[0]
    assert not [key for key in row if "after" in key or key == "influence"]


# -- asking -----------------------------------------------------------------------------------------------------------


class Turned(FakeSpace):
    """The same space, its pictures turned."""

    name = "a turned space"

    def encode_images(self, images: list[Image.Image]) -> Tensor:
        return super().encode_images(images).roll(1, 1)


def test_asking_agrees_with_encoding() -> None:
    images = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue", "white", "orange")]
    space, operated = FakeSpace(), Turned()
    found = ask(iter(images), [("red", "green"), ("blue",)], space, operated, batch_size=2)
    texts = space.encode_texts(["red", "green", "blue"])
    assert torch.allclose(found.before, space.encode_images(images) @ texts.T)
    assert torch.allclose(found.after, operated.encode_images(images) @ texts.T)
    assert (found.spaces, found.pictures) == (("a fake space", "a turned space"), ("1", "2", "3", "4", "5"))


def test_what_does_not_stand_out_from_what_is_usual_is_said_so() -> None:
    images = [Image.new("RGB", (4, 4), "red")] * 3
    space = FakeSpace()
    others = ["blue", "green", "white", "black", "yellow", "orange", "a dog", "a cat"]
    found = ask(images, [("red", "blue"), ("green", "blue")], space, usual=others)
    held = space.encode_images(images) @ space.encode_texts([*others, "red", "blue", "green", "blue"]).T
    assert found.unusual is not None
    assert torch.allclose(found.unusual, ((held - held.mean(1, keepdim=True)) / held.std(1, keepdim=True))[:, -4:])
    found = replace(found, unusual=torch.tensor([[2.5, 0.0, 1.0, 1.9]] * 3))
    first, second = answers_findings(found)
    assert first["stands out"] == {"red": 100.0, "blue": 0.0}
    assert first["sentence"].endswith('"red" stands out from what is usual in 100 % of pictures.')
    assert "None of these stands out from what is usual in these pictures" in second["sentence"]
    assert headline(found).count("out from what is usual") == 1  # of the second alone
    assert "stands out" not in answers_findings(ask(images, [("red", "blue")], space))[0]  # what is usual is not known


def test_one_picture_has_no_interval() -> None:
    (finding,) = answers_findings(ask([Image.new("RGB", (4, 4), "red")], [("red", "blue")], FakeSpace()))
    assert "[" not in finding["sentence"]
    assert {share["high"] for share in finding["shares"].values()} == {None}


def test_no_pictures_and_other_numbers_of_names() -> None:
    with pytest.raises(SaywhyError, match="no pictures"):
        ask([], [("red",)], FakeSpace())
    with pytest.raises(SaywhyError, match="2 classes for 1 pictures"):
        ask([Image.new("RGB", (4, 4))], [("red",)], FakeSpace(), classes=["a", "b"])


# -- in words ---------------------------------------------------------------------------------------------------------


def said(factor: float, other: float, noise: float = 0.0) -> str:
    before = scores()
    after = contrasted(contrasted(before, factor, slice(0, 2)), other, slice(2, 5)) + noise * torch.randn(200, 5)
    return next(one for one in answers_findings(answers(before, after)) if one["kind"] == "verdict")["sentence"]


def test_a_verdict_says_no_more_than_its_interval() -> None:
    assert said(1, 0.03).endswith("the classifier passes on more of the first.")
    assert "100 % [100, 100]" in said(1, 0.03)
    assert "3 % [3, 3]" in said(1, 0.03)
    assert said(0.2, 0.9).endswith("the classifier passes on more of the second.")
    assert said(1, 0, 0.05).endswith("passes on the first, and nothing of the other that can be told.")
    assert said(0, 0, 0.05).endswith("it cannot be told that the classifier passes on either.")
    assert said(0.5, 0.5, 0.1).endswith("which of them the classifier passes on more.")


def test_a_rough_interval_does_not_hide_what_is_sure_of_the_other() -> None:
    rough, sure = Interval(1.6, -0.1, 1.7), Interval(0.2, 0.15, 0.25)
    expected = "it cannot be told which of them the classifier passes on more"
    assert _judgement(rough, sure, Interval(1.4, -0.3, 1.5)) == expected
    assert _judgement(sure, rough, Interval(-1.4, -1.5, 0.3)) == expected


def test_of_one_picture_nothing_is_said_to_be_left() -> None:
    findings = answers_findings(answers(scores(1), scores(1)))
    assert [one["kind"] for one in findings] == ["alike", "alike"]
    assert findings[0]["sentence"] == "What is left is told from how pictures differ; there is one."


def test_findings_of_every_subset() -> None:
    before = scores(6)
    before[4:, :2] = 0.2
    found = answers(before, before, classes=("cat", "cat", "cat", "cat", "dog", "dog"))
    findings = answers_findings(found)
    assert [(one["pictures"], one["kind"]) for one in findings] == [
        ("all", "kept"), ("all", "kept"), ("all", "verdict"), ("cat", "kept"), ("cat", "kept"), ("cat", "verdict"),
        ("dog", "alike"), ("dog", "kept"),
    ]  # fmt: skip
    assert "In pictures of cat" in findings[3]["sentence"]
    assert findings[0]["kept"]["value"] == pytest.approx(1)
    without = answers_findings(answers(before))
    assert [one["kind"] for one in without] == ["nearest", "nearest"]
    assert '"an eight" is nearest' in without[1]["sentence"] or '"a nine" is nearest' in without[1]["sentence"]


def test_estimates_are_readable() -> None:
    assert f"{Interval(0.5, -0.25, 1.0):+.3f}" == "+0.500 [-0.250, +1.000]"


def test_large_pictures_are_asked_about_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saywhy.pictures.in_batches.MOST_PIXELS", 32)
    sizes: list[int] = []

    class Watched(FakeSpace):
        def encode_images(self, images: list[Image.Image]) -> Tensor:
            sizes.append(len(images))
            return super().encode_images(images)

    ask((Image.new("RGB", (4, 4)) for _ in range(5)), [("red", "green")], Watched())
    assert sizes == [2, 2, 1]
