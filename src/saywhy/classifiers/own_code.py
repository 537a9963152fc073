"""A classifier that a Python file of the user's own makes: the file is run, as ``python FILE.py`` would run it.

Nothing else runs code: no checkpoint, no folder, no request. So a file is named by whoever types a command, or writes
the Python that calls this, and never by what was read from somewhere.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import first_line, meant, shown, unknown

GRAMMAR = "python:FILE.py:NAME"
OWN = "own_code_"
"""How the names begin of modules that such files become."""
_mine: set[str] = set()


def own_modules() -> list[Any]:
    """Modules that were made of the user's own files: another process cannot import them by name."""
    return [sys.modules[name] for name in sorted(_mine) if name in sys.modules]


def split(text: str) -> tuple[Path, str]:
    """The file and the name in it, of "FILE.py:NAME". Raises SaywhyError where one of them is missing."""
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        given = text if text.endswith(".py") else "FILE.py"
        raise SaywhyError(
            f"python:{text}: give the file and a name in it, --model python:{given}:NAME; NAME is a saywhy.Classifier, "
            "or a function of no arguments that returns one"
        )
    return Path(file), name


def found_in(text: str) -> Any:
    """What NAME is in the file, of "FILE.py:NAME"; of a function what it returns. What the file prints is a note.

    Raises SaywhyError where there is no such file or name, and for what the file or the function raises, with its line.
    """
    path, name = split(text)
    if not path.is_file():
        raise SaywhyError(f"python:{text}: there is no file {shown(path)}{meant(str(path))}")
    with _at_home(path), redirect_stdout(sys.stderr):
        module = _run(path)
        if not hasattr(module, name):
            known = [one for one, value in vars(module).items() if not one.startswith("_") and _written(value, module)]
            raise unknown("name", name, known, lead=f"{shown(path)} has no", see="the file")
        found = getattr(module, name)
        if inspect.isfunction(found) or inspect.ismethod(found):
            return _call(found, name, path)
        return found


def _run(path: Path) -> Any:
    # By a name of its own: a file called timm.py is no module of that name to anybody else. Without its folder: a
    # transform shows it, and with it the classifier's fingerprint would change where the file is moved.
    called = f"{OWN}{path.stem}"
    spec = importlib.util.spec_from_file_location(called, path.resolve())
    if spec is None or spec.loader is None:
        raise SaywhyError(f"{shown(path)}: cannot be run as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[called] = module  # dataclasses and pickle look there
    with _in_one_line(path):
        spec.loader.exec_module(module)
    return module


def _call(function: Callable[..., Any], name: str, path: Path) -> Any:
    needed = [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if needed:
        raise SaywhyError(f"{shown(path)}: {name} needs {', '.join(needed)}; it is called without arguments")
    with _in_one_line(path):
        return function()


@contextmanager
def _at_home(path: Path) -> Iterator[None]:
    """What the file imports is looked for beside it first; afterwards, by what imports late, beside it last."""
    for name in [one for one in _mine if not one.startswith(OWN)]:  # another file's utils.py is not this one's
        sys.modules.pop(name, None)
        _mine.discard(name)
    folder, before = str(path.resolve().parent), set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(folder) and "site-packages" not in file:
                _mine.add(name)


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """An exception of the user's code as one line: its type, its message, and the last line of the file it is of."""
    try:
        yield
    except SyntaxError as error:
        where = f"{Path(error.filename).name} line {error.lineno}" if error.filename else shown(path)
        raise SaywhyError(f"{shown(path)}: SyntaxError: {error.msg} ({where})") from None
    except (Exception, SystemExit) as error:
        mine = str(path.resolve())
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == mine]
        said = str(error) if isinstance(error, SaywhyError) else first_line(error)
        raise SaywhyError(f"{shown(path)} line {lines[-1] if lines else '?'}: {said}") from None


def _written(value: Any, module: Any) -> bool:
    """Whether a name is of the file itself, and not imported by it."""
    if inspect.ismodule(value):
        return False
    return getattr(value, "__module__", module.__name__) == module.__name__ or not callable(value)
