"""Concepts: do a class's published descriptors rank high for its photographs, and do found concepts help to classify?

Two measures of Sammani and Deligiannis 2025, section 4.3. The first holds the phrases against the truth, with shuffled
classes as the control. The second is Table 3: class name against class name and concepts, in the text that the row of a
class is generated from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from saywhy.bench import Report
from saywhy.bench.zsl import Task, all_but, read_folds, read_task, split
from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import read_json

CONCEPTS = 15  # B of the paper


def run(
    limit: int | None = None,
    *,
    model: Annotated[str | None, "The classifier."] = None,
    images: Annotated[str | None, "A folder with labels.csv, or with a folder a class."] = None,
    bank: Annotated[str | None, "A JSON of descriptors by class."] = None,
    folds: Annotated[str, "Folds of classes; 10:3 runs three of ten."] = "10:3",
) -> Report:
    """limit: pictures at most.

    model, images: as for ``saywhy bench zsl`` (default: the pack's).
    bank:   a JSON of descriptors by class, in the order of the classes (default: the pack's, for ImageNet).
    folds:  of classes, for Table 3; "10:3" takes three of ten.

    Every second picture was used in choosing the space's settings: the measures are on the others.
    """
    from saywhy.bench.pack import find_pack
    from saywhy.spaces.own import ClassifierSpace
    from saywhy.spaces.text_encoder import DEFAULT_ENCODER, load_encoder

    classifier, task, names = read_task(model, images, DEFAULT_ENCODER, limit)
    source = Path(bank) if bank else find_pack() / "text" / "classify_by_description" / "descriptors_imagenet.json"
    by_class = _descriptors(source, len(names))
    phrases = sorted({phrase for descriptors in by_class for phrase in descriptors})
    space = ClassifierSpace(classifier, load_encoder())
    texts = space.encode_texts(phrases)
    held_out = torch.arange(1, len(task.labels), 2)
    scores = space.encode_features(task.features[held_out]) @ texts.T
    labels = task.labels[held_out]
    rows = _descriptor_rows(scores, labels, by_class, phrases)
    blind = _control_rows(scores, task.features[held_out], space, texts, labels, by_class, phrases)
    count, first = read_folds(folds)
    chosen = split(len(names), count)[:first]
    table = _table_3(task, names, chosen, phrases, load_encoder())
    return Report(
        "concepts",
        f"{len(phrases)} descriptors in {classifier.name}'s own space, {len(held_out)} held-out pictures",
        tuple(rows[0]),
        rows,
        {"pictures": len(held_out), "descriptors": len(phrases)},
        [
            ("the first phrase of each picture, and phrases that did not look at it", tuple(blind[0]), blind),
            ("Table 3: class name, and class name with concepts", tuple(table[0]), table),
        ],
    )


def _descriptors(source: Path, classes: int) -> list[list[str]]:
    bank = read_json(source)
    lists = list(bank.values()) if isinstance(bank, dict) else []
    texts = all(isinstance(listed, list) and all(isinstance(text, str) for text in listed) for listed in lists)
    if len(lists) != classes or not texts:
        raise SaywhyError(f"{source}: expected an object from each of {classes} classes, in order, to its descriptors")
    return [list(descriptors) for descriptors in bank.values()]


def _descriptor_rows(
    scores: Tensor, labels: Tensor, by_class: Sequence[Sequence[str]], phrases: Sequence[str]
) -> list[dict[str, Any]]:
    """Of the true class's descriptors, and of a random other class's: percentile (0 is best) and top-15 precision."""
    index = {phrase: m for m, phrase in enumerate(phrases)}
    order = scores.argsort(1, descending=True)
    ranks = torch.empty_like(order).scatter_(1, order, torch.arange(len(phrases)).expand(len(scores), -1))
    rng = np.random.default_rng(0)
    shuffled = torch.from_numpy(rng.permutation(labels.numpy()))
    rows = []
    for name, classes in (("the true class", labels), ("shuffled classes", shuffled)):
        percentiles, precisions, first = [], [], []
        for n, c in enumerate(classes.tolist()):
            own = [index[phrase] for phrase in by_class[c]]
            percentiles += (100 * ranks[n, own] / len(phrases)).tolist()
            best = set(order[n, :CONCEPTS].tolist())
            precisions.append(len(best & set(own)) / min(CONCEPTS, len(own)))
            first.append(int(order[n, 0]) in own)
        rows.append(
            {
                "descriptors of": name, "median percentile": float(np.median(percentiles)),
                "found in top 15 %": 100 * float(np.mean(precisions)), "first is one %": 100 * float(np.mean(first)),
            }
        )  # fmt: skip
    return rows


def _control_rows(
    scores: Tensor, features: Tensor, space: Any, texts: Tensor, labels: Tensor, by_class: Sequence[Sequence[str]],
    phrases: Sequence[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """The best phrase and the best five: the share that the true class's descriptors have, beside controls."""
    from saywhy.bench.class_words import name_scores, row_scores
    from saywhy.metrics.word_controls import controls, word_rows

    index = {phrase: m for m, phrase in enumerate(phrases)}
    own = np.zeros((len(by_class), len(phrases)))
    for c, descriptors in enumerate(by_class):
        own[c, [index[phrase] for phrase in descriptors]] = 1
    head = space.classifier.head
    predicted = (features @ head.weight.T + head.bias).argmax(1).tolist()
    by_name = name_scores(phrases, texts, space, space.classifier.labels)
    by_row = row_scores(texts, space)
    rows = []
    for count in (1, 5):
        words = scores.topk(count, dim=1).indices.tolist()
        others = controls(words, predicted, by_name=by_name, by_row=by_row)
        rows += [{"best": count} | row for row in word_rows(words, own[labels.numpy()], others)]
    return rows


def _table_3(
    task: Task, names: Sequence[str], folds: Sequence[Tensor], phrases: Sequence[str], encoder: Any
) -> list[dict[str, Any]]:
    """Overall accuracy of generated rows: all classes compete, the seen and the fold's unseen ones.

    The paper does not say for what the concepts of a class are discovered. From the class's row alone they do not help;
    the published gain appears where they are those of the class's own pictures, which are the ones then classified.
    Such a gain says that the concepts tell these pictures from others (they are faithful), and not that a classifier
    became better: the labels of the test pictures went into its texts. Another class's pictures are the control.
    """
    from saywhy.bench.zsl import PROMPTS
    from saywhy.metrics.zero_shot import top_k
    from saywhy.spaces.own import PHRASES
    from saywhy.spaces.text_to_weights import centred, fit

    bank = encoder.encode(list(phrases))
    pictures = F.normalize(task.features, dim=1)
    other = task.labels[torch.randperm(len(task.labels), generator=torch.Generator().manual_seed(0))]
    accuracies: dict[str, list[tuple[float, float]]] = {}
    for unseen in track(folds, "Table 3", transient=True):
        seen = all_but(unseen, len(names))
        mapper = fit(task.texts[seen], task.weight[seen])
        by_phrase = fit(task.texts[seen], task.weight[seen], **PHRASES)(bank)
        rows = torch.where(seen[:, None], F.normalize(centred(task.weight), dim=1), mapper(task.texts))
        by_row = (rows @ by_phrase.T).topk(CONCEPTS, dim=1).indices
        by_picture = (pictures @ mapper(bank).T).topk(CONCEPTS, dim=1).indices
        concepts = {
            "+ concepts of its pictures": by_row.index_copy(0, task.labels, by_picture),
            "+ concepts of another class's pictures": by_row.index_copy(0, other, by_picture),
            "+ concepts of its row, no picture": by_row,
        }
        texts = {"class name": task.texts}
        for name, chosen in concepts.items():
            said = [
                PROMPTS[0].replace("{}", f"{names[c]}, {phrases[m]}")
                for c, chosen_of_class in enumerate(chosen.tolist())
                for m in chosen_of_class
            ]
            texts[name] = F.normalize(encoder.encode(said).reshape(len(names), CONCEPTS, -1).mean(1), dim=1)
        for name, vectors in texts.items():
            scores = pictures @ mapper(vectors).T
            accuracies.setdefault(name, []).append((top_k(scores, task.labels, 1), top_k(scores, task.labels, 5)))
    return [
        {"text": name} | dict(zip(("Top-1", "Top-5"), (100 * np.mean(per_fold, axis=0)).tolist(), strict=True))
        for name, per_fold in accuracies.items()
    ]
