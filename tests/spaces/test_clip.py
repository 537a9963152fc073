"""CLIP as a space: any open_clip folder."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.plumbing import hub
from saywhy.seen.names import ELSEWHERE
from saywhy.spaces.clip import check_clip, load_clip
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


def test_weights_that_cannot_be_had_are_one_line_which_leads_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """open_clip logs what it raises: that is not said twice. The way out is none that leads back here."""
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SaywhyError, match="no hub can be reached, and it is not in the local cache") as caught:
        load_clip("clip")
    assert "\n" not in str(caught.value)
    assert "saywhy train concepts" in str(caught.value)
    assert not caplog.records
    assert "--space clip" not in ELSEWHERE


@pytest.mark.parametrize(
    ("asked", "loaded"),
    [
        ("ViT-B-32/openai", "ViT-B-32-quickgelu/openai"),
        ("clip:ViT-B-16/dfn2b", "ViT-B-16-quickgelu/dfn2b"),
        ("RN50/openai", "RN50-quickgelu/openai"),
        ("ViT-B-32-quickgelu/openai", "ViT-B-32-quickgelu/openai"),
        ("ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("clip", "ViT-B-32/laion2b_s34b_b79k"),
    ],
)
def test_weights_have_the_activation_function_they_were_trained_with(asked: str, loaded: str) -> None:
    """OpenAI's weights load into an architecture with GELU without a word, and give other vectors."""
    assert check_clip(asked) == (loaded, loaded)


def test_no_known_weights_are_read_with_another_activation_function() -> None:
    """But for one, whose authors say QuickGELU in its config and not beside its weights."""
    for architecture in open_clip.list_models():
        for tag in open_clip.list_pretrained_tags_by_model(architecture):
            name, _, tag_too = check_clip(f"{architecture}/{tag}")[1].partition("/")
            quick = open_clip.get_model_config(name).get("quick_gelu", False)
            trained = open_clip.get_pretrained_cfg(name, tag_too).get("quick_gelu", False)
            assert quick == trained or name == "roberta-ViT-B-32", (architecture, tag)
