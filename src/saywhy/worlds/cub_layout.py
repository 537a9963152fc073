"""Writes an aviary to disk exactly as CUB-200-2011 is laid out, with a part map for each picture, which CUB lacks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from saywhy.plumbing.caches import made_once
from saywhy.plumbing.files import replacing, write_whole
from saywhy.words.cub_names import bundled_attributes
from saywhy.worlds.aviary import VALUES, Scene, part_of
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.planted import AFFECTED, PLANTS
from saywhy.worlds.scenes import HELD_OUT_SEED, class_names, draw

CUB_PARTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape", "right eye",
    "right leg", "right wing", "tail", "throat",
)  # fmt: skip
_SMALLEST = 4  # pixels of a part below which it counts as hidden


def write_cub(out: str | Path, kind: str = "species", *, train: int = 0, test: int = 200, size: int = 384) -> Path:
    """Draws scenes of one kind (see scenes.draw) into a folder in CUB's layout; returns the folder.

    Also part_masks/ (PNG, index into parts.txt of part_masks/) and truth.csv: for every picture, what decides its
    class. Pictures have the seeds of held-out scenes in the test half, those of training scenes in the other.
    """
    out = Path(out)
    names, attributes = class_names(kind), bundled_attributes()
    seeds = [*range(train), *range(HELD_OUT_SEED, HELD_OUT_SEED + test)]
    columns: dict[str, list[str]] = {
        name: [] for name in (
            "images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt",
            "parts/part_locs.txt", "attributes/image_attribute_labels.txt",
        )
    }  # fmt: skip
    truth = []
    attribute_index = {name: i for i, name in enumerate(attributes)}
    share = np.zeros((len(names), len(attributes)))
    counts = np.zeros(len(names))
    for n, seed in enumerate(track(seeds, f"drawing {kind}"), start=1):
        scene, label = draw(kind, seed, size)
        folder = f"{label + 1:03d}.{names[label].replace(' ', '_')}"
        file = f"{folder}/{names[label].replace(' ', '_')}_{n:04d}_{seed}.png"
        _save(out, file, scene)
        has = {attribute_index[f"{name}::{value}"] for name, value in scene.attributes.items()}
        columns["images.txt"].append(f"{n} {file}")
        columns["image_class_labels.txt"].append(f"{n} {label + 1}")
        columns["train_test_split.txt"].append(f"{n} {int(seed < HELD_OUT_SEED)}")
        columns["bounding_boxes.txt"].append(f"{n} " + " ".join(f"{v:.1f}" for v in _bird_box(scene)))
        for p, part in enumerate(CUB_PARTS, start=1):
            x, y, seen = _part_location(scene, part)
            columns["parts/part_locs.txt"].append(f"{n} {p} {x:.1f} {y:.1f} {int(seen)}")
        columns["attributes/image_attribute_labels.txt"] += [
            f"{n} {a + 1} {int(a in has)} 4 0.0" for a in range(len(attributes))
        ]
        share[label, list(has)] += 100
        counts[label] += 1
        truth.append((n, file, *_cause(kind, names[label])))
    _write(out / "classes.txt", [f"{i} {i:03d}.{name.replace(' ', '_')}" for i, name in enumerate(names, start=1)])
    _write(out / "parts" / "parts.txt", [f"{i} {name}" for i, name in enumerate(CUB_PARTS, start=1)])
    _write(out / "part_masks" / "parts.txt", [f"{i} {name}" for i, name in enumerate(PARTS)])
    _write(out / "attributes" / "attributes.txt", [f"{i} {name}" for i, name in enumerate(attributes, start=1)])
    _write(out / "attributes" / "certainties.txt", ["1 not visible", "2 guessing", "3 probably", "4 definitely"])
    percent = (share / np.maximum(counts, 1)[:, None]).tolist()
    lines = [" ".join(f"{value:g}" for value in row) for row in percent]
    _write(out / "attributes" / "class_attribute_labels_continuous.txt", lines)
    with replacing(out / "truth.csv") as unfinished, unfinished.open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(("image_id", "file", "affected", "deciding_parts", "deciding_background"))
        rows.writerows(truth)
    for name, lines in reversed(columns.items()):  # images.txt last: a folder with it is complete
        _write(out / name, lines)
    return out


def cached_cub(kind: str, test: int) -> Path:
    """The folder of ``test`` held-out pictures of that kind, drawn once into the cache."""
    return made_once(f"drawn/cub-{kind}-{test}", lambda folder: write_cub(folder, kind, test=test))


def _save(out: Path, file: str, scene: Scene) -> None:
    for folder, image in (("images", scene.image), ("part_masks", Image.fromarray(scene.parts))):
        path = out / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            image.save(unfinished, "PNG")


def _bird_box(scene: Scene) -> tuple[float, float, float, float]:
    """x, y, width, height around all of the bird that is seen."""
    rows, columns = np.nonzero((scene.parts > 0) & (scene.parts < PARTS.index("watermark")))
    return (
        float(columns.min()), float(rows.min()), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1),
    )  # fmt: skip


def _part_location(scene: Scene, part: str) -> tuple[float, float, bool]:
    """x, y of CUB's part, and whether it is seen; 0, 0 where it is not. The bird shows one of its sides."""
    side, _, of = part.rpartition(" ")
    if side and side != _facing(scene):
        return 0.0, 0.0, False
    name = {"beak": "bill"}.get(of, of)
    rows, columns = np.nonzero(scene.parts == PARTS.index(name))
    if len(rows) < _SMALLEST:
        return 0.0, 0.0, False
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)  # a point on the part itself
    return float(columns[middle]), float(rows[middle]), True


def _facing(scene: Scene) -> str:
    """The side that a bird shows: its left where it looks to the left of the picture."""
    head = np.nonzero(scene.parts == PARTS.index("crown"))[1]
    body = np.nonzero(scene.parts == PARTS.index("wing"))[1]
    if not len(head) or not len(body):
        return "left"
    return "left" if head.mean() < body.mean() else "right"


def _cause(kind: str, name: str) -> tuple[int, str, int]:
    """Whether the class is affected by a shortcut; the parts that decide it; whether the background does."""
    if kind.startswith("planted-") and name in AFFECTED:
        plant = PLANTS[kind.removeprefix("planted-")]
        return 1, " ".join(p for p in plant.parts if p != "background"), int("background" in plant.parts)
    parts = {part_of(f"{name}::{values[0]}") for name, values in VALUES.items()}
    return 0, " ".join(p for p in PARTS if p in parts), 0


def _write(path: Path, lines: Sequence[str]) -> None:
    write_whole(path, "\n".join(lines) + "\n")
