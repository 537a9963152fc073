"""Any classifier, whatever its origin, offers the same things; what it cannot offer it says plainly."""

from __future__ import annotations

import contextlib
import csv
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing import hub
from tests.helpers import TRANSFORM, TinyNet, picture, tiny_classifier

NAMES = ["toucan", "king snake", "ambulance", "teapot", "zebra"]


def timm_directory(path: Path, names: list[str] | None = None) -> Path:
    """A timm local directory of a small network."""
    network = timm.create_model("test_resnet", num_classes=5)
    path.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), path / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 5, "num_features": network.num_features}
    data = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0, "first_conv": "conv1"}
    (path / "config.json").write_text(json.dumps(config | {"label_names": names, "pretrained_cfg": data}))
    return path


def hf_directory(path: Path) -> Path:
    """A transformers local directory of a small network, as its own save_pretrained writes it."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def head_identity(classifier: Classifier) -> None:
    pixels = classifier.preprocess([picture(seed=n) for n in range(3)])
    features, head = classifier.features(pixels), classifier.head
    assert head.weight.shape == (len(classifier.labels), features.shape[1])
    assert head.bias.shape == (len(classifier.labels),)
    expected = classifier.logits(pixels)
    assert expected.std() > 0
    torch.testing.assert_close(features @ head.weight.T + head.bias, expected, rtol=1e-4, atol=1e-4)


def test_timm_directories_bring_their_names(tmp_path: Path) -> None:
    classifier = Classifier.load(f"timm:{timm_directory(tmp_path / 'net', NAMES)}")
    assert classifier.labels == tuple(NAMES)
    head_identity(classifier)
    assert classifier.preprocess([picture()]).shape == (1, 3, 64, 64)


def test_transformers_directories_bring_their_names(tmp_path: Path) -> None:
    classifier = Classifier.load(f"hf:{hf_directory(tmp_path / 'net')}")
    assert classifier.labels == tuple(NAMES)
    head_identity(classifier)
    assert classifier.geometry((64, 96)).frame == (32, 32)


@pytest.mark.parametrize("source", ["timm:resnet18", "torchvision:mobilenet_v3_small", "timm:vit_tiny_patch16_224"])
def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone(source: str) -> None:
    before = torch.random.get_rng_state()
    first, second = (Classifier.load(source, pretrained=False) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    pixels = first.preprocess([picture()])
    assert torch.equal(first.logits(pixels), second.logits(pixels))
    assert first.labels[:2] == ("tench", "goldfish")
    head_identity(first)


def test_your_own_module_is_left_as_it_was_found() -> None:
    module = TinyNet().train()
    module.head.bias.requires_grad_(False)
    classifier = Classifier.from_module(module, transform=TRANSFORM, labels=NAMES)
    classifier.predict([picture()])
    classifier.features(classifier.preprocess([picture()]))
    assert all(m.training for m in module.modules())
    assert [n for n, p in module.named_parameters() if not p.requires_grad] == ["head.bias"]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


class Elsewhere(nn.Module):
    """TinyNet with its logits in something else than a tensor."""

    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.network, self.wrap = TinyNet(), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.network(x))


@pytest.mark.parametrize("wrap", [lambda y: {"logits": y}, lambda y: (y, None), lambda y: [y]])
def test_logits_are_found_in_dicts_and_tuples(wrap: Callable[[Tensor], object]) -> None:
    head_identity(Classifier.from_module(Elsewhere(wrap), transform=TRANSFORM, labels=NAMES))


def test_a_network_that_returns_no_logits_is_refused() -> None:
    with pytest.raises(SaywhyError, match="str"):
        Classifier.from_module(Elsewhere(lambda y: "hello"), transform=TRANSFORM)
    with pytest.raises(SaywhyError, match="expected"):
        Classifier.from_module(nn.Conv2d(3, 5, 3), transform=TRANSFORM)


def test_a_head_may_be_a_convolution_of_one_pixel() -> None:
    body = TinyNet().body
    network = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 5, 1), nn.Flatten())
    head_identity(Classifier.from_module(network, transform=TRANSFORM))


def test_predictions_are_probabilities_best_first() -> None:
    classifier = tiny_classifier()
    (row,) = classifier.predict([picture()], top=5)
    assert [p.probability for p in row] == sorted((p.probability for p in row), reverse=True)
    assert sum(p.probability for p in row) == pytest.approx(1)
    assert all(p.name == NAMES[p.index] for p in row)
    many = classifier.predict([picture(seed=n) for n in range(5)], batch_size=2)
    alone = [classifier.predict([picture(seed=n)])[0] for n in range(5)]
    assert [r[0].index for r in many] == [r[0].index for r in alone]
    assert [r[0].probability for r in many] == pytest.approx([r[0].probability for r in alone])
    assert classifier.predict([]) == []


def test_it_works_in_inference_mode() -> None:
    classifier = tiny_classifier()
    with torch.inference_mode():
        assert classifier.predict([picture()])


def test_classes_are_named_by_index_or_name() -> None:
    classifier = tiny_classifier()
    assert classifier.class_index("King Snake") == classifier.class_index("1") == classifier.class_index(1) == 1
    for wrong, hint in (("snake", "king snake"), ("teapott", "teapot"), ("99", "0 to 4"), (-1, "0 to 4")):
        with pytest.raises(SaywhyError, match=hint):
            classifier.class_index(wrong)


def test_logits_that_are_not_finite_are_refused() -> None:
    classifier = tiny_classifier()
    with torch.no_grad():
        classifier.network.head.weight[0, 0] = float("nan")
    with pytest.raises(SaywhyError, match="not finite"):
        classifier.predict([picture()])


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(SaywhyError, match="2 class names for a classifier of 5"):
        Classifier.load(f"timm:{timm_directory(tmp_path / 'net', NAMES)}", labels=tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("resnet50", "did you mean timm:resnet50 or torchvision:resnet50"),
        ("keras:resnet50", "does not name a classifier"),
        ("timm:", "does not name a classifier"),
        ("timm:resnet5", "did you mean resnet50"),
        ("torchvision:resnet_50", "did you mean resnet50"),
    ],
)
def test_unknown_names_get_the_nearest_ones(source: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        Classifier.load(source)


def test_a_path_that_says_not_what_it_is_gets_the_right_words(tmp_path: Path) -> None:
    for config, meant in (
        ("{}", f"for this folder timm:{tmp_path} or hf:{tmp_path}$"),
        ('{"architecture": "resnet18"}', f"for this folder timm:{tmp_path}$"),
        ('{"model_type": "vit"}', f"for this folder hf:{tmp_path}$"),
    ):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(SaywhyError, match=meant):
            Classifier.load(str(tmp_path))
    empty, clip = tmp_path / "empty", tmp_path / "clip"
    empty.mkdir()
    with pytest.raises(SaywhyError, match=r"this folder has no config\.json"):
        Classifier.load(str(empty))
    clip.mkdir()
    (clip / "open_clip_config.json").touch()
    with pytest.raises(SaywhyError, match=f"no classifier: --space clip:{clip}"):
        Classifier.load(str(clip))
    weights = tmp_path / "best.pth"
    weights.touch()
    with pytest.raises(SaywhyError, match=f"--model timm:NAME --checkpoint {weights} --num-classes N"):
        Classifier.load(str(weights))


def test_a_folder_of_another_library_gets_its_prefix(tmp_path: Path) -> None:
    for config, source, meant in (
        ('{"model_type": "vit", "architectures": ["V"]}', "timm", "hf"), ('{"architecture": "resnet18"}', "hf", "timm")
    ):  # fmt: skip
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(SaywhyError, match=f"for this folder {meant}:{tmp_path}$"):
            Classifier.load(f"{source}:{tmp_path}")


@pytest.mark.parametrize("prefix", ["", "timm:", "hf:"])
def test_a_misspelled_folder_gets_the_one_beside_it(
    prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda url: False)
    (tmp_path / "my-model").mkdir()
    with pytest.raises(SaywhyError, match=rf"did you mean {tmp_path}/my-model\?$"):
        Classifier.load(f"{prefix}{tmp_path}/my-modle")


def test_a_device_that_is_not_here_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(SaywhyError, match="no device 'cuda:99' here; cpu is always there"):
        Classifier.load("timm:no-such-network", device="cuda:99")


@pytest.mark.parametrize("source", ["timm:resnet18", "hf:google/vit-base-patch16-224"])
def test_a_hub_that_cannot_be_reached_is_said_at_once(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(SaywhyError, match="world:aviary") as caught:
        Classifier.load(source)
    assert "\n" not in str(caught.value)
    assert "(no hub can be reached, and it is not in the local cache)" in str(caught.value)
    assert time.monotonic() - start < 20  # not a speed: the library would retry for most of a minute


class Explosive:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('code was run')",))


def test_nothing_unpickles_code(tmp_path: Path) -> None:
    directory = timm_directory(tmp_path / "net", NAMES)
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({"fc.weight": Explosive()}))
    with pytest.raises(SaywhyError, match="do not load"):
        Classifier.load(f"timm:{directory}")


def test_a_folder_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match=r"config\.json"):
        Classifier.load(f"timm:{tmp_path}")


@pytest.mark.parametrize(
    "config",
    ["[]", "{", '{"architecture": 3}', '{"pretrained_cfg": {"mean": "x"}}', '{"pretrained_cfg": {"crop_pct": "x"}}',
     '{"label_names": 3}', '{"pretrained_cfg": {"input_size": [3, -1, -1]}}', '{"num_classes": "many"}', "[" * 100_000],
)  # fmt: skip
def test_a_folders_settings_of_wrong_types_are_one_line(tmp_path: Path, config: str) -> None:
    folder = timm_directory(tmp_path, NAMES)
    whole, changed = json.loads((folder / "config.json").read_text()), None
    with contextlib.suppress(ValueError, RecursionError):
        changed = json.loads(config)
    if isinstance(changed, dict):
        data = whole["pretrained_cfg"] | changed.get("pretrained_cfg", {})
        config = json.dumps(whole | changed | {"pretrained_cfg": data})
    (folder / "config.json").write_text(config)
    with pytest.raises(SaywhyError):
        Classifier.load(f"timm:{folder}")


def test_the_real_network_knows_real_photographs(pack: Path) -> None:
    classifier = Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_imagenet'}")
    with (pack / "imagenet-samples" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::30]
    images = [Image.open(pack / "imagenet-samples" / "images" / Path(r["file"]).name).convert("RGB") for r in rows]
    right = [p[0].index == int(r["class_index"]) for p, r in zip(classifier.predict(images), rows, strict=True)]
    assert sum(right) >= 0.75 * len(rows)  # 89.5% of all 600
    head_identity(classifier)


def test_a_folders_own_python_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks whether it may be run
    ran = tmp_path / "ran"
    (tmp_path / "net.py").write_text(f"open({str(ran)!r}, 'w').close()")
    own = {"AutoConfig": "net.Config", "AutoModelForImageClassification": "net.Net"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "ones-own", "auto_map": own}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor"}))
    for pretrained in (True, False):
        with pytest.raises(SaywhyError):
            Classifier.load(f"hf:{tmp_path}", pretrained=pretrained)
    assert not ran.exists()
