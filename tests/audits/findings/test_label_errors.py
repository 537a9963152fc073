"""Label errors: planted ones are found, in words, as cleanlab finds them; and none in labels that are right."""

from pathlib import Path

import numpy as np
import pytest

from saywhy.audits.findings.label_errors import find
from tests.audits.made import view_of

CLASSES = ("crow", "gull", "wren", "finch", "heron")


def _made(errors: float, count: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, C) probabilities of a good model, (N,) labels, and (N,) whether each label is wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(CLASSES), size=count)
    logits = rng.normal(0, 1, (count, len(CLASSES)))
    logits[np.arange(count), truth] += rng.uniform(2, 9, count)
    odds = np.exp(logits)
    wrong = rng.random(count) < errors
    labels = np.where(wrong, (truth + rng.integers(1, len(CLASSES), size=count)) % len(CLASSES), truth)
    return odds / odds.sum(1, keepdims=True), labels, wrong


def _rows(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, object]]:
    best = probabilities.argmax(1)
    return [
        {
            "number": n, "file": f"/home/me/photos/{n}.jpg", "truth": CLASSES[label], "prediction": CLASSES[best[n]],
            "predicted": int(best[n]), "probability": float(row[best[n]]), "true_class": int(label),
            "true_probability": float(row[label]), "correct": bool(best[n] == label),
            "classes": np.argsort(-row).tolist(), "probabilities": np.sort(row)[::-1].tolist(),
        }
        for n, (row, label) in enumerate(zip(probabilities, labels, strict=True))
    ]  # fmt: skip


def test_planted_errors_are_found_and_said(tmp_path: Path) -> None:
    probabilities, labels, wrong = _made(0.05)
    tested = find(view_of(tmp_path / "a", _rows(probabilities, labels), labels=CLASSES))
    (finding,) = tested.findings
    likeliest = [one["number"] for one in finding.details["likeliest"]]
    assert wrong[likeliest].mean() > 0.95
    assert wrong[likeliest].sum() > 0.6 * wrong.sum()
    first = finding.details["likeliest"][0]
    name = f"{first['number']}.jpg"
    assert f"“{name}”: labelled “{first['given']}”, looks like “{first['suggested']}”" in finding.sentence
    assert first["file"] == f"/home/me/photos/{name}"  # in the details it is whole
    assert first["given"] == CLASSES[labels[first["number"]]]
    assert finding.effect.low <= finding.effect.value <= finding.effect.high
    assert not finding.decides
    assert not set(finding.counters) & set(likeliest)


def test_right_labels_are_left_alone(tmp_path: Path) -> None:
    probabilities, labels, _ = _made(0.0)
    tested = find(view_of(tmp_path / "a", _rows(probabilities, labels), labels=CLASSES))
    assert sum(finding.details["found"] for finding in tested.findings) <= 3
    assert "trained on these labels" in tested.note


def test_it_is_cleanlabs_confident_learning_where_classes_are_large(tmp_path: Path) -> None:
    from cleanlab.filter import find_label_issues

    probabilities, labels, _ = _made(0.05, 2000, seed=1)
    (finding,) = find(view_of(tmp_path / "a", _rows(probabilities, labels), labels=CLASSES)).findings
    ours = {one["number"] for one in finding.details["likeliest"]}
    theirs = set(np.flatnonzero(find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)))
    assert len(ours & theirs) > 0.85 * len(ours | theirs)


def test_a_class_without_pictures_is_suggested_only_where_most_classes_have_some(tmp_path: Path) -> None:
    probabilities, labels, _ = _made(0.0, 400)
    rows = [row for row in _rows(probabilities, labels) if row["truth"] in ("crow", "gull")]
    rows[0] |= {
        "prediction": "heron", "predicted": 4, "probability": 1.0, "true_probability": 1e-9,
        "classes": [4, 0, 1], "probabilities": [1.0, 2e-9, 1e-9],
    }  # fmt: skip
    few = find(view_of(tmp_path / "few", rows, labels=CLASSES)).findings
    assert all("heron" not in (one["suggested"] for one in finding.details["likeliest"]) for finding in few)
    renamed = [row | {"predicted": min(int(row["predicted"]), 3)} for row in rows]
    (finding,) = find(view_of(tmp_path / "most", renamed, labels=[*CLASSES[:3], "heron"])).findings
    assert finding.details["likeliest"][0]["suggested"] == "heron"


def test_where_few_classes_have_pictures_the_choice_is_among_them(tmp_path: Path) -> None:
    probabilities, labels, _ = _made(0.0, 400)
    rows = [row for row in _rows(probabilities, labels) if row["truth"] in ("crow", "gull")]
    label = 1 if rows[0]["true_class"] == 1 else 0
    rows[0] |= {
        "prediction": "heron", "predicted": 4, "probability": 0.9, "true_probability": 1e-4,
        "classes": [4, 1 - label, label], "probabilities": [0.9, 0.0999, 1e-4],
    }  # fmt: skip
    (finding,) = find(view_of(tmp_path / "few", rows, labels=CLASSES)).findings
    assert finding.details["likeliest"][0]["number"] == rows[0]["number"]
    assert finding.details["likeliest"][0]["suggested"] == CLASSES[1 - label]


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
def test_what_cannot_be_looked_for_is_said(tmp_path: Path, task: str) -> None:
    tested = find(view_of(tmp_path / "a", [{"number": 0, "file": "0.jpg", "predicted": 0}], task=task))
    assert not tested.findings
    assert tested.note
