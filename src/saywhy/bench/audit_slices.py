"""Are planted slices found in words, on pictures that they were not found on; and nothing where none is planted?

A planted slice is one species before one background, whose pictures are darkened or blurred until the classifier is
often wrong. Nobody is told: the audit has to find it among all species, words, places and properties. Scenes are drawn
and described once and kept in the cache; each run is a sample of them. Beside the planted ones: samples without one, in
which what is reported is looked for again in the scenes that were left out; and samples with a planted one in which who
is right is shuffled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from PIL import Image
from rich.progress import Progress, track

from saywhy.audits.audit import audit
from saywhy.audits.facts import facts_of
from saywhy.audits.finding import AuditFinding
from saywhy.audits.findings import slices
from saywhy.audits.store import ROWS, Store, View
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion
from saywhy.pictures.collections import Entry, Listed
from saywhy.plumbing.caches import cache_directory
from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, phrases_of, render

if TYPE_CHECKING:
    import pyarrow

SCENES = {"choose": (0, 5_000_000), "report": (1, 5_400_000)}
"""Which of every three species, and the first seed."""
KINDS = 12  # species
EACH = 12  # undamaged scenes of each species before each background
PLANTS, PLANTED = 10, 36  # species before backgrounds that are damaged, and scenes of each
DAMAGES = ("dark", "blurred")
SIDE = 160
HARMED = 0.6  # accuracy of damaged scenes, at most: else there is no slice to find
TAKEN = 0.67  # of the undamaged scenes in a sample
SHOWN = 24  # of the planted scenes in one
SAMPLES = 100


def run(
    limit: int | None = None,
    scenes: Annotated[str, "report, or choose: other species and seeds, on which settings were chosen"] = "report",
) -> Report:
    """A row a kind of sample. limit: samples of each kind, at most. Raises SaywhyError for other scenes."""
    if scenes not in SCENES:
        raise SaywhyError(f"--scenes {scenes}: report or choose")
    table, labels = described(scenes), Classifier.load("world:aviary").labels
    files = [file.split("/") for file in table["file"].to_pylist()]
    correct = np.array(table["correct"].to_pylist())
    whole = np.array([damage == "" for *_, damage in files])
    plants = sorted({(species, ground, damage) for species, ground, _, damage in files if damage})
    groups = {plant: np.array([(s, g, d) == plant for s, g, _, d in files]) for plant in plants}
    plants = [plant for plant in plants if correct[groups[plant]].mean() <= HARMED]
    count = min(limit or SAMPLES, SAMPLES)
    first = anywhere = by_name = 0
    accuracies = []
    for seed in track(range(count), "planted", transient=True):
        rng = np.random.default_rng(seed)
        plant = plants[seed % len(plants)]
        replaced = np.array([(s, g) == plant[:2] for s, g, *_ in files])
        planted = rng.permutation(np.flatnonzero(groups[plant]))[:SHOWN]
        others = np.flatnonzero(whole & ~replaced & (rng.random(len(files)) < TAKEN))
        accuracies.append(correct[planted].mean())
        order = rng.permutation(np.concatenate([planted, others]))
        there = set(np.flatnonzero(np.isin(order, planted)).tolist())
        found = _found(table, order, labels)
        right = [_names(one, plant) and len(there & set(one.examples)) > len(one.examples) / 2 for one in found]
        first += bool(right) and right[0]
        anywhere += any(right)
        by_name += any(ok and set(plant[:2]) & set(one.about) for ok, one in zip(right, found, strict=True))
    reported, held = 0, 0
    for seed in track(range(count), "nothing planted", transient=True):
        rng = np.random.default_rng([seed, 1])
        some = whole & (rng.random(len(files)) < TAKEN)
        found = _found(table, rng.permutation(np.flatnonzero(some)), labels)
        reported += bool(found)
        held += sum(_holds(finding, table.filter(whole & ~some), labels) for finding in found[:1])
    shuffled = 0
    for seed in track(range(count), "shuffled", transient=True):
        rng = np.random.default_rng([seed, 2])
        drawn = rng.permutation(np.flatnonzero(rng.random(len(files)) < TAKEN))
        shuffled += bool(_found(table, drawn, labels, rng.permutation(correct[drawn])))
    counted = [
        ("planted", "the first finding is of it, and all it says is true", first, count),
        ("planted", "a finding is", anywhere, count),
        ("planted", "and names the species or the background", by_name, count),
        ("nothing planted", "anything is reported", reported, count),
        ("nothing planted", "of these, true of the scenes left out", held, reported),
        ("right and wrong shuffled", "anything is reported", shuffled, count),
    ]
    rows = [
        {"samples": samples, "number": of, "what": what, "share": str(proportion(hits, of)) if of else ""}
        for samples, what, hits, of in counted
    ]
    return Report(
        "audit-slices",
        f"slices planted in world:aviary ({scenes}; accuracy there {np.mean(accuracies):.2f}, elsewhere "
        f"{correct[whole].mean():.3f}): share of samples [95 %, Wilson]",
        ("samples", "number", "what", "share"),
        rows,
        {"scenes": scenes, "plants": [list(plant) for plant in plants], "described": len(files)},
    )


def described(scenes: str) -> pyarrow.Table:
    """The rows of all scenes, from the cache or described now."""
    offset, first_seed = SCENES[scenes]
    species = list(SPECIES)[offset::3][:KINDS]
    cells = [(one, ground) for one in species for ground in BACKGROUNDS]
    order = np.random.default_rng(first_seed).permutation(len(cells))[:PLANTS]
    asked = [(*cell, "", EACH) for cell in cells]
    asked += [(*cells[n], damage, PLANTED) for n in order for damage in DAMAGES]
    entries, seed = list[Entry](), first_seed
    for one, ground, damage, count in asked:
        for n in range(count):
            entries.append(Entry(f"{one}/{ground}/{n}/{damage}", (one,), partial(_scene, one, seed, ground, damage)))
            seed += 1
    pictures = Listed(f"slices, {scenes}", entries)
    out = cache_directory() / "audits" / f"slices-{scenes}-{pictures.digest}"
    found = audit(
        pictures, model="world:aviary", space="world:aviary", out=out, kinds=("slice",), checks="none", pictures_mb=0,
        batch_size=16, bar=_bar,
    )  # fmt: skip
    return found.query("SELECT * FROM pictures ORDER BY number")


@contextmanager
def _bar(what: str, count: int | None) -> Iterator[Callable[[int], object]]:
    with Progress(transient=True) as progress:
        task = progress.add_task(what, total=count)
        yield lambda more: progress.advance(task, more)


def _scene(species: str, seed: int, background: str, damage: str) -> Image.Image:
    from PIL import ImageEnhance, ImageFilter

    image, rng = render(species, seed, SIDE, background).image, np.random.default_rng(seed)
    if damage == "dark":
        return ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.1, 0.6)))
    if damage == "blurred":
        return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 4))))
    return image


def view_of(rows: pyarrow.Table, labels: Sequence[str], folder: Path) -> View:
    """An audit, in an empty folder, that has just these rows, numbered anew."""
    import pyarrow as pa

    numbers = pa.array(np.arange(len(rows)))
    store = Store.create(
        folder,
        {"model": {"task": "single-label", "labels": list(labels)}, "vocabulary": {}, "options": {"seed": 0}},
    )
    store.commit(
        ROWS, "00000000", {"pictures": rows.set_column(rows.schema.get_field_index("number"), "number", numbers)}
    )
    return store.view()


def _found(
    table: pyarrow.Table, order: np.ndarray, labels: Sequence[str], correct: np.ndarray | None = None
) -> list[AuditFinding]:
    """The slices of an audit of these rows alone, in this order. correct: instead of theirs."""
    import pyarrow as pa

    few = table.take(pa.array(order))
    if correct is not None:
        few = few.set_column(few.schema.get_field_index("correct"), "correct", pa.array(correct))
    with tempfile.TemporaryDirectory(prefix="saywhy-slices-") as folder:
        return list(slices.find(view_of(few, labels, Path(folder) / "audit")).findings)


def _names(finding: AuditFinding, plant: tuple[str, str, str]) -> bool:
    """Whether all that a finding says is true of the planted slice; what is darkened loses contrast and sharpness."""
    species, ground, damage = plant
    signs = {"little contrast", "little sharpness"} | ({"little brightness"} if damage == "dark" else set())
    return set(finding.about) <= {species, *phrases_of(SPECIES[species]), ground, *signs, "nothing said"}


def _holds(finding: AuditFinding, rows: pyarrow.Table, labels: Sequence[str]) -> bool:
    """Whether pictures with the facts of a slice are less often right in other scenes too."""
    with tempfile.TemporaryDirectory(prefix="saywhy-slices-") as folder:
        facts = facts_of(view_of(rows, labels, Path(folder) / "audit"))
    named = {(one["kind"], one["value"]) for one in finding.details["facts"]}
    holds = [row for fact, row in zip(facts.facts, facts.holds, strict=True) if (fact.kind, fact.value) in named]
    if len(holds) < len(named):  # too rare there
        return False
    inside = np.logical_and.reduce(holds)
    return bool(inside.any() and facts.correct[inside].mean() < facts.correct[~inside].mean())
