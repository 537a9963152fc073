"""Learns concept probes: a direction in a classifier's features for each phrase, from pictures of which it is true.

Regularised logistic regression, all phrases at once. What is known of a probe (its AUC, its probabilities, from where
on a phrase is said) is measured on classes that it had not seen, where classes are known: attributes of a class go with
everything else about it, and a probe that only knows the classes is right on all their pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.phrase_tables import ABSENT, THERE, UNKNOWN, PhraseData
from saywhy.spaces.concepts import Probes, platt_terms
from saywhy.types import Vocabulary

FOLDS = 8
FEWEST_PICTURES = 8  # that have a phrase, and that do not
FEWEST_CLASSES = 3  # the same, of classes, where these are held out
FEWEST_FOLDED = 6  # classes from which on classes are held out
STRENGTHS = (1e-4, 1e-3, 1e-2)
"""Of the regularisation, tried in the folds; see ``directions``."""
PRECISION = 0.95
FEWEST_SAID = 20  # (picture, phrase) pairs from which a precision is read
CHANCE = 0.5  # of the AUC: a phrase is held where its interval lies above
REFERENCE = 256  # pictures kept to say what is usual
_STEPS = 30  # of L-BFGS
_SMOOTHING = 0.5  # of a group of pictures, added to those that have a phrase and to those that do not
_DRAWS = 500  # of the bootstrap of an AUC
_MOST_PAIRS = 400_000  # that probabilities are fitted to


@final
@dataclass(frozen=True, eq=False)
class Held:
    """What probes say of pictures that they had not seen: of N pictures and M phrases.

    scores: (N, M). there: (N, M) the truth, as ``counted`` has it. probabilities: (N, M), by a fit on the other folds.
    groups: (N,) index of the class that was held out together, or of the picture.
    """

    scores: Tensor
    there: np.ndarray
    probabilities: Tensor
    groups: np.ndarray


def counted(data: PhraseData) -> np.ndarray:
    """(N, M) whether it would be right to say each phrase: THERE, ABSENT or UNKNOWN.

    Where annotators of a class do not agree, it would not.
    """
    return data.there if data.shares is None else np.where(data.there == UNKNOWN, ABSENT, data.there)


def fit_probes(
    features: Tensor,
    data: PhraseData,
    classifier: str,
    *,
    precision: float = PRECISION,
    teacher: str = "",
    quiet: bool = False,
) -> tuple[Probes, Held]:
    """The probes of all phrases for which there are enough pictures, and what the folds say of them.

    features:   (N, d) of the classifier, of the pictures of ``data``.
    classifier: its fingerprint.
    precision:  the share of what is said that is to be true: a phrase is said from the lowest probability that gives it
                in the folds, over all phrases together, and never below that probability.
    teacher:    what labelled the pictures, where that was a CLIP.

    Raises SaywhyError where there are too few pictures for any phrase, and for features that are not finite.
    """
    if not 0 < precision < 1:
        raise SaywhyError(f"a precision of {precision} cannot be asked for; it lies between 0 and 1, such as 0.95")
    if len(features) != len(data) or not features.isfinite().all():
        raise SaywhyError(f"the features of {data.name} are not finite, or not those of its {len(data)} pictures")
    groups, by_class = groups_of(data)
    kept, left_out = _enough(data, groups, by_class)
    if not kept.size:
        phrase, why = left_out[0]
        raise SaywhyError(f"{data.name}: no phrase can be learned from its {len(data)} pictures; {phrase!r}: {why}")
    data = _phrases(data, kept)
    truth, shares = counted(data), _targets(data)
    known = torch.from_numpy(truth != UNKNOWN)
    unit = F.normalize(features.float(), dim=1)
    folds = _folds(groups)
    base = _base_rates(truth, groups)

    def out_of_fold(strength: float, advance: Iterable[int]) -> Tensor:
        scores = torch.zeros(len(unit), len(kept))
        for fold in advance:
            seen = torch.from_numpy(folds != fold)
            mean, scale = _moments(unit[seen])
            weights = directions((unit[seen] - mean) / scale, shares[seen], known[seen], strength)
            scores[~seen] = ((unit[~seen] - mean) / scale) @ weights.T
        return scores

    tried = {}
    numbers = sorted(set(folds.tolist()))
    for strength in track(STRENGTHS, "learning phrases", transient=True, disable=quiet):
        scores = out_of_fold(strength, numbers)
        spread = scores.std(0).clamp(min=1e-9)
        everything = torch.full((len(kept),), 0.5)
        platt = _platt(platt_terms(scores, base, spread, everything), truth, np.full(len(kept), True))
        tried[strength] = (_loss(platt_terms(scores, base, spread, everything) @ platt, truth), scores, spread)
    strength = min(tried, key=lambda one: tried[one][0])
    _, scores, spread = tried[strength]
    auc = _aucs(scores.numpy(), data.there, groups)
    held = auc[:, 1] > CHANCE
    area = torch.from_numpy(auc).float()
    terms = platt_terms(scores, base, spread, area[:, 0])
    usable = held if held.any() else np.full(len(kept), True)
    platt = _platt(terms, truth, usable)
    chances = torch.zeros_like(scores)
    for fold in numbers:  # a phrase's probability is by what was fitted without these pictures
        rows = folds == fold
        chances[rows] = (terms[rows] @ _platt(terms[~rows], truth[~rows], usable)).sigmoid()
    threshold = _threshold(chances[:, usable].numpy(), truth[:, usable], precision) if held.any() else inf
    said = (chances.numpy() >= threshold) & held & (truth != UNKNOWN)
    counts = np.stack(
        [(truth == THERE).sum(0), (truth == ABSENT).sum(0), said.sum(0), (said & (truth == THERE)).sum(0)], 1
    )
    mean, scale = _moments(unit)
    some = np.random.default_rng(0).permutation(len(unit))[:REFERENCE]
    probes = Probes(
        phrases=data.vocabulary.phrases,
        groups=data.vocabulary.groups,
        attributes=tuple(_attributes(data.vocabulary)),
        weights=directions((unit - mean) / scale, shares, known, strength),
        mean=mean,
        scale=scale,
        base=base,
        spread=spread,
        auc=area,
        held=torch.from_numpy(held),
        counts=torch.from_numpy(counts),
        platt=platt,
        reference=((unit[some] - mean) / scale).half(),
        threshold=threshold,
        precision=precision,
        basis=_basis(data, groups, by_class, teacher),
        learned_from=data.name,
        teacher=teacher,
        left_out=left_out,
        classifier=classifier,
    )
    return probes, Held(scores, truth, chances, groups)


def reach(held: Held, probes: Probes, precision: float) -> tuple[float, float]:
    """(threshold, words a picture) in the folds at another precision; (inf, 0) where it is not reached."""
    usable = probes.held.numpy()
    if not usable.any():
        return inf, 0.0
    chances, truth = held.probabilities.numpy()[:, usable], held.there[:, usable]
    threshold = _threshold(chances, truth, precision)
    return threshold, float((chances >= threshold).sum() / len(chances))


def groups_of(data: PhraseData) -> tuple[np.ndarray, bool]:
    """(N,) what is held out together: the class, where there are enough of them, else the picture; and which it is."""
    classes = data.classes
    if classes is None or len(set(classes)) < FEWEST_FOLDED:
        return np.arange(len(data)), False
    return np.unique(classes, return_inverse=True)[1], True


def directions(inputs: Tensor, shares: Tensor, known: Tensor, strength: float) -> Tensor:
    """(M, d) by logistic regression on (N, d) standardised features, towards shares (N, M) in 0..1.

    known: (N, M) bool, which of the shares count.

    The mean cross-entropy of each phrase, with an intercept, plus ``strength`` / 2 times its squared length; L-BFGS.
    """
    many = known.float().sum(0).clamp(min=1)
    rates = ((shares * known).sum(0) / many).clamp(0.01, 0.99)
    weights = torch.zeros(shares.shape[1], inputs.shape[1], requires_grad=True)
    intercepts = rates.logit().requires_grad_()
    solver = torch.optim.LBFGS([weights, intercepts], max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe")
    each = known / many

    def loss() -> float:
        solver.zero_grad()
        found = F.binary_cross_entropy_with_logits(inputs @ weights.T + intercepts, shares, each, reduction="sum")
        found = found + strength / 2 * weights.square().sum()
        found.backward()
        return float(found.detach())

    solver.step(loss)
    return weights.detach()


def cannot_tell(probes: Probes) -> list[str]:
    """What the classifier's features do not hold, a sentence for each group: a finding by itself."""
    lost: dict[str, list[int]] = {}
    for m, held in enumerate(probes.held.tolist()):
        if not held:
            lost.setdefault(probes.groups[m], []).append(m)
    sentences = []
    for group, rows in lost.items():
        names = [probes.phrases[m] for m in rows]
        some = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
        areas = ", ".join("unknown" if a != a else f"{a:.2f}" for a in probes.auc[rows, 0].tolist())
        about = f" ({group})" if group else ""
        sentences.append(f"this classifier cannot tell where there is {some}{about}: held-out AUC {areas}")
    return sentences


def _targets(data: PhraseData) -> Tensor:
    """(N, M) 0..1: what is to be learned; shares of annotators say more than a majority does."""
    return torch.from_numpy((data.there == THERE).astype(np.float32) if data.shares is None else data.shares).float()


def _phrases(data: PhraseData, kept: np.ndarray) -> PhraseData:
    given = data.vocabulary
    names, groups, attributes = ([of[m] for m in kept] for of in (given.phrases, given.groups, _attributes(given)))
    words = Vocabulary(
        tuple(names),
        tuple(groups),
        given.templates,
        given.name,
        attributes=tuple(attributes) if any(attributes) else (),
    )
    shares = None if data.shares is None else data.shares[:, kept]
    return replace(data, vocabulary=words, there=data.there[:, kept], shares=shares)


def _attributes(vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.attribute(m) or "" for m in range(len(vocabulary))]


def _enough(data: PhraseData, groups: np.ndarray, by_class: bool) -> tuple[np.ndarray, tuple[tuple[str, str], ...]]:
    """The phrases that enough pictures have and have not, and the others with why they are left out."""
    truth, kept, left_out = counted(data), [], []
    for m, phrase in enumerate(data.vocabulary.phrases):
        rows = [truth[:, m] == value for value in (THERE, ABSENT)]
        pictures, classes = [int(r.sum()) for r in rows], [len(set(groups[r].tolist())) for r in rows]
        if min(pictures) >= FEWEST_PICTURES and (not by_class or min(classes) >= FEWEST_CLASSES):
            kept.append(m)
            continue
        few = int(pictures[1] < pictures[0]) if min(pictures) < FEWEST_PICTURES else int(classes[1] < classes[0])
        many = "one picture" if pictures[few] == 1 else f"{pictures[few] or 'no'} pictures"
        of = f" of {classes[few]} classes" if by_class and classes[few] > 1 else ""
        least = f"{FEWEST_PICTURES}" + (f" of {FEWEST_CLASSES} classes" if by_class else "")
        left_out.append((phrase, f"{many}{of} {'without' if few else 'with'} it; {least} are needed"))
    return np.array(kept, int), tuple(left_out)


def _folds(groups: np.ndarray) -> np.ndarray:
    """(N,) the fold of each picture; a group is in one fold."""
    several = int(groups.max()) + 1
    return (np.random.default_rng(0).permutation(several) % min(FOLDS, several))[groups]


def _base_rates(truth: np.ndarray, groups: np.ndarray) -> Tensor:
    """(M,) shares of those of whom it is known, drawn towards one half by as many pictures as a group has."""
    size = len(groups) / (int(groups.max()) + 1)
    there, known = (truth == THERE).sum(0), (truth != UNKNOWN).sum(0)
    return torch.from_numpy((there + _SMOOTHING * size) / (known + 2 * _SMOOTHING * size)).float()


def _moments(unit: Tensor) -> tuple[Tensor, Tensor]:
    """What takes features of unit length to a mean of 0, and to about unit length again."""
    return unit.mean(0), unit.std(0).clamp(min=1e-6) * sqrt(unit.shape[1])


def _platt(terms: Tensor, truth: np.ndarray, usable: np.ndarray) -> Tensor:
    """(5,) the weights that give log-odds, fitted to all pairs of usable phrases together (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    rows, columns = np.nonzero((truth != UNKNOWN) & usable)
    if len(rows) > _MOST_PAIRS:
        some = np.random.default_rng(0).permutation(len(rows))[:_MOST_PAIRS]
        rows, columns = rows[some], columns[some]
    inputs, labels = terms.numpy()[rows, columns][:, 1:], truth[rows, columns] == THERE
    fitted = LogisticRegression(C=1.0, max_iter=200).fit(inputs, labels)
    return torch.tensor([float(fitted.intercept_[0]), *map(float, fitted.coef_[0])])


def _loss(log_odds: Tensor, truth: np.ndarray) -> float:
    """Mean cross-entropy over what is known, in nats."""
    known = torch.from_numpy(truth != UNKNOWN)
    target = torch.from_numpy((truth == THERE).astype(np.float32))
    return float(F.binary_cross_entropy_with_logits(log_odds[known], target[known]))


def _threshold(chances: np.ndarray, truth: np.ndarray, precision: float) -> float:
    """The lowest probability from which on the wanted share is true, and no lower than that share itself; or infinity.

    Phrases are chosen, and a few numbers fitted, on the same folds: a precision read there alone is a little too high.
    """
    known = truth != UNKNOWN
    order = np.argsort(-chances[known], kind="stable")
    sure, right = chances[known][order], truth[known][order] == THERE
    shares = right.cumsum() / np.arange(1, len(right) + 1)
    enough = np.flatnonzero((shares >= precision) & (np.arange(1, len(right) + 1) >= FEWEST_SAID))
    return max(precision, float(sure[enough[-1]])) if len(enough) else inf


def _aucs(scores: np.ndarray, there: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(M, 3) area under the curve of each phrase, with the 95 % interval of a bootstrap over groups; NaN: not known.

    Of what is not known nothing counts; ties count half.
    """
    several = int(groups.max()) + 1
    draws = np.random.default_rng(0).multinomial(several, np.full(several, 1 / several), _DRAWS)
    weights = np.concatenate([np.ones((1, several)), draws])
    found = np.full((scores.shape[1], 3), np.nan)
    for m in range(scores.shape[1]):
        known = np.flatnonzero(there[:, m] != UNKNOWN)
        order = known[np.argsort(scores[known, m], kind="stable")]
        has, weight = there[order, m] == THERE, weights[:, groups[order]]
        below, above = np.where(has, 0, weight), np.where(has, weight, 0)
        pairs = above.sum(1) * below.sum(1)
        won = (above * below.cumsum(1)).sum(1)
        areas = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        if not np.isnan(areas[0]):
            found[m] = areas[0], *np.nanquantile(areas[1:], [0.025, 0.975])
    return found


def _basis(data: PhraseData, groups: np.ndarray, by_class: bool, teacher: str) -> str:
    of = f" of {int(groups.max()) + 1} classes" if by_class else ""
    labels = f" as {teacher} labels them" if teacher else ""
    held_out = "class" if by_class else "picture"
    return f"probes fitted on {len(data)} pictures{of} ({data.name}{labels}), cross-validated by {held_out}"
