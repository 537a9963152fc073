"""An audit in FiftyOne: pictures with prediction, truth, regions and the map of relevance, tagged with findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from saywhy.audits.exports.pictures import grey
from saywhy.audits.told import Told
from saywhy.errors import SaywhyError
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import first_line, shown

MOST = 5000  # pictures, those of findings first


def write(told: Told, out: Path) -> str:
    """A data set of the pictures of which a thumbnail was kept, in a folder of FiftyOne's format (FiftyOneDataset).

    FiftyOne makes it in its database, from where it is deleted afterwards. Raises SaywhyError where that does not run,
    and where the folder holds anything.
    """
    if out.exists() and any(out.iterdir()):
        raise SaywhyError(f"{shown(out)}: holds other files; give an empty or a new folder")
    try:
        import fiftyone

        dataset = fiftyone.Dataset()
    except Exception as error:  # of its database, of many kinds
        raise SaywhyError(
            f"FiftyOne's database does not start ({first_line(error)}); set FIFTYONE_DATABASE_URI to a MongoDB"
        ) from None
    try:
        with TemporaryDirectory() as pictures:
            dataset.add_samples(_samples(told, Path(pictures)), progress=False)
            dataset.info = {"audit": told.name, "findings": [one.sentence for one in told.findings]}
            dataset.save()
            dataset.export(str(out), dataset_type=fiftyone.types.FiftyOneDataset, export_media=True, progress=False)
    finally:
        dataset.delete()
    return f"written: {shown(out)}; fiftyone.Dataset.from_dir({str(out)!r}, fiftyone.types.FiftyOneDataset) reads it"


def _samples(told: Told, folder: Path) -> Iterator[Any]:
    import fiftyone

    tags = _tags(told)
    kept = told.thumbnails.numbers
    there = set(kept)
    numbers = [*(n for n in tags if n in there), *(n for n in kept if n not in tags)][:MOST]
    place = {number: n for n, number in enumerate(numbers)}
    told.thumbnails.load(numbers)
    among = "WHERE number IN (SELECT unnest(?::bigint[]))"
    rows = told.view.sql(
        "SELECT number, file, truths, prediction, probability, correct, on_object, border, width, height FROM pictures "
        + among,
        [numbers],
    ).to_pylist()  # fmt: skip
    regions = defaultdict[int, list[dict[str, Any]]](list)
    for region in told.view.sql(f"SELECT * FROM regions {among} ORDER BY number, region", [numbers]).to_pylist():
        regions[region["number"]].append(region)
    for row in sorted(rows, key=lambda row: place[row["number"]]):
        number = row["number"]
        files = told.thumbnails.files(number)
        if files is None:
            continue
        picture, heat = files
        path = write_whole(folder / f"{number}.jpg", picture)
        sample = fiftyone.Sample(str(path), tags=[*_state(row), *tags.get(number, ())])
        sample["prediction"] = fiftyone.Classification(label=row["prediction"], confidence=row["probability"])
        if row["truths"]:
            sample["ground_truth"] = fiftyone.Classification(label=", ".join(row["truths"]))
        if heat:
            sample["relevance"] = fiftyone.Heatmap(map=np.asarray(grey(heat)), range=[0, 255])
        sample["regions"] = fiftyone.Detections(detections=[_detection(one, row) for one in regions[number]])
        for name in ("number", "file", "on_object", "border"):
            sample[f"saywhy_{name}"] = row[name]
        yield sample


def _detection(region: dict[str, Any], row: dict[str, Any]) -> Any:
    import fiftyone

    left, top = region["left"] / row["width"], region["top"] / row["height"]
    right, bottom = region["right"] / row["width"], region["bottom"] / row["height"]
    label = (region["labels"] or ["region"])[0]
    return fiftyone.Detection(
        label=label, bounding_box=[left, top, right - left, bottom - top], share_of_relevance=region["share"]
    )


def _tags(told: Told) -> dict[int, list[str]]:
    """Number -> tags of the findings that a picture is an example of, or a counter-example, first findings first."""
    found = defaultdict[int, list[str]](list)
    for finding in told.findings:
        name = shown(f"{finding.kind}: {', '.join(finding.about)}" if finding.about else finding.kind, 120)
        for numbers, tag in ((finding.examples, name), (finding.counters, f"not {name}")):
            for number in numbers:
                if tag not in found[number]:
                    found[number].append(tag)
    return dict(found)


def _state(row: dict[str, Any]) -> list[str]:
    return [] if row["correct"] is None else ["right" if row["correct"] else "wrong"]
