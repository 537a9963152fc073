"""What is said of preprocessing does what timm's and torchvision's own transforms do, and answers tell of it."""

from __future__ import annotations

import warnings
from argparse import Namespace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import v2

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.preprocessing import Preprocessing, PreprocessingWarning, described

NET = "test_resnet"
HALF = (0.5, 0.4, 0.3)


def noise(width: int = 210, height: int = 150) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(path: Path, **more: Any) -> Path:
    torch.manual_seed(0)
    torch.save({"state_dict": timm.create_model(NET, num_classes=3).state_dict()} | more, path)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return saved(tmp_path / "best.pth")


@pytest.mark.filterwarnings("ignore::saywhy.pictures.preprocessing.PreprocessingWarning")
@pytest.mark.parametrize(
    ("size", "crop", "mode", "how", "mean"),
    [
        *product((64, 96), (0.875, 1.0), ("center", "squash", "border"), ("bilinear",), (HALF,)),
        (80, 0.9, None, None, None),
    ],
)  # fmt: skip
def test_options_do_what_timms_own_transform_does(
    size: int, crop: float, mode: str | None, how: str | None, mean: Any, weights: Path
) -> None:
    args = {"img_size": size, "crop_pct": crop, "crop_mode": mode, "interpolation": how, "mean": mean, "std": mean}
    classifier = Classifier.load(f"timm:{NET}", checkpoint=weights, classes=3, device="cpu", **args)  # type: ignore[arg-type]
    config = timm.data.resolve_data_config(args, model=timm.create_model(NET))
    expected = timm.data.create_transform(**config, is_training=False)(noise())
    assert torch.equal(classifier.preprocess([noise()])[0], expected)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"img_size": 128, "crop_pct": 1.0, "crop_mode": "squash", "mean": HALF, "std": HALF},
            T.Compose([T.Resize((128, 128)), T.ToTensor(), T.Normalize(HALF, HALF)]),
        ),
        (
            {"img_size": 112, "crop_pct": 0.875, "interpolation": "bicubic"},
            T.Compose([
                T.Resize(128, T.InterpolationMode.BICUBIC), T.CenterCrop(112), T.ToTensor(),
                T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]),
        ),
        ({"std": (0.229, 0.224, 0.225)}, torchvision.models.ShuffleNet_V2_X0_5_Weights.DEFAULT.transforms()),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::saywhy.pictures.preprocessing.PreprocessingWarning")
def test_options_do_what_torchvisions_own_transforms_do(said: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=3).state_dict(), tmp_path / "net.pth")
    classifier = Classifier.load(
        "torchvision:shufflenet_v2_x0_5", checkpoint=tmp_path / "net.pth", classes=3, device="cpu", **said
    )
    torch.testing.assert_close(classifier.preprocess([noise()])[0], expected(noise()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet50", "vit_b_16", "efficientnet_b1", "swin_t"])
def test_saying_again_what_a_library_has_changes_nothing(name: str) -> None:
    from saywhy.classifiers.sources import _torchvision_transform

    weights = torchvision.models.get_model_weights(name).DEFAULT
    usual = weights.transforms()
    same = _torchvision_transform(weights, Preprocessing(mean=tuple(usual.mean)))
    torch.testing.assert_close(same(noise(500, 400)), usual(noise(500, 400)), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::saywhy.pictures.preprocessing.PreprocessingWarning")
def test_an_architecture_of_one_size_is_built_for_another(tmp_path: Path) -> None:
    name = "test_vit"
    torch.save(timm.create_model(name, num_classes=3, img_size=96).state_dict(), tmp_path / "vit.pth")
    classifier = Classifier.load(f"timm:{name}", checkpoint=tmp_path / "vit.pth", classes=3, img_size=96, device="cpu")
    assert classifier.logits(classifier.preprocess([noise()])).shape == (1, 3)


def train_py(**said: Any) -> Namespace:
    """The options of timm's train.py, as it keeps them."""
    none = dict.fromkeys(("img_size", "input_size", "crop_pct", "interpolation", "mean", "std", "num_classes"))
    return Namespace(**{**none, "interpolation": "", "model": NET, "smoothing": 0.1, **said})


def test_a_checkpoint_that_says_nothing_is_told_of_and_one_of_train_py_is_taken_at_its_word(tmp_path: Path) -> None:
    how: dict[str, Any] = {"classes": 3, "device": "cpu"}
    with pytest.warns(PreprocessingWarning, match=r"best.pth does not say.*assumed, as timm has it.*--img-size"):
        assumed = Classifier.load(f"timm:{NET}", checkpoint=saved(tmp_path / "best.pth"), **how)
    assert "--img-size, --crop-pct" in assumed.record["assumed"]

    path = saved(tmp_path / "last.pth", args=train_py(img_size=96, crop_pct=1.0, mean=[0.5]), arch=NET)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PreprocessingWarning)
        told = Classifier.load(f"timm:{NET}", checkpoint=path, **how)
        over = Classifier.load(f"timm:{NET}", checkpoint=path, img_size=64, **how)
    config = timm.data.resolve_data_config(
        {"img_size": 96, "crop_pct": 1.0, "mean": [0.5]}, model=timm.create_model(NET)
    )
    assert torch.equal(told.preprocess([noise()])[0], timm.data.create_transform(**config)(noise()))
    assert "assumed" not in told.record
    assert over.preprocess([noise()]).shape[-1] == 64  # what is said now goes before what was said in training


@pytest.mark.parametrize(
    ("options", "side", "mean"),
    [
        ({"image_size": 96, "mean": [0.1, 0.2, 0.3]}, 96, "0.1 0.2 0.3"),
        ({"input_size": (3, 96, 96)}, 96, None),
        ({"input_size": [96, 64]}, None, None),  # no square
        ({"img_size": "96", "mean": 0.5}, None, None),
        ({"mean": [123.7, 116.3, 103.5]}, None, None),  # of 0 to 255: doubtful
    ],
)
def test_of_lightnings_options_only_what_is_unmistakable_is_taken(
    options: dict[str, Any], side: int | None, mean: str | None, tmp_path: Path
) -> None:
    path = saved(tmp_path / "x.ckpt", hyper_parameters=options)
    usual = timm.data.resolve_model_data_config(timm.create_model(NET))["input_size"][-1]
    with pytest.warns(PreprocessingWarning, match="assumed"):
        classifier = Classifier.load(f"timm:{NET}", checkpoint=path, classes=3, device="cpu")
    assert classifier.preprocess([noise()]).shape[-1] == (side or usual)
    if mean is not None:
        assert f"mean {mean};" in classifier.record["transform"]


@pytest.mark.filterwarnings("error::saywhy.pictures.preprocessing.PreprocessingWarning")
def test_all_said_is_nothing_assumed(weights: Path) -> None:
    classifier = Classifier.load(
        f"timm:{NET}", checkpoint=weights, classes=3, device="cpu", img_size=96, crop_pct=1, crop_mode="squash",
        interpolation="bilinear", mean=HALF, std=HALF,
    )  # fmt: skip
    assert classifier.record == {
        "transform": "stretched to 96 x 96 (bilinear); centre 96 x 96; mean 0.5 0.4 0.3; std 0.5 0.4 0.3",
        "checkpoint": classifier.record["checkpoint"],
    }
    assert classifier.record["checkpoint"].startswith("best.pth, SHA-256 ")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"img_size": 0}, "--img-size 0: give the pixels"),
        ({"img_size": 2.5}, "--img-size 2.5"),
        ({"crop_pct": 87.5}, "--crop-pct 87.5: give a share"),
        ({"crop_mode": "centre"}, "there is no --crop-mode 'centre'; did you mean center"),
        ({"interpolation": "bicubik"}, "did you mean bicubic"),
        ({"mean": (0.5,)}, "--mean 0.5: give three numbers"),
        ({"mean": (123.675, 116.28, 103.53)}, "divide by 255: 0.485 0.456 0.406"),
        ({"std": (0.2, 0.0, 0.2)}, "--std 0.2 0 0.2: standard deviations are above 0"),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(SaywhyError) as raised:
        Preprocessing(**said)
    assert message in str(raised.value)


def test_a_source_that_says_its_preprocessing_takes_none() -> None:
    for source in ("world:aviary", "hf:somewhere", "python:net.py:net"):
        with pytest.raises(SaywhyError, match="cannot be said by --crop-pct"):
            Classifier.load(source, crop_pct=0.9)


def own(image: Image.Image) -> Tensor:
    pixels = np.array(image.resize((96, 72)), np.float32)
    return (torch.as_tensor(pixels).permute(2, 0, 1) / 255 - 0.4) / 0.25


def random(image: Image.Image) -> Tensor:
    return torch.rand(3, 8, 8)


@pytest.mark.parametrize(
    ("transform", "line"),
    [
        (
            torchvision.models.ResNet50_Weights.DEFAULT.transforms(),
            "shorter side to 232 (bilinear); centre 224 x 224; mean 0.485 0.456 0.406; std 0.229 0.224 0.225",
        ),
        (
            v2.Compose([v2.ToImage(), v2.Resize((64, 48)), v2.ToDtype(torch.float32, scale=True)]),
            "stretched to 48 x 64 (bilinear)",
        ),
        (own, "own: stretched to 96 x 72; mean 0.4 0.4 0.4; std 0.25 0.25 0.25 (measured)"),
        (random, "random, which does not show what it does"),
    ],
)
def test_what_a_transform_does_is_said_in_a_line(transform: Any, line: str) -> None:
    assert described(transform) == line


def test_answers_keep_how_pictures_are_prepared() -> None:
    import saywhy

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 72 * 96, 3)).eval()
    classifier = Classifier.from_module(network, transform=own)
    settings = saywhy.explain(noise(), model=classifier, checks="none").settings
    assert settings["transform"] == described(own)
