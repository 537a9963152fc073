"""The table of architectures: a row each, a failure too, and a run that goes on where another ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saywhy.bench import architectures
from saywhy.bench.architectures import ARCHITECTURES, COLUMNS, measure, run
from saywhy.errors import SaywhyError

MODELS = Path(__file__).parents[2] / "docs" / "models.md"
PAGE = "# A page\n\n<!-- table: saywhy bench architectures -->\n\n<!-- end of table -->\n\nand more\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_row_is_measured() -> None:
    row = measure("timm:resnet18")
    assert row.keys() == set(COLUMNS)
    assert (row["head"], row["composite"], row["side"]) == ("yes", "epsilon-plus", 128)
    assert all(abs(row[name] - 1) < 0.01 for name in ("epsilon", "epsilon-plus", "default"))
    assert row["1 = 2"] < 1e-3


@pytest.mark.parametrize("error", [SaywhyError("it has no head"), RuntimeError("it has no head\nat line 3")])
def test_a_failure_is_a_row(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(architecture: str) -> Any:
        raise error

    monkeypatch.setattr(architectures, "_loaded", fails)
    assert measure("timm:resnet18")["default"].endswith("it has no head")


def test_rows_that_stand_in_the_table_are_kept_and_others_added(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def instant(architecture: str) -> dict[str, Any]:
        asked.append(architecture)
        return {"architecture": architecture, "head": "no | why", "epsilon": 1.0, "1 = 2": 2e-7, "seconds": 0.25}

    monkeypatch.setattr(architectures, "measure", instant)
    first, second, third = ARCHITECTURES[:3]
    run(only=f"{second}", table=str(page))
    run(2, table=str(page))
    assert asked == [second, first, third]
    lines = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == [first, second, third]
    assert lines[0] == f"| `{first}` | - | no / why | 1.000 | - | - | - | 2e-07 | 0.2 |"
    assert page.read_text().startswith("# A page\n")
    assert page.read_text().endswith("<!-- end of table -->\n\nand more\n")
    run(only=first, table=str(page))
    assert asked[3:] == [first]


def test_what_does_not_fit_is_said(page: Path) -> None:
    with pytest.raises(SaywhyError, match="resnet18"):
        run(only="timm:resnet19", table=str(page))
    page.write_text("# A page")
    with pytest.raises(SaywhyError, match="no table to write"):
        run(only="timm:resnet18", table=str(page))


def test_the_documentation_has_a_row_for_each() -> None:
    text = MODELS.read_text()
    assert [name for name in ARCHITECTURES if f"| `{name}` |" not in text] == []
