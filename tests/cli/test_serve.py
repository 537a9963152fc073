"""What ``saywhy serve`` refuses before it listens, in one line each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.test_app import saywhy

pytest.importorskip("fastapi", reason="needs the extra web")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets others ask, who must know a --token of 12 characters or more"),
        (["--token", "secret"], "--token: 6 characters can be guessed"),
        (["-m", "world:aviary", "-m", "world:digits", "--labels", "names.txt"], "are for one --model"),
        (["-m", "world:nowhere"], "there is no world 'nowhere'"),
        (["-m", "world:digits", "--vocabulary", "nothing.txt"], "there is no vocabulary or file 'nothing.txt'"),
        (["-m", "world:digits", "-m", "world:digits", "--host", "no.such.host.invalid", "--token", "a-long-token"],
         "no.such.host.invalid:8760 cannot be listened on"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(options: list[str], said: str) -> None:
    ended = saywhy("serve", *options)
    assert ended.returncode == 2
    lines = ended.stderr.strip().splitlines()
    assert said in lines[-1]
    assert lines[-1].startswith("saywhy: ")


def test_a_folder_without_an_audit_is_refused(tmp_path: Path) -> None:
    ended = saywhy("serve", "--audit", tmp_path)
    assert ended.returncode == 2
    assert "holds no audit" in ended.stderr


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "python_multipart"])
def test_without_the_extra_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    ended = saywhy("serve")
    assert ended.returncode == 2
    assert ended.stderr == f"saywhy: saywhy serve needs {module}: pip install 'saywhy[web]'\n"
