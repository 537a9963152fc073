"""The study of ECOR in small: every table and the figure, and controls that are what they should be."""

from __future__ import annotations

import json
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from saywhy.bench import BENCHMARKS, Report, run_benchmark
from saywhy.bench.ecor import tables as ecor
from saywhy.checks.picture_change import PictureChange
from saywhy.checks.rationale_use import rationale_use
from saywhy.checks.text_swap import TextSwap
from saywhy.cli.bench import show_report
from saywhy.errors import SaywhyError
from saywhy.pictures.rationale_folders import write_doubly_right
from saywhy.training.prompts.settings import RECIPES
from saywhy.worlds.aviary import SPECIES
from saywhy.worlds.closeups import closeups, rationale_lists, rows

pytestmark = pytest.mark.usefixtures("own_cache")

SPACE = "world:aviary/captioned"
NAMES = tuple(SPECIES)[:4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Close-ups of four species, as photographs of which nobody knows how they were drawn."""
    out = tmp_path_factory.mktemp("birds") / "close-ups"
    drawn = [row for split in ("train", "test") for row in rows(closeups(NAMES, 40, split), split)]
    write_doubly_right(out, iter(drawn), rationale_lists(NAMES))
    return out


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The aviary's, for three steps, with enough pictures held out to say what is usual."""
    path = tmp_path_factory.mktemp("recipes") / "short.toml"
    path.write_text(
        (RECIPES / "aviary.toml").read_text().replace("validation = 0.1", "validation = 0.25") + "steps = 3\n"
    )
    return path


def run_on(folder: Path, short: Path, **more: Any) -> Report:
    return run_benchmark("ecor", **{"data": str(folder), "recipe": str(short), "space": SPACE, "seeds": "1", **more})


@pytest.fixture(scope="module")
def report(folder: Path, recipe: Path) -> Report:
    """With few methods: those of table II, and one ablation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ecor, "ALL", (*ecor.MAIN, "ab4"))
        patch.setattr(ecor, "ABLATIONS", ("ab3", "ab4", "ecor"))
        patch.setattr(ecor, "PAIRS", (("ecor", "dror"), ("ecor", "untrained")))
        patch.setattr(ecor, "WEIGHTS", (1.0,))
        patch.setattr(ecor, "TESTED", 12)
        patch.setattr("saywhy.checks.bottleneck.STRENGTHS", (1.0,))
        return run_on(folder, recipe)


def tables(report: Report) -> dict[str, tuple[Any, Any]]:
    return {report.title: (report.columns, report.rows)} | {title: (some, rows) for title, some, rows in report.more}


def table(report: Report, name: str) -> list[dict[str, Any]]:
    (found,) = [rows for title, (_, rows) in tables(report).items() if name in title]
    return list(found)


def check_tables(report: Report) -> None:
    """What holds of every run: columns, plain values, rates that are rates, and intervals around their values."""
    for columns, found in tables(report).values():
        assert found
        assert {name for row in found for name in row} <= set(columns)
        for row in found:
            if {"RR", "RW", "WR", "WW"} <= set(row):
                assert row["RR"] + row["RW"] + row["WR"] + row["WW"] == pytest.approx(100)
                assert row["skill"] == pytest.approx(row["RR"] - row["control's RR"])
            for name in row:
                if name.endswith(" low") and name.removesuffix(" low") in row:
                    middle, high = row[name.removesuffix(" low")], row[name.removesuffix("low") + "high"]
                    assert middle is None or row[name] - 1e-9 <= middle <= high + 1e-9
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    assert len(document["more"]) == len(report.more)


def test_it_is_listed() -> None:
    assert "ecor" in BENCHMARKS


def test_all_tables_are_there_and_all_is_plain(report: Report) -> None:
    check_tables(report)
    assert "table II" in report.title
    wanted = (
        "table IV", "differences", "controls", "blindly", "is used", "rationales' scores alone", "probabilities",
        "called visible", "highest P(c)", "weight and conditional", "published evaluation",
    )  # fmt: skip
    for name in wanted:
        assert table(report, name)
    assert len(report.more) == len(wanted)  # photographs: no table III, and nobody knows all that is in view
    document = report.document()
    assert (document["trained on"], document["validated on"], document["asked"]) == (30, 10, {"close-ups": 40})
    assert (document["seeds"], document["settings"]["steps"]) == (1, 3)


def test_all_columns_are_there(report: Report) -> None:
    """But for those that only drawn pictures have: parts, whose absence can be drawn."""
    drawn = ("used", "picture", "both", "fall", "elsewhere")
    for columns, found in tables(report).values():
        for row in found:
            assert all(name.startswith(drawn) or " by " in name for name in set(columns) - set(row))


def test_the_figure_is_a_picture(report: Report) -> None:
    assert set(report.figures) == {"ecor.png"}
    with Image.open(BytesIO(report.figures["ecor.png"])) as figure:
        assert figure.format == "PNG"
        assert min(figure.size) > 300


def test_ab3_is_dror_and_clip_has_one_run(report: Report) -> None:
    dror = [row for row in report.rows if row["method"] == "DROR"]
    ab3 = [row for row in table(report, "table IV") if row["method"].startswith("AB3")]
    assert [row | {"method": ""} for row in ab3] == [row | {"method": ""} for row in dror]
    assert [row["k"] for row in dror] == [5, 1]
    assert {row["runs"] for row in report.rows} == {1}


def test_blind_methods_have_no_skill(report: Report) -> None:
    for row in table(report, "blindly"):
        assert row["skill low"] <= 0
        assert row["best control"]


def test_the_sweep_holds_the_method_itself(report: Report) -> None:
    """Weight 1 is ECOR."""
    (asked,) = [row for row in report.rows if row["method"] == "ECOR" and row["k"] == 5]
    sweep = {(row["weight"], row["conditional"]): row for row in table(report, "weight and conditional")}
    assert sweep[1.0, "all"]["RR"] == pytest.approx(asked["RR"])
    assert sweep[1.0, "all"]["category"] == pytest.approx(asked["RR"] + asked["RW"])


def test_the_strict_evaluation_is_the_same_in_every_table(report: Report) -> None:
    right = {row["method"]: row["RR"] for row in report.rows if row["k"] == 5}
    for row in table(report, "published evaluation"):
        assert row["strict RR"] == pytest.approx(right[row["method"]])
        assert 0 <= row["compat RR"] <= 100  # its vote stops early: it may give more, and less
    for row in table(report, "controls"):
        if row["k"] == 5 and row["method"] in right:
            assert row["RR"] == pytest.approx(right[row["method"]])


def test_where_no_category_is_right_nothing_is_known_of_its_use() -> None:
    swap = TextSwap(torch.ones(3, 2), torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64))
    change = PictureChange(torch.ones(3, 2), torch.zeros(3, 2, 2))
    row = ecor._use_row("ecor", ecor.NAMED, rationale_use(np.zeros(3, bool), [swap], [change]))
    report = Report("ecor", "nothing", tuple(row), [row], more=[("more", tuple(row), [row])])
    (plain,) = json.loads(json.dumps(report.document(), allow_nan=False))["rows"]
    assert set(plain) == set(row)
    assert plain["tested"] == 0
    assert plain["used by text"] is plain["both high"] is plain["chance"] is None
    console = Console(file=StringIO(), width=300)
    show_report(report, console)
    assert "nan" not in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_all_of_it_on_the_aviary(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own pictures, which can be drawn again without a part, and with species that nothing is trained on."""
    monkeypatch.setattr(ecor, "TESTED", 8)
    monkeypatch.setattr(ecor, "DRAWS", 1)
    monkeypatch.setattr("saywhy.bench.ecor.study.KNOWN", NAMES)
    monkeypatch.setattr("saywhy.bench.ecor.study.HELD_OUT", tuple(SPECIES)[-3:])
    report = run_benchmark("ecor", 1, recipe=str(recipe), seeds="2")
    check_tables(report)
    assert len(table(report, "table III")) == 2 * len(ecor.MAIN)
    assert {row["method"] for row in table(report, "table IV")} == {ecor.NAMES[name] for name in ecor.ABLATIONS}
    for row in table(report, "says as facts"):
        assert row["said"] <= row["all reasons"]
        assert row.get("true", 100) >= 0
    for row in table(report, "all rationales in view"):
        assert 0 <= row["doubly F1"] <= row["F1"] <= 100
    assert all("used by both" in row for row in table(report, "is used"))


@pytest.mark.slow
def test_all_methods_on_a_folder_and_another_that_is_only_asked(
    folder: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecor, "TESTED", 8)
    others = tuple(SPECIES)[-3:]
    drawn = rows(closeups(others, 12, "test"), "test")
    write_doubly_right(tmp_path / "others", drawn, rationale_lists(others))
    report = run_on(folder, recipe, data=None, train_on=str(folder), test_on=str(tmp_path / "others"))
    check_tables(report)
    assert report.document()["asked"] == {"close-ups": 40, "others": 12}
    assert len(table(report, "table III: others")) == 2 * len(ecor.MAIN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": "some"}, "--seeds must be a number of runs, at least 1; it is 'some'"),
        ({"seeds": "0"}, "at least 1; it is '0'"),
        ({"recipe": "aviry"}, "no recipe 'aviry'"),
        ({"data": "world:digits"}, "only world:aviary has rationales"),
        ({"data": "world:aviary", "test_on": "birds"}, "only world:aviary has rationales"),
        ({"data": "no such folder"}, "no such folder"),
        ({"test_on": "no such folder"}, "no such folder"),
        ({"space": "clip:nowhere"}, "nowhere"),
        ({"model": "world:aviary"}, "ecor has no option --model"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, recipe: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        run_on(folder, recipe, **options)
