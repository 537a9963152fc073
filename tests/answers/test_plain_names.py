"""Names as a page shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from saywhy.answers.plain_names import plain_name, without_home


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("timm:/data/models/birds", "timm:birds"),
        ("timm:/data/models/birds/", "timm:birds"),
        ("hf:~/models/birds", "hf:birds"),
        ("timm:../birds", "timm:birds"),
        ("tuned:runs/2026/birds", "tuned:birds"),
        (r"timm:C:\models\birds", "timm:birds"),
        (r"C:\models\birds", "birds"),
        ("/data/birds", "birds"),
        ("hf:google/vit-base-patch16-224", "hf:google/vit-base-patch16-224"),
        ("clip:ViT-B-32/laion2b_s32b_b79k", "clip:ViT-B-32/laion2b_s32b_b79k"),
        ("timm:resnet50", "timm:resnet50"),
        ("world:aviary", "world:aviary"),
        ("the classifier itself, in words learned from a.csv", "the classifier itself, in words learned from a.csv"),
        ("timm:resnet50 at random weights", "timm:resnet50 at random weights"),
        ("", ""),
        ("/", "/"),
    ],
)
def test_folders_are_left_out_and_names_of_hubs_are_not(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_a_relative_folder_that_is_there_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "birds").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert plain_name("timm:models/birds") == "timm:birds"
    assert plain_name("timm:models/cars") == "timm:models/cars"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ada/birds and /Users/bob/x.png", "~/birds and ~/x.png"),
        ("/root/birds", "~/birds"),
        ("/home/ada", "~"),
        (r"C:\Users\ada\birds", r"~\birds"),
        ("/rooted/birds, /data/home.png", "/rooted/birds, /data/home.png"),
    ],
)
def test_no_home_is_shown(text: str, shown: str) -> None:
    assert without_home(text) == shown
