"""Audits of data in other formats than folders: several labels, labels that the classifier lacks, and all of a kind."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from saywhy import SaywhyError
from saywhy.audits.audit import LabelWarning, subject_of
from saywhy.audits.chunks import describe_chunk
from saywhy.audits.options import AuditOptions
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.collections import collection
from saywhy.spaces.traits import KnowsFeatures

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


class Tint(nn.Module):
    """Says of each of red, green and blue whether it is in the picture: a multi-label network of known answers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 3)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])[..., None, None])
            self.conv.bias.zero_()
            self.head.weight.copy_(40 * torch.eye(3))
            self.head.bias.fill_(-5.0)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(pixels).relu().mean((2, 3)))


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image.resize((32, 32)), np.float32) / 255).permute(2, 0, 1)


@pytest.fixture
def tinted(tmp_path: Path) -> Path:
    """A table of pictures of one or two colours, side by side; what is said of the third is wrong."""
    rows = ["file,labels,site", "0.png,red|green,n", "1.png,blue,s", "2.png,red,s", "3.png,,n", "4.png,mauve;red,n"]
    for number, colours in enumerate((("red", "green"), ("blue", "blue"), ("green", "blue"), ("red", "red"),
                                      ("red", "blue"))):  # fmt: skip
        pixels = np.zeros((40, 60, 3), np.uint8)
        pixels[:, :30], pixels[:, 30:] = (COLOURS[colour] for colour in colours)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return tmp_path / "t.csv"


def test_several_labels_go_from_the_table_into_the_rows(tinted: Path) -> None:
    classifier = Classifier.from_module(
        Tint().eval(), transform=to_tensor, labels=list(COLOURS), task="multi-label", name="tint"
    )
    told = r"no class for 1 of the 4 labels of the data \(mauve\); pictures of these, 1, count"
    with pytest.warns(LabelWarning, match=told):
        subject = subject_of(collection([str(tinted)]), classifier, AuditOptions(batch_size=3), space="own")
    assert isinstance(subject.space, KnowsFeatures)
    rows = describe_chunk(subject, 0).tables["pictures"]
    assert [row["truths"] for row in rows] == [["red", "green"], ["blue"], ["red"], [], ["mauve", "red"]]
    assert [row["correct"] for row in rows] == [True, True, False, None, None]
    assert [row["truth"] for row in rows] == [None, "blue", "red", None, None]
    assert [row["true_class"] for row in rows] == [None, 2, 0, None, None]
    assert {row["prediction"] for row in rows[:1]} <= {"red", "green"}
    assert rows[0]["metadata"] == {"site": "n"}


def test_labels_that_are_all_known_are_not_warned_of(tinted: Path) -> None:
    classifier = Classifier.from_module(
        Tint().eval(), transform=to_tensor, labels=list(COLOURS), task="multi-label", name="t"
    )
    tinted.write_text("file,labels\n0.png,Red\n1.png,2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error", LabelWarning)
        subject = subject_of(collection([str(tinted)]), classifier, AuditOptions(), space="own")
    assert subject.classes == {"Red": 0, "2": 2}


def test_near_names_and_a_folder_of_one_class_are_told(tinted: Path) -> None:
    classifier = Classifier.from_module(
        Tint().eval(), transform=to_tensor, labels=["red_jay", "green", "blue"], name="t"
    )
    tinted.write_text("file,labels\n0.png,redjay\n1.png,2\n")
    with pytest.warns(LabelWarning, match=r"\(redjay: did you mean red_jay\?\)"):
        subject_of(collection([str(tinted)]), classifier, AuditOptions(), space="own")
    one = tinted.parent / "birds" / "Red_jay"
    one.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(one / "0.png")
    with pytest.warns(LabelWarning, match=f"no picture has a known class.* give the one above it, {one.parent}$"):
        subject_of(collection([str(one)]), classifier, AuditOptions(), space="own")
    other = one.rename(one.with_name("other"))
    with pytest.warns(LabelWarning, match="give a folder that has a folder for each class"):
        subject_of(collection([str(other)]), classifier, AuditOptions(), space="own")


def test_what_is_no_data_set_is_one_line(tmp_path: Path) -> None:
    for source in ("nowhere", str(tmp_path), str(tmp_path / "x.csv"), str(tmp_path / "x.tar")):
        with pytest.raises(SaywhyError) as raised:
            collection([source])
        assert "\n" not in str(raised.value)
