"""The evaluation counts what it says it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saywhy.bench import lrp_clip, run_benchmark
from saywhy.bench.lrp_clip import CUTS, IN_MAP, RANDOM, VARIANTS, _bias, _first, _row, interval, moved
from saywhy.bench.lrp_clip import Tally as Counts
from saywhy.errors import SaywhyError
from saywhy.pictures.cub import Bird, read_cub
from saywhy.types import Geometry
from saywhy.words.cub_names import bundled_attributes, cub_vocabulary, part_attributes
from saywhy.worlds.cub_layout import write_cub


def bird(**parts: tuple[float, float]) -> Bird:
    named = {name.replace("_", " "): at for name, at in parts.items()}
    return Bird(Path("x.png"), 0, (0, 0, 9, 9), named, frozenset({1}), None)


@pytest.fixture
def judge() -> lrp_clip.Judge:
    """Labels every crop "red crown", "hooked bill", "red belly", ... in this order, whatever it shows."""
    import torch

    names = (
        "has_crown_color::red",
        "has_bill_shape::hooked",
        "has_belly_color::red",
        "has_leg_color::red",
        "has_size::small",
    )
    vocabulary, meant = cub_vocabulary(names)

    class Fixed:
        name = "fixed"

        def encode_images(self, images: list[Image.Image]) -> torch.Tensor:
            return torch.tensor([[0.9, 0.3, 0.2, 0.1, 0.0]]).repeat(len(images), 1)

        def encode_texts(self, texts: list[str]) -> torch.Tensor:
            return torch.eye(5)

    speaks = [frozenset({lrp_clip.attribute_part(name)}) for name in names]
    return lrp_clip.Judge(Fixed(), vocabulary, meant, speaks, part_attributes())


def test_a_label_is_correct_where_its_part_is_in_the_crop_and_true_where_the_bird_has_it(judge: lrp_clip.Judge) -> None:
    seen = bird(crown=(5, 5), beak=(15, 5), tail=(35, 5))
    image = Image.new("RGB", (40, 10))
    boxes = {"LRP": [[(0, 0, 10, 10), (10, 0, 20, 10), (20, 0, 30, 10), (30, 0, 40, 10)]]}
    tally = {"LRP": Counts()}
    crops: list[lrp_clip.Crop] = []
    labels = judge.score(0, [seen], [image], boxes, tally, crops)
    assert [crop.words for crop in crops] == [[0, 1, 2, 3, 4]] * 4
    assert labels == {"LRP": [[[0, 1, 2, 3, 4]] * 4]}
    assert tally["LRP"].present == [True, True, False, True]
    assert tally["LRP"].correct == [1, 2, 999, 999]  # crown first, bill second, nothing there, no phrase for a tail
    assert tally["LRP"].true == [999, 2, 999, 999]  # the bird has attribute 1, the hooked bill
    assert tally["LRP"].parts == {"crown": 1, "bill": 1}
    row = _row("LRP", tally["LRP"], 1)
    assert row["part present"].startswith("75.0")
    assert row["correct @1"].startswith("25.0")
    assert row["correct @3"].startswith("50.0")
    assert row["mean area"] == 0.25
    assert _bias("LRP", tally["LRP"])["most"] == "crown 50.0, bill 50.0"


def test_points_on_the_edge_belong_to_one_crop(judge: lrp_clip.Judge) -> None:
    seen = bird(crown=(10, 5), left_eye=(10, 5))
    assert not judge.present(seen, (0, 0, 10, 10))
    assert judge.present(seen, (10, 0, 20, 10)) == {"crown", "eye"}


def test_ranks() -> None:
    assert _first([False, True, True]) == 2
    assert _first([]) == 999


def test_a_random_box_keeps_its_size_and_stays_inside() -> None:
    rng = np.random.default_rng(0)
    for box in ((0, 0, 30, 20), (5, 5, 6, 9), (0, 0, 40, 25)):
        for _ in range(50):
            left, top, right, bottom = moved(box, (40, 25), rng)
            assert (right - left, bottom - top) == (box[2] - box[0], box[3] - box[1])
            assert left >= 0
            assert top >= 0
            assert right <= 40
            assert bottom <= 25


def test_the_interval_holds_the_mean_and_narrows_with_pictures() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for pictures in (20, 2000):
        picture = np.repeat(np.arange(pictures), 3)
        hits = rng.random(3 * pictures) < 0.4
        low, high = interval(hits, picture, pictures)
        assert low <= 100 * hits.mean() <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
    same = np.repeat(rng.random(200) < 0.4, 3)  # crops of a picture that agree are worth one
    alone = rng.random(600) < 0.4
    picture = np.repeat(np.arange(200), 3)
    assert np.ptp(interval(same, picture, 200)) > 1.3 * np.ptp(interval(alone, picture, 200))


@pytest.mark.parametrize("cut", CUTS)
def test_every_cut_finds_the_relevant_corner(cut: str) -> None:
    relevance = np.zeros((64, 64))
    relevance[4:12, 48:60] = 1
    geometry = Geometry((128, 128), (64, 64), (2.0, 2.0), (0.0, 0.0))
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    regions = CUTS[cut](relevance, Image.fromarray(noise), geometry)
    _left, top, right, _bottom = regions[0].box
    assert regions[0].share == pytest.approx(relevance[regions[0].mask].sum() / relevance.sum())
    assert right > 96
    assert top < 24
    assert CUTS[cut](np.zeros((64, 64)), Image.fromarray(noise), geometry) == []


def test_both_tables_and_the_figure_from_a_folder(tmp_path: Path) -> None:
    data = write_cub(tmp_path / "birds", "planted-bill", test=4, size=96)
    report = run_benchmark("lrp-clip", None, data=str(data), model="world:aviary-bill", space="own")
    blind = [f"LRP, words {what}" for what in lrp_clip.OF_CONTROL.values()]
    names = [variant.name + which for variant in VARIANTS for which in ("", RANDOM)]
    assert [row["crops from"] for row in report.rows] == [*names, IN_MAP, *blind]
    by_name = {row["crops from"]: row for row in report.rows}
    for variant in VARIANTS:  # each beside random boxes of its own sizes
        mine, random = by_name[variant.name], by_name[variant.name + RANDOM]
        assert mine["crops"] == random["crops"]
        assert mine.get("mean area") == pytest.approx(random.get("mean area"))
    assert by_name["LRP"]["crops"] > 0
    for name in [IN_MAP, *blind]:
        assert by_name[name]["crops"] == by_name["LRP"]["crops"]
        assert by_name[name]["part present"] == by_name["LRP"]["part present"]  # the same crops
    assert report.document()["pictures"] == 4
    assert [row["crops from"] for row in report.more[1][2]] == [variant.name for variant in VARIANTS]
    assert report.figures["lrp-clip.png"].startswith(b"\x89PNG")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    data = write_cub(tmp_path / "birds", "planted-bill", test=2, size=48)
    with pytest.raises(SaywhyError, match="needs --model"):
        run_benchmark("lrp-clip", None, data=str(data))
    with pytest.raises(SaywhyError, match="has no option --data"):
        run_benchmark("lrp-speed", None, data=str(data))
    for bird_ in read_cub(data).birds:
        bird_.path.unlink()
    with pytest.raises(SaywhyError, match="no picture here can be used; 2 are listed and absent"):
        run_benchmark("lrp-clip", None, data=str(data), model="world:aviary-bill")


def test_the_bundled_attributes_are_all_phrased() -> None:
    vocabulary, _ = cub_vocabulary(bundled_attributes())
    assert len(vocabulary) == 312
