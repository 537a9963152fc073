"""How probable it is that a rationale which a category is chosen for is there: learned from pictures of known truth."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from torch import Tensor

from saywhy.seen.fitting import FEWEST, FOLDS, threshold_for
from saywhy.spaces.pairs.bank import Bank
from saywhy.spaces.pairs.beliefs import ReasonChance, believe, reason_rows
from saywhy.spaces.pairs.ranking import decide
from saywhy.spaces.pairs.scorer import PairScorer

TARGET = 0.95  # of the rationales that are said are to be there


def fit_reason_chance(
    images: Tensor, scorer: PairScorer[Bank], unusual: Tensor, lists: Sequence[Collection[int]],
    known: Sequence[Collection[int]], k: int,
) -> ReasonChance | None:  # fmt: skip
    """A logistic regression on what ``why`` knows of its reasons; None for too few pictures, or reasons all true or
    none.

    images:  (N, d), not trained on. unusual: (N, R), ``standing_out``. known: of each picture all that is in it.
    The threshold is found out of fold, with a margin; see ``fitting.threshold_for``.
    """
    if len(images) < FEWEST:
        return None
    k = min(k, len(scorer.bank.categories) * len(scorer.bank.rationales))
    belief = believe(images, scorer, k)
    rows, true, of = [], list[bool](), list[int]()
    for n, likeliest in enumerate(belief.likeliest.tolist()):
        answer = decide(belief.ranked, n, k, likeliest)
        rows.append(reason_rows(answer, belief, n, unusual[n], lists[likeliest]))
        true += [int(belief.ranked.rationales[n, place]) in known[n] for place in answer.reasons]
        of += [n] * len(answer.reasons)
    x, y, picture = np.concatenate(rows), np.array(true), np.array(of)
    fold = (np.random.default_rng(0).permutation(len(images)) % FOLDS)[picture]
    if any(len(set(y[fold != part])) < 2 for part in range(FOLDS)):
        return None
    found = np.empty(len(y))
    for part in range(FOLDS):
        found[fold == part] = _fitted(x[fold != part], y[fold != part], scorer, k).there(x[fold == part])
    whole = _fitted(x, y, scorer, k)
    place = np.concatenate([np.arange(count) for count in np.bincount(picture)])
    table, truth = np.full((2, len(images), place.max() + 1), np.nan)
    table[picture, place], truth[picture, place] = found, y
    threshold = threshold_for(np.nan_to_num(table), truth, TARGET, rivals=np.arange(table.shape[1])[:, None])
    basis = f"calibrated on {len(y)} rationales of {len(images)} held-out pictures"
    return ReasonChance(whole.weights, whole.terms, k, threshold, basis)


def _fitted(x: np.ndarray, y: np.ndarray, scorer: PairScorer[Bank], k: int) -> ReasonChance:
    from sklearn.linear_model import LogisticRegression

    centre, scale = x.mean(0), np.maximum(x.std(0), 1e-6)
    model = LogisticRegression(max_iter=1000).fit((x - centre) / scale, y)
    weights = model.coef_[0] / scale
    intercept = float(model.intercept_[0] - weights @ centre)
    return ReasonChance((*weights.tolist(), intercept), scorer.scoring.terms, k, float("inf"), "")
