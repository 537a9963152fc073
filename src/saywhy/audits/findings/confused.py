"""Which classes are taken for each other, and what distinguishes their pictures.

A pair is ranked by the probability that moves between its two classes, not by counts alone: of few pictures a class, a
runner-up says as much as a wrong prediction. How many pictures it rests on is in its sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from saywhy.audits.contrasts import FEWEST, LEAST, Contrast, contrast, listed, named, rests_on
from saywhy.audits.finding import LEVEL, AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.audits.traits import COLOUR, NEAREST, PLACE, PROPERTY, SAID, SAMPLE, WORDLY, Traits, traits_of
from saywhy.intervals import Interval, proportion

KIND = "confused classes"
PAIRS = 20
SHOWN = 3  # traits in a sentence
LEAST_MASS = 0.02  # of the probability of a pair's pictures that goes to the other class
LEANING = 10  # pictures in which both classes are among the likeliest
APART = 0.5  # of all pictures between those of two classes, or of pictures with a word
EXAMPLES = 12


def find(view: View) -> Tested:
    """A finding a pair of classes, at most PAIRS, those between which most probability moves first.

    The pair itself is counted, not tested, and has no p. What distinguishes its pictures is: those of one class against
    those of the other; those that are confused against those that are right; and, in all pictures in which both are
    among the likeliest, what goes with leaning to one. A picture of several true classes counts for each, and none of
    these is confused with another. What is said to distinguish survives correction over all tests of all pairs.
    """
    from scipy.stats import false_discovery_control

    traits = traits_of(view)
    labels = view.manifest["model"]["labels"]
    pairs = _pairs(view)
    known = view.sql("SELECT count(*) AS n FROM pictures WHERE correct IS NOT NULL")["n"][0].as_py()
    if not known:
        return Tested(note="the truth is not known of any picture")
    null = _null(view)
    plain = traits.only((*WORDLY, PLACE, COLOUR, PROPERTY))
    standing, likeliest = _standing(plain), _likeliest(view)
    compared = [_compared(plain, likeliest, pair) for pair in pairs[:PAIRS]]
    tested = np.concatenate([np.zeros(0), *(one.tested for one in compared)])
    most = max(tested[false_discovery_control(tested) <= LEVEL], default=-1.0) if len(tested) else -1.0
    findings = [_finding(plain, likeliest, standing, one.kept(most), labels, null) for one in compared]
    few = sum(pair.pictures < 2 * FEWEST for pair in pairs[:PAIRS])
    notes = [
        f"{len(pairs)} pairs of classes exchange {100 * LEAST_MASS:.0f} % of probability or more; the first "
        f"{len(findings)} are looked at",
        f"{few} of these rest on fewer than {2 * FEWEST} pictures, too few to test what distinguishes them"
        if few else "",
        f"where wrong predictions are dealt to other pictures, the greatest share of a pair's pictures is {null:.2f}",
    ]  # fmt: skip
    return Tested(findings, tested, "; ".join(filter(None, notes)))


@final
@dataclass(frozen=True)
class _Pair:
    """a, b: classes, the one whose pictures are more often taken for the other first. pictures: of both.

    mass: probability of the other class, summed over pictures of both. wrong: how many are predicted as the other one.
    """

    a: int
    b: int
    pictures: int
    mass: float
    wrong: tuple[int, int]
    counts: tuple[int, int]


def _truths(view: View, columns: str) -> str:
    """SQL: a row a picture and true class, with other columns, and all its true classes."""
    labels = view.manifest["model"]["labels"]
    literal = ", ".join("'{}'".format(label.replace("'", "''")) for label in labels)
    several = view.sql("SELECT count(*) AS n FROM pictures WHERE len(truths) > 1")["n"][0].as_py()
    one = f"SELECT true_class AS truth, [true_class] AS every, {columns} FROM pictures WHERE true_class IS NOT NULL"
    if not several:
        return one
    indices = f"list_filter(list_transform(truths, lambda t: list_position([{literal}], t) - 1), lambda i: i >= 0)"
    return (
        f"{one} UNION ALL SELECT unnest(every) AS truth, every, {columns} FROM "
        f"(SELECT *, {indices} AS every FROM pictures WHERE len(truths) > 1)"
    )


def _pairs(view: View) -> list[_Pair]:
    """All pairs with LEAST_MASS, most probability first."""
    truths = _truths(view, "predicted, classes, probabilities")
    counts = {row["truth"]: row["n"] for row in
              view.sql(f"SELECT truth, count(*) AS n FROM ({truths}) GROUP BY truth").to_pylist()}  # fmt: skip
    moved = view.sql(
        "SELECT truth, other, sum(p) AS mass, sum((predicted = other)::INT) AS wrong FROM "
        f"(SELECT truth, every, predicted, unnest(classes) AS other, unnest(probabilities) AS p FROM ({truths})) "
        "WHERE p >= 0.005 AND NOT list_contains(every, other) GROUP BY truth, other HAVING sum(p) > 0.05 "
        "ORDER BY mass DESC LIMIT 20000"
    ).to_pylist()
    ways: dict[tuple[int, int], tuple[float, int]] = {
        (row["truth"], row["other"]): (row["mass"], int(row["wrong"])) for row in moved
    }
    found = []
    for a, b in {(min(pair), max(pair)) for pair in ways}:
        (mass, wrong), (mass_back, wrong_back) = ways.get((a, b), (0.0, 0)), ways.get((b, a), (0.0, 0))
        if (mass_back, b) > (mass, a):
            a, b, wrong, wrong_back = b, a, wrong_back, wrong
        pictures = counts.get(a, 0) + counts.get(b, 0)
        if mass + mass_back >= LEAST_MASS * pictures:
            found.append(
                _Pair(a, b, pictures, mass + mass_back, (wrong, wrong_back), (counts.get(a, 0), counts.get(b, 0)))
            )
    return sorted(found, key=lambda pair: (-pair.mass, pair.a, pair.b))


def _null(view: View, dealt: int = 20) -> float:
    """95 % quantile of the greatest share of a pair's pictures that are confused, where wrong predictions are dealt."""
    rows = view.columns(
        f"SELECT true_class AS truth, predicted FROM pictures WHERE true_class IS NOT NULL AND {view.sampled(100_000)} "
        "ORDER BY number"
    )
    truth, predicted = rows["truth"], rows["predicted"]
    classes = len(view.manifest["model"]["labels"])
    counts = np.bincount(truth, minlength=classes)
    wrong = np.flatnonzero(truth != predicted)
    generator, greatest = np.random.default_rng(0), [0.0]
    for _ in range(dealt if len(wrong) else 0):
        drawn = generator.permutation(predicted[wrong])
        low, high = np.minimum(truth[wrong], drawn), np.maximum(truth[wrong], drawn)
        keys, times = np.unique((low * classes + high)[low != high], return_counts=True)
        if len(keys):
            greatest.append(float((times / (counts[keys // classes] + counts[keys % classes])).max()))
    return float(np.quantile(greatest, 0.95))


@final
@dataclass(frozen=True, eq=False)
class _Compared:
    """A pair: its two classes, those of the first that are taken for the second against right ones, and what leans.

    rho, p: (T,) rank correlation of each trait with leaning to the first class, of ``count`` pictures; NaN: not tested.
    """

    pair: _Pair
    classes: Contrast
    mistaken: Contrast
    rho: np.ndarray
    p: np.ndarray
    count: int

    @property
    def tested(self) -> np.ndarray:
        sides = (one.p[0] for one in (self.classes, self.mistaken))  # that of the other group says the same
        every = np.concatenate([*sides, self.p])
        return every[np.isfinite(every)]

    def kept(self, most: float) -> _Compared:
        """With those traits alone whose p is at most that."""
        sides = [replace(one, kept=(one.p <= most) & (np.abs(one.delta) >= LEAST))
                 for one in (self.classes, self.mistaken)]  # fmt: skip
        return replace(self, classes=sides[0], mistaken=sides[1], rho=np.where(self.p <= most, self.rho, 0))


def _compared(plain: Traits, likeliest: _Likeliest, pair: _Pair) -> _Compared:
    a, b = plain.members(pair.a), plain.members(pair.b)
    a, b = a & ~b, b & ~a
    taken, right = a & (plain.predicted == pair.b), a & (plain.predicted == pair.a)
    classes = contrast(plain, np.where(a, 0, np.where(b, 1, -1)), 2, dealt=0)
    mistaken = contrast(plain, np.where(taken, 0, np.where(right, 1, -1)), 2, dealt=0)
    return _Compared(pair, classes, mistaken, *_leaning(plain, likeliest, pair))


def _finding(
    plain: Traits, likeliest: _Likeliest, standing: np.ndarray, found: _Compared, labels: Sequence[str], null: float
) -> AuditFinding:
    pair, names = found.pair, (labels[found.pair.a], labels[found.pair.b])
    a, b = plain.members(pair.a), plain.members(pair.b)
    best, wrongly = found.classes.best(0, SHOWN), found.mistaken.best(0, SHOWN)
    leaning = [int(n) for n in np.argsort(-np.abs(found.rho), kind="stable") if abs(found.rho[n]) >= LEAST]
    apart = list[str]()
    if best:
        says = listed([found.classes.says(0, n) for n in best])
        apart.append(f"pictures of {names[0]} go with {says}, beside those of {names[1]}")
    if wrongly:
        apart.append(f"those that are confused go with {listed([found.mistaken.says(0, n) for n in wrongly])}")
    if leaning and not best:
        leans = [f"{_says(plain, n, found.rho[n])} (rank correlation {found.rho[n]:+.2f})" for n in leaning[:SHOWN]]
        apart.append(
            f"in the {found.count} pictures in which both are among the likeliest, leaning to {names[0]} goes with "
            f"{listed(leans)}"
        )
    untested = [] if apart else _untested(plain, standing, names, a & ~b, b & ~a)
    if untested:
        apart.append(f"not tested: {'; '.join(untested)}")
    share: Interval = proportion(pair.mass, pair.pictures)  # type: ignore[arg-type]  # of probability, not of pictures
    wrong, their = sum(pair.wrong), "one picture" if pair.pictures == 1 else f"{pair.pictures} pictures"
    few = "; this rests on few pictures" if pair.pictures < 2 * FEWEST else ""
    told = "; ".join(apart) or "nothing that is known of their pictures distinguishes them"
    kinds = [plain.traits[n].kind for n in (*best, *wrongly, *leaning)]
    shows, counters = _examples(plain, likeliest, pair)
    return AuditFinding(
        KIND, names,
        f"{names[0]} and {names[1]} are confused: {100 * share.value:.0f} % of the probability of their {their} goes "
        f"to the other one, and {wrong} {'is' if wrong == 1 else 'are'} predicted as it{few}. "
        f"{told[0].upper()}{told[1:]}.",
        False, share, "of the probability of the pair's pictures",
        words=found.classes.words((*best, *wrongly, *leaning)), null=null, examples=shows, counters=counters,
        rests_on=rests_on(SAID if SAID in kinds else kinds[0] if kinds else ""),
        details={
            "pictures": pair.counts, "predicted as the other": pair.wrong, "distinguished": bool(kinds),
            "the two classes": [found.classes.row(0, n) for n in best],
            "confused and right": [found.mistaken.row(0, n) for n in wrongly], "leaning pictures": found.count,
            "leaning": [{"trait": _says(plain, n, found.rho[n]), "correlation": float(found.rho[n]),
                         "p": float(found.p[n])} for n in leaning],
            "not tested": untested,
        },
    )  # fmt: skip


def _standing(traits: Traits) -> np.ndarray:
    """(N, F) how many of all pictures have less of each number, 0 to 1; .5 where it is not known."""
    from scipy.stats import rankdata

    values = traits.numbers
    known = ~np.isnan(values)
    ranks = rankdata(np.where(known, values, np.inf), axis=0)
    return np.where(known, (ranks - 0.5) / np.maximum(1, known.sum(0)), 0.5)


def _untested(traits: Traits, standing: np.ndarray, names: tuple[str, str], a: np.ndarray, b: np.ndarray) -> list[str]:
    """What the few pictures of two classes are like, among all pictures: no claim about the classes."""
    first = standing.shape[1]
    mean = [standing[group].mean(0) if group.any() else np.full(first, np.nan) for group in (a, b)]
    gap = np.abs(mean[0] - np.where(np.isnan(mean[1]), 0.5, mean[1])) if a.any() else np.zeros(first)
    said = []
    for n in np.argsort(-gap, kind="stable")[:2].tolist():
        if gap[n] >= APART:
            trait = traits.traits[n]
            more = bool(mean[0][n] > 0.5)
            shares = [one[n] if more else 1 - one[n] for one in mean]
            beside = "" if np.isnan(shares[1]) else f", those of {names[1]} than {100 * shares[1]:.0f} %"
            said.append(
                f"{trait.more if more else trait.less} in those of {names[0]} than in {100 * shares[0]:.0f} % of all "
                f"pictures{beside}"
            )
    usual, told = np.asarray(traits.has.mean(0)).ravel(), dict[str, set[str]]()
    for name, group in zip(names, (a, b), strict=True):
        if group.any():
            share = np.asarray(traits.has[group].mean(0)).ravel() - usual
            best = [n for n in np.argsort(-share, kind="stable")[:NEAREST].tolist() if share[n] >= APART]
            told[name] = {traits.traits[first + n].name for n in best}
    shared = set.intersection(*told.values()) if len(told) > 1 else set()
    for name, words in told.items():
        if words - shared:
            said.append(
                f"nearest to those of {name}, not sure: {listed([f'“{word}”' for word in sorted(words - shared)])}"
            )
    return said


def _leaning(traits: Traits, likeliest: _Likeliest, pair: _Pair) -> tuple[np.ndarray, np.ndarray, int]:
    """(T,) rank correlation of each trait with being nearer to a than to b, (T,) its p, and of how many pictures.

    Of all pictures in which both are among the likeliest, whatever they show; those of the two classes themselves too.
    """
    from scipy.stats import rankdata
    from scipy.stats import t as student

    of_a, of_b = (np.where(likeliest.classes == index, likeliest.probabilities, 0).max(1) for index in (pair.a, pair.b))
    place = np.flatnonzero((of_a > 0) & (of_b > 0))
    count, nothing = len(place), np.full(len(traits.traits), np.nan)
    if count < LEANING:
        return nothing, nothing, count
    few, lean = traits.where(place), np.log(of_a[place]) - np.log(of_b[place])
    ranks, order = rankdata(np.hstack([_filled(few.numbers), few.has.toarray()]), axis=0), rankdata(lean)
    ranks, order = ranks - ranks.mean(0), order - order.mean()
    spread = np.sqrt((ranks**2).sum(0) * (order**2).sum())
    rho = np.divide(ranks.T @ order, spread, out=np.zeros(len(spread)), where=spread > 0)
    rho = np.clip(rho, -1 + 1e-12, 1 - 1e-12)
    p = 2 * student.sf(np.abs(rho) * np.sqrt((count - 2) / (1 - rho**2)), count - 2)
    # a word that is in fewer pictures than FEWEST, or lacks in fewer, is not tested: ranks say nothing of so few
    with_word = np.asarray(few.has.sum(0)).ravel()
    enough = np.append(np.ones(few.numbers.shape[1], bool), np.minimum(with_word, count - with_word) >= FEWEST)
    return rho, np.where(enough & (spread > 0), p, np.nan), count


def _filled(numbers: np.ndarray) -> np.ndarray:
    """(N, F) with the middle number for what is not known: it leans to no side."""
    known = ~np.isnan(numbers)
    middle = [np.median(numbers[known[:, n], n]) if known[:, n].any() else 0 for n in range(numbers.shape[1])]
    return np.where(known, numbers, np.array(middle, np.float32))


def _says(traits: Traits, n: int, rho: float) -> str:
    trait = traits.traits[n]
    if trait.kind in WORDLY:
        return named(trait)
    return trait.more if rho > 0 else trait.less


def _examples(traits: Traits, likeliest: _Likeliest, pair: _Pair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pictures of either class with most probability of the other, and those with least."""
    in_a, in_b = traits.members(pair.a), traits.members(pair.b)
    rows = np.flatnonzero(in_a | in_b)
    other = np.where(in_a[rows], pair.b, pair.a)
    p = np.where(likeliest.classes[rows] == other[:, None], likeliest.probabilities[rows], 0).max(1)
    order = np.lexsort((rows, -p))
    numbers = traits.pictures[rows[order]].tolist()
    count = min(EXAMPLES, int((p > LEAST_MASS).sum()))
    return tuple(numbers[:count]), tuple(numbers[count:][::-1][:EXAMPLES])


@final
@dataclass(frozen=True, eq=False)
class _Likeliest:
    """(N, K) classes of each picture, best first, -1 for none; and how probable they are."""

    classes: np.ndarray
    probabilities: np.ndarray


def _likeliest(view: View) -> _Likeliest:
    """Of the pictures of ``traits_of``."""
    rows = view.sql(f"SELECT classes, probabilities FROM pictures WHERE {view.sampled(SAMPLE)} ORDER BY number")
    lists = [rows[name].combine_chunks() for name in ("classes", "probabilities")]
    lengths = np.diff(lists[0].offsets.to_numpy())
    there = np.arange(lengths.max(initial=1)) < lengths[:, None]
    classes, probabilities = np.full(there.shape, -1), np.zeros(there.shape)
    classes[there], probabilities[there] = (one.flatten().to_numpy() for one in lists)
    return _Likeliest(classes, probabilities)
