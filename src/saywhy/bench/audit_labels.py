"""Are label errors found that were planted? A twentieth of the labels changed at random, on scenes and on photographs.

Held-out scenes of the aviary with its classifier; ImageNet's photographs, one a class, which is hard; and CUB's birds
with a classifier that was trained on other pictures of birds. Beside the audit's finding stand cleanlab's filters, on
the same labels. Precision and recall are over all seeds, their intervals over pictures. The settings were chosen on the
seeds of ``--seeds choose``.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from rich.progress import track

from saywhy.audits.findings.label_errors import LISTED, find
from saywhy.audits.store import ROWS, Store
from saywhy.audits.subject import classes_of
from saywhy.audits.tables import KEPT
from saywhy.bench import Report
from saywhy.bench.pack import find_pack
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import interval_of, resampled
from saywhy.pictures.collections import Collection, collection
from saywhy.plumbing.extras import need

SEEDS = {"choose": range(10), "report": range(100, 120)}
WRONG = 0.05  # of the labels
SCENES = 2000
BATCH = 16
FILTERS = ("confident_learning", "prune_by_class", "prune_by_noise_rate", "both")
FIRST = 10  # of a finding's examples


def run(
    limit: int | None = None,
    seeds: Annotated[str, "of the changed labels: report, or choose, on which the settings were chosen"] = "report",
) -> Report:
    """A row a material and a way to find errors. limit: pictures of each material at most.

    Raises SaywhyError for other seeds.
    """
    if seeds not in SEEDS:
        raise SaywhyError(f"--seeds {seeds}: report or choose")
    rows, more, missing = list[dict[str, Any]](), list[dict[str, Any]](), ""
    for name, make in _MATERIALS.items():
        try:
            classifier, pictures = make(limit)
        except SaywhyError as error:
            missing = str(error)
            continue
        probabilities, labels = _probabilities(classifier, pictures, name)
        found, clean = _measured(probabilities, labels, classifier.labels, SEEDS[seeds])
        accuracy = float((probabilities.argmax(1) == labels).mean())
        rows += [{"material": name, "pictures": len(labels), "accuracy": f"{accuracy:.3f}"} | row for row in found]
        more.append({"material": name, "found where no label was changed": f"{clean} of {len(labels)}"})
    return Report(
        "audit-labels",
        f"{WRONG:.0%} of labels changed, {len(SEEDS[seeds])} times ({seeds}) [95 % over pictures]",
        ("material", "pictures", "accuracy", "found by", "precision", "recall", f"precision of the first {FIRST}",
         "said", "changed"),
        rows,
        {"seeds": seeds, "missing": missing},
        more=[("nothing changed", ("material", "found where no label was changed"), more)],
    )  # fmt: skip


def _scenes(limit: int | None) -> tuple[Classifier, Collection]:
    return Classifier.load("world:aviary"), collection(["world:aviary"], min(limit or SCENES, SCENES))


def _photographs(limit: int | None) -> tuple[Classifier, Collection]:
    pack = find_pack()
    return (
        Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_imagenet'}"),
        collection([str(pack / "imagenet-samples")], limit),
    )


def _birds(limit: int | None) -> tuple[Classifier, Collection]:
    pack = find_pack()
    return (
        Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_inat_bird'}"),
        collection([str(pack / "cub-crops" / "CUB_200_2011" / "images")], limit),
    )


_MATERIALS: dict[str, Callable[[int | None], tuple[Classifier, Collection]]] = {
    "scenes of world:aviary": _scenes,
    "ImageNet, one a class": _photographs,
    "CUB's birds": _birds,
}


def _probabilities(classifier: Classifier, pictures: Collection, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) what the classifier says of the pictures whose label it knows, and (N,) these labels."""
    known = classes_of(classifier.labels, {label for n in range(len(pictures)) for label in pictures[n].labels})
    entries = [pictures[n] for n in range(len(pictures))]
    entries = [entry for entry in entries if len(entry.labels) == 1 and entry.labels[0] in known]
    found = []
    for start in track(range(0, len(entries), BATCH), f"asking: {name}", transient=True):
        pixels = classifier.preprocess([entry.open() for entry in entries[start : start + BATCH]])
        with torch.no_grad():
            logits = classifier.logits(pixels.to(memory_format=torch.channels_last))
        found.append(classifier.probabilities(logits.float().cpu()).numpy().astype(np.float64))
    return np.concatenate(found), np.array([known[entry.labels[0]] for entry in entries])


def _measured(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], seeds: range
) -> tuple[list[dict[str, Any]], int]:
    """A row a way to find errors, over all seeds; and how many the audit finds where nothing was changed."""
    present = np.unique(labels)
    ways = ["saywhy audit", *(f"cleanlab, {name}" for name in FILTERS)]
    hits, said, first = (np.zeros((len(ways), len(labels))) for _ in range(3))
    first_of, changed = np.zeros(len(ways)), np.zeros(len(labels))
    for seed in track(seeds, "changing labels", transient=True):
        rng = np.random.default_rng(seed)
        wrong = rng.random(len(labels)) < WRONG
        given = labels.copy()
        for n in np.flatnonzero(wrong):
            given[n] = rng.choice(present[present != labels[n]])
        changed += wrong
        for way, order in enumerate([_ours(probabilities, given, names), *_cleanlab(probabilities, given)]):
            said[way, order] += 1
            hits[way, order] += wrong[order]
            first[way, order[:FIRST]] += wrong[order[:FIRST]]
            first_of[way] += len(order[:FIRST])
    rows = []
    for way, name in enumerate(ways):
        counts = np.stack([hits[way], said[way], changed], 1)
        drawn = resampled(len(labels), lambda weights, counts=counts: weights @ counts)  # type: ignore[misc]
        total = counts.sum(0)
        precision = interval_of(total[0] / max(total[1], 1), drawn[:, 0] / np.maximum(drawn[:, 1], 1))
        recall = interval_of(total[0] / total[2], drawn[:, 0] / np.maximum(drawn[:, 2], 1))
        rows.append(
            {
                "found by": name,
                "precision": f"{precision:.3f}", "recall": f"{recall:.3f}",
                f"precision of the first {FIRST}": f"{first[way].sum() / max(first_of[way], 1):.3f}",
                "said": int(total[1]), "changed": int(total[2]),
            }
        )  # fmt: skip
    return rows, len(_ours(probabilities, labels, names))


def _ours(probabilities: np.ndarray, given: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The pictures of the audit's finding, the likeliest errors first, by way of its tables."""
    kept = np.argsort(-probabilities, axis=1)[:, :KEPT]
    best = kept[:, 0]
    rows = [
        {
            "number": n, "file": str(n), "truth": names[label], "true_class": int(label),
            "predicted": int(best[n]), "prediction": names[best[n]], "probability": float(row[best[n]]),
            "correct": bool(best[n] == label), "true_probability": float(row[label]),
            "classes": kept[n].tolist(), "probabilities": row[kept[n]].tolist(),
        }
        for n, (row, label) in enumerate(zip(probabilities, given, strict=True))
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="saywhy-labels-") as folder:
        story = {"model": {"task": "single-label", "labels": list(names)}}
        store = Store.create(Path(folder) / "audit", story)
        store.commit(ROWS, "00000000", {"pictures": rows})
        findings = find(store.view()).findings
    listed = [one["number"] for finding in findings for one in finding.details["likeliest"]]
    if len(listed) == LISTED:
        raise SaywhyError(f"more than {LISTED} labels look wrong, and precision would be that of the first; take fewer")
    return np.array(listed, int)


def _cleanlab(probabilities: np.ndarray, given: np.ndarray) -> list[np.ndarray]:
    """The same by each of cleanlab's FILTERS, on the classes that have labels or are predicted."""
    find_label_issues = need("the comparison of bench audit-labels", "cleanlab.filter").find_label_issues
    kept = np.unique(np.concatenate([given, probabilities.argmax(1)]))
    few = probabilities[:, kept] / probabilities[:, kept].sum(1, keepdims=True)
    found = []
    for name in FILTERS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            order = find_label_issues(
                np.searchsorted(kept, given),
                few,
                filter_by=name,
                return_indices_ranked_by="normalized_margin",
                n_jobs=1,
            )
        found.append(np.asarray(order, int))
    return found
