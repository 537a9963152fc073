"""One's own weights: found in whatever trained them, fitted exactly or refused in a line; no code is ever run."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from saywhy.classifiers.checkpoints import load_checkpoint
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from tests.cli.test_app import refused, saywhy
from tests.helpers import picture

NAMES = ["bishop", "knight", "rook", "queen", "pawn"]
ARCHITECTURE = "test_resnet"


def trained(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    network = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=5)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


KINDS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "state dict": lambda state: state,
    "timm train.py": lambda s: {"epoch": 3, "arch": "x", "state_dict": s, "optimizer": {"state": {}}, "metric": 0.9},
    "Lightning": lambda s: {"epoch": 3, "state_dict": prefixed("model.", s) | {"loss.weight": torch.ones(5)}},
    "DataParallel": lambda s: prefixed("module.", s),
    "AveragedModel": lambda s: prefixed("module.", s) | {"n_averaged": torch.tensor(7)},
    "torch.compile in Lightning": lambda s: {"state_dict": prefixed("net._orig_mod.", s)},
    "by hand": lambda s: {"model": s, "step": 7},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_is_found_in_what_trainers_write(kind: str, tmp_path: Path) -> None:
    network, path = trained(), tmp_path / "best.pth.tar"
    torch.save(KINDS[kind](network.state_dict()), path)
    classifier = Classifier.load(f"timm:{ARCHITECTURE}", checkpoint=path, classes=5, labels=NAMES, device="cpu")
    pixels = classifier.preprocess([picture()])
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(pixels), network(pixels))
    assert classifier.labels == tuple(NAMES)


def test_safetensors_and_torchvision_too(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    network = resnet18(num_classes=5).eval()
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    path = tmp_path / "net.safetensors"
    classifier = Classifier.load("torchvision:resnet18", checkpoint=path, classes=5, device="cpu")
    pixels = classifier.preprocess([picture()])
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(pixels), network(pixels))
    assert classifier.labels[0] == "class 0"


def test_averaged_weights_are_taken_where_they_are_asked_for(tmp_path: Path) -> None:
    plain, averaged, path = trained(1).state_dict(), trained(2).state_dict(), tmp_path / "last.pth.tar"
    torch.save({"state_dict": plain, "state_dict_ema": averaged}, path)
    for wanted, expected in ((False, plain), (True, averaged)):
        network = trained(9)
        load_checkpoint(network, path, averaged=wanted)
        assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())
    torch.save({"state_dict": plain}, path)
    with pytest.raises(SaywhyError, match="no averaged weights"):
        load_checkpoint(trained(), path, averaged=True)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def write_evil(path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump({"state_dict": Evil()}, file)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("none.pth", None, "no such checkpoint file"),
        ("net.onnx", Path.touch, "an ONNX file holds no PyTorch"),
        ("net.keras", Path.touch, "a Keras file"),
        ("net.pt2", Path.touch, "torch.export"),
        ("export.pkl", Path.touch, "fastai"),
        ("empty.pth", Path.touch, "cannot be read as a checkpoint"),
        ("text.pth", lambda path: path.write_text("no weights"), "is not read|cannot be read"),
        ("word.pth", lambda path: path.write_text("hello\n"), "damaged, or not written by torch.save"),
        ("evil.pth", write_evil, "is not read, as that would run code"),
        ("script.pt", lambda path: torch.jit.script(nn.Linear(2, 2)).save(path), "TorchScript hides its functions"),
        ("list.pth", lambda path: torch.save([1, 2], path), "no state dict in it"),
        ("other.pth", lambda path: torch.save(nn.Linear(2, 2).state_dict(), path), "weights of another network"),
        (
            "head.pth",
            lambda path: torch.save(timm.create_model(ARCHITECTURE, num_classes=7).state_dict(), path),
            "give the number of classes, --num-classes 7",
        ),
        (
            "cut.pth",
            lambda path: torch.save({k: v for k, v in trained().state_dict().items() if "fc.bias" not in k}, path),
            r"1 missing \(fc\.bias\)",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    name: str, write: Callable[[Path], Any] | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if write is not None:
        write(tmp_path / name)
    network = trained()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(SaywhyError, match=message) as raised:
        load_checkpoint(network, tmp_path / name)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Foreign:
    """Stands for a class of a library that is not installed here."""


def write_foreign(module: str, name: str, wrap: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Writes what torch.save makes of an object of that library's class."""

    def write(path: Path) -> None:
        kind = type(name, (Foreign,), {"__module__": module})
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            sys.modules[".".join(parts[:depth])] = ModuleType(parts[depth - 1])
        try:
            setattr(sys.modules[module], name, kind)
            torch.save(wrap(kind()), path)
        finally:
            for depth in range(1, len(parts) + 1):
                del sys.modules[".".join(parts[:depth])]

    return write


def write_export(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.randn(1, 2),)), path)


def write_keras(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("net.pt2", write_export, "a torch.export file hides its functions"),
        ("net.pt", write_export, "a torch.export file hides its functions"),
        ("traced.pt", lambda path: torch.jit.trace(nn.Linear(2, 2), torch.randn(1, 2)).save(path), "TorchScript hides"),
        ("net.keras", write_keras, "a Keras file"),
        ("net.weights", write_keras, "a Keras file"),
        ("net.pth", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64)), "a Keras file"),
        ("net.onnx", lambda path: path.write_bytes(b"\x08\x08\x12\x07pytorch"), "an ONNX file holds no PyTorch"),
        ("export.pkl", write_foreign("fastai.learner", "Learner", lambda x: x), "save learner.model.state_dict"),
        (
            "learner.pth", write_foreign("fastai.learner", "Learner", lambda x: x),
            r"holds fastai.learner.Learner beside tensors.*torch.save\(learner.model.state_dict\(\)",
        ),
        (
            "best.pt", write_foreign("ultralytics.nn.tasks", "ClassificationModel", lambda x: {"epoch": 1, "model": x}),
            "holds ultralytics.nn.tasks.ClassificationModel beside tensors",
        ),
        ("whole.pth", lambda path: torch.save(trained(), path), "holds timm.models.resnet.ResNet beside tensors"),
    ],
)  # fmt: skip
def test_files_of_other_formats_name_the_way_that_works(
    name: str, write: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(SaywhyError, match=message) as raised:
        load_checkpoint(trained(), tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_head_that_nobody_trained_is_refused() -> None:
    with pytest.raises(SaywhyError, match="has a head that nobody trained"):
        Classifier.load(f"timm:{ARCHITECTURE}", classes=5)
    with pytest.raises(SaywhyError, match="leave the number of classes out"):
        Classifier.load("world:aviary", classes=5, pretrained=False)


def test_the_command_line_takes_it_in_one_line(tmp_path: Path) -> None:
    torch.save({"state_dict": trained().state_dict()}, tmp_path / "best.pth.tar")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    picture().save(tmp_path / "photo.png")
    command = ["explain", tmp_path / "photo.png", "--model", f"timm:{ARCHITECTURE}", "--labels", tmp_path / "names.txt"]
    command += ["--checkpoint", tmp_path / "best.pth.tar", "--space", "own"]
    result = saywhy(*command, "--num-classes", 5)
    assert result.returncode == 0, result.stderr
    assert any(name in result.stdout for name in NAMES)
    refused(saywhy(*command), "--num-classes 5")
    refused(saywhy(*command, "--num-classes", 5, "--ema"), "no averaged weights")
