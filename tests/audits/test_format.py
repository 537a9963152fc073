"""Audits of earlier versions are read: one of each number of the format is kept in ``data``.

``python -m tests.audits.test_format`` makes that of this version, where there is none.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from saywhy import SaywhyError, audit
from saywhy.audits.audit import Audit
from saywhy.audits.conclude import FINDINGS, keep
from saywhy.audits.finding import AuditFinding
from saywhy.audits.store import CHECKS, MANIFEST, SHOWN, TRIALS, Store
from saywhy.audits.tables import FORMAT, TABLES
from saywhy.intervals import Interval
from saywhy.pictures.collections import Entry, Listed, collection

DATA = Path(__file__).parent / "data"
FORMATS = sorted(DATA.glob("format-*"))
KEPT = Path(__file__).parent / "data" / "kept.json"
"""What is in each of them: for every one the same."""


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_what_an_earlier_version_wrote_is_read(folder: Path) -> None:
    found = Audit.open(folder)
    kept = json.loads(KEPT.read_text())
    view = found.view
    for table, columns in TABLES.items():
        rows = view.sql(f"SELECT * FROM {table}")
        assert rows.column_names == list(columns)
        assert rows.num_rows == kept["rows"].get(table, 0), table  # 0 of a table that came later
    rows = view.sql("SELECT number, prediction, shares FROM pictures ORDER BY number")
    assert rows["number"].to_pylist() == [0, 1, 2, 3, 4]
    assert rows["prediction"].to_pylist() == kept["predictions"]
    assert view.sql("SELECT reason FROM errors")["reason"].to_pylist() == ["broken.jpg: no such file"]
    assert view.sql("SELECT properties['brightness'] AS b FROM pictures")["b"].null_count == 0
    numbers, relevance = view.matrix("relevance")
    np.testing.assert_allclose(relevance.sum(1), np.ones(len(numbers)), atol=2e-2)
    number = view.sql("SELECT min(number) AS n FROM shown")["n"][0].as_py()
    assert found.picture(number) is not None
    assert found.heatmap(number) is not None
    assert [finding.sentence for finding in found.findings] == ["First Wanderer goes with its background."]
    assert found.findings[0].effect == Interval(0.5, 0.4, 0.6)


def test_one_of_this_format_is_kept_and_all_are_small() -> None:
    assert DATA / f"format-{FORMAT}" in FORMATS
    for folder in FORMATS:
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 100_000


def test_a_later_format_is_refused_in_a_line(tmp_path: Path) -> None:
    shutil.copytree(FORMATS[-1], tmp_path / "later")
    manifest = json.loads((tmp_path / "later" / MANIFEST).read_text())
    (tmp_path / "later" / MANIFEST).write_text(json.dumps(manifest | {"format": FORMAT + 1}))
    with pytest.raises(
        SaywhyError, match=f"its format is {FORMAT + 1}, and this version of saywhy reads 1 to {FORMAT}"
    ):
        Audit.open(tmp_path / "later")


def _broken() -> None:
    raise SaywhyError("broken.jpg: no such file")


def make(folder: Path) -> None:
    """Five scenes and a picture that cannot be read, a row or more of each table, and a finding."""
    world = "world:aviary-background"
    scenes = collection([world], 5)
    broken = Entry("broken.jpg", ("First Wanderer",), _broken)  # type: ignore[arg-type]
    entries = [
        *(Entry(one.name, one.labels, one.open, {"year": "2024"}) for one in map(scenes.__getitem__, range(5))),
        broken,
    ]
    with tempfile.TemporaryDirectory() as scratch:
        pictures, out = Listed("five scenes", entries), Path(scratch) / "audit"
        how = {"chunk": 3, "checks": "none", "pictures_mb": 0.06}
        made = audit(pictures, model=world, space="own", out=out, kinds=["label errors"], **how)
        store = Store.open(made.folder)
        trial = {"family": "swap", "part": "0", "about": "First Wanderer", "number": 0, "control": False, "hit": True}
        changed = {"family": "swap", "part": "0", "number": 0, "before": b"a JPEG", "after": b"another"}
        store.commit(f"{TRIALS}/swap", "0", {"trials": [trial]})
        store.commit(SHOWN, "swap-0", {"changed": [changed]})
        store.commit(CHECKS, "sample-0000", {"checks": [{"number": 0, "about": "region 1", "verdict": "borne out"}]})
        keep(store, [AuditFinding("slice", ("First Wanderer",), "First Wanderer goes with its background.", False,
                                  Interval(0.5, 0.4, 0.6), "of pictures", examples=(0,))], {})  # fmt: skip
        manifest = json.loads((store.folder / MANIFEST).read_text())
        for one in manifest["runs"]:
            one["machine"]["host"], one["arguments"] = "somewhere", ["saywhy", "audit"]
        (store.folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for name in (MANIFEST, FINDINGS):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(store.folder / name, folder / name)
        for kind in ("rows", "trials", "checks", "shown"):
            if (store.folder / kind).is_dir():
                shutil.copytree(store.folder / kind, folder / kind)
        view = made.view
        rows = {table: view.sql(f"SELECT * FROM {table}").num_rows for table in TABLES}
        predictions = view.sql("SELECT prediction FROM pictures ORDER BY number")["prediction"].to_pylist()
        KEPT.write_text(json.dumps({"rows": rows, "predictions": predictions}, indent=1) + "\n")


if __name__ == "__main__":
    here = DATA / f"format-{FORMAT}"
    if here.exists():
        sys.exit(f"{here}: is kept as it was")
    make(here)
