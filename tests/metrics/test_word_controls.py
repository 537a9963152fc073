"""Controls of words: each keeps what it says it keeps, on truth that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.metrics.word_controls import constant, controls, of_classes, partners, share_true, word_rows


def test_partners_are_other_pictures_each_once() -> None:
    for order in partners(9, 20):
        assert sorted(order) == list(range(9))
        assert not (order == np.arange(9)).any()
    assert partners(1, 3).tolist() == [[0]] * 3
    assert partners(0).shape == (10, 0)


def test_partners_are_of_another_class_where_there_is_one() -> None:
    classes = np.array([0, 0, 0, 1, 2])
    for order in partners(5, 20, groups=classes):
        assert (classes[order] != classes).all()


def test_intervals_over_classes_are_wider_where_classes_are_alike_within() -> None:
    """Two classes of many pictures, one of them right: over pictures that looks sure, over classes it is not."""
    truth, said = np.repeat([[1.0], [0.0]], 50, 0), [[0]] * 100
    classes = np.repeat([0, 1], 50)
    pictures, of_classes = share_true(said, truth), share_true(said, truth, groups=classes)
    assert pictures.value == of_classes.value == 0.5
    assert of_classes.high - of_classes.low == 1
    assert pictures.high - pictures.low < 0.3
    assert share_true(said, truth, dealt=True, groups=classes).value == 0.5


def test_of_words_that_look_dealing_takes_the_truth_away() -> None:
    """Each picture has its own phrase and says it; another picture's is false."""
    truth, said = np.eye(12), [[n] for n in range(12)]
    assert share_true(said, truth).value == 1
    assert share_true(said, truth, dealt=True).value == 0


def test_of_words_that_do_not_look_dealing_takes_nothing() -> None:
    truth = np.tile([1.0, 0.0, 1.0], (30, 1))
    said = [[0, 1]] * 30
    assert share_true(said, truth).value == share_true(said, truth, dealt=True).value == 0.5
    assert constant(said) == said


def test_what_nobody_knows_is_not_counted() -> None:
    truth = np.array([[1.0, np.nan], [0.0, np.nan]])
    assert share_true([[0, 1], [0, 1]], truth).value == 0.5
    assert np.isnan(share_true([[1], []], truth).value)


def test_the_interval_is_over_pictures() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((400, 5)) < 0.3).astype(float)
    share = share_true([[0, 1, 2, 3, 4]] * 400, truth)
    assert share.low < 0.3 < share.high
    assert share.high - share.low < 0.06


def test_classes_say_their_best_in_the_same_number() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5]])
    words = [[2], [0, 1], []]
    assert of_classes(scores, [0, 1, 0], words) == [[1], [0, 2], []]
    found = controls(words, [0, 1, 0], by_name=scores, by_row=scores.flip(1))
    assert list(found) == ["constant", "name", "row"]
    assert all([len(some) for some in one] == [1, 2, 0] for one in found.values())
    assert list(controls(words)) == ["constant"]


def test_the_table_has_a_row_for_each() -> None:
    truth = np.eye(4)
    rows = word_rows([[0], [1], [2], [3]], truth, controls([[0], [1], [2], [3]]))
    assert [row["words"] for row in rows] == ["as said", "dealt", "constant"]
    assert rows[0]["true %"] == "100.0 [100.0, 100.0]"
    assert rows[2]["true %"].startswith("25.0")
    assert word_rows([[0]], np.array([[np.nan]]), {})[0]["true %"] is None
    with pytest.raises(SaywhyError, match="2 pictures cannot be held against the truth of 4"):
        share_true([[0], [1]], truth)
