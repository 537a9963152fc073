"""What the ECOR benchmark measures on, of folders: which are trained on, which asked about, and by what name."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from saywhy.bench.ecor import tables as ecor
from saywhy.bench.ecor.study import folder_study
from saywhy.errors import SaywhyError
from saywhy.pictures.rationale_folders import write_doubly_right
from saywhy.training.prompts.settings import read_recipe

LISTS = {"robin": ["a red breast"], "crow": ["a black bill"]}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two data sets in folders of the same name."""
    for n, place in enumerate(("one", "other")):
        pictures = [
            (split, name, said, Image.new("RGB", (16, 16), (40 * n, 9 * k, len(split))))
            for split in ("train", "test")
            for name, said in LISTS.items()
            for k in range(3)
        ]
        write_doubly_right(tmp_path / place / "data", pictures, LISTS)
    return tmp_path / "one" / "data", tmp_path / "other" / "data"


def test_folders_of_the_same_name_are_told_apart(folders: tuple[Path, Path]) -> None:
    """What was measured is kept by name: one would be shown for the other."""
    one, other = map(str, folders)
    study = folder_study(one, other, read_recipe("aviary"), seeds=1)
    assert study.transfer is not None
    assert study.test.name != study.transfer.name
    assert [asked.data.root for asked in (study.test, study.transfer)] == [folders[0], folders[1]]
    held = {image.path for image in study.validation.images}
    assert held
    assert not held & {image.path for image in (*study.train.images, *study.test.data.images)}
    assert folder_study(one, one, read_recipe("aviary"), seeds=1).transfer is None


def test_data_that_would_not_be_used_are_refused() -> None:
    with pytest.raises(SaywhyError, match="used neither for training nor for evaluation"):
        ecor.run(data="a", train_on="b", test_on="c")
    with pytest.raises(SaywhyError, match="only world:aviary has rationales"):
        ecor.run(data="a", train_on="world:aviary")
