"""Two audits: what changed from one version of a model to the next, with intervals.

Where both saw the same pictures, by name and truth, these are paired: accuracy by McNemar's exact test and the interval
of Bonett and Price, relevance by the mean difference. Else accuracies and means are compared as of different pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from saywhy.audits.finding import LEVEL, AuditFinding, as_json
from saywhy.audits.overview import Of
from saywhy.audits.told import Told
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, differ, mean_interval, proportion, proportions_differ, share_changed

if TYPE_CHECKING:
    import pyarrow

ENOUGH = 0.5  # of the pictures of the smaller audit must be in both, for them to be paired
EXAMPLES = 24


@final
@dataclass(frozen=True)
class Change:
    """Of a class, or of all pictures: now less before. Intervals hold 95 %, each by itself.

    before, now: accuracies, of the pictures that are paired where some are.
    accuracy, on_object, border: the changes; see ``overview.Of``. q: of the change of accuracy, corrected over classes.
    """

    name: str
    before: Interval
    now: Interval
    accuracy: Interval
    on_object: Interval
    border: Interval
    p: float
    q: float = 1.0

    @property
    def significant(self) -> bool:
        return self.q <= LEVEL


@final
@dataclass(frozen=True, eq=False)
class Pair:
    """A finding of both audits. difference: of the effects, now less before; these are taken for independent."""

    old: AuditFinding
    new: AuditFinding
    difference: Interval

    @property
    def changed(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return self.difference.low > 0 or self.difference.high < 0


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """What changed. paired: how many pictures both audits saw; 0: they are compared as of different pictures.

    classes: those that both audits have. new, gone: findings that only one of the two has. both: the others.
    newly_wrong, newly_right: numbers of pictures of the new audit; () where they are not paired.
    """

    old: Told
    new: Told
    paired: int
    all: Change
    classes: Sequence[Change]
    new_findings: Sequence[AuditFinding]
    gone: Sequence[AuditFinding]
    both: Sequence[Pair]
    newly_wrong: Sequence[int]
    newly_right: Sequence[int]
    wrong: int
    right: int

    @property
    def how(self) -> str:
        """On what it rests, in a sentence."""
        most = max(self.old.overview.all.pictures, self.new.overview.all.pictures)
        if self.paired:
            if self.paired == most:
                return f"Both saw the same {self.paired:,} pictures, which are compared one by one."
            return f"Both saw {self.paired:,} of up to {most:,} pictures; only these are compared, one by one."
        return "They saw different pictures, so that a change may be one of the data."

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(
            as_json(
                {
                    "old": self.old.name, "paired": self.paired, "all": asdict(self.all),
                    "classes": [asdict(one) for one in self.classes],
                    "new": [one.document() for one in self.new_findings],
                    "gone": [one.document() for one in self.gone],
                    "both": [
                        {"kind": pair.new.kind, "about": pair.new.about, "sentence": pair.new.sentence,
                         "difference": asdict(pair.difference), "changed": pair.changed}
                        for pair in self.both
                    ],
                    "newly_wrong": {"count": self.wrong, "examples": self.newly_wrong},
                    "newly_right": {"count": self.right, "examples": self.newly_right},
                }
            )
        )  # fmt: skip


def compare(old: Told, new: Told) -> Comparison:
    """What changed from ``old`` to ``new``. Raises SaywhyError where both are the same folder."""
    if old.store.folder.resolve() == new.store.folder.resolve():
        raise SaywhyError(f"{new.name}: is compared with itself; give the folder of an older audit")
    both = _both(old, new)
    smaller = min(old.overview.all.pictures, new.overview.all.pictures)
    paired = both.num_rows if both.num_rows >= ENOUGH * smaller else 0
    names = [name for name in new.overview.classes if name in old.overview.classes]
    pairs = _Pairs.of(both) if paired else None
    everything = _change("", old.overview.all, new.overview.all, pairs)
    classes = _corrected(
        [
            _change(name, old.overview.classes[name], new.overview.classes[name], pairs and pairs.among(name))
            for name in names
        ]
    )
    before, now = _by_key(old.findings), _by_key(new.findings)
    turned = (pairs.turned(to=False), pairs.turned(to=True)) if pairs else ([], [])
    return Comparison(
        old, new, paired, everything, classes,
        [one for key, one in now.items() if key not in before],
        [one for key, one in before.items() if key not in now],
        [Pair(before[key], one, differ(one.effect, before[key].effect)) for key, one in now.items() if key in before],
        turned[0][:EXAMPLES], turned[1][:EXAMPLES], len(turned[0]), len(turned[1]),
    )  # fmt: skip


def same_finding(finding: AuditFinding) -> tuple[Any, ...]:
    """What makes findings of two audits the same one: what it is of, and its first word where it is of no class.

    Where it has a class, another word for what was found there is a change, not another finding.
    """
    return finding.kind, finding.about, finding.words[:1] if finding.kind in SEVERAL or not finding.about else ()


SEVERAL = ("slice", "cluster", "recognised by", "inside", "property decides")
"""Kinds of which one class may have several findings, by their words."""


def _by_key(findings: Sequence[AuditFinding]) -> dict[tuple[Any, ...], AuditFinding]:
    """Of several with one key the first, which is the largest."""
    found: dict[tuple[Any, ...], AuditFinding] = {}
    for one in findings:
        found.setdefault(same_finding(one), one)
    return found


def _both(old: Told, new: Told) -> pyarrow.Table:
    """The rows of pictures that both have, by name and truth; the old one's columns end in "_before"."""
    columns = "correct, probability, on_object, border, number"
    query = f"SELECT file, array_to_string(truths, chr(10)) AS truth, {columns} FROM pictures"
    return new.view.sql(query).join(old.view.sql(query), ["file", "truth"], join_type="inner", right_suffix="_before")


@final
@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pictures that both audits saw, as arrays (N,): ``before`` and ``now``, by column; NaN where there is none."""

    truth: np.ndarray
    number: np.ndarray
    before: Mapping[str, np.ndarray]
    now: Mapping[str, np.ndarray]

    @staticmethod
    def of(table: pyarrow.Table) -> _Pairs:
        def numbers(name: str) -> np.ndarray:
            import pyarrow as pa

            return np.asarray(table[name].cast(pa.float64()).to_numpy(), float)

        names = ("correct", "probability", "on_object", "border")
        return _Pairs(
            table["truth"].to_numpy(), table["number"].to_numpy(),
            {name: numbers(f"{name}_before") for name in names}, {name: numbers(name) for name in names},
        )  # fmt: skip

    def among(self, name: str) -> _Pairs:
        """Those of a class."""
        chosen = self.truth == name
        return _Pairs(
            self.truth[chosen], self.number[chosen],
            {key: values[chosen] for key, values in self.before.items()},
            {key: values[chosen] for key, values in self.now.items()},
        )  # fmt: skip

    def turned(self, to: bool) -> list[int]:
        """Numbers of those that became right, or wrong; the surest first."""
        chosen = (self.before["correct"] == float(not to)) & (self.now["correct"] == float(to))
        order = np.argsort(-self.now["probability"][chosen], kind="stable")
        return [int(one) for one in self.number[chosen][order]]

    def mean_change(self, name: str) -> Interval:
        change = self.now[name] - self.before[name]
        change = change[~np.isnan(change)]
        deviation = float(change.std(ddof=1)) if len(change) > 1 else float("nan")
        return mean_interval(float(change.mean()) if len(change) else float("nan"), deviation, len(change))


def _change(name: str, before: Of, now: Of, pairs: _Pairs | None) -> Change:
    from scipy.stats import binomtest, fisher_exact

    if pairs is not None and len(pairs.number):
        known = ~np.isnan(pairs.before["correct"]) & ~np.isnan(pairs.now["correct"])
        gained, lost = len(pairs.turned(to=True)), len(pairs.turned(to=False))
        change = share_changed(gained, lost, int(known.sum()))
        was, is_now = (
            proportion(int(one["correct"][known].sum()), int(known.sum())) for one in (pairs.before, pairs.now)
        )
        p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        on_object, border = pairs.mean_change("on_object"), pairs.mean_change("border")
    else:
        was, is_now = before.accuracy, now.accuracy
        change = proportions_differ(now.right, now.labelled, before.right, before.labelled)
        table = [[now.right, now.labelled - now.right], [before.right, before.labelled - before.right]]
        p = float(fisher_exact(table)[1])
        on_object, border = differ(now.on_object, before.on_object), differ(now.border, before.border)
    return Change(name, was, is_now, change, on_object, border, p, p)


def _corrected(changes: Sequence[Change]) -> list[Change]:
    """With q by Benjamini and Hochberg, the least first, then the largest change."""
    from dataclasses import replace

    from scipy.stats import false_discovery_control

    if not changes:
        return []
    q = false_discovery_control([one.p for one in changes])
    found = [replace(one, q=float(value)) for one, value in zip(changes, q, strict=True)]
    return sorted(found, key=lambda one: (one.q, -abs(one.accuracy.value), one.name))
