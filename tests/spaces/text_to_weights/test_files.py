"""Mappers on disk: the same when they come back, and refused where they do not belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saywhy.errors import SaywhyError
from saywhy.spaces.text_to_weights import MAPPERS, fit, mean_row
from saywhy.spaces.text_to_weights.files import load_mapper, save_mapper
from tests.helpers import unit
from tests.spaces.text_to_weights.test_init import QUICK

OF = {"classifier": "resnet-1", "encoder": "sentence-1"}


@pytest.mark.parametrize("method", MAPPERS)
def test_every_kind_comes_back(method: str, tmp_path: Path) -> None:
    mapper = fit(unit(45, 8), torch.randn(45, 12), method=method, **QUICK.get(method, {}))
    path = save_mapper(mapper, tmp_path / "a folder" / "m.safetensors", **OF)
    again, new = load_mapper(path, **OF), unit(9, 8)
    assert type(again) is type(mapper)
    torch.testing.assert_close(again(new), mapper(new))
    if hasattr(mapper, "variance"):
        torch.testing.assert_close(again.variance(new), mapper.variance(new))


def refused(path: Path, *words: str, of: dict[str, str] = OF) -> None:
    with pytest.raises(SaywhyError) as caught:
        load_mapper(path, **of)
    assert "\n" not in str(caught.value)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_mapper(fit(unit(5, 8), torch.randn(5, 12), method="blend"), tmp_path / "m.safetensors", **OF)


def test_another_classifier_or_encoder(saved: Path) -> None:
    refused(saved, "another classifier", "resnet-1", "resnet-2", of={**OF, "classifier": "resnet-2"})
    refused(saved, "another text encoder", "sentence-1", "sentence-2", of={**OF, "encoder": "sentence-2"})


@pytest.mark.parametrize("content", [b"", b"no tensors at all\n" * 40, None])
def test_files_that_are_none(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    refused(path, "is not a mapper")
    refused(tmp_path, "is not a mapper")


def test_a_file_cut_short(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    refused(saved, "is not a mapper")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"mapper": "{"},
        {"mapper": "[]"},
        {"mapper": json.dumps({"kind": "Oracle"})},
        {"mapper": json.dumps({"kind": "MLP", "inputs": 8, "outputs": 12, "soft_dropout": True})},
        {"mapper": json.dumps({"kind": "Blend", "first": {"kind": "KernelRidge"}, "second": {"kind": "Neighbours"}})},
    ],
)
def test_tensors_of_something_else(metadata: dict[str, str] | None, saved: Path) -> None:
    save_file(load_file(saved), saved, metadata and {**metadata, **OF})
    refused(saved, "is not a mapper")


def test_a_missing_tensor(saved: Path) -> None:
    metadata = {"mapper": json.dumps({"kind": "Ridge"}), **OF}
    save_file({"other": torch.ones(2)}, saved, metadata)
    refused(saved, "is not a mapper", "coefficients")


def test_what_is_no_mapper_of_ours_is_not_kept(tmp_path: Path) -> None:
    stranger: Any = mean_row(torch.randn(5, 12))
    with pytest.raises(SaywhyError, match="a function cannot be saved"):
        save_mapper(stranger, tmp_path / "m.safetensors", **OF)
    assert not list(tmp_path.iterdir())
