"""Learns concept probes: a direction in a classifier's features for each phrase, from pictures of which it is true.

Regularised logistic regression, all phrases at once. What is known of a probe (its AUC, its probabilities, from where
on a phrase is said) is measured on classes that it had not seen: attributes of a class go with everything else about
it, and a probe that only knows the classes is right on all their pictures. So nothing is known of a phrase that one
class alone has, or that goes wherever another phrase goes: it gets a direction, and is never said as a fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.phrase_tables import ABSENT, FOLDER, PREDICTED, THERE, UNKNOWN, PhraseData
from saywhy.spaces.concepts import Probes, platt_terms
from saywhy.types import Vocabulary

FOLDS = 8
FEWEST_PICTURES = 8  # that have a phrase, and that do not
FEWEST_CLASSES = 3  # the same, of classes
MOST = 0.9  # of these pictures in one class: then they are of one class, and the rest are strays
FEWEST_MIXED = 2  # or: classes in which FEWEST_OF_EACH pictures have it and as many do not
FEWEST_OF_EACH = 3
ALIKE = 0.95  # the correlation, or minus it, from which on two phrases are not told apart by the pictures
_ALIKE = "the pictures do not tell it from "
FEW_CLASSES = 6  # below: no strays count as a class, and the interval of an AUC is over pictures too
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
    groups: (N,) index of the class that was held out together.
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


def with_classes(data: PhraseData, features: Tensor, classifier: Classifier) -> PhraseData:
    """The same pictures with a class each, so that classes can be held out: their own where all have one.

    Else their folders' names, where those are several of the classifier's classes; else what the classifier says.

    features: (N, d) of the pictures. Raises SaywhyError for a classifier without a linear head.
    """
    if data.classes is not None:
        return data
    names = [Path(picture.name).parent.name for picture in data.pictures]
    called = {label.casefold() for label in classifier.labels}
    source = FOLDER
    if len(set(names)) < 2 or not {name.casefold() for name in names} <= called:
        head = classifier.head
        said = (features.float() @ head.weight.T + head.bias).argmax(1).tolist()
        names, source = [f"{n} {classifier.labels[n]}" for n in said], PREDICTED
    pictures = tuple(replace(picture, label=name) for picture, name in zip(data.pictures, names, strict=True))
    return replace(data, pictures=pictures, classes_are=source)


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

    Phrases that cannot be held out by class, or not be told from another, have a direction and no probability: they
    are held by no measurement, and ``left_out`` says why.

    features:   (N, d) of the classifier, of the pictures of ``data``, which have their classes (``with_classes``).
    classifier: its fingerprint.
    precision:  the share of what is said that is to be true: a phrase is said from the lowest probability that gives it
                in the folds, over all phrases together, and never below that probability.
    teacher:    what labelled the pictures, where that was a CLIP.

    Raises SaywhyError where there are too few pictures for any phrase, for pictures without a class, and for features
    that are not finite.
    """
    if not 0 < precision < 1:
        raise SaywhyError(f"a precision of {precision} cannot be asked for; it lies between 0 and 1, such as 0.95")
    if len(features) != len(data) or not features.isfinite().all():
        raise SaywhyError(f"the features of {data.name} are not finite, or not those of its {len(data)} pictures")
    groups = groups_of(data)
    enough, few = _enough(data)
    if not enough:
        phrase, why = few[0]
        raise SaywhyError(f"{data.name}: no phrase can be learned from its {len(data)} pictures; {phrase!r}: {why}")
    unsure = _unsure(data, groups, enough)
    kept, near = [m for m in enough if m not in unsure], list(unsure)
    unit = F.normalize(features.float(), dim=1)
    fitted = _fitted(unit, _phrases(data, kept), groups, precision, quiet) if kept else _nothing(groups)
    mean, scale = _moments(unit)

    def learned(part: PhraseData) -> Tensor:
        known = torch.from_numpy(counted(part) != UNKNOWN)
        return directions((unit - mean) / scale, _targets(part), known, fitted.strength)

    # Apart from the others, whose directions and figures are then the same with and without them.
    weights = [learned(part) for part in (_phrases(data, kept), _phrases(data, near)) if len(part.vocabulary)]
    truth, beside = counted(data)[:, near], len(near)
    few += [(data.vocabulary.phrases[m], unsure[m]) for m in near]
    data = _phrases(data, kept + near)
    unsaid = np.stack([(truth == THERE).sum(0), (truth == ABSENT).sum(0), np.zeros(beside), np.zeros(beside)], 1)
    unknown = torch.full((beside, 3), torch.nan)
    some = np.random.default_rng(0).permutation(len(unit))[:REFERENCE]
    probes = Probes(
        phrases=data.vocabulary.phrases,
        groups=data.vocabulary.groups,
        attributes=tuple(_attributes(data.vocabulary)),
        weights=torch.cat(weights),
        mean=mean,
        scale=scale,
        base=torch.cat([fitted.base, _base_rates(truth, groups)]),
        spread=torch.cat([fitted.spread, unknown[:, 0]]),
        auc=torch.cat([fitted.auc, unknown]),
        held=torch.cat([fitted.found, torch.zeros(beside, dtype=torch.bool)]),
        counts=torch.cat([fitted.counts, torch.from_numpy(unsaid).long()]),
        platt=fitted.platt,
        reference=((unit[some] - mean) / scale).half(),
        threshold=fitted.threshold,
        precision=precision,
        basis=_basis(data, groups, teacher),
        learned_from=data.name,
        teacher=teacher,
        left_out=tuple(few),
        classifier=classifier,
    )
    return probes, fitted.held


@final
@dataclass(frozen=True, eq=False)
class _Fitted:
    """What the folds give of M phrases, by the names of ``Probes``. found: (M,) bool, ``Probes.held``."""

    strength: float
    base: Tensor
    spread: Tensor
    auc: Tensor
    found: Tensor
    counts: Tensor
    platt: Tensor
    threshold: float
    held: Held


def _nothing(groups: np.ndarray) -> _Fitted:
    """Of no phrase."""
    none, n = torch.zeros(0), len(groups)
    held = Held(torch.zeros(n, 0), np.zeros((n, 0), np.int8), torch.zeros(n, 0), groups)
    return _Fitted(
        STRENGTHS[1], none, none, torch.zeros(0, 3), none.bool(), torch.zeros(0, 4, dtype=torch.long), torch.zeros(5),
        inf, held,
    )  # fmt: skip


def _fitted(unit: Tensor, data: PhraseData, groups: np.ndarray, precision: float, quiet: bool) -> _Fitted:
    """unit: (N, d) features of unit length."""
    many = len(data.vocabulary)
    truth, shares = counted(data), _targets(data)
    known = torch.from_numpy(truth != UNKNOWN)
    folds = _folds(groups)
    base = _base_rates(truth, groups)

    def out_of_fold(strength: float, advance: Iterable[int]) -> Tensor:
        scores = torch.zeros(len(unit), many)
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
        everything = torch.full((many,), 0.5)
        platt = _platt(platt_terms(scores, base, spread, everything), truth, np.full(many, True))
        tried[strength] = (_loss(platt_terms(scores, base, spread, everything) @ platt, truth), scores, spread)
    strength = min(tried, key=lambda one: tried[one][0])
    _, scores, spread = tried[strength]
    auc = _aucs(scores.numpy(), data.there, groups)
    held = auc[:, 1] > CHANCE
    area = torch.from_numpy(auc).float()
    terms = platt_terms(scores, base, spread, area[:, 0])
    usable = held if held.any() else np.full(many, True)
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
    return _Fitted(
        strength, base, spread, area, torch.from_numpy(held), torch.from_numpy(counts), platt, threshold,
        Held(scores, truth, chances, groups),
    )  # fmt: skip


def reach(held: Held, probes: Probes, precision: float) -> tuple[float, float]:
    """(threshold, words a picture) in the folds at another precision; (inf, 0) where it is not reached."""
    usable = probes.held.numpy()[: held.scores.shape[1]]  # phrases without a measurement stand behind the others
    if not usable.any():
        return inf, 0.0
    chances, truth = held.probabilities.numpy()[:, usable], held.there[:, usable]
    threshold = _threshold(chances, truth, precision)
    return threshold, float((chances >= threshold).sum() / len(chances))


def groups_of(data: PhraseData) -> np.ndarray:
    """(N,) the index of each picture's class, which is held out together. Raises SaywhyError where one has none."""
    if data.classes is None:
        raise SaywhyError(f"{data.name}: some pictures have no class, and words are measured by holding out classes")
    return np.unique(data.classes, return_inverse=True)[1]


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
    unmeasured = {phrase for phrase, _ in probes.left_out}
    for m, held in enumerate(probes.held.tolist()):
        if not held and probes.phrases[m] not in unmeasured:
            lost.setdefault(probes.groups[m], []).append(m)
    sentences = []
    for group, rows in lost.items():
        names = [probes.phrases[m] for m in rows]
        some = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
        areas = ", ".join("unknown" if a != a else f"{a:.2f}" for a in probes.auc[rows, 0].tolist())
        about = f" ({group})" if group else ""
        sentences.append(f"this classifier cannot tell where there is {some}{about}: held-out AUC {areas}")
    return sentences


def not_known(probes: Probes) -> list[str]:
    """Which phrases are never said as facts as no error rate of theirs can be known, a sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    pairs: dict[frozenset[str], str] = {}
    for phrase, why in probes.left_out:
        if phrase in probes.phrases and why.startswith(_ALIKE):
            other = why.removeprefix(_ALIKE)
            pairs.setdefault(frozenset((phrase, other)), f"{phrase} / {other}")
        elif phrase in probes.phrases:
            reasons.setdefault(why, []).append(phrase)
    found = [
        f"never said as facts, as {why}: {', '.join(phrases)}. Add pictures of other classes, with them and without"
        for why, phrases in reasons.items()
    ]
    if pairs:
        found.append(
            f"never said as facts, as they are there in the same pictures, or one where the other is not: "
            f"{', '.join(pairs.values())}. Add pictures that tell them apart"
        )
    return found


def _targets(data: PhraseData) -> Tensor:
    """(N, M) 0..1: what is to be learned; shares of annotators say more than a majority does."""
    return torch.from_numpy((data.there == THERE).astype(np.float32) if data.shares is None else data.shares).float()


def _phrases(data: PhraseData, kept: Sequence[int]) -> PhraseData:
    given = data.vocabulary
    names, groups, attributes = ([of[m] for m in kept] for of in (given.phrases, given.groups, _attributes(given)))
    words = Vocabulary(
        tuple(names),
        tuple(groups),
        given.templates,
        given.name,
        attributes=tuple(attributes) if any(attributes) else (),
    )
    shares = None if data.shares is None else data.shares[:, list(kept)]
    return replace(data, vocabulary=words, there=data.there[:, list(kept)], shares=shares)


def _attributes(vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.attribute(m) or "" for m in range(len(vocabulary))]


def _enough(data: PhraseData) -> tuple[list[int], list[tuple[str, str]]]:
    """The phrases that enough pictures have and have not, and the others with why they are left out."""
    truth, kept, left_out = counted(data), [], []
    for m, phrase in enumerate(data.vocabulary.phrases):
        pictures = [int((truth[:, m] == value).sum()) for value in (THERE, ABSENT)]
        if min(pictures) >= FEWEST_PICTURES:
            kept.append(m)
            continue
        few = int(pictures[1] < pictures[0])
        many = "one picture" if pictures[few] == 1 else f"{pictures[few] or 'no'} pictures"
        left_out.append((phrase, f"{many} {'without' if few else 'with'} it; {FEWEST_PICTURES} are needed"))
    return kept, left_out


def _unsure(data: PhraseData, groups: np.ndarray, rows: Sequence[int]) -> dict[int, str]:
    """Of these phrases those of which no error rate can be known, and why: alike ones, and those of too few classes."""
    truth, phrases = counted(data), data.vocabulary.phrases
    others = {m: phrases[n] for one, other in _alike(data, rows) for m, n in ((other, one), (one, other))}
    found = {m: f"{_ALIKE}{other}" for m, other in others.items()}
    for m in rows:
        if m in found or (why := _of_few_classes(truth[:, m], groups)) == "":
            continue
        found[m] = why
    return {m: found[m] for m in rows if m in found}


def _alike(data: PhraseData, rows: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of phrases that are there, or one there and the other absent, in so nearly the same pictures.

    The correlation of their columns, over the pictures where both are known, is ALIKE or more, or -ALIKE or less. That
    one value of an attribute is there where the other is not is what they mean, and no doubt.
    """
    truth, pairs = counted(data), []
    for place, one in enumerate(rows):
        for other in rows[place + 1 :]:
            known = (truth[:, one] != UNKNOWN) & (truth[:, other] != UNKNOWN)
            first, second = (truth[known, m] == THERE for m in (one, other))
            if known.sum() < FEWEST_PICTURES or first.all() or second.all() or not (first.any() and second.any()):
                continue
            together = float(np.corrcoef(first, second)[0, 1])
            attribute = data.vocabulary.attribute(one)
            opposite = attribute is not None and attribute == data.vocabulary.attribute(other)
            if together >= ALIKE or (together <= -ALIKE and not opposite):
                pairs.append((one, other))
    return pairs


def _of_few_classes(truth: np.ndarray, groups: np.ndarray) -> str:
    """Why a phrase's error rate on classes that did not teach it cannot be measured; "" where it can.

    truth, groups: (N,). A class that is held out must leave others that teach the phrase, and others that lack it.
    """
    several = int(groups.max()) + 1
    counts = np.stack([np.bincount(groups[truth == value], minlength=several) for value in (THERE, ABSENT)])
    if (counts.min(0) >= FEWEST_OF_EACH).sum() >= FEWEST_MIXED:
        return ""
    for count, which in zip(counts, ("with", "without"), strict=True):
        shares = np.sort(count)[::-1].cumsum() / count.sum()
        holding = int((shares < MOST - 1e-9).sum()) + 1  # classes that hold MOST of the pictures: the rest are strays
        classes = holding if holding == 1 or several < FEW_CLASSES else int((count > 0).sum())
        if classes < FEWEST_CLASSES:
            of = "one class" if classes == 1 else f"{classes} classes"
            return f"the pictures {which} it are of {of}; {FEWEST_CLASSES} are needed"
    return ""


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

    Of what is not known nothing counts; ties count half. Of few classes the bootstrap says little: there the interval
    takes in that over pictures.
    """
    several = int(groups.max()) + 1
    if several < FEW_CLASSES and several < len(groups):
        classes, pictures = (_bootstrapped(scores, there, of) for of in (groups, np.arange(len(groups))))
        low, high = np.fmin(classes[:, 1], pictures[:, 1]), np.fmax(classes[:, 2], pictures[:, 2])
        return np.stack([classes[:, 0], low, high], 1)
    return _bootstrapped(scores, there, groups)


def _bootstrapped(scores: np.ndarray, there: np.ndarray, groups: np.ndarray) -> np.ndarray:
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


def _basis(data: PhraseData, groups: np.ndarray, teacher: str) -> str:
    labels = f" as {teacher} labels them" if teacher else ""
    count = int(groups.max()) + 1
    which = "predicted " if data.classes_are == PREDICTED else ""
    classes = "one class" if count == 1 else f"{count} {which}classes"
    held_out = f"cross-validated by {data.classes_are}"
    return f"probes fitted on {len(data)} pictures of {classes} ({data.name}{labels}), {held_out}"
