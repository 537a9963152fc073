"""Names that move a terminal's cursor, turn its writing or are no text, and terminals that lack most signs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saywhy.answers.explanation import Explanation
from saywhy.errors import SaywhyError, one_line
from tests.helpers import picture

NAMES = (b"\x1b[31m\n.jpg", "\u202egpj.exe.jpg".encode(), "é→\u200b.jpg".encode(), b"caf\xe9.jpg", b"x" * 251 + b".jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES if sys.platform == "linux" else NAMES[:2]:  # elsewhere names are UTF-8 and shorter
        picture(120, 90).save(tmp_path / os.fsdecode(name), "JPEG")
    return tmp_path


def run(encoding: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "saywhy", "explain", *map(str, arguments), "--model", "world:aviary"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(command, env=environment, capture_output=True, check=False)


def test_one_line_shows_what_is_hidden() -> None:
    assert one_line("a\n\t\x1b\u202e\ud800\u2028") == r"a\n\t\x1b\u202e\ud800\u2028"
    assert one_line("café\u00a0\u3000→ 👩\u200d🚀") == "café\u00a0\u3000→ 👩\u200d🚀"
    assert one_line(one_line("\n\\n")) == one_line("\n\\n")
    assert str(SaywhyError("x\ny")) == r"x\ny"
    assert len(str(SaywhyError("x" * 10**6))) < 2100


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_output_replaces_what_it_cannot_say(folder: Path, encoding: str) -> None:
    pictures = sorted(folder.iterdir())
    done = run(encoding, *pictures, folder / "none\x1b.jpg", "--out", folder / "out", "--writer", "none")
    assert done.returncode == 1, done.stderr
    said, complaints = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert all(character.isprintable() or character == "\n" for character in said + complaints)
    shown = {"ascii": r"\xe9>\u200b.jpg", "latin-1": r"é>\u200b.jpg"}[encoding]
    for name in (r"\x1b[31m\n.jpg", r"\u202egpj.exe.jpg", *([shown, r"caf\udce9.jpg"] if len(pictures) > 2 else [])):
        assert name in said
    assert r"none\x1b.jpg: no such picture" in complaints
    assert "Traceback" not in complaints
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert not set(page) & set("\x1b\u202e\u200b\ud800")
    assert r"\x1b[31m\n.jpg" in page
    documents = [path.read_text(encoding="utf-8") for path in sorted((folder / "out").glob("*.json"))]
    assert {Explanation.from_json(text).picture.name for text in documents} == {path.name for path in pictures}


def test_json_is_ascii(folder: Path) -> None:
    pictures = sorted(folder.iterdir())[:3]
    done = run("ascii", *pictures, "--json", "--writer", "none")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode("ascii").splitlines()
    assert [json.loads(line)["picture"]["name"] for line in lines] == [path.name for path in pictures]
