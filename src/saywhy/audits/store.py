"""The folder of an audit: tables in parts, each of which appears whole or not at all, and a manifest.

A part is a folder that one renaming puts in its place, after all its files are on the disk. So whatever was killed, a
picture has its rows or none of them, and never twice. What was unfinished lies in ``unfinished`` and is thrown away.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from saywhy.audits.tables import FORMAT, TABLES, as_table, schema
from saywhy.errors import SaywhyError
from saywhy.plumbing.extras import need
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import shown
from saywhy.plumbing.texts import read_json

if TYPE_CHECKING:
    import pyarrow

MANIFEST, LOCK, UNFINISHED = "manifest.json", "lock", "unfinished"
ROWS, TRIALS, CHECKS, SHOWN = "rows", "trials", "checks", "shown"
"""Folders of parts: of pictures, by number; of trials, by family and name; of checks, and of pictures to show."""
_PLACES = {ROWS: "*", TRIALS: "*/*", CHECKS: "*", SHOWN: "*"}
_ELSEWHERE = {
    "trials": (TRIALS,),
    "checks": (CHECKS,),
    "shown": (ROWS, SHOWN),
    "changed": (SHOWN,),
}  # the others are in ROWS
_NAMED = 4  # settings that differ, in an error
_LEFT = ".part"  # the ending of a file that was not written to its end


MEMORY = "1GB"  # that DuckDB may take; beyond it, it writes to a temporary folder


@final
class Store:
    """An audit's folder. ``writing`` or ``open`` gives one.

    manifest: what reproduces the audit, and "runs": a row a run, when it began and ended, where, with which arguments.

    Raises SaywhyError, here and in each method, where something cannot be read or written.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @staticmethod
    def create(folder: Path, story: Mapping[str, Any]) -> Store:
        """A new audit in a folder, or the one that is there already, if it is the same: see ``story``.

        Raises SaywhyError where the folder holds another audit, or anything else, and while another run writes there.
        """
        with _locked(folder):
            return _created(folder, story)

    @staticmethod
    @contextmanager
    def writing(folder: Path, story: Mapping[str, Any], run: Mapping[str, Any] | None = None) -> Iterator[Store]:
        """As ``create``; while this lasts no other run writes there. run: what the manifest says of this one."""
        with _locked(folder):
            store = _created(folder, story)
            runs = [*store.manifest.get("runs", []), _began(run or {})]
            store._tell(runs)
            try:
                yield store
                runs[-1]["finished"] = True
            finally:
                runs[-1]["ended"] = _now()
                with suppress(SaywhyError):  # whatever ended the run is told, not this
                    store._tell(runs)

    @staticmethod
    def open(folder: str | Path) -> Store:
        """An audit that is there. Raises SaywhyError where there is none, or of a later format."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise SaywhyError(f"{shown(folder)}: holds no audit; make one with saywhy audit DATA --out {shown(folder)}")
        manifest = read_json(folder / MANIFEST)
        number = manifest.get("format") if isinstance(manifest, dict) else None
        if not isinstance(number, int) or not 1 <= number <= FORMAT:
            newer = isinstance(number, int) and number > FORMAT
            raise SaywhyError(
                f"{shown(folder)}: its format is {shown(number)}, and this version of saywhy reads 1 to {FORMAT}; "
                f"{'use a newer version' if newer else 'it is no audit that can be read'}"
            )
        return Store(folder, manifest)

    def parts(self, kind: str) -> set[str]:
        """The names of the parts that are there. kind: ROWS, or TRIALS and a family: "trials/swap"."""
        folder = self.folder / kind
        return {one.name for one in folder.iterdir()} if folder.is_dir() else set()

    def commit(self, kind: str, part: str, tables: Mapping[str, Sequence[Mapping[str, Any]] | pyarrow.Table]) -> None:
        """Write a part: rows of tables by name; a table without rows has no file. It appears whole, on the disk."""
        import pyarrow.parquet as parquet

        place, unfinished = self.folder / kind / part, self.folder / UNFINISHED / kind / part
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            if not place.parent.is_dir():
                place.parent.mkdir(parents=True)
                _flushed(self.folder)
            for name, rows in tables.items():
                if len(rows):
                    table = rows if hasattr(rows, "schema") else as_table(name, rows)
                    small = [field.name for field in table.schema if field.type != "binary"]
                    parquet.write_table(
                        table, unfinished / f"{name}.parquet", compression="zstd",
                        use_dictionary=small, write_statistics=small,  # else of bytes some are kept twice
                    )  # fmt: skip
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

    def _tell(self, runs: Sequence[Mapping[str, Any]]) -> None:
        self.manifest = {**self.manifest, "runs": [dict(one) for one in runs]}
        write_whole(self.folder / MANIFEST, json.dumps(self.manifest, indent=1), durable=True)


def as_before(sources: Sequence[str], folder: Path) -> list[str]:
    """The sources of pictures by the names that the audit in a folder has for them, which begin the names of its rows.

    "photos/" is "photos" to a run that goes on. Where they are other places, or there is no audit: as they are given.
    """
    given = list(sources)
    if not (folder / MANIFEST).is_file():
        return given
    before = str(Store.open(folder).manifest.get("data", {}).get("name", "")).split(", ")
    same = len(before) == len(given) and all(map(_one_place, before, given))
    return before if same else given


def need_tables() -> None:
    """Raises SaywhyError, in one line, where what writes and reads the tables of audits is not installed."""
    for module in ("pyarrow", "duckdb"):
        need("an audit", module)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """While this lasts no other run writes in a folder, which is made; what one left unfinished is thrown away."""
    need_tables()
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise SaywhyError(f"{shown(folder)}: another run writes here; wait, or give another folder") from None
    except (OSError, NotImplementedError) as error:
        said = getattr(error, "strerror", None) or error
        raise SaywhyError(f"{shown(folder)}: cannot be made or locked ({said})") from None
    try:
        if (folder / MANIFEST).exists():
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        for one in folder.glob(f"*{_LEFT}"):
            if one.name.startswith((MANIFEST, "findings.json")):
                one.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _created(folder: Path, story: Mapping[str, Any]) -> Store:
    manifest = {"format": FORMAT, **json.loads(json.dumps(story))}
    if (folder / MANIFEST).exists():
        found = Store.open(folder)
        if changed := list(_changes(found.manifest, manifest)):
            more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            raise SaywhyError(
                f"{shown(folder)}: holds an audit with other {', '.join(changed[:_NAMED])}{more}; go on with the same "
                "ones, or give another folder"
            )
        return found
    if any(one.name != LOCK for one in folder.iterdir()):
        raise SaywhyError(f"{shown(folder)}: holds other files; give an empty or a new folder")
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1), durable=True)
    return Store(folder, manifest)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """What a new story says otherwise: "options.seed (0, now 1)"; of long values only the name."""
    for key in new:
        before, now = old.get(key), new[key]
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from _changes(before, {**dict.fromkeys(before), **now}, f"{above}{key}.")
        elif before != now and not _one_place(before, now):
            values = [shown(value, 40) for value in (before, now)]
            plain = all(isinstance(value, str | int | float | None) for value in (before, now))
            yield f"{above}{key} ({values[0]}, now {values[1]})" if plain else f"{above}{key}"


def _one_place(before: object, now: object) -> bool:
    """Whether two names are of one file or folder, as "timm:models/birds/" and "timm:./models/birds" are."""
    if not isinstance(before, str) or not isinstance(now, str):
        return False
    (kind, colon, path), (other, _, its) = before.partition(":"), now.partition(":")
    if not colon:
        path, its = before, now
    elif kind != other:
        return False
    return os.path.exists(path) and os.path.realpath(path) == os.path.realpath(its)


def _began(run: Mapping[str, Any]) -> dict[str, Any]:
    machine = {
        "host": platform.node(), "system": platform.platform(), "python": platform.python_version(),
        "cores": os.cpu_count(),
    }  # fmt: skip
    return {"started": _now(), "ended": None, "finished": False, "machine": machine, **run}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@final
class View:
    """The rows of an audit as they were when it was made, read by DuckDB.

    Nothing is written, and nothing is read but the parts that were there: a run that goes on meanwhile changes nothing.
    """

    def __init__(self, store: Store) -> None:
        need_tables()
        import duckdb

        self.store, self.manifest = store, store.manifest
        self._database = duckdb.connect()
        scratch = tempfile.mkdtemp(prefix="saywhy-query-")
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        self._database.execute("SET preserve_insertion_order = false")
        with suppress(
            duckdb.InvalidInputException
        ):  # in a notebook without ipywidgets, where there is none to switch off
            self._database.execute("SET enable_progress_bar = false")
        self._database.execute(f"SET memory_limit = '{MEMORY}'")
        self._database.execute(f"SET temp_directory = {_quoted(scratch)}")
        self._database.execute("SET parquet_metadata_cache = true")
        whole = store.folder.resolve()
        parts = {kind: sorted((whole / kind).glob(pattern)) for kind, pattern in _PLACES.items()}
        for table in TABLES:
            files = [
                file
                for kind in _ELSEWHERE.get(table, (ROWS,))
                for part in parts[kind]
                if (file := part / f"{table}.parquet").exists()
            ]
            if files:
                columns, source = _columns(table, files[0]), _source(files)
                self._database.execute(f"CREATE VIEW {table} AS SELECT {columns} FROM {source}")
            else:
                self._database.register(f"no_{table}", schema(table).empty_table())
                self._database.execute(f"CREATE VIEW {table} AS SELECT * FROM no_{table}")
        allowed = ", ".join(_quoted(one) for one in (str(whole), _no_pattern(whole)))
        self._database.execute(f"SET allowed_directories = [{allowed}]")
        for setting in ("python_enable_replacements = false", "enable_external_access = false"):
            self._database.execute(f"SET {setting}")
        self._database.execute("SET lock_configuration = true")

    def answer(self, query: str) -> pyarrow.Table:
        """What somebody else's query gives: as ``sql``, of one statement that asks and changes nothing.

        Raises SaywhyError for any other.
        """
        import duckdb

        try:
            statements = duckdb.extract_statements(query)
        except duckdb.Error as error:
            raise _unanswered(error) from None
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise SaywhyError("the query cannot be answered: it must be one SELECT, as tables are only read")
        return self.sql(query)

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pyarrow.Table:
        """What a query over pictures, regions, errors and trials gives. Raises SaywhyError where it is wrong."""
        import duckdb

        with ThreadPoolExecutor(1, "saywhy-query") as pool:  # where DuckDB works, Python hears no Ctrl-C
            asked = pool.submit(lambda: self._database.sql(query, params=list(parameters)).to_arrow_table())
            try:
                return asked.result()
            except duckdb.Error as error:
                raise _unanswered(error) from None
            except BaseException:
                self._database.interrupt()
                raise

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
        return f"((number + {seed % 2**16}) * 2654435769) % 4294967296 < {int(limit / count * 2**32)}"

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


def _columns(table: str, file: Path) -> str:
    """What a table has by now, in SQL: those of its files, and none where a file of an earlier version has no such."""
    import pyarrow.parquet as parquet

    there = parquet.read_schema(file).names
    kinds = {"int": "BIGINT", "float": "FLOAT", "bool": "BOOLEAN", "text": "VARCHAR", "bytes": "BLOB",
             "texts": "VARCHAR[]", "floats": "FLOAT[]", "ints": "INTEGER[]", "map": "MAP(VARCHAR, VARCHAR)",
             "numbers": "MAP(VARCHAR, FLOAT)"}  # fmt: skip
    return ", ".join(
        f'"{name}"' if name in there else f'CAST(NULL AS {kinds[kind]}) AS "{name}"'
        for name, kind in TABLES[table].items()
    )


def _source(files: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(_quoted(_no_pattern(file)) for file in files)}])"


def _no_pattern(path: Path) -> str:
    """A name for DuckDB, which takes each for a pattern."""
    return str(path).translate({ord(sign): f"[{sign}]" for sign in "[*?"})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _unanswered(error: Exception) -> SaywhyError:
    return SaywhyError(f"the query cannot be answered: {shown(str(error).splitlines()[0])}")


def _flushed(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
