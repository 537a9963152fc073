"""Are classes found whose maps are of two kinds, and named by place; and none where maps are shuffled over pictures?

The maps are those of world:aviary's classifier on the undamaged scenes of ``audit-slices``. In some of the maps of one
class, a share of the relevance is moved into a spot near a corner, as where a mark there decides. The settings were
chosen on the scenes of ``--scenes choose``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from rich.progress import track

from saywhy.audits.finding import AuditFinding
from saywhy.audits.findings import clusters
from saywhy.audits.rows import unpacked
from saywhy.audits.tables import GRID
from saywhy.bench import Report
from saywhy.bench.audit_slices import SCENES, described, view_of
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion

if TYPE_CHECKING:
    import pyarrow

SAMPLES = 40
PLANTS = ((0.5, 0.6), (0.5, 0.4), (0.5, 0.3), (0.25, 0.6))
"""Share of a class's maps, and share of the relevance that is moved."""
CORNERS = {"upper left": (1, 1), "upper right": (1, 13), "lower left": (13, 1), "lower right": (13, 13)}
SPOT = 2  # cells


def run(
    limit: int | None = None,
    scenes: Annotated[str, "report, or choose: other species and seeds, on which settings were chosen"] = "report",
) -> Report:
    """A row a kind of sample. limit: samples of each kind, at most. Raises SaywhyError for other scenes."""
    if scenes not in SCENES:
        raise SaywhyError(f"--scenes {scenes}: report or choose")
    table, labels = described(scenes), Classifier.load("world:aviary").labels
    table = table.filter([file.endswith("/") for file in table["file"].to_pylist()])
    maps = unpacked(table["relevance"].to_pylist())
    said = np.array(table["prediction"].to_pylist())
    names = [name for name in np.unique(said) if (said == name).sum() >= clusters.SIZES[-1]]
    count = min(limit or SAMPLES, SAMPLES)
    rows = []
    for share, moved in PLANTS:
        found = kinds = wrong = 0
        for seed in track(range(count), f"{share:.0%} of the maps, {moved:.0%} moved", transient=True):
            rng = np.random.default_rng(seed)
            name, corner = names[seed % len(names)], list(CORNERS)[seed % len(CORNERS)]
            planted = _planted(maps, (said == name) & (rng.random(len(maps)) < share), moved, corner, rng)
            findings = _found(table, planted, labels)
            mine = [one for one in findings if one.about == (name,) and one.place == corner]
            found += bool(mine)
            kinds += bool(mine) and len(mine[0].details["clusters"]) == 2
            wrong += any(one.about != (name,) for one in findings)
        rows.append(
            {"maps": f"in {share:.0%} of a class's {moved:.0%} is moved", "samples": count,
             "found at its place": str(proportion(found, count)), "as two kinds": str(proportion(kinds, count)),
             "another class is reported": str(proportion(wrong, count))}
        )  # fmt: skip
    shuffled = sum(
        bool(_found(table, maps[np.random.default_rng([seed, 1]).permutation(len(maps))], labels))
        for seed in track(range(count), "shuffled", transient=True)
    )
    rows.append(
        {
            "maps": "shuffled over pictures",
            "samples": count,
            "another class is reported": str(proportion(shuffled, count)),
        }
    )
    natural = _found(table, maps, labels)
    return Report(
        "audit-clusters",
        f"clusters of maps planted in {len(names)} classes of world:aviary ({scenes}): share of samples [95 %, Wilson]",
        ("maps", "samples", "found at its place", "as two kinds", "another class is reported"),
        rows,
        {"scenes": scenes, "nothing planted": [one.sentence for one in natural]},
    )


def _planted(maps: np.ndarray, where: np.ndarray, moved: float, corner: str, rng: np.random.Generator) -> np.ndarray:
    """Maps with a share of the relevance of some moved into a spot."""
    row, column = CORNERS[corner]
    grids = maps.reshape(-1, GRID, GRID).copy()
    grids[where] *= 1 - moved
    spot = rng.uniform(0.6, 1.4, (int(where.sum()), SPOT, SPOT))
    rows, columns = slice(row, row + SPOT), slice(column, column + SPOT)
    grids[where, rows, columns] += moved * spot / spot.sum((1, 2), keepdims=True)
    return grids.reshape(maps.shape)


def _found(table: pyarrow.Table, maps: np.ndarray, labels: tuple[str, ...]) -> list[AuditFinding]:
    import pyarrow as pa

    packed = pa.array([one.astype("<f2").tobytes() for one in maps], pa.binary())
    rows = table.set_column(table.schema.get_field_index("relevance"), "relevance", packed)
    with tempfile.TemporaryDirectory(prefix="saywhy-clusters-") as folder:
        return list(clusters.find(view_of(rows, labels, Path(folder) / "audit")).findings)
