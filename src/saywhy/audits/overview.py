"""What the rows of an audit say before anything is found: accuracy, calibration and relevance, overall and by class.

Page, gate, comparison and exports all stand on it. It is aggregated by the database: a million rows take seconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from saywhy.audits.finding import as_json
from saywhy.audits.store import View
from saywhy.intervals import Interval, mean_interval, proportion

WORDS, CONFUSED, EXAMPLES = 6, 5, 6  # of a class
BINS = 10  # of probability

OF_CLASS = (
    "(SELECT *, unnest(CASE WHEN len(truths) > 0 THEN truths ELSE [prediction] END) AS class FROM pictures) AS of_class"
)
"""Pictures with the class that they count for: their truth, each of several, or the prediction where none is known."""


@final
@dataclass(frozen=True)
class Of:
    """What the pictures of a class, or all of them, have in common.

    name:      of the class; "" for all. pictures: how many it has.
    right:     how many of the ``labelled`` are classified as they should be, and the share of them.
    mistaken:  how many pictures of other classes are taken for it; said: how many are taken for it in all.
    on_object: mean share of relevance on the object that stands out, of the ``objects`` pictures that have one.
    border:    mean share of relevance on the outer eighth of the frame. cells: of a grid of 3 x 3, by rows.
    """

    name: str
    pictures: int
    labelled: int
    right: int
    said: int
    mistaken: int
    probability: float
    objects: int
    on_object: Interval
    object_deviation: float
    object_area: float
    border: Interval
    cells: Sequence[float]

    @property
    def accuracy(self) -> Interval:
        return proportion(self.right, self.labelled)

    @property
    def precision(self) -> Interval:
        """The share of those that are taken for it that are of it, among labelled pictures."""
        return proportion(self.said - self.mistaken, self.said)


@final
@dataclass(frozen=True)
class Bin:
    """Pictures that were predicted with about the same probability, and the share of them that are right."""

    low: float
    high: float
    count: int
    probability: float
    right: Interval


@final
@dataclass(frozen=True, eq=False)
class Overview:
    """What the rows say. classes: by name; the others by that name too, best first.

    words:    what the regions of the class are nearest to: (phrase, share of its pictures, share of all others).
    confused: what its pictures are taken for instead: (class, how many). taken: what is taken for it.
    right, wrong: numbers of pictures, the most probable first.
    error:    the expected calibration error: mean distance of probability and share that is right, over ``bins``.
    errors:   (reason, how many) of the pictures that could not be read. unread: how many they are.
    """

    all: Of
    classes: Mapping[str, Of]
    bins: Sequence[Bin]
    words: Mapping[str, Sequence[tuple[str, float, float]]]
    confused: Mapping[str, Sequence[tuple[str, int]]]
    taken: Mapping[str, Sequence[tuple[str, int]]]
    right: Mapping[str, Sequence[int]]
    wrong: Mapping[str, Sequence[int]]
    errors: Sequence[tuple[str, int]]
    unread: int

    @property
    def error(self) -> float:
        count = sum(one.count for one in self.bins)
        return sum(one.count * abs(one.probability - one.right.value) for one in self.bins) / max(1, count)

    def document(self) -> dict[str, Any]:
        """As JSON; what is not a number is none."""
        return as_json(
            {
                "all": _document(self.all),
                "classes": [
                    _document(one) | {"words": self.words.get(name, ()), "confused": self.confused.get(name, ())}
                    for name, one in self.classes.items()
                ],
                "calibration": {"error": self.error, "bins": [asdict(one) for one in self.bins]},
                "errors": {"pictures": self.unread, "reasons": self.errors},
            }
        )


def overview(view: View, shown: Sequence[int] = ()) -> Overview:
    """shown: numbers of the pictures with a thumbnail; examples are among these where there are any."""
    classes = {one.name: one for one in _of(view, by_class=True)}
    (everything,) = _of(view, by_class=False)
    confused, taken = _confusions(view)
    right, wrong = _examples(view, shown)
    reasons = view.sql("SELECT file, reason FROM errors").to_pylist()
    counted = Counter(row["reason"].replace(row["file"], "").lstrip(": ") for row in reasons)
    return Overview(
        everything, classes, _bins(view), _words(view), confused, taken, right, wrong, counted.most_common(20),
        len(reasons),
    )  # fmt: skip


def _document(one: Of) -> dict[str, Any]:
    return asdict(one) | {"accuracy": asdict(one.accuracy), "precision": asdict(one.precision)}


def _of(view: View, by_class: bool) -> list[Of]:
    source, group = (OF_CLASS, "class") if by_class else ("pictures", "''")
    rows = view.sql(f"""
        SELECT {group} AS name, count(*) AS pictures, count(correct) AS labelled,
          coalesce(sum(correct::int), 0) AS right, avg(probability) AS probability,
          count(on_object) AS objects, avg(on_object) AS object_mean, stddev_samp(on_object) AS object_deviation,
          [{", ".join(f"avg(cells[{n}])" for n in range(1, 10))}] AS cells,
          avg(object_area) AS area, avg(border) AS border_mean, stddev_samp(border) AS border_deviation
        FROM {source} GROUP BY {group} ORDER BY name
    """).to_pylist()
    said = {row["prediction"]: (int(row["said"]), int(row["mistaken"])) for row in view.sql("""
        SELECT prediction, count(*) AS said, sum((NOT list_contains(truths, prediction))::int) AS mistaken
        FROM pictures WHERE len(truths) > 0 GROUP BY prediction
    """).to_pylist()}  # fmt: skip
    everything = (sum(a for a, _ in said.values()), sum(b for _, b in said.values()))
    return [
        Of(
            row["name"], row["pictures"], row["labelled"], int(row["right"]),
            *(said.get(row["name"], (0, 0)) if by_class else everything), row["probability"], row["objects"],
            _share(row["object_mean"], row["object_deviation"], row["objects"]),
            _number(row["object_deviation"]), _number(row["area"]),
            _share(row["border_mean"], row["border_deviation"], row["pictures"]),
            [_number(one) for one in row["cells"]],
        )
        for row in rows
    ]  # fmt: skip


def _bins(view: View) -> list[Bin]:
    rows = view.sql(f"""
        SELECT least(floor(probability * {BINS}), {BINS - 1})::int AS bin, count(*) AS count,
          avg(probability) AS probability, sum(correct::int) AS right
        FROM pictures WHERE correct IS NOT NULL GROUP BY bin ORDER BY bin
    """).to_pylist()
    return [
        Bin(row["bin"] / BINS, (row["bin"] + 1) / BINS, row["count"], row["probability"],
            proportion(int(row["right"]), row["count"]))
        for row in rows
    ]  # fmt: skip


def _words(view: View) -> dict[str, list[tuple[str, float, float]]]:
    """Of each class, phrases nearest to its regions; first what most sets its pictures apart from the others."""
    rows = view.sql(f"""
        WITH named AS (SELECT DISTINCT number, labels[1] AS word FROM regions WHERE len(labels) > 0),
        counted AS (
          SELECT class, word, count(*) AS here FROM named JOIN {OF_CLASS} USING (number) GROUP BY class, word
        ),
        sizes AS (SELECT class, count(*) AS size FROM {OF_CLASS} GROUP BY class),
        overall AS (SELECT word, sum(here) AS everywhere FROM counted GROUP BY word),
        total AS (SELECT sum(size) AS pictures FROM sizes)
        SELECT class, word, here / size AS share, (everywhere - here) / greatest(pictures - size, 1) AS others
        FROM counted JOIN sizes USING (class) JOIN overall USING (word) CROSS JOIN total
        WHERE here > 1 OR size < 5
        QUALIFY row_number() OVER (PARTITION BY class ORDER BY share - others DESC, word) <= {WORDS}
        ORDER BY class, share - others DESC, word
    """).to_pylist()
    found = defaultdict[str, list[tuple[str, float, float]]](list)
    for row in rows:
        found[row["class"]].append((row["word"], row["share"], row["others"]))
    return found


def _confusions(view: View) -> tuple[dict[str, list[tuple[str, int]]], dict[str, list[tuple[str, int]]]]:
    rows = view.sql("""
        SELECT truths[1] AS truth, prediction, count(*) AS count FROM pictures
        WHERE len(truths) = 1 AND NOT correct GROUP BY ALL ORDER BY count DESC, truth, prediction
    """).to_pylist()
    confused, taken = defaultdict[str, list[tuple[str, int]]](list), defaultdict[str, list[tuple[str, int]]](list)
    for row in rows:
        for found, one, other in ((confused, "truth", "prediction"), (taken, "prediction", "truth")):
            if len(found[row[one]]) < CONFUSED:
                found[row[one]].append((row[other], row["count"]))
    return confused, taken


def _examples(view: View, shown: Sequence[int]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    among = "number IN (SELECT unnest(?::bigint[]))" if shown else "len(?::bigint[]) = 0"
    rows = view.sql(
        f"""
        SELECT class, coalesce(correct, true) AS correct, number FROM {OF_CLASS} WHERE {among}
        QUALIFY row_number() OVER (PARTITION BY class, coalesce(correct, true) ORDER BY probability DESC, number)
          <= {EXAMPLES}
        ORDER BY probability DESC, number
        """,
        [list(shown)],
    ).to_pylist()
    right, wrong = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for row in rows:
        (right if row["correct"] else wrong)[row["class"]].append(row["number"])
    return right, wrong


def _share(mean: float | None, deviation: float | None, count: int) -> Interval:
    found = mean_interval(_number(mean), _number(deviation), count)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high)) if count else found


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
