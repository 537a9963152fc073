"""Do words mean anything in a classifier's own space? Attributes of real birds, in a space fitted on class names alone.

For each of CUB's attributes, the score of its phrase for a picture should be higher for birds of classes that have the
attribute (more than half of the annotators say so) than for birds of classes that do not (fewer than a tenth). The
measure is the ROC AUC over crops of the test half; chance is 0.5. No picture is used to fit anything.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy.stats import rankdata

from saywhy.bench import Report
from saywhy.bench.pack import find_pack
from saywhy.pictures.cub import HAS, LACKS, read_cub
from saywhy.pictures.reading import read_picture
from saywhy.words.cub_names import cub_vocabulary


def run(limit: int | None = None) -> Report:
    """One row per kind of attribute. limit: pictures at most. Raises SaywhyError where the pack is not here."""
    from saywhy.classifiers.classifier import Classifier
    from saywhy.questions.labels import encode_vocabulary
    from saywhy.spaces.own import ClassifierSpace
    from saywhy.spaces.similarity import unusual_scores
    from saywhy.spaces.text_encoder import load_encoder

    pack = find_pack()
    cub = read_cub(pack / "cub-crops", "test")
    birds = list(cub.birds)
    if limit:
        birds = [birds[n] for n in np.random.default_rng(0).permutation(len(birds))[:limit]]
    by_class = np.loadtxt(cub.root / "attributes" / "class_attribute_labels_continuous.txt")
    truth = by_class[[bird.label for bird in birds]]  # (N, 312) percent
    vocabulary, meant = cub_vocabulary(cub.attributes)

    space = ClassifierSpace(Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_inat_bird'}"), load_encoder())
    texts = encode_vocabulary(vocabulary, space)
    images = space.encode_images([read_picture(bird.path) for bird in birds])
    scores, _ = unusual_scores(images, texts, space.reference())

    kinds: dict[str, list[float]] = defaultdict(list)
    for n, (group, stands_for) in enumerate(zip(vocabulary.groups, meant, strict=True)):
        for m in sorted(stands_for):
            area = roc_auc(scores[:, n].numpy(), truth[:, m] > HAS, truth[:, m] < LACKS)
            if area is not None:
                kinds[group].append(area)
    areas = [area for of_kind in kinds.values() for area in of_kind]
    rows = [{"kind": k, "attributes": len(v), "AUC": float(np.mean(v))} for k, v in sorted(kinds.items())]
    summary = {
        "pictures": len(birds), "attributes": len(areas), "mean AUC": float(np.mean(areas)),
        "share above 0.7": float(np.mean(np.array(areas) > 0.7)),
    }  # fmt: skip
    rows.append({"kind": "all", "attributes": len(areas), "AUC": summary["mean AUC"]})
    return Report(
        "own-space",
        f"bird attributes in the bird model's own space, {len(birds)} test crops of CUB; chance is 0.5",
        ("kind", "attributes", "AUC"),
        rows,
        summary,
    )


def roc_auc(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float | None:
    """The chance that a positive scores above a negative, ties counting half; None where there is none of either."""
    p, n = int(positive.sum()), int(negative.sum())
    if not p or not n:
        return None
    ranks = rankdata(np.concatenate([scores[positive], scores[negative]]))
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))
