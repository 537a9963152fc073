"""CLIP as a space: any open_clip folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.spaces.clip import load_clip
from saywhy.types import Space
from tests.helpers import picture


def clip_directory(path: Path) -> Path:
    """A tiny open_clip local directory at random weights."""
    import open_clip
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    path.mkdir()
    save_file(open_clip.model.CLIP(**config).state_dict(), path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return path


def test_any_open_clip_folder_is_a_space(tmp_path: Path) -> None:
    space = load_clip(str(clip_directory(tmp_path / "clip")))
    assert isinstance(space, Space)
    images, texts = space.encode_images([picture(seed=n) for n in range(3)]), space.encode_texts(["red", "blue"])
    assert (images.shape, texts.shape) == ((3, 16), (2, 16))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(space.encode_images([picture(seed=1)])[0], images[1], rtol=1e-4, atol=1e-5)


def test_the_image_tower_can_be_replaced(tmp_path: Path) -> None:
    from dataclasses import replace

    space = load_clip(str(clip_directory(tmp_path / "clip")))
    operated = replace(space, image_tower=lambda pixels: torch.ones(len(pixels), 16))
    assert torch.equal(operated.encode_images([picture()]), torch.full((1, 16), 0.25))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(SaywhyError, match="there are no weights in this CLIP folder"):
        load_clip(str(tmp_path))
