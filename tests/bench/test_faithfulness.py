"""The benchmark of maps: on a linear classifier, whose faithful map is known, and on the aviary."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms as T

from saywhy.bench import faithfulness as bench
from saywhy.bench import run_benchmark
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError

SIDE = 48
TRANSFORM = T.Compose([T.Resize((SIDE, SIDE)), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)])


def linear_case(count: int = 3) -> bench._Case:
    """Pictures with five parts, of a classifier whose logit falls without each by what gradient x input gives it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 3, bias=False))
    classifier = Classifier.from_module(network.eval(), transform=TRANSFORM, name="linear")
    pixels = torch.randn(count, 3, SIDE, SIDE)
    pixels -= pixels.mean((2, 3), keepdim=True)  # the filling, the mean colour, is 0
    targets = classifier.logits(pixels).argmax(1)
    parts = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    for part in range(1, 6):
        parts[:, 8 * part : 8 * part + 7, 4:30] = part
    rows = torch.einsum("koyx,oc->kcyx", network[2].weight.view(3, 3, SIDE, SIDE), network[0].weight[..., 0, 0])
    exact = (pixels * rows[targets]).sum(1).detach()
    falls = [{bench.PARTS[part]: float(exact[n][parts[n] == part].sum()) for part in range(1, 6)} for n in range(count)]
    return bench._Case("linear", classifier, pixels, targets, parts, falls)


def value(cell: str) -> float:
    return float(cell.split(" ")[0])


def test_the_exact_map_of_a_linear_classifier_gets_the_best_of_every_score() -> None:
    case = linear_case()
    rows, details = bench._faithful(case)
    by_name = {row["method"]: row for row in rows}
    exact, random = by_name["gradient-x-input"], by_name["random"]
    assert value(exact["infidelity"]) == pytest.approx(0, abs=0.01)
    assert value(exact["sensitivity-n"]) == pytest.approx(1, abs=0.01)
    assert value(exact["parts"]) == pytest.approx(1)
    assert value(exact["deletion"]) < value(random["deletion"])
    assert value(exact["insertion"]) > value(random["insertion"])
    for name in ("flip 4 mean", "flip 8 mean", "flip 16 mean"):
        assert value(exact[name]) > 1.5 > 0.8 > abs(value(random[name]))
    assert abs(value(random["sensitivity-n"])) < 0.3
    assert value(random["infidelity"]) > 0.6
    assert [name for name in by_name if name.endswith("(default)")] == ["lrp epsilon-plus (default)"]
    assert set(details["random"]["worse"]) >= {"infidelity", "sensitivity-n"}


def test_controls_do_not_ask_the_network() -> None:
    case = linear_case()
    other = torch.zeros_like(case.targets)
    for explain in bench.CONTROLS.values():
        one = explain(case.classifier, case.pixels, case.targets)
        assert one.shape == (3, SIDE, SIDE)
        assert torch.equal(one, explain(case.classifier, case.pixels, other))
    centre = bench.CONTROLS["centre"](case.classifier, case.pixels, other)
    assert centre[0, SIDE // 2, SIDE // 2] > 3 * centre[0, 0, 0]


def test_differences_are_paired_and_leave_out_what_is_unknown() -> None:
    default = np.array([1.0, 5.0, 9.0, np.nan])
    low, high = bench._apart(default + 0.5, default)
    assert low == pytest.approx(0.5) == high
    assert bench._shown(np.array([np.nan, np.nan])) is None
    assert bench._shown(default).startswith("5.00 ")


def test_what_is_refused() -> None:
    with pytest.raises(SaywhyError, match="needs pictures"):
        run_benchmark("faithfulness", 1, model="timm:resnet18")
    with pytest.raises(SaywhyError, match="of your own"):
        run_benchmark("faithfulness", 1, images="photos:all")
    with pytest.raises(SaywhyError, match="report"):
        run_benchmark("faithfulness", 1, half="reports")


@pytest.mark.slow
def test_lrp_is_more_faithful_than_chance_on_the_aviary() -> None:
    report = run_benchmark("faithfulness", 4, model="resnet", half="choose")
    rows = {row["method"]: row for row in report.rows}
    default = next(row for name, row in rows.items() if name.endswith("(default)"))
    assert value(default["flip 8 mean"]) > 0.5 > value(rows["random"]["flip 8 mean"])
    assert value(default["parts"]) > value(rows["random"]["parts"])
    (_, _, planted), (_, _, checked), (_, _, labels) = report.more
    lrp = next(row for row in planted if row["method"] == "lrp epsilon-plus")
    chance = next(row for row in planted if row["method"].startswith("chance"))
    assert value(lrp["bill"]) > 3 * value(chance["bill"])
    edges = next(row for row in checked if row["method"] == "edges")
    assert value(edges["all"]) == 1
    assert len(labels) == len(checked)
