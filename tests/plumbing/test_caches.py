"""The cache is no condition: where it cannot be used, one warning says so, and everything works."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import warnings
from pathlib import Path

import numpy
import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.plumbing.caches import (
    CacheWarning,
    cache_directory,
    has_sha256,
    keeping,
    made_once,
    versions,
    weights_digest,
)


def test_the_cache_is_where_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "some" / "where"))
    assert cache_directory() == tmp_path / "some" / "where"
    assert not list(cache_directory().iterdir())
    monkeypatch.delenv("SAYWHY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path in cache_directory().parents
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SAYWHY_CACHE", "~/kept")
    assert cache_directory() == tmp_path / "kept"


@pytest.fixture
def unusable(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the warning says of a cache that is a file, lies in one, has no permission, or no home to lie in."""
    monkeypatch.delenv("SAYWHY_CACHE", raising=False)
    (tmp_path / "file").write_text("")
    if request.param == "no home":
        for name in ("HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
        return "ome directory"
    if request.param == "a file":
        monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "file"))
        return "File exists"
    if request.param == "in a file":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        return "Not a directory"
    monkeypatch.setenv("SAYWHY_CACHE", "/proc/saywhy")  # where not even root may write
    return "No such file or directory"


@pytest.mark.parametrize("unusable", ["a file", "in a file", "no home", "no permission"], indirect=True)
def test_without_a_place_there_is_one_for_the_process(unusable: str) -> None:
    from saywhy.plumbing import caches

    caches._usable.cache_clear()
    with pytest.warns(CacheWarning, match=rf"cannot be used \(.*{unusable}.*\): .*Set SAYWHY_CACHE") as said:
        first = cache_directory()
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache_directory() == first  # and nothing is said again
        (first / "kept").write_text("here")
    caches._usable.cache_clear()
    caches._told.clear()


def test_what_cannot_be_kept_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))

    def fill() -> None:
        for _ in range(3):
            with keeping():
                raise OSError(28, "No space left on device")

    with pytest.warns(CacheWarning, match="No space left on device") as said:
        fill()
    assert len(said) == 1
    with pytest.raises(ZeroDivisionError), keeping():
        raise ZeroDivisionError


def _fill(folder: Path) -> None:
    folder.mkdir()
    for n in range(50):
        (folder / str(n)).write_text(f"{os.getpid()}")


def _made(name: str) -> list[str]:
    return [path.read_text() for path in made_once(name, _fill).iterdir()]


def test_several_processes_may_make_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))
    with multiprocessing.get_context("fork").Pool(4) as pool:
        seen = pool.map(_made, ["drawn/folder"] * 8, chunksize=1)
    assert [len(files) for files in seen] == [50] * 8
    assert len({by for files in seen for by in files}) == 1  # the work of one process, whole
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["folder"]


def test_a_folder_that_was_not_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))

    def interrupted(folder: Path) -> None:
        _fill(folder)
        raise KeyboardInterrupt

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        made_once("drawn/folder", interrupted)
    with pytest.raises(SaywhyError, match=r"folder: cannot be written \(No space left on device\)"):
        made_once("drawn/folder", full)
    assert not list((tmp_path / "drawn").iterdir())
    assert len(_made("drawn/folder")) == 50


def test_a_digest_is_of_every_bit() -> None:
    weights = [torch.randn(300, 40), torch.randn(7).bfloat16(), torch.tensor(3), torch.empty(0)]
    same = weights_digest([w.clone() for w in weights])
    assert weights_digest(weights) == same
    assert weights_digest([weights[0].T.contiguous().T, *weights[1:]]) == same  # however it lies in memory
    for row in (0, 117, 299):
        edited = weights[0].clone()
        edited[row, 1] = 0
        assert weights_digest([edited, *weights[1:]]) != same
    assert weights_digest([weights[0].half().float(), *weights[1:]]) != same
    half = weights[0].half().float()  # the same numbers in another precision
    assert weights_digest([half]) != weights_digest([half.half()])
    assert weights_digest([weights[0].reshape(40, 300), *weights[1:]]) != same


def test_versions_are_of_what_is_installed() -> None:
    assert versions("numpy", "no-such-package") == f"numpy={numpy.__version__} no-such-package=none"


def test_a_file_is_read_once_for_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert not has_sha256(file, "0" * 64)
    assert not has_sha256(tmp_path / "nothing", abc)
    assert has_sha256(file, abc)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("the file was read again"))
    assert has_sha256(file, abc)
    monkeypatch.undo()
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    file.write_bytes(b"abd")
    os.utime(file, ns=(0, 0))  # a file that changed is read again
    assert not has_sha256(file, abc)
