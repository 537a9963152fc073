"""A command that is stopped, that nobody reads, or whose disk is full ends in a line at most and keeps what is done."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from saywhy.cli.console import told_when_interrupted
from saywhy.cli.stopping import Stopped, exit_code
from saywhy.plumbing.files import write_whole
from tests.cli.test_app import saywhy
from tests.helpers import picture

EXPLAIN = ("explain", "--model", "world:aviary", "--writer", "none", "--batch-size", "1")


def started(*words: object, heeds: bool = True, **options: object) -> subprocess.Popen[str]:
    """The command in a process of its own, with both outputs piped. heeds: it hears Ctrl-C even in the background."""
    hear = f"signal.signal(signal.SIGINT, signal.default_int_handler if {heeds} else signal.SIG_IGN)"
    code = f"import signal; {hear}; import saywhy.cli.app as c; c.main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], text=True, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "photos" / f"{n}.jpg" for n in range(3)]
    found[0].parent.mkdir()
    for n, path in enumerate(found):
        picture(120, 90, seed=n).save(path)
    return found


def linked(photos: list[Path], times: int) -> list[Path]:
    """As many pictures, each under so many names."""
    for path in photos:
        for n in range(times):
            (path.parent / f"{path.stem}-{n}.jpg").hardlink_to(path)
    return [path.parent / f"{path.stem}-{n}.jpg" for path in photos for n in range(times)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def script(inside: str) -> subprocess.CompletedProcess[str]:
    """Python lines run with signals heeded, in a process that hears Ctrl-C."""
    lines = [
        "import os, signal, sys",
        "from saywhy.cli.stopping import Stopped, exit_code, signals_heeded",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "def send(number): os.kill(os.getpid(), number)",
        "with signals_heeded():",
        *(f"    {line}" for line in inside.strip("\n").splitlines()),
    ]
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_first_signal_is_an_exception_and_a_second_ends_at_once(name: str, code: int) -> None:
    ended = script(f"""
try:
    send(signal.{name})
except KeyboardInterrupt as stop:
    print(exit_code(stop), flush=True)
    send(signal.{name})
print("still here")
""")
    assert ended.stdout == f"{code}\n"
    assert ended.returncode == -signal.Signals[name]


def test_a_child_process_ends_by_the_signal_without_a_word() -> None:
    ended = script("""
child = os.fork()
if not child:
    send(signal.SIGTERM)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert (ended.stdout, ended.stderr) == (f"{-signal.SIGTERM}\n", "")


def test_what_is_ignored_stays_ignored_and_handlers_are_given_back() -> None:
    ended = script("""
signal.signal(signal.SIGINT, signal.SIG_IGN)
before = signal.getsignal(signal.SIGTERM)
with signals_heeded():
    send(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is not before
assert signal.getsignal(signal.SIGTERM) is before
print("whole")
""")
    assert ended.stdout == "whole\n", ended.stderr


def test_the_code_is_that_of_the_signal(capsys: pytest.CaptureFixture[str]) -> None:
    assert [exit_code(stop) for stop in (KeyboardInterrupt(), Stopped(15), BrokenPipeError())] == [130, 143, 141]
    with pytest.raises(typer.Exit) as ended, told_when_interrupted("half of it is done"):
        raise Stopped(15)
    assert ended.value.exit_code == 143
    assert capsys.readouterr().err == "saywhy: interrupted; half of it is done\n"


def test_sigterm_keeps_what_is_done_as_ctrl_c_does(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "why"
    process = started(*EXPLAIN, *linked(photos, 200), "--out", out, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and len(list(out.glob("*.json"))) < 2:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 143, said
    done = len(list(out.glob("*.json")))
    assert f"of {3 * 200} pictures are done" in said
    assert "Traceback" not in said
    assert (out / "index.html").read_text().count('class="card"') in (done, done - 1)
    assert not list(out.glob("*.part"))


def test_a_reader_who_has_seen_enough_ends_it_quietly(photos: list[Path], tmp_path: Path) -> None:
    process = started(*EXPLAIN, *linked(photos, 20), "--out", tmp_path / "why", "--json")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    assert process.wait(timeout=200) == 141
    assert process.stderr is not None
    assert process.stderr.read().startswith("report: ")  # what was done is on the page
    assert "index.html" in names(tmp_path / "why")


def test_a_table_for_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = started("bench", stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=100)[1] == ""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")
@pytest.mark.parametrize("command", ["bench", "--version", "--help"])
def test_an_output_on_a_full_disk_is_one_line(command: str) -> None:
    with open("/dev/full", "w") as full:
        process = started(command, stdout=full)
        _, said = process.communicate(timeout=100)
    assert process.returncode == 2
    assert said == "saywhy: the output cannot be written (No space left on device); what was done is kept\n"


@pytest.fixture
def largest() -> Iterator[Callable[[int], None]]:
    """Sets how many bytes a file may have, as a nearly full disk would."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_FSIZE, (count, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def test_a_report_that_the_disk_has_no_room_for_leaves_the_answers(
    photos: list[Path], tmp_path: Path, largest: Callable[[int], None]
) -> None:
    many = linked(photos, 3)
    assert saywhy(*EXPLAIN, *many, "--out", tmp_path / "why").returncode == 0
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "why").iterdir()}
    page = sizes.pop("index.html")
    assert page - 1 > max(sizes.values())
    largest(page - 1)
    out = tmp_path / "again"
    result = saywhy(*EXPLAIN, *many, "--out", out)
    assert result.returncode == 2
    assert result.stderr == f"saywhy: {out / 'index.html'}: cannot be written (File too large)\n"
    assert names(out) == sorted(sizes)


def test_a_disk_that_fills_up_half_way(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def filling(path: Path, content: str | bytes) -> Path:
        if path.name == "002-1.png":
            monkeypatch.setattr(Path, "write_bytes", full)
        return write_whole(path, content)

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("saywhy.answers.packing.write_whole", filling)
    result = saywhy(*EXPLAIN, *photos, "--out", tmp_path / "why")
    assert result.returncode == 2
    assert result.stderr == f"saywhy: {tmp_path / 'why' / '002-1.png'}: cannot be written (No space left on device)\n"
    assert names(tmp_path / "why") == ["001-0.json", "001-0.png", "002-1.json"]


@pytest.mark.parametrize("words", [("explain", "--model", "none:of-this-name"), ("why", "--space", "world:aviary")])
def test_a_report_has_a_folder_of_its_own(words: tuple[str, ...], photos: list[Path], tmp_path: Path) -> None:
    folder = photos[0].parent
    (folder / "taken").write_text("a file")
    for out, said in (
        (folder, f"--out {folder}: {photos[0]} lies there, which is asked about; name a folder of its own"),
        (tmp_path, f"--out {tmp_path}: {photos[0]} lies there"),
        (folder / "taken", "--out .*taken: is a file; name a folder"),
        (folder / "taken" / "below", "below: .*taken is a file, and holds no folder"),
        (Path("/proc"), "--out /proc: nothing can be written there"),
    ):
        result = saywhy(*words, folder, "--out", out)  # before the model is looked for
        assert result.returncode == 2
        assert re.match(f"saywhy: .*{said}", result.stderr.splitlines()[-1]), result.stderr
    assert names(folder) == ["0.jpg", "1.jpg", "2.jpg", "taken"]


def test_what_an_earlier_run_left_beside_the_report_is_said(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "earlier run" not in saywhy(*EXPLAIN, photos[0], "--out", out).stderr
    (out / "001-notes.txt").write_text("mine")
    assert "earlier run" not in saywhy(*EXPLAIN, photos[0], "--out", out).stderr
    assert "001-0.json and 1 more, of an earlier run" in saywhy(*EXPLAIN, photos[1], "--out", out).stderr
    assert (out / "001-notes.txt").exists()


@pytest.mark.parametrize("place", ["{tmp}/file", "/proc/none"])
def test_a_cache_that_cannot_be_is_one_note(
    place: str, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SAYWHY_CACHE", place.format(tmp=tmp_path))
    result = saywhy(
        "why", photos[0], "--space", "world:aviary", "--rationales", rationales(tmp_path), "--method", "none"
    )
    assert result.returncode == 0, result.stderr
    assert [line[:16] for line in result.stderr.splitlines()] == ["note: the cache "]
    assert "Set SAYWHY_CACHE to a folder that can be written to" in result.stderr


def rationales(folder: Path) -> Path:
    path = folder / "lists.json"
    path.write_text(json.dumps({"toucan": ["yellow bill", "black wings"], "robin": ["red breast"]}))
    return path
