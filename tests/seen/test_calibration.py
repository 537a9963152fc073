"""Calibrations: probabilities that are what they say, thresholds that hold, files that are known again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.seen.calibration import Calibration, shipped_calibration
from saywhy.seen.evidence import Evidence, gather, shifted_boxes
from saywhy.seen.fitting import FitOptions, fit_calibration, gated, threshold_for
from saywhy.seen.models import fit_model, probabilities
from saywhy.seen.pooling import learned, rivals_of, views_of
from saywhy.types import Vocabulary

COLOURS = ("red", "green", "blue", "grey")
WORDS = Vocabulary(
    (*(f"{colour} {part}" for part in ("wing", "tail") for colour in COLOURS), "a hat"),
    ("wing",) * 4 + ("tail",) * 4 + ("",),
    exclusive=frozenset({"wing", "tail"}),
    name="made up",
)


class FakeSpace:
    name = "a fake space"

    def __init__(self, seed: int = 0) -> None:
        self.map = torch.randn(3, 16, generator=torch.Generator().manual_seed(seed))

    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        means = [torch.from_numpy(np.asarray(i, np.float32).mean((0, 1))) for i in images]
        return torch.nn.functional.normalize(torch.stack(means) @ self.map, dim=1)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        rows = torch.tensor([[len(t), t.count("a") + 1.0, t.count("e") - 2.0] for t in texts])
        return torch.nn.functional.normalize(rows @ self.map, dim=1)


def pictures(count: int, seed: int = 0) -> tuple[list[Evidence], np.ndarray]:
    """Of each a colour per part, and perhaps a hat; scores of what is true lie higher, in three looks."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((count, len(WORDS)))
    truth[np.arange(count), rng.integers(0, 4, count)] = 1
    truth[np.arange(count), 4 + rng.integers(0, 4, count)] = 1
    truth[:, 8] = rng.random(count) < 0.2
    scores = 1.5 * truth[:, None] + rng.normal(0, 0.7, (count, 3, len(WORDS)))
    made = [torch.from_numpy(one).float() for one in scores]
    return [Evidence(WORDS, one / 10, one) for one in made], truth


def fitted(count: int = 200, **options: object) -> Calibration:
    evidence, truth = pictures(count)
    return fit_calibration(
        evidence, truth, FakeSpace(), data="200 made-up pictures", looks="two regions",
        options=FitOptions(**options),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["trees", "logistic"])
def test_what_is_said_of_other_pictures_is_true_as_often_as_promised(kind: str) -> None:
    calibration = fitted(kind=kind, target=0.9)
    evidence, truth = pictures(300, seed=1)
    there = np.stack([calibration.there(one).numpy() for one in evidence])
    said = gated(there, calibration.threshold, calibration.pooling.rivals)
    assert said.sum() > 300
    assert truth[said].mean() >= 0.88
    for low in np.arange(0, 1, 0.2):
        inside = (there >= low) & (there < low + 0.2)
        assert inside.sum() < 100 or abs(there[inside].mean() - truth[inside].mean()) < 0.08
    assert calibration.reliability.ece < 0.03
    assert calibration.figures.auc.min() > 0.8
    assert calibration.claims == calibration.figures.said.sum() / 200


@pytest.mark.parametrize("kind", ["trees", "logistic"])
def test_a_file_gives_the_same_probabilities(kind: str, tmp_path: Path) -> None:
    calibration = fitted(kind=kind)
    loaded = Calibration.load(calibration.save(tmp_path / "c.safetensors"))
    evidence = pictures(3, seed=2)[0]
    for one in evidence:
        torch.testing.assert_close(loaded.there(one), calibration.there(one), rtol=0, atol=0)
    assert loaded.basis == "calibrated on 200 made-up pictures"
    assert (loaded.threshold, loaded.kind, loaded.phrases) == (calibration.threshold, kind, WORDS.phrases)
    assert loaded.why_not(FakeSpace(), WORDS) == ""


def test_trees_give_what_scikit_learn_gives() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, 5))
    truth = (rows[:, 0] * rows[:, 1] + rng.normal(size=3000) > 0).astype(float)
    theirs = HistGradientBoostingClassifier(
        max_depth=4, max_iter=150, learning_rate=0.06, min_samples_leaf=60, early_stopping=False
    ).fit(rows, truth)
    other = rng.normal(size=(500, 5))
    ours = probabilities(fit_model("trees", rows, truth), other)
    np.testing.assert_allclose(ours, theirs.predict_proba(other)[:, 1], rtol=0, atol=1e-6)


def test_the_regression_without_a_picture_is_that_of_a_fit_without_it() -> None:
    evidence, truth = pictures(40)
    rivals = rivals_of(WORDS)
    views, _ = views_of(evidence, rivals, shifts=False)
    truth[:7, 2] = np.nan
    pooling, (without, everything) = learned(views, truth, rivals)
    n, m = 20, 2
    rows = ((views - pooling.centre) / pooling.scale)[:, :, rivals[m]].transpose(0, 2, 1).reshape(40, -1)
    keep = ~np.isnan(truth[:, m])
    keep[n] = False
    x, y = rows[keep], truth[keep, m] - pooling.prior[m]
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
    assert without[n, m] == pytest.approx(pooling.prior[m] + rows[n] @ weights)
    rows = ((views - pooling.centre) / pooling.scale).reshape(40, -1)
    keep = np.arange(40) != n
    inner = rows[keep] @ rows[keep].T + 100 * np.eye(39)
    weights = rows[keep].T @ np.linalg.solve(inner, truth[keep, 5] - pooling.prior[5])
    assert everything[n, 5] == pytest.approx(pooling.prior[5] + rows[n] @ weights)


@pytest.mark.parametrize("label", [np.nan, 0.0])
def test_what_was_never_there_is_not_known(label: float) -> None:
    evidence, truth = pictures(100)
    truth[:, 8] = label
    calibration = fit_calibration(evidence, truth, FakeSpace(), data="", looks="")
    there = calibration.there(evidence[0])
    assert bool(there[8].isnan())
    assert not bool(there[:8].isnan().any())


def test_other_words_and_other_spaces_are_refused() -> None:
    calibration = fitted()
    other = replace(WORDS, phrases=(*WORDS.phrases[:-1], "a cap"))
    assert "vocabulary made up" in calibration.why_not(FakeSpace(), other)
    assert calibration.why_not(FakeSpace(), replace(WORDS, templates={"": ("a {}",)})) != ""
    assert "a fake space" in calibration.why_not(FakeSpace(1), WORDS)
    evidence = pictures(1)[0][0]
    assert bool(calibration.there(replace(evidence, vocabulary=other)).isnan().all())


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    from saywhy.plumbing.tensors import write_tensors

    path = fitted().save(tmp_path / "c.safetensors")
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-300])
    write_tensors(tmp_path / "other", {"a": torch.zeros(3)}, {"a": 1})
    for name in ("cut", "other", "absent"):
        with pytest.raises(SaywhyError, match="saywhy calibrate") as raised:
            Calibration.load(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_too_few_pictures_or_one_sided_truth_cannot_be_calibrated() -> None:
    evidence, truth = pictures(40)
    with pytest.raises(SaywhyError, match="too few"):
        fit_calibration(evidence[:5], truth[:5], FakeSpace(), data="", looks="")
    with pytest.raises(SaywhyError, match="all of one group"):
        fit_calibration(evidence, truth, FakeSpace(), data="", looks="", groups=["x"] * 40)
    with pytest.raises(SaywhyError, match="nothing can be calibrated"):
        fit_calibration(evidence, np.zeros_like(truth), FakeSpace(), data="", looks="")
    with pytest.raises(SaywhyError, match="model kind"):
        FitOptions(kind="forest")


def test_a_threshold_that_nothing_reaches_is_infinite() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((100, len(WORDS))) < 0.3).astype(float)
    assert threshold_for(rng.random(truth.shape), truth, 0.95, rivals=rivals_of(WORDS)) == float("inf")


def test_a_threshold_is_found_where_all_is_certain_and_never_says_what_is_likelier_absent() -> None:
    truth = np.zeros((100, len(WORDS)))
    truth[:, [1, 6]] = 1
    rivals = rivals_of(WORDS)
    assert 0.5 <= threshold_for(np.where(truth == 1, 0.9998, 0.0001), truth, 0.95, rivals=rivals) <= 0.9998
    assert threshold_for(np.where(truth == 1, 0.4, 0.0), truth, 0.95, rivals=rivals) == float("inf")


def test_of_an_attribute_the_likeliest_is_said() -> None:
    there = np.array([[0.9, 0.95, 0.1, 0.2, 0.1, 0.85, 0.3, 0.1, 0.97]])
    assert np.flatnonzero(gated(there, 0.8, rivals_of(WORDS))[0]).tolist() == [1, 5, 8]


def test_shifted_crops_lie_in_the_picture_and_are_other_crops() -> None:
    for box in ((0, 0, 100, 80), (10, 10, 40, 30), (60, 0, 100, 80), (0, 0, 1, 1), (99, 79, 100, 80)):
        moved = shifted_boxes(box, (100, 80))
        assert all(0 <= left < right <= 100 and 0 <= top < bottom <= 80 for left, top, right, bottom in moved)
        assert box not in moved or box[2] - box[0] == 1


def test_steady_scores_are_the_mean_over_a_look_and_its_shifted_crops() -> None:
    space, texts = FakeSpace(), torch.nn.functional.normalize(torch.randn(len(WORDS), 16), dim=1)
    looks = torch.nn.functional.normalize(torch.randn(2, 16), dim=1)
    moved = torch.nn.functional.normalize(torch.randn(2, 3, 16), dim=2)
    one = gather([looks], texts, WORDS, space, [moved])[0]
    parts = [gather([vectors], texts, WORDS, space)[0].unusual for vectors in (looks, *moved.unbind(1))]
    assert one.steady is not None
    torch.testing.assert_close(one.steady, torch.stack(parts).mean(0))
    with pytest.raises(SaywhyError, match="shifted crops"):
        replace(fitted(), shifts=True).there(pictures(1)[0][0])


def test_a_world_without_a_calibration_has_none() -> None:
    assert shipped_calibration(FakeSpace(), WORDS) is None
