"""The tables of README and docs that repeat the code are those of the code now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saywhy.audits.gate import RULES
from tests.generated import ENVIRONMENT, REGION, TABLES, program, written
from tests.pages import PAGES, ROOT
from tests.tables import cell


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_no_table_is_stale(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("<!-- generated: ") == len(REGION.findall(text)), "a region is not ended"
    assert text == written(text), "python -m tests.generated --write"


def test_every_table_stands_on_a_page() -> None:
    assert set(TABLES) - {"benchmarks"} <= {
        name for page in PAGES for _, name, *_ in REGION.findall(page.read_text(encoding="utf-8"))
    }


def test_a_stale_table_is_seen() -> None:
    page = "# A page\n\n<!-- generated: methods -->\n| `lrp` |\n<!-- end -->\n"
    assert "grad-cam" in written(page)
    assert written(written(page)) == written(page)


def test_what_would_end_a_cell_does_not() -> None:
    assert cell("a|b\nc") == "a\\|b c"


def test_every_command_and_every_option_is_on_the_page() -> None:
    text = TABLES["commands"]()
    for name, command in program().commands.items():
        for each in getattr(command, "commands", {name: command}).values():
            for option in each.params:
                assert all(f"`{spelled}`" in text for spelled in option.opts if spelled.startswith("-")), each.name


def test_every_variable_that_the_sources_read_is_described() -> None:
    read = r"environ(?:\.get\(|\.setdefault\(|\[)\"([A-Z_]+)\""
    found = {
        name for path in (ROOT / "src").rglob("*.py") for name in re.findall(read, path.read_text(encoding="utf-8"))
    }
    others = {
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "TOKENIZERS_PARALLELISM",
        "TRANSFORMERS_VERBOSITY",
        "RANK",
        "LOCAL_RANK",
        "WANDB_DATA_DIR",
    }
    assert found - others <= set(ENVIRONMENT)


def test_pages_that_describe_by_hand_name_all_of_it() -> None:
    gate = (ROOT / "docs" / "audit-gate.md").read_text(encoding="utf-8")
    assert all(f"| `{rule}` |" in gate for rule in RULES)
