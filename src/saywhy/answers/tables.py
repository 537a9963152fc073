"""Explanations of many pictures as tables: a row a picture and target, and a row a region, as CSV and as Parquet.

Parquet keeps lists and types; CSV, for a spreadsheet, joins lists with "; ". Both are written as rows come, so that
memory stays flat however many there are. Parquet is written where pyarrow is installed (extra ``audit``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from saywhy.answers.claims import SENTENCE, said
from saywhy.answers.claims import region as region_name
from saywhy.answers.explanation import Explanation
from saywhy.errors import SaywhyError
from saywhy.plumbing.files import replacing
from saywhy.types import Check

PICTURES: Mapping[str, str] = {
    "number": "int", "file": "text", "truth": "text", "prediction": "text", "probability": "float", "explained": "text",
    "explained_probability": "float", "logit": "float", "shares": "floats", "summary": "text", "words": "texts",
    "there": "floats", "silence": "text", "failure": "text",
}  # fmt: skip
"""Columns of pictures.csv and pictures.parquet.

number: of the picture's JSON; none where it failed. truth: its class, where that is known. explained: the explained
class, with its probability and logit. shares: of relevance, of each region. words: all that is said as a fact, there:
how probable each is. silence: why nothing is said. failure: why there is no explanation; then what stands before is
empty.
"""
REGIONS: Mapping[str, str] = {
    "number": "int", "file": "text", "explained": "text", "region": "int", "left": "int", "top": "int", "right": "int",
    "bottom": "int", "share": "float", "verdict": "text", "fall": "float", "fall_elsewhere": "float", "p": "float",
    "said": "texts", "labels": "texts", "unusual": "floats", "cosines": "floats",
}  # fmt: skip
"""Columns of regions.csv and regions.parquet.

left to bottom: the box, in pixels of the picture. verdict: what became of the region when it was tested; fall and
fall_elsewhere: of the explained logit without it, and without equal areas elsewhere. said: what is said of the region
as a fact. labels: what the space finds nearest, best first, with how far each lies above its usual score, in standard
deviations, and with its cosine.
"""
FILES = ("pictures.csv", "regions.csv", "pictures.parquet", "regions.parquet")
_AT_ONCE = 1000  # rows of Parquet that are written together


@final
class Tables:
    """The tables of explanations in a folder, to which rows are added one by one; ``save`` puts them in their places.

    Raises SaywhyError, here and in each method, where something cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._files = ExitStack()
        self._folder = folder
        with self._written():
            self._pictures = _Table(folder / "pictures", PICTURES, self._files)
            self._regions = _Table(folder / "regions", REGIONS, self._files)

    def add(self, number: int, file: str, truth: str | None, explanation: Explanation) -> None:
        """The rows of an explanation, for each of its targets.

        number: of its JSON. file, truth: the picture's name, and its class if known.
        """
        with self._written():
            for one in explanation.each:
                self._add(number, file, truth, one)

    def _add(self, number: int, file: str, truth: str | None, e: Explanation) -> None:
        facts = [claim for claim in e.claims if claim.said and claim.about != SENTENCE]
        self._pictures.add(
            number=number, file=file, truth=truth, prediction=e.predictions[0].name,
            probability=e.predictions[0].probability, explained=e.target.name,
            explained_probability=e.target.probability, logit=e.target.logit,
            shares=[region.share for region in e.regions], summary=e.summary,
            words=[claim.text for claim in facts], there=[claim.there for claim in facts], silence=e.silence,
        )  # fmt: skip
        for n, (region, finding) in enumerate(zip(e.regions, e.findings, strict=True), start=1):
            left, top, right, bottom = region.box
            labels = finding.labels
            self._regions.add(
                number=number, file=file, explained=e.target.name, region=n, left=left, top=top, right=right,
                bottom=bottom, share=region.share,
                **_tested(region.used), said=[claim.text for claim in said(e.claims, region_name(n - 1))],
                labels=[label.text for label in labels],
                unusual=[label.unusual for label in labels], cosines=[label.score for label in labels],
            )  # fmt: skip

    def fail(self, file: str, truth: str | None, reason: str) -> None:
        """The row of a picture that has no explanation."""
        with self._written():
            self._pictures.add(file=file, truth=truth, failure=reason)

    def save(self) -> None:
        """Put both tables, with all rows so far, in their places."""
        with self._written():
            self._files.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SaywhyError(f"{self._folder}: its tables cannot be written ({error.strerror or error})") from None


class _Table:
    """One table in its formats. stem: its path without the ending. files: closes what is opened here, and keeps it."""

    def __init__(self, stem: Path, columns: Mapping[str, str], files: ExitStack) -> None:
        self._columns = tuple(columns)
        text = files.enter_context(replacing(stem.with_suffix(".csv")))
        self._csv = csv.writer(files.enter_context(text.open("w", newline="", encoding="utf-8")), lineterminator="\n")
        self._parquet = _Parquet(stem, columns, files) if find_spec("pyarrow") else None
        self._csv.writerow(self._columns)

    def add(self, **values: Any) -> None:
        row = {name: _plain(values.get(name)) for name in self._columns}
        self._csv.writerow([_cell(value) for value in row.values()])
        if self._parquet is not None:
            self._parquet.add(row)


class _Parquet:
    """One table as Parquet. Arguments as of ``_Table``."""

    def __init__(self, stem: Path, columns: Mapping[str, str], files: ExitStack) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        types = {
            "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_(), "text": pyarrow.string(),
            "texts": pyarrow.list_(pyarrow.string()), "floats": pyarrow.list_(pyarrow.float64()),
        }  # fmt: skip
        self._schema, self._rows = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()]), list[Any]()
        unfinished = files.enter_context(replacing(stem.with_suffix(".parquet")))
        self._parquet = files.enter_context(ParquetWriter(unfinished, self._schema))
        files.callback(self._flush)

    def add(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        self._parquet.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()


def _tested(check: Check | None) -> dict[str, Any]:
    if check is None:
        return {}
    return {"verdict": check.verdict, "fall": check.effect, "fall_elsewhere": check.control, "p": check.p}


def _plain(value: Any) -> Any:
    """Names of files need not be UTF-8, and tables are."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(str(_cell(one)) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else value
