"""Tables of explanations: the same rows in both formats, whole or not there at all."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from saywhy.answers import tables
from saywhy.answers.tables import PICTURES, REGIONS, Tables
from saywhy.errors import SaywhyError
from tests.helpers import explanation


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_a_picture_and_a_row_a_region(tmp_path: Path) -> None:
    one = explanation()
    odd = "caf\udce9,\n1.jpg"  # no UTF-8; a comma and a line end
    written = Tables(tmp_path)
    written.add(1, "in/a.jpg", "toucan", one)
    written.fail(odd, None, "it is no picture")
    written.add(2, "b.jpg", None, replace(one, claims=(), silence="it is noise"))
    assert list(tmp_path.glob("*.csv")) == []
    written.save()

    pictures = pyarrow.parquet.read_table(tmp_path / "pictures.parquet").to_pylist()
    regions = pyarrow.parquet.read_table(tmp_path / "regions.parquet").to_pylist()
    assert [tuple(table[0]) for table in (pictures, regions)] == [tuple(PICTURES), tuple(REGIONS)]
    first, failed, nothing = pictures
    assert (first["file"], first["truth"], first["prediction"]) == ("in/a.jpg", "toucan", one.predictions[0].name)
    assert first["shares"] == [region.share for region in one.regions]
    assert first["logit"] == one.target.logit
    assert (failed["file"], failed["failure"], failed["number"]) == ("caf\\udce9,\n1.jpg", "it is no picture", None)
    assert (first["words"], first["there"]) == (["large toucan", "a bird"], [0.97, 0.97])
    assert (nothing["words"], nothing["silence"]) == ([], "it is noise")
    assert [row["said"] for row in regions] == [["large toucan"], [], [], []]
    assert len(regions) == 2 * len(one.regions)
    for row, (region, finding) in zip(regions, zip(one.regions, one.findings, strict=True), strict=False):
        assert tuple(row[side] for side in ("left", "top", "right", "bottom")) == region.box
        assert row["labels"] == [label.text for label in finding.labels]
        assert row["cosines"] == pytest.approx([label.score for label in finding.labels], nan_ok=True)

    for name, parquet in (("pictures", pictures), ("regions", regions)):
        for plain, whole in zip(rows(tmp_path / f"{name}.csv"), parquet, strict=True):
            assert plain["file"] == whole["file"]
            assert tuple(plain) == tuple(whole)
    assert rows(tmp_path / "regions.csv")[0]["labels"] == "; ".join(regions[0]["labels"])


def test_many_rows_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_AT_ONCE", 3)
    written = Tables(tmp_path)
    for n in range(8):
        written.fail(f"{n}.jpg", None, "gone")
    written.save()
    file = pyarrow.parquet.ParquetFile(tmp_path / "pictures.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [3, 3, 2]
    assert file.read().column("file").to_pylist() == [f"{n}.jpg" for n in range(8)]


def test_what_is_not_finished_leaves_the_tables_before(tmp_path: Path) -> None:
    first = Tables(tmp_path)
    first.fail("a.jpg", None, "gone")
    first.save()
    second = Tables(tmp_path)
    second.fail("b.jpg", None, "gone")
    del second
    assert [row["file"] for row in rows(tmp_path / "pictures.csv")] == ["a.jpg"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".parquet"}
    with pytest.raises(SaywhyError, match="cannot be written"):
        Tables(tmp_path / "none")
