"""Clusters of maps: classes whose maps fall into kinds that hardly touch (SpRAy, Lapuschkin et al. 2019).

A class's maps, reduced to a grid, are joined to their nearest neighbours; the eigenvalues of that graph's Laplacian say
how many clusters it has. Natural maps are never without some structure, since the object lies here and there. So the
measure is how few links cross (the second eigenvalue), beside graphs of as many maps of other classes together; and
clusters have to come back when fewer of the maps are clustered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from saywhy.audits.facts import NEAR, PLACE, PLACES, WORD, Facts, facts_of
from saywhy.audits.finding import LEVEL, AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.audits.tables import GRID
from saywhy.intervals import Interval, interval_of

CLASSES = 50  # those of most pictures
SIZES = (100, 80, 60, 40)  # maps of a class that are clustered: the largest of these that it has
NEIGHBOURS = 10  # of a map in the graph
FEW_CLASSES = 4  # without clusters, below which their maps are no null: a Gaussian of the same covariance is
BLUR = 1.0  # cells, so that a neighbouring cell is near
APART = 0.04  # the second eigenvalue, at most: one in 25 links crosses
STABLE = 0.5  # adjusted Rand index, at least
MOST = 6  # clusters
AGAIN, KEPT = 40, 0.7  # how often clusters are looked for again, on what share of the maps
DRAWS = 200  # graphs of the null, at least
POOL = 1500  # maps that they are drawn from
GAP = 0.3  # more of a cluster's pictures than of the others have a fact that goes with it
SHOWN = 6  # examples of each cluster


@final
@dataclass(frozen=True, eq=False)
class _Class:
    """Of one predicted class: pictures (n,), their maps (n, cells), and those made comparable."""

    name: str
    numbers: np.ndarray
    maps: np.ndarray
    points: np.ndarray


def find(view: View) -> Tested:
    """A finding a class whose maps fall into stable kinds, with the place and the facts of each."""
    classes = _classes(view)
    if not classes:
        return Tested(note=f"maps were not clustered: no class was predicted for {SIZES[-1]} pictures")
    rng = np.random.default_rng(int(view.manifest.get("options", {}).get("seed", 0)))
    values = np.array([eigenvalues(one.points)[1] for one in classes])
    others = [one for one, value in zip(classes, values, strict=True) if value > APART]
    draws = max(DRAWS, 20 * len(classes))
    sizes = {len(one.numbers) for one in classes}
    mixed = len(others) >= FEW_CLASSES and sum(len(one.numbers) for one in others) >= 2 * max(sizes)
    null = _mixed(others, sizes, draws, rng) if mixed else {}
    nulls = [null[len(one.numbers)] if mixed else _gaussian(one.points, draws, rng) for one in classes]
    p = np.array([(1 + (drawn <= value).sum()) / (1 + draws) for drawn, value in zip(nulls, values, strict=True)])
    survive = _corrected(p) <= LEVEL
    findings = []
    for n, one in enumerate(classes):
        if not survive[n] or values[n] > APART:
            continue
        count = 1 + int((eigenvalues(one.points)[1:MOST] <= max(APART, float(np.quantile(nulls[n], 0.02)))).sum())
        stability = _stability(one.points, count, rng)
        if stability.low >= STABLE:
            chance = _pool(others or classes, len(one.numbers), rng)
            by_chance = _stability(chance, count, rng).value if len(chance) > 2 * NEIGHBOURS else float("nan")
            findings.append(_finding(view, one, count, stability, by_chance, float(p[n]), float(values[n])))
    against = "maps of the other classes, together" if mixed else "a Gaussian of the same covariance"
    note = (
        f"maps of {len(classes)} classes were clustered, at most {SIZES[0]} of each; how few links cross was held "
        f"against {draws} graphs of {against}"
    )
    return Tested(findings, p, note)


def eigenvalues(points: np.ndarray) -> np.ndarray:
    """(n,) of the normalised Laplacian of the graph of nearest neighbours of (n, d) points, from 0 up."""
    return _spectrum(_distances(points))


def clusters(points: np.ndarray, count: int) -> np.ndarray:
    """(n,) which of ``count`` clusters each of (n, d) points is in, the largest first."""
    from sklearn.cluster import SpectralClustering

    model = SpectralClustering(count, affinity="precomputed", assign_labels="cluster_qr", random_state=0)
    labels = model.fit_predict(_graph(_distances(points)) + 1e-6)
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    return np.argsort(order)[labels]


def comparable(maps: np.ndarray) -> np.ndarray:
    """(n, cells) maps as points: blurred, and their square roots, whose distance is Hellinger's."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(maps.reshape(-1, GRID, GRID).astype(float), (0, BLUR, BLUR)).clip(min=0)
    total = blurred.sum((1, 2), keepdims=True)
    return np.sqrt(blurred / np.maximum(total, 1e-12)).reshape(len(maps), -1)


def _classes(view: View) -> list[_Class]:
    """Of the classes that are predicted most often as many pictures as are clustered, drawn evenly."""
    chosen = view.columns(
        "WITH ranked AS (SELECT number, prediction, row_number() OVER (PARTITION BY predicted ORDER BY "
        "(number * 2654435769) % 4294967296) AS place, count(*) OVER (PARTITION BY predicted) AS pictures, predicted "
        "FROM pictures WHERE relevance IS NOT NULL) "
        f"SELECT number, prediction, pictures FROM ranked WHERE place <= {SIZES[0]} AND pictures >= {SIZES[-1]} "
        "AND predicted IN (SELECT predicted FROM ranked WHERE place = 1 ORDER BY pictures DESC, predicted "
        f"LIMIT {CLASSES}) ORDER BY number"
    )
    if not len(chosen["number"]):
        return []
    listed = ", ".join(map(str, chosen["number"]))
    numbers, maps = view.matrix("relevance", f"number IN ({listed})")
    names = chosen["prediction"].astype(str)
    classes = []
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        size = next(size for size in SIZES if len(rows) >= size)
        rows = rows[:size] if len(rows) == size else np.sort(np.random.default_rng(len(rows)).permutation(rows)[:size])
        classes.append(_Class(str(name), numbers[rows], maps[rows], comparable(maps[rows])))
    return classes


def _distances(points: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(1)
    return squares[:, None] + squares - 2 * points @ points.T


def _graph(distances: np.ndarray) -> np.ndarray:
    """(n, n) weights: 1 where two are among each other's nearest, a half where one is among the other's."""
    count = len(distances)
    apart = distances + np.diag(np.full(count, np.inf))
    nearest = np.argpartition(apart, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    links = np.zeros((count, count))
    links[np.arange(count)[:, None], nearest] = 1
    return (links + links.T) / 2


def _spectrum(distances: np.ndarray) -> np.ndarray:
    links = _graph(distances)
    root = np.sqrt(links.sum(1))
    return np.linalg.eigvalsh(np.eye(len(links)) - links / root[:, None] / root)


def _pool(classes: Sequence[_Class], count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, cells) points of pictures of all classes together."""
    every = np.concatenate([one.points for one in classes])
    return every[rng.permutation(len(every))[:count]]


def _mixed(
    classes: Sequence[_Class], sizes: Collection[int], draws: int, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Size -> (draws,) second eigenvalues of graphs of so many maps of these classes together."""
    distances = _distances(_pool(classes, POOL, rng))
    found = {}
    for size in sorted(sizes):
        rows = [rng.permutation(len(distances))[:size] for _ in range(draws)]
        found[size] = np.array([_spectrum(distances[np.ix_(some, some)])[1] for some in rows])
    return found


def _gaussian(points: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) second eigenvalues where points are drawn from a Gaussian of the same mean and covariance."""
    centred = points - points.mean(0)
    count = len(points)
    return np.array(
        [eigenvalues(rng.normal(size=(count, count)) @ centred / (count - 1) ** 0.5)[1] for _ in range(draws)]
    )


def _stability(points: np.ndarray, count: int, rng: np.random.Generator) -> Interval:
    """How alike the clusters of all points are to those of KEPT of them: the adjusted Rand index."""
    from sklearn.metrics import adjusted_rand_score

    every, found = clusters(points, count), []
    for _ in range(AGAIN):
        some = rng.permutation(len(points))[: round(KEPT * len(points))]
        found.append(adjusted_rand_score(every[some], clusters(points[some], count)))
    return interval_of(float(np.mean(found)), np.array(found))


def _corrected(p: np.ndarray) -> np.ndarray:
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p))


def _finding(
    view: View, one: _Class, count: int, stability: Interval, by_chance: float, p: float, crossing: float
) -> AuditFinding:
    labels = clusters(one.points, count)
    facts = facts_of(view, among=one.numbers.tolist())
    kinds: list[dict[str, Any]] = []
    for n in range(count):
        inside = labels == n
        gap = _cells(one.maps[inside]) - _cells(one.maps[~inside])
        strongest = int(gap.argmax())
        kinds.append(
            {
                "pictures": int(inside.sum()), "place": PLACES[strongest],
                "share": float(_cells(one.maps[inside])[strongest]),
                "share_elsewhere": float(_cells(one.maps[~inside])[strongest]), "gap": float(gap[strongest]),
                "facts": _goes_with(facts, inside), "examples": _typical(one, inside, strongest),
            }
        )  # fmt: skip
    told = max(range(count), key=lambda n: kinds[n]["gap"])  # the clearest first
    kinds = [kinds[told], *(kind for n, kind in enumerate(kinds) if n != told)]
    first = kinds[0]
    parts = "; ".join(
        f"{kind['pictures']} go with relevance in the {kind['place']} ({kind['share']:.0%}, in the others "
        f"{kind['share_elsewhere']:.0%}){_and(kind['facts'])}"
        for kind in kinds
    )
    return AuditFinding(
        "cluster",
        (one.name,),
        f"Maps of “{one.name}” are of {count} kinds; of {len(one.numbers)}, {parts}.",
        decides=False,
        effect=stability,
        unit="adjusted Rand index with the clusters of other draws",
        words=tuple(fact["value"] for fact in first["facts"] if fact["kind"] in (WORD, NEAR)),
        place=first["place"],
        null=by_chance,
        p=p,
        examples=tuple(first["examples"]),
        counters=tuple(number for kind in kinds[1:] for number in kind["examples"]),
        details={"links_crossing": crossing, "clusters": kinds},
    )


def _and(facts: Sequence[Mapping[str, Any]]) -> str:
    return f", and with pictures {facts[0]['clause']}" if facts else ""


def _cells(maps: np.ndarray) -> np.ndarray:
    """(9,) how much relevance lies in each of PLACES, on average over (n, cells) maps."""
    edges = np.round(np.linspace(0, GRID, 4)).astype(int)[:-1]
    mean = maps.mean(0).reshape(GRID, GRID)
    return np.add.reduceat(np.add.reduceat(mean, edges, axis=0), edges, axis=1).ravel()


def _typical(one: _Class, inside: np.ndarray, place: int) -> list[int]:
    """The pictures of a cluster that have most relevance where it does."""
    share = np.array([_cells(each[None])[place] for each in one.maps])
    order = np.argsort(-np.where(inside, share, -1), kind="stable")[: min(SHOWN, int(inside.sum()))]
    return [int(number) for number in one.numbers[order]]


def _goes_with(facts: Facts, inside: np.ndarray) -> list[dict[str, Any]]:
    """The facts that are there more often in a cluster than in the others, beyond chance, the clearest first."""
    from scipy.stats import fisher_exact

    found = []
    for fact, holds in zip(facts.facts, facts.holds, strict=True):
        a, b = int(holds[inside].sum()), int(holds[~inside].sum())
        gap = a / inside.sum() - b / (~inside).sum()
        if gap >= GAP and fact.kind != PLACE:
            table = [[a, int(inside.sum()) - a], [b, int((~inside).sum()) - b]]
            if fisher_exact(table, "greater").pvalue * len(facts.facts) <= LEVEL:
                found.append((gap, fact, a, b))
    return [
        {"kind": fact.kind, "value": fact.value, "clause": fact.clause, "share": a / int(inside.sum()),
         "share_elsewhere": b / int((~inside).sum())}
        for _, fact, a, b in sorted(found, key=lambda one: -one[0])[:3]
    ]  # fmt: skip
