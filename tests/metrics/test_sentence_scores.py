"""CLIP-S, painting, LPIPS and feature cosines: by hand, and through a diffusers pipeline without trained weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.metrics import sentence_scores as module
from saywhy.metrics.caption_scores import MetricWarning
from saywhy.metrics.sentence_scores import (
    SIDE,
    Painter,
    clip_scores,
    feature_cosines,
    load_lpips,
    load_painter,
    lpips,
    over_seeds,
    paint,
)
from tests.helpers import TRANSFORM, FakeSpace, picture, tiny_classifier

RED, BLUE = Image.new("RGB", (30, 20), (200, 0, 0)), Image.new("RGB", (20, 50), (0, 0, 200))


# -- CLIP-S -----------------------------------------------------------------------------------------------------------


def test_clip_s_is_a_hundred_cosines() -> None:
    # the fake space puts a text that says "red" at (1, .1, .1): the cosine with pure red is 1 / sqrt(1.02)
    right, wrong = clip_scores([RED, RED], ["a red thing", "a blue thing"], FakeSpace())
    assert right == pytest.approx(100 / 1.02**0.5, rel=1e-5)
    assert wrong == pytest.approx(10 / 1.02**0.5, rel=1e-5)
    assert clip_scores([], [], FakeSpace()) == []


def test_clip_s_is_never_negative() -> None:
    class Opposed(FakeSpace):
        def encode_texts(self, texts: Any) -> torch.Tensor:
            return -super().encode_texts(texts)

    assert clip_scores([RED], ["red"], Opposed()) == [0]


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(SaywhyError, match="1 pictures and 2 texts do not make pairs"):
        clip_scores([RED], ["a", "b"], FakeSpace())
    with pytest.raises(SaywhyError, match="2 pictures and 1 paintings"):
        feature_cosines(tiny_classifier(), [RED, RED], [BLUE])


# -- painting ---------------------------------------------------------------------------------------------------------


def save_tiny_pipeline(folder: Path) -> Path:
    """A Stable Diffusion pipeline of some thousand random weights, which paints 32 x 32 pixels, saved by diffusers."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    shape = {"block_out_channels": (4, 8), "norm_num_groups": 2, "layers_per_block": 1}
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **shape
        ),
        text_encoder=CLIPTextModel(config),
        tokenizer=CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77),
        unet=UNet2DConditionModel(
            sample_size=16, cross_attention_dim=16, attention_head_dim=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **shape,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "painter")  # fmt: skip
    return folder / "painter"


@pytest.fixture(scope="session")
def painter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("diffusers", reason="needs the optional package diffusers")
    torch.manual_seed(0)
    return save_tiny_pipeline(tmp_path_factory.mktemp("painter"))


@pytest.fixture(scope="session")
def painter(painter_folder: Path) -> Painter:
    return load_painter(str(painter_folder), "cpu")


def same(a: list[Image.Image], b: list[Image.Image]) -> bool:
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True))


def test_a_seed_is_a_painting(painter: Painter) -> None:
    texts, quick = ["red rings on a snake", "a long bill", "{braces} and a %s"], {"num_inference_steps": 2}
    first = paint(painter, texts, 0, **quick)
    assert [image.size for image in first] == [(32, 32)] * 3
    assert {image.mode for image in first} == {"RGB"}
    assert same(first, paint(painter, texts, 0, **quick))
    assert same(first, paint(painter, texts, 0, batch_size=1, **quick))
    other = paint(painter, texts, 1, **quick)
    assert not any(same([a], [b]) for a, b in zip(first, other, strict=True))
    twice = paint(painter, texts[:1] * 2, 0, **quick)
    assert not same(twice[:1], twice[1:])  # each picture has its own noise


def test_the_sentence_counts(painter: Painter) -> None:
    one, two = (paint(painter, [text], 0, num_inference_steps=2) for text in ("a snake", "a bill and a wing"))
    assert not same(one, two)


def test_the_prompt_is_the_papers() -> None:
    asked: list[str] = []

    class Output:
        def __init__(self, count: int) -> None:
            self.images = [RED] * count
            self.nsfw_content_detected = [True] + [False] * (count - 1)

    def pipeline(prompt: list[str], generator: list[torch.Generator]) -> Output:
        asked.extend(prompt)
        assert len(generator) == len(prompt)
        return Output(len(prompt))

    with pytest.warns(MetricWarning, match="safety filter blackened 2 of 5 paintings"):
        assert len(paint(Painter("p", pipeline), list("abcde"), 0)) == 5
    assert asked[0] == "a realistic image showing a"


def test_painters_that_cannot_be_had(
    painter_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("saywhy.plumbing.hub.reachable", lambda url: False)
    monkeypatch.setattr(module, "reachable", lambda url: False)
    with pytest.raises(SaywhyError, match=r"neither a folder nor in the local cache, and https://.* cannot be reached"):
        load_painter("someone/of-whom-nobody-heard")
    with pytest.raises(SaywhyError, match="not a folder that diffusers' save_pretrained wrote"):
        load_painter(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(SaywhyError, match="cannot be loaded") as error:
        load_painter(str(tmp_path))
    assert "\n" not in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


def test_weights_that_could_run_code_are_not_read(painter_folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(painter_folder, tmp_path / "p")
    weights = tmp_path / "p" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.with_suffix(".bin").write_bytes(b"pickle")
    weights.unlink()
    with pytest.raises(SaywhyError, match="cannot be loaded"):
        load_painter(str(tmp_path / "p"))


def test_without_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(SaywhyError, match=r"pip install 'saywhy\[metrics\]'"):
        load_painter("x")


# -- LPIPS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_is_a_distance(net: str) -> None:
    pytest.importorskip("torchmetrics", reason="needs the optional package torchmetrics")
    network = load_lpips(net, random=True)
    a, b = picture(seed=1), picture(80, 80, seed=2)
    here, there, none, tripled = (
        lpips(x, y, network=network) for x, y in (([a, b], [b, a]), ([b, a], [a, b]), ([a], [a]), ([a] * 33, [b] * 33))
    )
    assert here == pytest.approx(there, rel=1e-4)
    assert none == [0]
    assert here[0] > 0.001
    assert tripled == pytest.approx([here[0]] * 33, rel=1e-4)  # whatever the batches


def test_lpips_gets_squares_from_minus_one_to_one() -> None:
    got: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            got.extend((a, b))
            return torch.zeros(len(a), 1, 1, 1)

    assert lpips([Image.new("L", (90, 40), 0)], [Image.new("RGB", (20, 20), "white")], network=Spy()) == [0]
    assert [tuple(x.shape) for x in got] == [(1, 3, SIDE, SIDE)] * 2
    assert (float(got[0].min()), float(got[0].max()), float(got[1].min()), float(got[1].max())) == (-1, -1, 1, 1)


def test_lpips_without_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics", reason="needs the optional package torchmetrics")
    load_lpips.cache_clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "reachable", lambda url: False)
    with pytest.raises(SaywhyError, match=r"alexnet-owt-7be5be79\.pth, and https://.* cannot be reached"):
        lpips([RED], [BLUE], "alex")
    with pytest.raises(SaywhyError, match="no LPIPS by 'vgg'; there are alex, squeeze"):
        load_lpips("vgg")


def test_the_weights_are_where_torchvision_puts_them() -> None:
    from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights

    for net, weights in (("alex", AlexNet_Weights.DEFAULT), ("squeeze", SqueezeNet1_1_Weights.DEFAULT)):
        assert weights.url.endswith("/" + module.LPIPS_NETS[net])


# -- features, seeds --------------------------------------------------------------------------------------------------


def test_feature_cosines_by_hand() -> None:
    class MeanColour(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.mean((2, 3)))

    def transform(image: Image.Image) -> torch.Tensor:
        return TRANSFORM(image) * 0.25 + 0.5  # colours from 0 to 1

    classifier = Classifier.from_module(MeanColour(), transform=transform, name="colour")
    purple = Image.new("RGB", (40, 40), (200, 0, 200))
    found = feature_cosines(classifier, [RED, RED, RED] * 6, [RED, BLUE, purple] * 6)
    assert found == pytest.approx([1, 0, 0.5**0.5] * 6, abs=1e-5)


def test_over_seeds() -> None:
    mean, spread = over_seeds([[1, 3], [2, 4], [3, 5]])
    assert (mean, spread) == (3, 1)  # the means of the seeds are 2, 3 and 4
    assert over_seeds([[1, 3]]) == (2, None)
