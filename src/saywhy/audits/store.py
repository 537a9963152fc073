"""The folder of an audit: tables in parts, each of which appears whole or not at all, and a manifest.

A part is a folder that one renaming puts in its place, after all its files are on the disk. So whatever was killed, a
picture has its rows or none of them, and never twice. What was unfinished lies in ``unfinished`` and is thrown away.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from saywhy.audits.tables import FORMAT, TABLES, as_table, schema
from saywhy.errors import SaywhyError
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import shown
from saywhy.plumbing.texts import read_json

if TYPE_CHECKING:
    import pyarrow

MANIFEST, LOCK, UNFINISHED = "manifest.json", "lock", "unfinished"
ROWS, TRIALS, CHECKS = "rows", "trials", "checks"
"""Folders of parts: of pictures, by number; of trials, by family and name; of checks, by name."""
_WHERE = {"trials": f"{TRIALS}/*/*", "checks": f"{CHECKS}/*"}


MEMORY = "1GB"  # that DuckDB may take; beyond it, it writes to a temporary folder


@final
class Store:
    """An audit's folder. ``create`` or ``open`` gives one.

    Raises SaywhyError, here and in each method, where something cannot be read or written.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @staticmethod
    def create(folder: Path, story: Mapping[str, Any]) -> Store:
        """A new audit in a folder, or the one that is there already, if it is the same: see ``story``.

        Raises SaywhyError where the folder holds another audit, or anything else.
        """
        manifest = {"format": FORMAT, **json.loads(json.dumps(story))}
        if (folder / MANIFEST).exists():
            found = Store.open(folder)
            changed = [key for key in manifest if found.manifest.get(key) != manifest[key]]
            if changed:
                raise SaywhyError(
                    f"{shown(folder)}: holds an audit with other {', '.join(changed)}; go on with the same ones, or "
                    "give another folder"
                )
            return found
        if folder.exists() and any(one.name != LOCK for one in folder.iterdir()):
            raise SaywhyError(f"{shown(folder)}: holds other files; give an empty or a new folder")
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=1))
        return Store(folder, manifest)

    @staticmethod
    def open(folder: str | Path) -> Store:
        """An audit that is there. Raises SaywhyError where there is none, or of a later format."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise SaywhyError(f"{shown(folder)}: holds no audit; make one with saywhy audit DATA --out {shown(folder)}")
        manifest = dict(read_json(folder / MANIFEST))
        if not isinstance(manifest.get("format"), int) or manifest["format"] > FORMAT:
            raise SaywhyError(
                f"{shown(folder)}: its format is {manifest.get('format')}, and this version of saywhy reads 1 to "
                f"{FORMAT}; use a newer one"
            )
        return Store(folder, manifest)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While this lasts no other run writes here. Raises SaywhyError where one does already."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / LOCK)
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)
                yield
        except Timeout:
            raise SaywhyError(f"{shown(self.folder)}: another run writes here; wait, or give another folder") from None

    def parts(self, kind: str) -> set[str]:
        """The names of the parts that are there. kind: ROWS, or TRIALS and a family: "trials/swap"."""
        folder = self.folder / kind
        return {one.name for one in folder.iterdir()} if folder.is_dir() else set()

    def commit(
        self, kind: str, part: str, tables: Mapping[str, Sequence[Mapping[str, Any]] | pyarrow.Table],
        files: Mapping[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Write a part: rows of tables by name, and other files. It appears whole, on the disk."""
        import pyarrow.parquet as parquet

        place, unfinished = self.folder / kind / part, self.folder / UNFINISHED / kind / part
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            for name, rows in tables.items():
                table = rows if hasattr(rows, "schema") else as_table(name, rows)
                parquet.write_table(table, unfinished / f"{name}.parquet", compression="zstd")
            for name, content in (files or {}).items():
                (unfinished / name).write_bytes(content)
            for file in unfinished.iterdir():
                _flushed(file)
            _flushed(unfinished)
            unfinished.rename(place)
            _flushed(place.parent)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise SaywhyError(
                f"{shown(self.folder)}: cannot be written ({error.strerror or error}); what was done is kept, and the "
                "same command goes on from there"
            ) from None

    def view(self) -> View:
        """All rows that are there now."""
        return View(self)


@final
class View:
    """The rows of an audit, read by DuckDB; nothing is written, and nothing outside the folder is read."""

    def __init__(self, store: Store) -> None:
        import duckdb

        self.store, self.manifest = store, store.manifest
        self._database = duckdb.connect()
        scratch = tempfile.mkdtemp(prefix="saywhy-query-")
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        self._database.execute("SET preserve_insertion_order = false")
        self._database.execute(f"SET memory_limit = '{MEMORY}'")
        self._database.execute("SET temp_directory = '{}'".format(scratch.replace("'", "''")))
        for table in TABLES:
            pattern = f"{_WHERE.get(table, f'{ROWS}/*')}/{table}.parquet"
            if next(store.folder.glob(pattern), None) is not None:
                escaped = str(store.folder / pattern).replace("'", "''")
                source = f"read_parquet('{escaped}', union_by_name = true)"
                self._database.execute(f"CREATE VIEW {table} AS SELECT * FROM {source}")
            else:
                self._database.register(f"no_{table}", schema(table).empty_table())
                self._database.execute(f"CREATE VIEW {table} AS SELECT * FROM no_{table}")

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pyarrow.Table:
        """What a query over pictures, regions, errors and trials gives. Raises SaywhyError where it is wrong."""
        import duckdb

        try:
            return self._database.sql(query, params=list(parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise SaywhyError(f"the query cannot be answered: {str(error).splitlines()[0]}") from None

    def columns(self, query: str, parameters: Sequence[Any] = ()) -> dict[str, Any]:
        """The same, as NumPy arrays by column; texts and lists as arrays of objects."""
        table = self.sql(query, parameters)
        return {name: table[name].to_numpy() for name in table.column_names}

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return int(self.sql("SELECT count(*) AS n FROM pictures")["n"][0].as_py())

    def sampled(self, limit: int | None, seed: int = 0) -> str:
        """A condition on ``number`` that about ``limit`` pictures meet, evenly over the collection; "true" for all.

        The same pictures in every table and every query: by the golden ratio's multiples (Knuth, TAOCP 3, 6.4).
        """
        count = self.count
        if limit is None or count <= limit:
            return "true"
        return f"(number * 2654435769 + {seed * 40503 % 2**32}) % 4294967296 < {int(limit / count * 2**32)}"

    def matrix(
        self, column: str, where: str = "true", parameters: Sequence[Any] = (), *, limit: int | None = None,
        seed: int = 0,
    ) -> tuple[Any, Any]:  # fmt: skip
        """(N,) numbers and (N, d) float32 of a column of vectors of ``pictures``, in order of number.

        limit: of about so many of the pictures; see ``sampled``. A million vectors are gigabytes.
        """
        from saywhy.audits.rows import unpacked

        found = self.sql(
            f"SELECT number, {column} FROM pictures WHERE {column} IS NOT NULL AND {where} "
            f"AND {self.sampled(limit, seed)} ORDER BY number", parameters,
        )  # fmt: skip
        rows = found[column].to_pylist()
        return found["number"].to_numpy(), unpacked(rows)


def _flushed(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
