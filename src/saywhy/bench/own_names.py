"""Which class names does the check of ``own`` take for understood? Of real heads, cut to few classes at random.

Real names, names dealt to other classes, the next class's name, the classes' numbers, WordNet's ids and "class 7".
Beside the share that is understood: the share of pairs of held-out classes that the names tell apart, as the check
finds it, and the same for classes of the network that the cut left out, which the check never saw.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from saywhy.bench import Report
from saywhy.bench.pack import find_pack
from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import read_json

SIZES = (10, 20, 25, 30, 40, 60, 100, 300)
DRAWS = 20  # of each kind of names and size
OUTSIDE = 150  # classes that a cut left out
MODELS = {"imagenet": "mobilenetv2_imagenet", "birds": "mobilenetv2_inat_bird"}


def run(
    limit: int | None = None,
    model: Annotated[str, "whose head: imagenet or birds"] = "imagenet",
    seed: Annotated[str, "of the cuts; 0 chose the rule on imagenet"] = "1",
) -> Report:
    """A row a size and kind of names. limit: cuts of each at most. Raises SaywhyError without the pack."""
    from saywhy.classifiers.classifier import Classifier
    from saywhy.seen.names import check_names
    from saywhy.spaces.own import PHRASES, class_prompts
    from saywhy.spaces.text_encoder import load_encoder
    from saywhy.words.class_names import without_names

    if model not in MODELS:
        raise SaywhyError(f"--model {model}: imagenet or birds")
    if not seed.isdigit():
        raise SaywhyError(f"--seed {seed}: expected a whole number")
    pack, encoder = find_pack(), load_encoder()
    classifier = Classifier.load(f"timm:{pack / 'models' / MODELS[model]}")
    weights, labels = classifier.head.weight.detach().float().cpu(), classifier.labels
    ids = read_json(pack / "text" / "imagenet" / "wnids.json")
    prompts = encoder.encode(class_prompts(labels))
    rows: list[dict[str, Any]] = []
    for size in track([*(n for n in SIZES if n < len(labels)), len(labels)], "cutting the head", transient=True):
        found: dict[str, list[tuple[bool, float, float]]] = {}
        for draw in range(min(limit or DRAWS, DRAWS)):
            generator = torch.Generator().manual_seed(int(seed) * 100_000 + size * 100 + draw)
            order = torch.randperm(len(labels), generator=generator)
            cut, rest = order[:size].sort().values, order[size : size + OUTSIDE]
            dealt = torch.randperm(size, generator=generator).tolist()
            real = [labels[n] for n in cut.tolist()]
            kinds = {
                "real": real,
                "dealt to other classes": [real[n] for n in dealt],
                "the next class's": [labels[(n + 1) % len(labels)] for n in cut.tolist()],
                "numbers": [str(n) for n in range(size)],
                "WordNet ids": [ids[n] for n in cut.tolist()],
                "class 7": list(without_names(size)),
            }
            outside = _outside(prompts[cut], weights[cut], prompts[rest], weights[rest])
            for kind, names in kinds.items():
                check = check_names(names, weights[cut], encoder, **PHRASES, seed=draw)
                beyond = outside if kind == "real" else float("nan")
                found.setdefault(kind, []).append((check.understood, check.found, beyond))
        for kind, checks in found.items():
            understood, told, beyond = np.array(checks, float).T
            rows.append(
                {
                    "classes": size, "names": kind, "checks": len(checks), "understood": float(understood.mean()),
                    "told apart": float(told.mean()), "outside": float(beyond.mean()),
                }
            )  # fmt: skip
    wrong = [row for row in rows if row["names"] != "real"]
    checks = sum(row["checks"] for row in wrong)
    share = sum(row["understood"] * row["checks"] for row in wrong) / checks
    return Report(
        "own-names",
        f"class names that are taken for understood, {model}; of {checks} draws of names that mean nothing {share:.1%}",
        ("classes", "names", "checks", "understood", "told apart", "outside"),
        rows,
        {"model": model, "wrongly understood": share, "wrong names": checks},
    )


def _outside(known: Tensor, weights: Tensor, texts: Tensor, rows: Tensor) -> float:
    """The share of pairs of other classes that a mapper fitted on a cut tells apart; NaN where there are too few."""
    from saywhy.spaces.own import PHRASES
    from saywhy.spaces.text_to_weights import fit

    if len(texts) < 20:
        return float("nan")
    mapped = fit(known, weights, **PHRASES)(texts)
    cosines = F.normalize(rows - weights.mean(0), dim=1) @ mapped.T
    own = cosines.diagonal()
    right = own[:, None] + own[None] > cosines + cosines.T
    return float(right[~torch.eye(len(right), dtype=torch.bool)].float().mean())
