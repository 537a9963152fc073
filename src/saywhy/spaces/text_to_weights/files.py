"""Mappers on disk: a safetensors file, with the fingerprints of the classifier and of the text encoder."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.records import typed
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.spaces.text_to_weights import Mapper
from saywhy.spaces.text_to_weights.closed_form import Blend, KernelRidge, Neighbours, Procrustes, Ridge
from saywhy.spaces.text_to_weights.icis import ICIS
from saywhy.spaces.text_to_weights.mlp import MLP

_KINDS = {kind.__name__: kind for kind in (Ridge, KernelRidge, Neighbours, Procrustes, Blend, MLP, ICIS)}

_STORY = "mapper"


def save_mapper(mapper: Mapper, path: Path, *, classifier: str, encoder: str) -> Path:
    """classifier, encoder: their fingerprints. The folder is made where there is none.

    Raises SaywhyError for a mapper that is none of MAPPERS, and where it cannot be written.
    """
    if type(mapper) not in _KINDS.values():
        raise SaywhyError(f"{path}: a {type(mapper).__name__} cannot be saved; {', '.join(_KINDS)} can")
    tensors: dict[str, Tensor] = {}
    kind = _taken_apart(mapper, "", tensors)
    fingerprints = {"classifier": classifier, "encoder": encoder}
    return write_tensors(path, tensors, kind, key=_STORY, texts=fingerprints, make_folder=True)


def load_mapper(path: Path, *, classifier: str, encoder: str, example: Tensor | None = None) -> Mapper:
    """The mapper that was saved.

    example: (M, k) embeddings of any texts, on which it is tried; None: it is not.

    Raises SaywhyError for a file that is none, that was fitted on another classifier or encoder, or whose parts do not
    fit each other.
    """
    with reading_tensors(path, "is not a mapper", key=_STORY) as file:
        known = file.metadata["classifier"], file.metadata["encoder"]
        mapper: Mapper = typed(_put_together(file.story, "", file.tensors))
        if example is not None and not mapper(example).isfinite().all():
            raise ValueError("it maps texts to rows that are not finite")
    for what, wanted, found in zip(("classifier", "text encoder"), (classifier, encoder), known, strict=True):
        if wanted != found:
            raise SaywhyError(f"{path}: was fitted with another {what} ({found}, not {wanted}); fit a new one")
    return mapper


def _taken_apart(value: Any, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The kind and plain values of a record; its tensors go to ``tensors`` under their path."""
    plain: dict[str, Any] = {"kind": type(value).__name__}
    for field in fields(value):
        part, name = getattr(value, field.name), f"{prefix}{field.name}"
        if isinstance(part, Tensor):
            tensors[name] = part
        elif isinstance(part, dict):
            tensors.update({f"{name}/{key}": tensor for key, tensor in part.items()})
        elif is_dataclass(part):
            plain[field.name] = _taken_apart(part, f"{name}/", tensors)
        else:
            plain[field.name] = part
    return plain


def _put_together(plain: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> Any:
    kind = _KINDS[plain["kind"]]
    values: dict[str, Any] = {}
    for field in fields(kind):
        name = f"{prefix}{field.name}"
        if name in tensors:
            values[field.name] = tensors[name]
        elif isinstance(plain.get(field.name), dict):
            values[field.name] = _put_together(plain[field.name], f"{name}/", tensors)
        elif field.name in plain:
            values[field.name] = plain[field.name]
        elif field.default is not MISSING:
            continue  # a file from before there was this field
        else:
            start = f"{name}/"
            values[field.name] = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            if not values[field.name]:
                raise KeyError(name)
    return kind(**values)
