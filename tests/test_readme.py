"""README is one screen, its links lead somewhere, and what it repeats is what the code says.

Its commands and snippets are parsed and run with those of docs/, by tests/test_docs.py.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saywhy.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINKS = re.findall(r"\]\(([^)#]+)", README)


def test_it_is_one_screen() -> None:
    assert len(README.splitlines()) <= 90


@pytest.mark.parametrize("link", sorted({link for link in LINKS if not link.startswith("https://")}))
def test_what_it_links_to_is_there(link: str) -> None:
    assert (ROOT / link).is_file()


def test_what_is_published_links_to_one_absolute_address() -> None:
    (rule,) = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    published = re.sub(rule["pattern"], rule["replacement"], README)
    base = PROJECT["project"]["urls"]["Source"]
    links = re.findall(r"\]\(([^)]+)\)", published)
    assert links
    assert all(link.startswith(("https://", "#")) for link in links)
    assert {link for link in LINKS if not link.startswith("https://")} == {
        link.removeprefix(base) for link in links if link.startswith(base)
    }
    assert all(address.startswith(base) for address in PROJECT["project"]["urls"].values())


def test_the_version_is_one() -> None:
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## ({re.escape(version)}|Unreleased)", changes, re.MULTILINE)


@pytest.mark.slow
def test_the_shortcut_is_found_out_as_quoted() -> None:
    (command,) = re.findall(r"`saywhy (explain world:aviary-watermark [^`]*)`", README)
    (quoted,) = re.findall(r"^> (It says \*Second Wanderer\*.*)$", README, re.MULTILINE)
    printed = CliRunner().invoke(app, [*command.split(), "--json"]).stdout
    assert any(json.loads(line)["summary"].startswith(quoted) for line in printed.splitlines())
