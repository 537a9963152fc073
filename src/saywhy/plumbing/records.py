"""Records that were read from a file: each field is of its type before anything is done with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch

from saywhy.plumbing.names import shown

_T = TypeVar("_T")


def typed(record: _T) -> _T:
    """A dataclass' record, if all its values, and those of the records in it, are of their fields' types.

    A whole number is a float too. Raises TypeError, "labels[0].text: expected str, found 3", for another.
    """
    _check(record, type(record), "")
    return record


def _check(value: Any, kind: Any, where: str) -> None:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin is Literal:
        if value not in inner:
            raise TypeError(f"{where}: expected one of {', '.join(map(repr, inner))}, found {shown(repr(value), 40)}")
    elif origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return
        errors = [error for one in inner if one is not NoneType for error in [_error(value, one, where)]]
        if all(errors):
            raise errors[0] or TypeError(where)
    elif origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        _check_class(value, Mapping, where)
        for key, one in value.items():
            _check(key, inner[0], f"{where}, a name")
            _check(one, inner[1], f"{where}[{shown(key, 40)!r}]")
    elif origin is not None and isinstance(origin, type) and issubclass(origin, Collection):
        _check_class(value, origin, where)
        kinds = list(inner)[:1] * len(value) if origin is not tuple or inner[-1] is Ellipsis else list(inner)
        if len(kinds) != len(value):
            raise TypeError(f"{where}: expected {len(kinds)} values, found {len(value)}")
        for n, (one, its) in enumerate(zip(value, kinds, strict=True)):
            _check(one, its, f"{where}[{n}]")
    elif is_dataclass(kind):
        _check_class(value, kind, where)
        own: Any = type(value)
        for name, its in _types(own).items():
            _check(getattr(value, name), its, f"{where}.{name}" if where else name)
    else:
        _check_class(value, kind, where)


def _check_class(value: Any, kind: Any, where: str) -> None:
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind in (int, float)):
        raise TypeError(f"{where}: expected {kind.__name__}, found {shown(repr(value), 40)}")


def _error(value: Any, kind: Any, where: str) -> TypeError | None:
    try:
        _check(value, kind, where)
    except TypeError as error:
        return error
    return None


@cache
def _types(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, localns={"torch": torch})  # which types.py does not import, as it takes seconds
    return {field.name: hints[field.name] for field in fields(kind)}
