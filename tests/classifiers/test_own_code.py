"""A network of one's own by a file: run only where its user names it, and what is wrong with it in one line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from tests.cli.test_app import refused, saywhy
from tests.helpers import picture

CODE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torchvision import transforms as T
import saywhy
from beside import CLASSES

print("made")

@dataclass
class Settings:
    side: int = 32

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, len(CLASSES))
    def forward(self, x):
        from late import mean
        return self.head(mean(self.body(x).relu()))

bare = Net().eval()
transform = T.Compose([T.Resize((Settings().side,) * 2), T.ToTensor()])
classifier = saywhy.Classifier.from_module(bare, transform=transform, labels=CLASSES)
named = saywhy.Classifier.from_module(bare, transform=transform, name="birds-v3")

def make():
    return classifier

def needs(path):
    return classifier

def broken():
    raise ValueError("no weights\\nat all")

def wrong_labels():
    return saywhy.Classifier.from_module(bare, transform=transform, labels=["one"])

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text('CLASSES = ["gull", "tern"]\n')
    (tmp_path / "late.py").write_text("def mean(x):\n    return x.mean((2, 3))\n")
    path = tmp_path / "my_model.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize("name", ["classifier", "make"])
def test_a_classifier_or_a_function_that_makes_one(name: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"python:{file}:{name}"
    classifier = Classifier.load(source)
    assert classifier.labels == ("gull", "tern")
    assert classifier.name == source  # nobody named it
    assert classifier.record["code"].endswith(f": {name}")
    assert classifier.record["code"].startswith("my_model.py, SHA-256 ")
    assert classifier.predict([picture()])[0][0].name in classifier.labels
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "made\n")  # standard output is for answers


def test_a_name_that_its_maker_gave_stays(file: Path) -> None:
    assert Classifier.load(f"python:{file}:named").name == "birds-v3"


def test_nothing_of_the_users_own_stands_in_the_way_of_libraries(file: Path) -> None:
    (file.parent / "timm.py").write_text("import saywhy\nraise RuntimeError('never imported')\n")
    before = list(sys.path)
    Classifier.load(f"python:{file}:classifier")
    assert sys.path[: len(before)] == before
    assert "my_model" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clasifier", r"has no name 'clasifier'; did you mean classifier"),
        ("bare", r"bare is a network, Net, which does not know its transform; make it bare = saywhy.Classifier.from_m"),
        ("transform", r"transform is a Compose; it must be a saywhy.Classifier, or a function"),
        ("needs", r"needs needs path; it is called without arguments"),
        ("broken", r"my_model.py line 36: ValueError: no weights"),
        ("wrong_labels", r"my_model.py line 39: .*1 class name"),
        ("leaves", r"my_model.py line 42: SystemExit: 3"),
        ("not a name", r"give the file and a name in it, --model python:FILE.py:NAME"),
    ],
)
def test_what_is_wrong_is_one_line(name: str, message: str, file: Path) -> None:
    with pytest.raises(SaywhyError, match=message) as raised:
        Classifier.load(f"python:{file}:{name}")
    assert "\n" not in str(raised.value)


def test_files_that_are_absent_or_no_python(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "lost.py").write_text("\nimport no_such_library\n")
    (tmp_path / "net.pth").write_bytes(b"weights")
    for source, message in {
        f"python:{tmp_path}/none.py:net": r"there is no file .*none\.py",
        f"python:{tmp_path}/bad.py:f": r"SyntaxError: .*\(bad\.py line 2\)",
        f"python:{tmp_path}/lost.py:f": r"lost\.py line 2: ModuleNotFoundError: No module named 'no_such_library'",
        f"python:{tmp_path}/bad.py": r"bad\.py:NAME; NAME is a saywhy\.Classifier",
        f"{tmp_path}/bad.py:f": r"--model python:.*bad\.py:f",
        f"{tmp_path}/bad.py": r"--model python:.*bad\.py:NAME",
        f"{tmp_path}/net.pth": r"--model timm:NAME --checkpoint .*net\.pth.*--model python:FILE\.py:NAME",
    }.items():
        with pytest.raises(SaywhyError, match=message):
            Classifier.load(source)


def test_what_the_file_says_is_said_there_only(file: Path) -> None:
    for how in ({"labels": ["a", "b"]}, {"checkpoint": "x.pth"}, {"pretrained": False}, {"img_size": 96}):
        with pytest.raises(SaywhyError, match="said"):
            Classifier.load(f"python:{file}:classifier", **how)  # type: ignore[arg-type]


def test_the_command_line_explains_with_it(file: Path) -> None:
    picture().save(file.parent / "photo.png")
    result = saywhy(
        "explain", file.parent / "photo.png", "--model", f"python:{file}:make", "--checks", "none", "--json"
    )
    assert result.returncode == 0, result.stderr
    settings = json.loads(result.stdout)["settings"]
    assert settings["model"].endswith("my_model.py:make")
    assert settings["transform"] == "stretched to 32 x 32 (bilinear)"
    refused(saywhy("explain", file.parent / "photo.png", "--model", f"python:{file}:broken"), "ValueError: no weights")


def test_warnings_about_it_reach_the_terminal(file: Path) -> None:
    with file.open("a") as more:
        more.write("twice = saywhy.Classifier.from_module(bare, transform=transform, labels=['gull', 'gull'])\n")
    picture().save(file.parent / "photo.png")
    result = saywhy("explain", file.parent / "photo.png", "--model", f"python:{file}:twice", "--checks", "none")
    assert "'gull' is the name of classes 0 and 1" in result.stderr


def test_where_the_file_lies_changes_no_fingerprint(file: Path, tmp_path: Path) -> None:
    with file.open("a") as more:
        more.write("class Mine:\n    def __call__(self, image):\n        return transform(image)\n")
        more.write("mine = saywhy.Classifier.from_module(bare, transform=Mine())\n")
    prints = [Classifier.load(f"python:{file}:mine").fingerprint]
    shutil.copytree(file.parent, tmp_path / "moved", ignore=shutil.ignore_patterns("moved"))
    prints.append(Classifier.load(f"python:{tmp_path}/moved/my_model.py:mine").fingerprint)
    assert prints[0] == prints[1]


def test_what_lies_beside_one_file_is_not_anothers(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(file.parent, other, ignore=shutil.ignore_patterns("other"))
    (other / "beside.py").write_text('CLASSES = ["fox", "hare", "owl"]\n')
    for folder, labels in ((file.parent, ("gull", "tern")), (other, ("fox", "hare", "owl"))):
        assert Classifier.load(f"python:{folder}/my_model.py:classifier").labels == labels


def test_an_audits_folder_runs_no_code_and_needs_the_weights_again(tmp_path: Path) -> None:
    from saywhy.cli.loading import Loading, named_by_audit

    assert named_by_audit({"name": "timm:resnet18"}, Loading()) == "timm:resnet18"
    for name in (f"python:{tmp_path}/evil.py:x", "birds-v3"):
        with pytest.raises(SaywhyError, match="cannot be loaded by its name; give it with --model"):
            named_by_audit({"name": name}, Loading())
    own = {"name": "timm:resnet18", "checkpoint": "best.pth, SHA-256 0123"}
    assert named_by_audit(own, Loading(checkpoint=tmp_path / "best.pth")) == "timm:resnet18"
    with pytest.raises(SaywhyError, match=r"weights of its own \(best.pth, SHA-256 0123\); say as then --checkpoint"):
        named_by_audit(own, Loading())
