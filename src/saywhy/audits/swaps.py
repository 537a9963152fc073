"""Pictures of an audit with something of another one in them, and what the classifier says of them.

All is done in the preprocessed frame, where the classifier sees it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from PIL import Image
from torch import Tensor

from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.checks.objects import object_mask
from saywhy.checks.outcomes import logits_of
from saywhy.checks.surroundings import middle_of
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval

FEWEST = 5  # rightly predicted pictures of a class, for its cause to be tried
CLASSES = 100  # whose cause is tried: those with most pictures
FLOOR = 0.10  # of changed pictures: how many are called a class for less than a cause, at most
LEVEL = 0.05  # of a test, before it is corrected for all
FEW_ROWS = 100  # of which Boschloo's test is quick
CONTROLS = 4  # of each kind beside a changed picture, where few classes are tried
TWICE = 10  # changed pictures, at least, even where a class has fewer of its own: then each is used twice
HELD = 192 << 20  # bytes of opened pictures that are kept


@final
@dataclass(frozen=True, eq=False)
class Cast:
    """Who takes part. members: class index -> numbers of its rightly predicted pictures, in an order of chance.

    left_out: what cannot be tested, and why; "" for nothing.
    """

    members: Mapping[int, list[int]]
    left_out: str


def cast_of(view: View) -> Cast:
    """The classes whose cause can be tried, each with ``AuditOptions.sample`` pictures at most; always the same ones.

    Where no truth is known, what the classifier says is taken for it.
    """
    options = view.manifest["options"]
    order = f"(number * 2654435761 + {int(options['seed'])} * 97654321) % 4294967296"
    rows = view.sql(
        f"SELECT predicted, number, count(*) OVER (PARTITION BY predicted) AS n FROM pictures "
        f"WHERE predicted IS NOT NULL AND correct IS NOT false "
        f"QUALIFY row_number() OVER (PARTITION BY predicted ORDER BY {order}, number) <= {int(options['sample'])} "
        f"ORDER BY n DESC, predicted, {order}, number"
    )
    found: dict[int, list[int]] = {}
    few: set[int] = set()
    for target, number, count in zip(*(rows[name].to_pylist() for name in ("predicted", "number", "n")), strict=True):
        if count < FEWEST or int(options["sample"]) < FEWEST:
            few.add(target)
        else:
            found.setdefault(target, []).append(number)
    notes = []
    if few:
        notes.append(f"{len(few)} classes have fewer than {FEWEST} rightly predicted pictures, and are not tested")
    if len(found) > CLASSES:
        notes.append(f"of {len(found)} classes the {CLASSES} with most pictures are tested")
        found = dict(list(found.items())[:CLASSES])
    if len(found) < 2:
        notes.append("it takes the pictures of two classes")
        found = {}
    return Cast(dict(sorted(found.items())), "; ".join(notes))


@final
@dataclass(frozen=True, eq=False)
class Shown:
    """One picture. pixels: (C, h, w), preprocessed. image: as it is, upright. object: (h, w) bool, what stands out."""

    pixels: Tensor
    image: Image.Image
    object: np.ndarray


@final
class Opened:
    """Pictures of a collection by number, the last ones kept; None of one that cannot be read."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._held = subject, OrderedDict[int, Shown | None]()

    def __call__(self, number: int) -> Shown | None:
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        self._held[number] = shown = _shown(self._subject, number)
        if shown is not None:
            each = shown.pixels.nbytes + 3 * shown.image.width * shown.image.height
            while len(self._held) > max(2, HELD // each):
                self._held.popitem(last=False)
        return shown


def opened(subject: Subject, row: Mapping[str, Any]) -> tuple[Shown, Shown]:
    """The picture that a row of trials changes, and the one that lends it something.

    Raises SaywhyError where one of them cannot be read.
    """
    pictures = Opened(subject)
    whose, lends = pictures(row["number"]), pictures(row["other"])
    if whose is None or lends is None:
        raise SaywhyError(f"picture {row['number']} or {row['other']} can no longer be read, so it cannot be shown")
    return whose, lends


def _shown(subject: Subject, number: int) -> Shown | None:
    try:
        image = subject.pictures[number].open()
        pixels = subject.classifier.preprocess([image])[0]
    except SaywhyError:  # it was readable when it was described; a row less is no wrong answer
        return None
    found = object_mask(pixels)
    if found is None or found.all() or not found.any():
        found = middle_of(pixels)
    return Shown(pixels, image, found)


def tried(subject: Subject, view: View, planned: Iterable[tuple[dict[str, Any], Tensor]]) -> list[dict[str, Any]]:
    """Rows of ``tables.TRIALS``, completed by what the classifier says of each changed picture (C, h, w).

    planned: rows with ``number`` and ``target``, and the picture each stands for; read a batch at a time.
    """
    rows: list[dict[str, Any]] = []

    def changed() -> Iterator[Tensor]:
        for row, pixels in planned:
            rows.append(row)
            yield pixels

    logits = logits_of(subject.classifier, changed())
    before = _before(view, [row["number"] for row in rows])
    for row, one in zip(rows, logits, strict=True):
        target, said = row["target"], subject.classifier.said(one)
        predicted, probabilities = before[row["number"]]
        row |= {
            "before": predicted, "after": int(one.argmax()), "hit": target in said,
            "probability_before": probabilities.get(target),
            "probability_after": float(subject.classifier.probabilities(one)[target]),
        }  # fmt: skip
    return rows


def _before(view: View, numbers: Sequence[int]) -> dict[int, tuple[int, dict[int, float]]]:
    """Of pictures: the class that is predicted, and the probabilities that are kept of it."""
    if not numbers:
        return {}
    found = view.sql(
        f"SELECT number, predicted, classes, probabilities FROM pictures WHERE number IN ({_listed(numbers)})"
    ).to_pylist()
    return {
        row["number"]: (row["predicted"], dict(zip(row["classes"], row["probabilities"], strict=True))) for row in found
    }


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(int(number)) for number in sorted(set(numbers)))


def as_picture(classifier: Classifier, pixels: Tensor) -> Image.Image:
    """(C, h, w), preprocessed, as it looks; of one that takes tensors, between its own least and greatest values."""
    shown = pixels[[0, 1, 2]] if len(pixels) >= 3 else pixels[[0, 0, 0]]
    if classifier.takes_tensors:
        black, white = shown.amin((1, 2)), shown.amax((1, 2))
    else:
        black, white = classifier.pixel_range
        black, white = (black, white) if len(black) >= 3 else (black[[0, 0, 0]], white[[0, 0, 0]])
    level = (shown - black[:3, None, None].to(shown)) / (white - black)[:3, None, None].clamp(min=1e-6).to(shown)
    return Image.fromarray((255 * level).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy())


def fits(a: Shown, b: Shown) -> bool:
    """Whether something of one can be put into the other: networks that take any size get pictures of several."""
    return a.pixels.shape == b.pixels.shape


def dealt(cast: Cast, target: int, sample: int, seed: int) -> Iterator[tuple[int, int, bool]]:
    """(a picture of another class, one of this class, False), and the same picture with one of its own class, True.

    Always the same ones; every picture of the class is used once, those of others in turn.
    """
    rng = np.random.default_rng([seed, target])
    own = cast.members[target]
    count = min(sample, max(len(own), min(TWICE, 2 * len(own))))
    lenders = np.resize(rng.permutation(own), count)
    others = rng.permutation([other for other in cast.members if other != target])
    decks = {int(other): rng.permutation(cast.members[int(other)]) for other in others}
    for n, lender in enumerate(lenders):
        deck, turn = decks[int(others[n % len(others)])], n // len(others)
        number = int(deck[turn % len(deck)])
        yield number, int(lender), False
        further = 1 + turn // len(deck) % (len(deck) - 1)  # another picture, and another one in each round
        yield number, int(deck[(turn + further) % len(deck)]), True


THIRD = "the same place of a third class"
"""A variant of trials: what any change at that place does, whatever class the content is of."""


def thirds(cast: Cast, target: int, number: int, seed: int) -> list[int]:
    """CONTROLS pictures that are neither of the class ``target`` nor of that of picture ``number``, always the same.

    Each of another class, as far as there are so many: what one class gives counts no more than what others do. Fewer
    where there are no more pictures; none of two classes.
    """
    others = [members for one, members in cast.members.items() if one != target and number not in members]
    rng = np.random.default_rng([seed, target, number])
    decks = [rng.permutation(others[n]).tolist() for n in rng.permutation(len(others))]
    rounds = [deck[turn] for turn in range(CONTROLS) for deck in decks if turn < len(deck)]
    return rounds[:CONTROLS]


def more_of_its_own(cast: Cast, row: Mapping[str, Any], seed: int) -> list[int]:
    """Beside ``other`` of a row of controls, CONTROLS in all of the class of picture ``number``; always the same ones.

    Fewer where the class has no more.
    """
    (own,) = [members for members in cast.members.values() if row["number"] in members]
    rng = np.random.default_rng([seed, row["target"], row["number"], 1])
    return [n for n in rng.permutation(own).tolist() if n not in (row["number"], row["other"])][: CONTROLS - 1]


def beside_of(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The controls among rows of trials: those of a third class apart from the others."""
    controls = [row for row in rows if row["control"]]
    return [[row for row in controls if (row["variant"] == THIRD) == apart] for apart in (False, True)]


def pairs(
    subject: Subject, cast: Cast, family: str, part: str, target: int, pictures: Opened
) -> Iterator[tuple[dict[str, Any], Shown, Shown]]:
    """What ``dealt`` deals and can be swapped: what each row of trials of a pair says, the picture, the other one."""
    about = subject.classifier.labels[target]
    for number, other, control in dealt(cast, target, subject.options.sample, subject.options.seed):
        whose, lends = pictures(number), pictures(other)
        if whose is not None and lends is not None and fits(whose, lends):
            yield {
                "family": family, "part": part, "about": about, "target": target, "number": number, "other": other,
                "control": control,
            }, whose, lends  # fmt: skip


def odds(given: Sequence[Mapping[str, Any]], *controls: Sequence[Mapping[str, Any]]) -> float:
    """That so many rows of trials hit by chance, one-sided and exact: the greatest p of all that has to be beaten.

    These are FLOOR, by a binomial test, and each of the controls, whose share is as uncertain as that of the rows:
    Boschloo's test (1970), which is Fisher's with more power, and Fisher's of many rows. Controls without rows are not
    asked, and none are once p is above LEVEL.

    Several controls beside one picture are no independent rows. Where they go along with the row they stand beside as
    with each other the test is stricter than it says, and it holds until they do so twice as much with each other: the
    variance of the difference is 1 + (1 + (k - 1) b) / k - 2 a of that of one row, with k controls that correlate by b
    with each other and by a with the row; the test takes 1 + 1 / k.
    """
    from scipy.stats import binomtest, boschloo_exact, fisher_exact

    hits, n = _hits(given), len(given)
    if not given:
        return 1.0
    p = float(binomtest(hits, n, FLOOR, alternative="greater").pvalue)
    for beside in controls:
        if beside and p <= LEVEL:
            chance = _hits(beside)
            table = [[hits, chance], [n - hits, len(beside) - chance]]
            test = boschloo_exact if n + len(beside) <= FEW_ROWS else fisher_exact
            p = max(p, float(test(table, alternative="greater").pvalue))
    return p


def by_chance(*controls: Sequence[Mapping[str, Any]]) -> float:
    """The greatest share of hits in controls; NaN without any."""
    return max((_hits(beside) / len(beside) for beside in controls if beside), default=float("nan"))


def _hits(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(bool(row["hit"]) for row in rows)


def elsewhere(rows: Sequence[Mapping[str, Any]], target: int) -> list[dict[str, Any]]:
    """Of rows of one family of trials: objects of other classes that were given something of a third class.

    hit: whether they are called ``target`` then. A class that gets whatever the classifier does not know is called so
    after any change; that is no cause. Of a classifier that says several classes, only the likeliest counts here.
    """
    return [
        dict(row) | {"hit": row["after"] == target}
        for row in rows if not row["control"] and target not in (row["target"], row["before"])
    ]  # fmt: skip


def in_percent(share: Interval) -> str:
    """ "95 %, 76 to 99"."""
    return f"{100 * share.value:.0f} %, {100 * share.low:.0f} to {100 * share.high:.0f}"
