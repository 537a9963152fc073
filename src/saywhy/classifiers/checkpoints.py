"""One's own weights for a library's architecture: whatever trained them, a state dict is found in the file and fitted.

Nothing is unpickled but tensors and plain values (``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.pictures.preprocessing import Preprocessing
from saywhy.plumbing.files import named_with_digest
from saywhy.plumbing.names import meant

AVERAGED = ("state_dict_ema", "model_ema", "ema")
STATES = ("state_dict", "model_state_dict", "model", "network", "net", "module", "weights", "params")
"""Keys under which trainers keep a state dict: timm's train.py, Lightning, and what people write by hand."""
OTHERS = {
    ".onnx": "an ONNX file holds no PyTorch network; load the network it was exported from",
    ".h5": "a Keras file holds no PyTorch network; keras.Model in PyTorch can be given to Classifier.from_module",
    ".keras": "a Keras file holds no PyTorch network; keras.Model in PyTorch can be given to Classifier.from_module",
    ".pt2": "a torch.export file hides its functions; load the network it was exported from",
    ".pkl": "a pickle (fastai's export) runs code when it is read; save learner.model.state_dict() instead",
}
"""Ending -> what to do with a file that holds no state dict."""
INSIDE = {
    "archive_format": ".pt2", "serialized_exported_program.json": ".pt2",  # now, and in torch 2.6
    "model.weights.h5": ".keras",
}  # fmt: skip
"""Name of a file that only such an archive holds, whatever the archive is called -> its ending."""
HDF5 = b"\x89HDF\r\n\x1a\n"
FIRST = 3  # keys that a message lists
_TOLD = ("args", "hyper_parameters")
"""Keys under which timm's train.py and Lightning keep the options of a run."""
_SIZES = ("img_size", "image_size", "input_size")
_TRAIN_PY = ("img_size", "crop_pct", "interpolation", "mean", "std", "num_classes", "smoothing")
"""Options of timm's train.py; where all of them are there, one that is None means the default of the architecture."""


@final
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file of weights that has been read. content: what ``torch.save`` was given."""

    path: Path
    content: Any

    @staticmethod
    def open(path: str | Path) -> Checkpoint:
        """Raises SaywhyError for a file that cannot be read without running code."""
        return Checkpoint(Path(path), _read(Path(path)))

    def put_into(self, network: nn.Module, *, averaged: bool = False) -> None:
        """See ``load_checkpoint``."""
        _put_into(network, self.content, self.path, averaged)

    @property
    def preprocessing(self) -> Preprocessing:
        """What the options of the training run that are kept in the file say of it; what is doubtful is left out."""
        options = self._options
        found: dict[str, Any] = {"img_size": next((s for k in _SIZES if (s := _side(options.get(k)))), None)}
        for key in ("crop_pct", "interpolation", "mean", "std"):
            value = options.get(key)
            if key in ("mean", "std") and isinstance(value, list | tuple) and len(value) == 1:
                value = [*value] * 3  # as timm has it
            with suppress(SaywhyError, TypeError, ValueError):
                found |= Preprocessing(**{key: value}).said
        return Preprocessing(**found)

    @property
    def says_all(self) -> bool:
        """Whether it is of timm's train.py, whose options say all of the preprocessing."""
        return all(key in self._options for key in _TRAIN_PY)

    @property
    def named(self) -> str:
        """The file's name and its digest, for the record."""
        return named_with_digest(self.path)

    @property
    def _options(self) -> Mapping[str, Any]:
        content = self.content if isinstance(self.content, Mapping) else {}
        for key in _TOLD:
            found = content.get(key)
            found = vars(found) if isinstance(found, Namespace) else found
            if isinstance(found, Mapping):
                return found
        return {}


def _side(size: Any) -> int | None:
    """The pixels of a side of a square, given by itself, by both sides, or after the number of channels."""
    sides = size[-2:] if isinstance(size, list | tuple) and len(size) in (2, 3) else [size, size]
    whole = all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= 8192 for side in sides)
    return sides[0] if whole and sides[0] == sides[1] else None


def load_checkpoint(network: nn.Module, path: str | Path, *, averaged: bool = False) -> None:
    """Put the weights of a file into a network.

    path:     .safetensors, or what ``torch.save`` wrote: a state dict, timm's train.py output, Lightning's .ckpt; keys
              may have a prefix ("module.", "model.").
    averaged: take the moving average of the weights (EMA) where the file has one beside them.

    Raises SaywhyError for a file that does not hold the weights of this network, with what is missing.
    """
    Checkpoint.open(path).put_into(network, averaged=averaged)


def _put_into(network: nn.Module, content: Any, path: Path, averaged: bool) -> None:
    state = _state_in(content, path, averaged)
    own = network.state_dict()
    state = _without_prefix(state, own)
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    strange = [key for key in state if key not in own]
    if len(missing) > len(own) / 2:
        raise SaywhyError(f"{path}: holds the weights of another network; {_listed('missing', missing)}")
    unfit = [key for key in own if key in state and state[key].shape != own[key].shape]
    if unfit:
        key = unfit[-1]
        has, wants = tuple(state[key].shape), tuple(own[key].shape)
        advice = f"; give the number of classes, --num-classes {has[0]}" if has[1:] == wants[1:] else ""
        raise SaywhyError(f"{path}: {key} has the shape {has}, and the network's is {wants}{advice}")
    if missing or strange:
        wrong = "; ".join(_listed(what, keys) for what, keys in (("missing", missing), ("unexpected", strange)) if keys)
        raise SaywhyError(f"{path}: does not hold exactly the weights of this network: {wrong}")
    network.load_state_dict(state, strict=False)


def _read(path: Path) -> Any:
    if not os.path.isfile(path):
        raise SaywhyError(f"{path}: there is no such checkpoint file{meant(path)}")
    ending = _ending(path)
    if ending in OTHERS:
        raise SaywhyError(f"{path}: {OTHERS[ending]}")
    try:
        if ending == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals([Namespace]):  # of values only: timm's train.py keeps its options so
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = found[1] if found else "something else"
        network = "learner.model" if what.startswith("fastai") else "model"
        raise SaywhyError(
            f"{path}: holds {what} beside tensors, and is not read, as that would run code; save a state dict: "
            f'torch.save({network}.state_dict(), "weights.pth")'
        ) from None
    except Exception as error:  # each format has its own
        if "TorchScript" in str(error):
            raise SaywhyError(
                f"{path}: TorchScript hides its functions; save the plain module's state_dict()"
            ) from None
        said = (str(error).strip().splitlines() or [""])[0][:120]
        reason = said if " " in said else "damaged, or not written by torch.save or safetensors"
        raise SaywhyError(f"{path}: cannot be read as a checkpoint ({reason})") from None


def _ending(path: Path) -> str:
    """The ending of a file's name; of a format that is told by what is in it, that format's."""
    with suppress(zipfile.BadZipFile, OSError, ValueError, NotImplementedError), zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
        return next((ending for name, ending in INSIDE.items() if name in names), path.suffix.lower())
    with path.open("rb") as file:
        return ".h5" if file.read(len(HDF5)) == HDF5 else path.suffix.lower()


def _state_in(content: Any, path: Path, averaged: bool) -> dict[str, Tensor]:
    """The state dict in what a file holds, at most two keys deep."""
    if averaged and isinstance(content, Mapping):
        found = next((content[key] for key in AVERAGED if isinstance(content.get(key), Mapping)), None)
        if found is None:
            raise SaywhyError(f"{path}: has no averaged weights (EMA) beside the others")
        content = found
    for _ in range(2):
        if not isinstance(content, Mapping):
            break
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) > len(content) / 2:
            return tensors
        content = next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), None)
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}
    raise SaywhyError(f"{path}: there is no state dict in it; looked for under {', '.join(STATES)}")


def _without_prefix(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the prefix taken off under which most of the network's keys stand, if there is one."""
    prefixes = {""}
    for key in state:
        parts = key.split(".")
        prefixes |= {".".join(parts[:depth]) + "." for depth in range(1, min(4, len(parts)))}
    best = max(sorted(prefixes, key=len), key=lambda prefix: sum(prefix + key in state for key in own))
    return {key.removeprefix(best): value for key, value in state.items() if key.startswith(best)}


def _listed(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what} ({', '.join(keys[:FIRST])}{', ...' if len(keys) > FIRST else ''})"
