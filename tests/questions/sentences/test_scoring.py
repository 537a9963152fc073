"""How drafts fit a picture, and the edits that all writers share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saywhy.questions.sentences import scoring as sentence_scoring
from saywhy.questions.sentences.scoring import RECENT, REPETITION, Scorer, edited, target
from tests.writers import WordSpace, vectors

TOKENS, STOP = 12, 11
USABLE = torch.ones(TOKENS, dtype=torch.bool)
USABLE[[STOP, 10]] = False


def test_every_text_is_encoded_once() -> None:
    space = WordSpace()
    scorer = Scorer(space, vectors(3))
    first = scorer(["red", "blue", "red"], [0, 0, 2])
    assert (scorer.encodings, space.calls) == (2, [2])
    again = scorer(["red", "green", "red"], [2, 1, 0])
    assert (scorer.encodings, space.calls) == (3, [2, 1])
    torch.testing.assert_close(again[[2, 0]], first[[0, 2]])
    assert scorer([], []).shape == (0,)
    assert scorer.encodings == 3


def test_scores_are_cosines_with_the_picture_that_is_meant() -> None:
    space, pictures = WordSpace(), vectors(4)
    texts, whose = ["a red bird", "sand", "sand", ""], [3, 0, 1, 2]
    expected = (space.encode_texts(texts) * pictures[whose]).sum(1)
    torch.testing.assert_close(Scorer(space, pictures)(texts, whose), expected)


def test_memory_is_bounded_and_forgetting_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_scoring, "KEPT", 10)
    scorer, unbounded = Scorer(WordSpace(), vectors(1)), {}
    for start in range(0, 60, 4):
        texts = [f"thing {n}" for n in range(start, start + 8)]  # half of them are known
        scores = scorer(texts, [0] * 8)
        for text, score in zip(texts, scores.tolist(), strict=True):
            assert unbounded.setdefault(text, score) == pytest.approx(score, abs=1e-6)
        assert len(scorer._known) <= 10 + 8
    assert scorer.encodings >= len(unbounded)


def test_drafts_are_not_kept_on_disk_where_a_space_can_do_without() -> None:
    class Keeping(WordSpace):
        def encode_texts_once(self, texts: list[str]) -> Tensor:
            return super().encode_texts(texts)

        def encode_texts(self, texts: list[str]) -> Tensor:  # type: ignore[override]
            raise AssertionError("these would be kept")

    assert Scorer(Keeping(), vectors(1))(["red"], [0]).shape == (1,)


def test_the_target_is_a_distribution_that_knows_no_unit() -> None:
    cosines = torch.randn(5, 30) * 0.01 + 0.2
    wanted = target(cosines)
    torch.testing.assert_close(wanted.sum(1), torch.ones(5))
    assert (wanted > 0).all()
    assert torch.equal(wanted.argsort(1), cosines.argsort(1))
    torch.testing.assert_close(target(cosines * 7 - 3), wanted, rtol=1e-3, atol=1e-5)
    assert target(cosines, 6.0).max() > wanted.max()


def test_equal_candidates_are_wanted_equally() -> None:
    torch.testing.assert_close(target(torch.full((4,), 0.3)), torch.full((4,), 0.25))
    torch.testing.assert_close(target(torch.tensor([0.7])), torch.ones(1))


def test_nothing_ends_before_the_least_length() -> None:
    logits = torch.randn(TOKENS)
    logits[STOP] = 100
    assert edited(logits, [1, 2], USABLE, (STOP,), may_end=False)[STOP] == -torch.inf
    assert edited(logits, [1, 2], USABLE, (STOP,), may_end=True)[STOP] == 100
    assert edited(logits, [1, 2], USABLE, (), may_end=True)[STOP] == -torch.inf


def test_what_was_said_is_less_likely_but_not_for_ever() -> None:
    logits = torch.tensor([3.0, -3.0] * (TOKENS // 2))
    ids = [0, 1, *[2, 3, 4, 5, 6, 7, 8, 9][:6]]
    assert REPETITION == 2
    scores = edited(logits, ids, USABLE, (STOP,), may_end=True)
    assert (scores[0], scores[1]) == (1.5, -6)
    assert (scores[8], scores[9]) == (3, -3)
    later = edited(logits, [0, 1, *[2, 3] * (RECENT // 2)], USABLE, (STOP,), may_end=True)
    assert (later[0], later[1]) == (3, -3)
    torch.testing.assert_close(logits, torch.tensor([3.0, -3.0] * (TOKENS // 2)))  # not changed in place


def test_no_run_of_three_comes_twice() -> None:
    logits = torch.zeros(TOKENS)
    banned = edited(logits, [1, 2, 3, 4, 1, 2, 5, 1, 2], USABLE, (STOP,), may_end=True) == -torch.inf
    assert torch.nonzero(banned)[:, 0].tolist() == [3, 5, 10]
    assert (edited(logits, [1, 2, 3, 2, 1], USABLE, (STOP,), may_end=True) == -torch.inf).sum() == 1
    for few in ([], [1], [1, 1]):
        assert (edited(logits, few, USABLE, (STOP,), may_end=True) == -torch.inf).sum() == 1
    assert edited(logits, [1, 1, 1], USABLE, (STOP,), may_end=True)[1] == -torch.inf


def test_where_everything_would_be_a_repetition_it_goes_on() -> None:
    one = torch.zeros(TOKENS, dtype=torch.bool)
    one[4] = True
    scores = edited(torch.zeros(TOKENS), [4, 4, 4], one, (), may_end=True)
    assert torch.nonzero(scores > -torch.inf)[:, 0].tolist() == [4]


def test_what_is_not_usable_never_follows() -> None:
    scores = edited(torch.full((TOKENS,), 50.0), [10, 1], USABLE, (STOP,), may_end=True)
    assert scores[10] == -torch.inf
    assert scores[[0, *range(2, 10), STOP]].isfinite().all()
