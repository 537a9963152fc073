"""The folder of an audit: parts that appear whole, views that do not change, and who may write and ask."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from saywhy import SaywhyError
from saywhy.audits.store import MANIFEST, ROWS, SHOWN, UNFINISHED, Store, as_before
from saywhy.audits.tables import FORMAT

STORY: dict[str, Any] = {"options": {"seed": 0, "chunk": 4}, "model": {"labels": ["a", "b"]}, "space": "own"}


def _rows(*numbers: int) -> dict[str, list[dict[str, Any]]]:
    return {"pictures": [{"number": n, "file": f"{n}.jpg", "properties": {"blur": n / 2}} for n in numbers]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "it's [an] audit*", STORY)


def _numbers(store: Store) -> list[int]:
    return store.view().sql("SELECT number FROM pictures ORDER BY number")["number"].to_pylist()


def test_parts_are_read_whatever_the_folder_is_called(store: Store) -> None:
    assert _numbers(store) == []
    store.commit(ROWS, "00000000", _rows(0, 1))
    store.commit(ROWS, "00000001", _rows(2))
    assert _numbers(store) == [0, 1, 2]


def test_a_view_is_of_one_moment(store: Store) -> None:
    store.commit(ROWS, "00000000", _rows(0, 1))
    view = store.view()
    store.commit(ROWS, "00000001", _rows(2))
    assert view.sql("SELECT count(*) AS n FROM pictures")["n"].to_pylist() == [2]
    assert _numbers(store) == [0, 1, 2]


def test_pictures_to_show_come_from_both_places(store: Store) -> None:
    store.commit(ROWS, "00000000", {**_rows(0), "shown": [{"number": 0, "thumbnail": b"a", "map": b"b"}]})
    store.commit(SHOWN, "00000000", {"shown": [{"number": 7, "thumbnail": b"c", "map": b"d"}]})
    assert store.view().sql("SELECT number FROM shown ORDER BY number")["number"].to_pylist() == [0, 7]


def test_what_was_unfinished_is_no_part_and_is_thrown_away(store: Store) -> None:
    half = store.folder / UNFINISHED / ROWS / "00000000"
    half.mkdir(parents=True)
    (half / "pictures.parquet").write_bytes(b"PAR1")
    (store.folder / f"{MANIFEST}.12-0.part").write_bytes(b"{")
    assert _numbers(store) == []
    Store.create(store.folder, STORY)
    assert sorted(one.name for one in store.folder.iterdir()) == ["lock", MANIFEST]


def test_a_full_disk_ends_in_one_line_and_leaves_no_half_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(ROWS, "00000000", _rows(0))
    write = parquet.write_table

    def full(table: Any, where: Path, **options: Any) -> None:
        write(table, where, **options)
        Path(where).write_bytes(Path(where).read_bytes()[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(SaywhyError, match=r"No space left on device.*goes on from there"):
        store.commit(ROWS, "00000001", _rows(1))
    monkeypatch.undo()
    assert store.parts(ROWS) == {"00000000"}
    store.commit(ROWS, "00000001", _rows(1))
    assert _numbers(store) == [0, 1]


def test_only_one_run_writes(store: Store) -> None:
    with Store.writing(store.folder, STORY):
        with pytest.raises(SaywhyError, match="another run writes here"), Store.writing(store.folder, STORY):
            pass
        code = (
            "import sys; from pathlib import Path\n"
            "from saywhy import SaywhyError; from saywhy.audits.store import Store\n"
            "try: Store.create(Path(sys.argv[1]), {})\n"
            "except SaywhyError as error: print(error)"
        )
        said = subprocess.run([sys.executable, "-c", code, store.folder], capture_output=True, text=True, check=True)
        assert "another run writes here" in said.stdout
        assert Store.open(store.folder).view()  # whoever reads need not wait
    with Store.writing(store.folder, STORY):
        pass


def test_another_audit_is_refused_by_what_differs(store: Store) -> None:
    other = {**STORY, "options": {"seed": 1, "chunk": 4}, "model": {"labels": ["a", "c"]}}
    with pytest.raises(SaywhyError, match=r"with other options.seed \(0, now 1\), model.labels; go on"):
        Store.create(store.folder, other)


def test_the_same_folder_by_another_name_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures keep the names that their rows have; which model it is, its fingerprint says."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "more", "my model"):
        (tmp_path / name).mkdir()
    out = tmp_path / "audit"
    assert as_before(["photos/"], out) == ["photos/"]  # there is no audit yet
    story = {"model": {"name": "timm:my model"}, "data": {"name": "photos/, more"}}
    Store.create(out, story)
    assert as_before(["photos", str(tmp_path / "more")], out) == ["photos/", "more"]
    for others in (["more", "photos"], ["photos"], ["photos", "gone"]):
        assert as_before(others, out) == others
    Store.create(out, story | {"model": {"name": f"timm:{tmp_path}/my model/"}})
    for other in ("hf:my model", "timm:more", "timm:gone"):
        with pytest.raises(SaywhyError, match=r"holds an audit with other model\.name"):
            Store.create(out, story | {"model": {"name": other}})


def test_circumstances_are_kept_and_do_not_refuse(store: Store) -> None:
    with Store.writing(store.folder, STORY, {"arguments": ["saywhy", "audit"]}):
        pass
    with pytest.raises(KeyboardInterrupt), Store.writing(store.folder, STORY, {"arguments": ["again"]}):
        raise KeyboardInterrupt
    runs = json.loads((store.folder / MANIFEST).read_text())["runs"]
    assert [(run["arguments"], run["finished"]) for run in runs] == [(["saywhy", "audit"], True), (["again"], False)]
    assert all(run["started"] and run["ended"] and run["machine"]["cores"] for run in runs)


def test_folders_of_others_and_later_formats_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(SaywhyError, match="holds other files"):
        Store.create(tmp_path / "mine", STORY)
    with pytest.raises(SaywhyError, match="holds no audit"):
        Store.open(tmp_path / "mine")
    for number, said in ((FORMAT + 1, "use a newer version"), ("x", "no audit that can be read")):
        (store.folder / MANIFEST).write_text(json.dumps({"format": number}))
        with pytest.raises(SaywhyError, match=said):
            Store.open(store.folder)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('{folder}/../secret.txt')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_csv('https://example.com/x.csv')",
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "COPY pictures TO '/tmp/x.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/x.csv'",
        "ATTACH '{folder}/x.db'",
        "ATTACH ':memory:' AS more",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "CREATE TABLE mine AS SELECT 1",
        "DROP VIEW pictures",
        "EXPORT DATABASE '{folder}/x'",
        "SELECT 1; SELECT 2",
        "SELECT * FROM STORY",
        "SELEKT 1",
        "",
    ],
)
def test_a_query_reads_the_tables_and_nothing_else(store: Store, query: str) -> None:
    (store.folder.parent / "secret.txt").write_text("secret")
    store.commit(ROWS, "00000000", _rows(0))
    before = sorted(store.folder.rglob("*"))
    view = store.view()
    with pytest.raises(SaywhyError, match="the query cannot be answered") as refused:
        view.answer(query.replace("{folder}", str(store.folder).replace("'", "''")))
    assert "\n" not in str(refused.value)
    assert sorted(store.folder.rglob("*")) == before
    assert view.answer("SELECT count(*) AS n FROM pictures")["n"].to_pylist() == [1]
