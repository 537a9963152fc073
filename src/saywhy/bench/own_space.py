"""Do words mean anything in a classifier's own space? Attributes of real birds, in a space fitted on class names alone.

For each of CUB's attributes, the score of its phrase for a picture should be higher for birds of classes that have the
attribute (more than half of the annotators say so) than for birds of classes that do not (fewer than a tenth). The
measure is the ROC AUC over crops of the test half; chance is 0.5. No picture is used to fit anything.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import rankdata

from saywhy.bench import Report
from saywhy.errors import SaywhyError

HAS, LACKS = 50.0, 10.0  # percent of annotators


def run(limit: int | None = None) -> Report:
    """One row per kind of attribute. limit: pictures at most. Raises SaywhyError where the pack is not here."""
    from saywhy.classifier_space import ClassifierSpace
    from saywhy.classifiers import Classifier
    from saywhy.labels import encode_vocabulary
    from saywhy.similarity import unusual_scores
    from saywhy.text_encoder import load_encoder
    from saywhy.types import Vocabulary
    from saywhy.vocabulary import BIRD, parse_lines

    pack = find_pack()
    cub = pack / "cub-crops" / "CUB_200_2011"
    paths, classes = read_split(cub, train=False)
    if limit:
        chosen = np.random.default_rng(0).permutation(len(paths))[:limit]
        paths, classes = [paths[n] for n in chosen], classes[chosen]
    truth = np.loadtxt(cub / "attributes" / "class_attribute_labels_continuous.txt")[classes]  # (N, 312) percent
    attributes = parse_lines((pack / "text" / "cub" / "attributes.txt").read_text())

    space = ClassifierSpace(Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_inat_bird'}"), load_encoder())
    groups, phrases = zip(*attributes, strict=True)
    texts = encode_vocabulary(Vocabulary(phrases, groups, {"": BIRD}), space)
    images = space.encode_images([Image.open(path).convert("RGB") for path in paths])
    scores, _ = unusual_scores(images, texts, space.reference())

    kinds: dict[str, list[float]] = defaultdict(list)
    for m, (group, _) in enumerate(attributes):
        area = roc_auc(scores[:, m].numpy(), truth[:, m] > HAS, truth[:, m] < LACKS)
        if area is not None:
            kinds[group].append(area)
    areas = [area for some in kinds.values() for area in some]
    rows = [{"kind": k, "attributes": len(v), "AUC": float(np.mean(v))} for k, v in sorted(kinds.items())]
    summary = {
        "pictures": len(paths), "attributes": len(areas), "mean AUC": float(np.mean(areas)),
        "share above 0.7": float(np.mean(np.array(areas) > 0.7)),
    }  # fmt: skip
    rows.append({"kind": "all", "attributes": len(areas), "AUC": summary["mean AUC"]})
    return Report(
        "own-space",
        f"bird attributes in the bird model's own space, {len(paths)} test crops of CUB; chance is 0.5",
        ("kind", "attributes", "AUC"),
        rows,
        summary,
    )


def find_pack() -> Path:
    """The folder of real models and pictures: $SAYWHY_PACK, or ../shared/pack."""
    pack = Path(os.environ.get("SAYWHY_PACK", "../shared/pack"))
    if not (pack / "cub-crops").is_dir():
        raise SaywhyError(f"{pack}: the real models and birds are not here; set SAYWHY_PACK to their folder")
    return pack


def read_split(cub: Path, *, train: bool) -> tuple[list[Path], np.ndarray]:
    """Pictures and zero-based class indices of one half of a folder in CUB's layout."""

    def table(name: str) -> dict[str, str]:
        return dict(line.split(maxsplit=1) for line in (cub / name).read_text().splitlines() if line.strip())

    halves, labels = table("train_test_split.txt"), table("image_class_labels.txt")
    chosen = {n: name for n, name in table("images.txt").items() if halves[n].strip() == str(int(train))}
    return [cub / "images" / name.strip() for name in chosen.values()], np.array([int(labels[n]) - 1 for n in chosen])


def roc_auc(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float | None:
    """The chance that a positive scores above a negative, ties counting half; None where there is none of either."""
    p, n = int(positive.sum()), int(negative.sum())
    if not p or not n:
        return None
    ranks = rankdata(np.concatenate([scores[positive], scores[negative]]))
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))
