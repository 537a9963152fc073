"""Runs that are stopped and go on: every picture once, bad ones by their reason, pictures to show within a budget."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy import SaywhyError, audit
from saywhy.audits import checked
from saywhy.audits import conclude as conclude_module
from saywhy.audits.audit import Audit, subject_of
from saywhy.audits.chunks import FOR_ALL, ROOM, chunk_name, describe_chunk
from saywhy.audits.conclude import no_bar
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.kinds import Kind
from saywhy.audits.options import AuditOptions
from saywhy.audits.rows import MAP_BYTES, THUMBNAIL_BYTES
from saywhy.audits.run import run
from saywhy.audits.shown import examples, show_examples
from saywhy.audits.store import ROWS, Store, View
from saywhy.audits.subject import Subject, files_digest
from saywhy.classifiers.classifier import Classifier
from saywhy.intervals import Interval
from saywhy.pictures.collections import collection

MODEL = "world:aviary-background"
COMMAND = [sys.executable, "-m", "saywhy", "audit", "--model", MODEL, "--space", "own", "--checks", "none"]
FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["saywhy.audits.audit"])
FEW = ["--chunk", "4", "--batch-size", "4"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty files in four classes, of which four cannot be read, and a class without pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, entry in enumerate(collection([MODEL], 20)[n] for n in range(20)):
        place = folder / entry.labels[0]
        place.mkdir(exist_ok=True)
        entry.open().save(place / f"{number:02d}.jpg")
    (folder / "Nothing Here").mkdir()
    files = sorted(folder.rglob("*.jpg"))
    files[3].write_text("this is no picture")
    files[8].write_bytes(files[9].read_bytes()[:700])
    files[12].write_bytes(b"")
    files[17].unlink()
    files[17].symlink_to("nowhere.jpg")
    return folder


def _tables(folder: Path) -> dict[str, list[Any]]:
    view = Store.open(folder).view()
    tables = ("pictures", "regions", "errors", "shown", "trials")
    return {table: sorted(map(repr, view.sql(f"SELECT * FROM {table}").to_pylist())) for table in tables}


def _parts(folder: Path) -> list[Path]:
    return list((folder / ROWS).glob("*"))


def _subject(pictures: Path, **how: Any) -> Subject:
    options = AuditOptions(chunk=4, batch_size=4, checks="none", **how)
    return subject_of(collection([str(pictures)]), Classifier.load(MODEL), options, space="own")


def _story(pictures: Path) -> dict[str, Any]:
    return _subject(pictures).story()


@pytest.fixture
def subject(pictures: Path) -> Subject:
    return _subject(pictures)


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return _audit(pictures, tmp_path_factory.mktemp("whole") / "out")


def _audit(pictures: Path, out: Path, **how: Any) -> Audit:
    return audit(pictures, model=MODEL, space="own", out=out, chunk=4, batch_size=4, checks="none", kinds=[], **how)


def test_what_killed_runs_kept_is_what_a_whole_run_has(pictures: Path, whole: Audit, tmp_path: Path) -> None:
    for _ in range(3):
        before = len(_parts(tmp_path / "killed"))
        process = FRESH.Process(target=_audit, args=(pictures, tmp_path / "killed"))
        process.start()
        while process.is_alive() and len(_parts(tmp_path / "killed")) == before:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert before < len(_parts(tmp_path / "killed")) < 5
    assert _tables(_audit(pictures, tmp_path / "killed").folder) == _tables(whole.folder)
    runs = Store.open(tmp_path / "killed").manifest["runs"]
    assert [run["finished"] for run in runs] == [False, False, False, True]


def test_ctrl_c_ends_in_a_line_that_says_how_to_go_on(pictures: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "first", tmp_path / "second", tmp_path / "third"):
        process = subprocess.Popen([*COMMAND, *FEW, str(pictures), "-o", str(out)], stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not _parts(out):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        if process.returncode:  # else it came as an object was thrown away, where Python passes over interrupts
            break
    assert process.returncode == 130
    assert said.splitlines()[-1].endswith("and the same command goes on from there")
    assert "Traceback" not in said


def test_bad_pictures_are_in_the_table_of_errors_with_their_reason(whole: Audit) -> None:
    errors = whole.query("SELECT number, truth, reason FROM errors ORDER BY number").to_pylist()
    assert [row["number"] for row in errors] == [3, 8, 12, 17]
    for row, reason in zip(errors, ("not a picture", "truncated", "empty", "not there"), strict=True):
        assert reason in row["reason"]
        assert row["truth"]
    assert whole.query("SELECT count(DISTINCT number) AS n FROM pictures")["n"].to_pylist() == [16]


def test_all_pictures_bad_is_said(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}.jpg").write_text("no picture")
    with pytest.raises(SaywhyError, match="none of its pictures could be read; see its table of errors"):
        _audit(tmp_path, tmp_path / "out")


def test_batches_are_the_same_wherever_a_run_begins(subject: Subject, tmp_path: Path) -> None:
    for name, order in (("forwards", (0, 1, 2)), ("backwards", (2, 0, 1))):
        store = Store.create(tmp_path / name, subject.story())
        for number in order:
            store.commit(ROWS, chunk_name(number), describe_chunk(subject, number).tables)
    assert _tables(tmp_path / "forwards") == _tables(tmp_path / "backwards")


def test_pictures_to_show_are_a_sample_within_the_budget(pictures: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "noise" / label).mkdir(parents=True)
        for n in range(8):
            noise = generator.integers(0, 256, (128, 128, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "noise" / label / f"{n}.png")
    budget = 8 * ROOM
    found = _audit(tmp_path / "noise", tmp_path / "out", pictures_mb=budget / 1e6)
    shown = found.query("SELECT number FROM shown")["number"].to_pylist()
    assert len(shown) == 8 * FOR_ALL
    assert sum(n < 8 for n in shown) == sum(n >= 8 for n in shown)  # as many of each class
    finding = AuditFinding(
        "slice", ("a",), "", False, Interval(0.5, 0.4, 0.6), "", examples=tuple(range(16)), counters=(15, 0)
    )
    store = Store.open(found.folder)
    subject = _subject(tmp_path / "noise", pictures_mb=budget / 1e6)
    for _ in range(2):  # a second time there is no room left
        show_examples(store, subject, store.view(), [finding], no_bar)
    files = list(found.folder.rglob("shown.parquet"))
    assert store.view().sql("SELECT count(DISTINCT number) AS n FROM shown")["n"].to_pylist() == [8]
    assert 0 < sum(file.stat().st_size for file in files) <= budget
    sizes = store.view().sql("SELECT octet_length(thumbnail) AS thumbnail, octet_length(map) AS map FROM shown")
    assert max(sizes["thumbnail"].to_pylist()) <= THUMBNAIL_BYTES
    assert max(sizes["map"].to_pylist()) <= MAP_BYTES


def test_examples_come_in_turns() -> None:
    def finding(examples: tuple[int, ...], counters: tuple[int, ...] = ()) -> AuditFinding:
        return AuditFinding("slice", (), "", False, Interval(0.5, 0.4, 0.6), "", examples=examples, counters=counters)

    assert examples([finding((1, 2, 3), (4,)), finding((5, 1))]) == [1, 5, 4, 2, 3]


def test_the_object_is_sought_in_some_pictures_of_each_class(pictures: Path, tmp_path: Path) -> None:
    found = _audit(pictures, tmp_path / "out", objects=1)
    sought = found.query("SELECT count(object_area) AS n, count(DISTINCT truth) AS classes FROM pictures").to_pylist()[
        0
    ]
    assert 0 < sought["n"] <= len({entry.name for entry in pictures.iterdir()}) - 1
    none = _audit(pictures, tmp_path / "none", objects=0)
    assert none.query("SELECT count(object_area) AS n FROM pictures")["n"].to_pylist() == [0]


def test_a_story_is_the_same_in_another_process_and_tells_files_apart(subject: Subject, pictures: Path) -> None:
    with FRESH.Pool(1) as pool:
        assert pool.apply(_story, (pictures,)) == subject.story()
    before = files_digest(subject.pictures)
    assert before["covered"] == 19  # one is a link to nothing
    file = next(path for path in pictures.rglob("*.jpg") if path.is_file())
    os.utime(file, ns=(1, 1))
    assert files_digest(subject.pictures)["digest"] != before["digest"]


def test_trials_go_on_where_they_were_stopped(
    whole: Audit, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, stop = list[str](), [True]

    def trials(subject: Subject, view: View, done: set[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        for part in (f"{n}" for n in range(4)):
            if part not in done:
                if part == "2" and stop.pop():
                    stop.append(False)
                    raise KeyboardInterrupt
                made.append(part)
                yield part, [{"family": "fake", "part": part, "number": int(part), "hit": True}]

    def find(view: View) -> Tested:
        return Tested(note=f"{view.sql('SELECT * FROM trials').num_rows} trials")

    monkeypatch.setattr(conclude_module, "module_of", lambda kind: SimpleNamespace(trials=trials, find=find))
    monkeypatch.setattr(conclude_module, "KINDS", {"fake": Kind("fake", "", trials=True)})
    store = Store.open(shutil.copytree(whole.folder, tmp_path / "copy"))
    with pytest.raises(KeyboardInterrupt):
        conclude_module.conclude(store, subject)
    conclude_module.conclude(store, subject)
    assert made == ["0", "1", "2", "3"]
    assert store.view().sql("SELECT number FROM trials ORDER BY number")["number"].to_pylist() == [0, 1, 2, 3]


def test_a_picture_is_tested_alike_wherever_a_run_begins(
    subject: Subject, whole: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lends surroundings to it must not depend on what was tested before it, in this process."""
    monkeypatch.setattr(checked, "AT_ONCE", 2)
    subject = replace(subject, options=replace(subject.options, checks="fast", batch_size=2))
    numbers = whole.query("SELECT number FROM pictures ORDER BY number LIMIT 6")["number"].to_pylist()
    found = []
    for name, runs in (("at once", [6]), ("stopped", [2, 4, 6])):
        store = Store.open(shutil.copytree(whole.folder, tmp_path / name))
        for so_far in runs:
            checked.check_pictures(store, subject, numbers[:so_far], "sample")
        found.append(sorted(map(repr, store.view().sql("SELECT * FROM checks").to_pylist())))
    assert found[0] == found[1]
    assert any("surroundings" in row for row in found[0])


def _killed(pictures: Path, folder: Path, kills: int) -> tuple[int, list[int]]:
    """How many audits ended before they were killed, and how many parts there were at each kill.

    The network is loaded once, and each run is a fork of this process, so that most of the moments are between and in
    its writes. The audit `whole`, and the one that ends what the last kill left, are made here too: with another number
    of threads a network's answers differ in the last bit.
    """
    torch.set_num_threads(1)
    _audit(pictures, folder / "whole")
    generator = np.random.default_rng(17)
    subject = _subject(pictures)
    story = subject.story()
    ended, there, longest = 0, list[int](), 30.0  # seconds, until one ended
    while len(there) < kills or not ended:
        out = folder / f"{ended}"
        began = time.monotonic()
        if not (child := os.fork()):
            with Store.writing(out, story) as store:
                run(subject, store)
            os._exit(0)
        limit = generator.uniform(0, longest)
        while time.monotonic() - began < limit and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] == 0:
            ended += 1
            longest = max(0.5, time.monotonic() - began)
        else:
            there.append(len(_parts(out)))
    _audit(pictures, folder / f"{ended}")
    return ended, there


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_twenty_kills_at_random_moments_change_nothing(pictures: Path, tmp_path: Path) -> None:
    with FRESH.Pool(1) as pool:
        ended, there = pool.apply(_killed, (pictures, tmp_path, 20))
    counts = {parts: there.count(parts) for parts in sorted(set(there))}
    print(f"{len(there)} kills, by how many of 5 parts were there: {counts}; {ended} audits ended")
    assert len(there) >= 20
    whole = _tables(tmp_path / "whole")
    for n in range(ended + 1):
        assert _tables(tmp_path / f"{n}") == whole


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tmpfs")
def test_a_full_disk_stops_a_run_and_more_room_lets_it_go_on(pictures: Path, whole: Audit, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        kept, said = list[int](), list[str]()
        for size in range(48, 4000, 60):
            subprocess.run(["mount", "-o", f"remount,size={size}k", place], check=True)
            try:
                made = _audit(pictures, place / "out")
                break
            except SaywhyError as error:
                said.append(str(error))
                kept.append(len(_parts(place / "out")))
        print(f"parts that were there each time the disk was full: {kept}")
        told = re.compile(r"cannot be (written|made or locked) \(.*No space left on device")
        assert all(map(told.search, said))
        assert kept == sorted(kept)
        assert 0 < kept[-1] <= 5
        assert _tables(made.folder) == _tables(whole.folder)
    finally:
        subprocess.run(["umount", place], check=True)
