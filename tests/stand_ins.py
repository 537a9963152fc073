"""What README and docs speak of and a test machine has not: photographs, folders, weights on a hub. Small, rendered.

``furnish`` puts the files that a page names into a folder, ``replaced`` gives a command that needs no hub, and
``names_for`` what a page's Python takes as given.
"""

from __future__ import annotations

import ast
import builtins
import csv
import json
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from saywhy.worlds import SAMPLES
from tests.cli.test_app import saywhy
from tests.pages import ROOT, blocks

BIRDS = sorted((SAMPLES / "aviary").glob("*.jpg"))
LISTS = {"hookbill": ["a hooked bill", "red wings"], "finch": ["a cone bill", "a yellow crown"]}


def _copy(path: Path, which: int = 0) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(BIRDS[which]).save(path, format=None if path.suffix else "PNG")


@lru_cache
def _classes() -> tuple[Path, ...]:
    """The pictures of a small world of birds, a folder a class."""
    import tempfile

    folder = Path(tempfile.mkdtemp()) / "birds"
    made = saywhy("world", "write", "aviary", "--out", folder, "--train", 24, "--test", 24)
    assert made.returncode == 0, made.stderr
    return tuple(sorted((folder / "images").rglob("*.png")))


def _class_folders(path: Path, count: int = 12) -> None:
    for picture in _classes()[:: max(1, len(_classes()) // count)]:
        there = path / picture.parent.name.partition(".")[2] / picture.name
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, there)


@lru_cache
def _audit_once() -> Path:
    import tempfile

    folder = Path(tempfile.mkdtemp())
    _class_folders(folder / "photos", 48)  # what is inside is named from 40 on
    made = saywhy("audit", folder / "photos", "--model", "world:aviary", "--out", folder / "audit", "--quiet")
    assert made.returncode == 0, made.stderr
    return folder / "audit"


def _audit(path: Path) -> None:
    shutil.copytree(_audit_once(), path)


def _explanation(path: Path) -> None:
    from tests.helpers import explanation

    explanation().save(path)


def _timm_folder(path: Path) -> None:
    from tests.classifiers.test_classifier import timm_directory

    timm_directory(path)


def _own_code(path: Path) -> None:
    """The file of a network of one's own, as docs/your-model.md shows it."""
    pieces = [block.text for block in blocks(ROOT / "docs" / "your-model.md")]
    (path.parent / "my_model.py").write_text(next(text for text in pieces if text.startswith("# my_model.py")))


def _doubly_right(path: Path) -> None:
    made = saywhy("world", "write", "aviary", "--layout", "doubly-right", "--train", 20, "--test", 10, "--out", path)
    assert made.returncode == 0, made.stderr


def _labels(path: Path) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["file", "label", "camera"])
        for n, picture in enumerate(_classes()[::4]):
            out.writerow([picture, picture.parent.name.partition(".")[2].replace("_", " "), "AB"[n % 2]])


def _shards(path: Path) -> None:
    """Four WebDataset shards, their pictures dealt to them."""
    import io
    import tarfile

    for shard in range(4):
        with tarfile.open(path.parent / f"shards-{shard:04}.tar", "w") as file:
            for n, picture in enumerate(_classes()[4 * shard : 4 * shard + 3]):
                for ending, data in (("png", picture.read_bytes()), ("cls", b"3")):
                    member = tarfile.TarInfo(f"{n:03}.{ending}")
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))


def _text(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text, encoding="utf-8") and None


def _checkpoint(path: Path, classes: int) -> None:
    import timm
    import torch

    torch.save({"state_dict": timm.create_model("resnet18", num_classes=classes).state_dict()}, path)


OF_CLASSES: dict[str, Callable[[Path, int], None]] = {
    "names.txt": lambda path, classes: path.write_text("".join(f"piece {n}\n" for n in range(classes))) and None,
    "best.pth": _checkpoint,
    "best.pth.tar": _checkpoint,
}
"""Files that fit the number of classes which a command names, or five."""
FILES: dict[str, Callable[[Path], None]] = {
    "photo.jpg": _copy,
    "other.jpg": lambda path: _copy(path, 1),
    "bird.jpg": lambda path: _copy(path, 2),
    "PHOTO": lambda path: _copy(path, 3),
    "photos": _class_folders,
    "photographs": _class_folders,
    "data/holdout": _class_folders,
    "more/**/*.png": lambda path: _copy(path.parents[1] / "below" / "more.png", 4),
    "@list.txt": _text(f"{BIRDS[0]}\n"),
    "timm:path/to/folder": _timm_folder,
    "python:my_model.py:classifier": _own_code,
    "DIR": _doubly_right,
    "bank.txt": _text("a hooked bill\nred wings\na green crown\n"),
    "docs/photographs.csv": lambda path: shutil.copy(ROOT / "docs" / "photographs.csv", path) and None,
    "src/saywhy/worlds/samples/aviary/*.jpg": lambda path: _copy(path.parent / "a.jpg", 5),
    "explanation.json": _explanation,
    "my-words.txt": _text("a hooked bill\ncolour: red wings\ncolour: a green crown\n"),
    "lists.json": _text(json.dumps(LISTS)),
    "table.csv": _labels,
    "shards-{0000..0003}.tar": _shards,
    "rules.toml": _text("min_accuracy = 0.1\n"),
    "audit": _audit,
    "audit-of-main": _audit,
    "audit-of-last-month": _audit,
    "audit-of-the-last-version": _audit,
    "audit-of-the-new-version": _audit,
}
"""What a page may call a file or folder -> how a small one is made there."""

WORDS = {"clip": "world:aviary", "gpt2": "world:aviary"}
"""Words that stand for something else on a machine without a hub."""
KEPT = ("timm:resnet18", "timm:test_resnet", "torchvision:shufflenet_v2_x0_5", "timm:path/to/folder")
"""Architectures that pages name with weights of their own."""


def replaced(word: str) -> str:
    """The word of a command line, or what stands for it: models and CLIPs of a hub become embedded ones."""
    if word in WORDS or word in KEPT:
        return WORDS.get(word, word)
    kind, _, name = word.partition(":")
    if kind in ("timm", "hf", "torchvision", "clip") and name and not name.startswith("../shared"):
        return "world:aviary"
    return word


def furnish(folder: Path, words: Sequence[str]) -> None:
    """Make what those words name and what has a stand-in."""
    classes = int(words[words.index("--num-classes") + 1]) if "--num-classes" in words else 5
    for word in {word.rstrip("/") for word in words}:
        place = folder / word.removeprefix("@").removeprefix("timm:")
        if word in OF_CLASSES:
            OF_CLASSES[word](place, classes)
        elif word in FILES and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            FILES[word](place)


def free_names(source: str) -> set[str]:
    """The names that a piece of Python uses and does not make itself."""
    tree = ast.parse(source)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    made |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    made |= {argument.arg for node in ast.walk(tree) if isinstance(node, ast.arguments) for argument in node.args}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return {name.id for name in names} - made - set(dir(builtins))


@lru_cache
def _aviary() -> Any:
    from saywhy.classifiers.classifier import Classifier

    return Classifier.load("world:aviary")


def _picture(which: int = 2) -> Any:
    from PIL import Image

    return Image.open(BIRDS[which]).convert("RGB")


def _network() -> Any:
    from tests.helpers import TinyNet

    return TinyNet(3)


def _transform() -> Any:
    from tests.helpers import TRANSFORM

    return TRANSFORM


def _encoder() -> Any:
    from saywhy.spaces.text_encoder import load_encoder

    return load_encoder()


def _clip() -> Any:
    from saywhy.spaces.clip import load_clip

    return load_clip("world:aviary")


def _module(name: str) -> Callable[[], Any]:
    from importlib import import_module

    return lambda: import_module(name)


GIVEN: dict[str, Callable[[], Any]] = {
    "saywhy": _module("saywhy"),
    "torch": _module("torch"),
    "math": _module("math"),
    "Classifier": lambda: type(_aviary()),
    "Image": _module("PIL.Image"),
    "picture": _picture,
    "pictures": lambda: [_picture(which) for which in range(6)],
    "network": _network,
    "transform": _transform,
    "classifier": _aviary,
    "labels": lambda: _aviary().labels,
    "names": lambda: _aviary().labels,
    "encoder": _encoder,
    "clip": _clip,
    "space": _clip,
    "prediction": lambda: _aviary().predict([_picture()])[0][0],
    "runner_up": lambda: _aviary().predict([_picture()])[0][1],
    "vocabulary": lambda: _module("saywhy")().load_vocabulary("world:aviary"),
}
"""What a page's Python may take as given, where no earlier block of the page has made it -> how to make it."""


class _Replaced(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.copy_location(ast.Constant(replaced(node.value)), node) if isinstance(node.value, str) else node


def run_python(source: str, where: str, names: dict[str, Any], folder: Path) -> None:
    """Run a block of a page in those names, with stand-ins for what it takes as given and for models of a hub."""
    for name in sorted(free_names(source) - set(names)):
        if name not in GIVEN:
            raise AssertionError(f"{where}: {name} is not made on the page before it is used, and has no stand-in")
        names[name] = GIVEN[name]()
    tree = ast.parse(source)
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    furnish(folder, texts)
    exec(compile(ast.fix_missing_locations(_Replaced().visit(tree)), where, "exec"), names)
