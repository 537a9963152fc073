"""Zero-shot classification by mapped class names: the tables 1, 5, 6, 7 and 12 of Sammani and Deligiannis (2025).

The classes are split into folds. Of each fold the head's rows are hidden: a mapper is fitted on the other classes'
names and rows, and the fold's classes are known by name only. Generalised: every class competes. Zero-shot: only the
fold's own.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from saywhy.bench import Report
from saywhy.errors import SaywhyError
from saywhy.pictures.sources import TABLE, list_pictures
from saywhy.plumbing.names import unknown
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.spaces.text_to_weights.icis import ICIS
from saywhy.words.class_names import folder_names, plain

PROMPTS = (  # Table 7
    "an image of a {}", "an image of the {}", "an image of one {}", "an image of a large {}", "an image of a nice {}",
    "an image of a weird {}", "a cropped image of a {}", "a black and white image of the {}",
)  # fmt: skip
ABLATIONS: dict[str, dict[str, Any]] = {  # Table 6: name -> switches of the MLP
    "mlp-random-parameters": {"epochs": 0},
    "mlp-mse": {"loss": "mse", "input_dropout": False, "soft_dropout": False},
    "mlp-cosine": {"input_dropout": False, "soft_dropout": False},
    "mlp-input-dropout": {"soft_dropout": False},
}
PICTURES = ("features", "halves")  # the paper's picture vector, and ours (classifier_space.picture_vectors)
KEPT = {"icis": "icis, rows and biases"}  # what a mapper's rows are kept under, where that is not its name
LOSSES = (0.01, 0.03, 0.05)  # of Train@1


@final
@dataclass(frozen=True, eq=False)
class Task:
    """features (N, d) and labels (N,) of pictures; the head; the embeddings (C, k) of its class names."""

    features: Tensor
    labels: Tensor
    weight: Tensor
    bias: Tensor
    texts: Tensor
    key: str  # differs where any of them does


def run(
    limit: int | None = None,
    *,
    model: Annotated[str | None, "The classifier."] = None,
    images: Annotated[str | None, "A folder with labels.csv, or with a folder a class."] = None,
    folds: Annotated[str, "Folds of classes; 10:3 runs three of ten."] = "10",
    mappers: Annotated[str, "Mappers to compare."] = "default,ridge,neighbours,blend,procrustes,mean,random-values",
    encoder: Annotated[str | None, "The text encoder."] = None,
    wordnet: Annotated[str | None, "Folder with WordNet 3.0's data.noun."] = None,
    transfer: Annotated[str | None, "Class folders that the classifier never knew."] = None,
    tsne: Annotated[str | None, "Also draw t-SNE of rows, with N classes of the first fold by name."] = None,
) -> Report:
    """limit: pictures at most.

    model, images: a classifier, and a folder with labels.csv or with a folder per class (default: those of the pack).
    folds:    how many; "10:3" takes the first three of ten.
    mappers:  names of text_to_weights.MAPPERS, "default", the ablations of the MLP, "mean" and "random-values".
    encoder:  a text encoder, as for load_encoder.
    wordnet:  folder with WordNet 3.0's data.noun, for Table 12 (looked for in /usr/share/wordnet).
    transfer: a folder of class folders that the classifier never knew, for Table 5.
    tsne:     draws the figures 2 and 5 by t-SNE, for N classes of the first fold and the first mapper: ``tsne.png``.

    Fits and features are kept on disk; their times are those of the run that made them.
    """
    from saywhy.spaces.text_encoder import DEFAULT_ENCODER, load_encoder

    wanted = [name.strip() for name in mappers.split(",") if name.strip()]
    _check(wanted)
    drawn = _read_count(tsne)
    count, first_folds = read_folds(folds)
    classifier, task, names = read_task(model, images, encoder or DEFAULT_ENCODER, limit)
    chosen = split(len(names), count)[:first_folds]
    rows, curves = [], {}
    figures: dict[str, bytes] = {}
    for name in wanted:
        fitted = [_generated(name, task, unseen) for unseen in track(chosen, name, transient=True)]
        if drawn and not figures:
            figures["tsne.png"] = tsne_figure(task, names, chosen[0][:drawn], fitted[0][0], name)
        for picture in PICTURES:
            row, curve = _measured(task, chosen, fitted, picture)
            rows.append({"mapper": name, "picture": picture, **row})
            curves[f"{name}, {picture}"] = curve
    text = load_encoder(encoder or DEFAULT_ENCODER)
    more = [_prompt_table(task, names, chosen, text)]
    parents = wordnet_parents(classifier.labels, Path(wordnet or "/usr/share/wordnet"))
    if parents:
        more.append(_parent_table(task, names, chosen, text, parents))
    if transfer:
        more.append(_transfer_table(classifier, text, Path(transfer)))
    first = ("mapper", "picture", "fit s", "Train@1", "Test@1", "ZSL@1", "H", "AUSUC")
    second = ("mapper", "picture", "Train@5", "Test@5", "ZSL@5", *(f"Test@1 at -{loss:.0%}" for loss in LOSSES))
    more.insert(0, ("The same: top five, and Test@1 at a loss of Train@1", second, rows))
    return Report(
        "zsl",
        f"{classifier.name}, {len(task.labels)} pictures, {len(chosen)} of {count} folds, texts by {text.name}",
        first,
        rows,
        {"pictures": len(task.labels), "folds": len(chosen), "compared": compared(curves), "curves": _thinned(curves)},
        more,
        {"zsl.png": _figure(curves), **figures},
    )


# -- the data ---------------------------------------------------------------------------------------------------------


def read_task(model: str | None, images: str | None, encoder: str, limit: int | None) -> tuple[Any, Task, list[str]]:
    """The classifier, what is needed of it and of its pictures, and its class names."""
    from saywhy.bench.pack import find_pack
    from saywhy.classifiers.classifier import Classifier
    from saywhy.classifiers.feature_cache import cached_features
    from saywhy.spaces.own import class_prompts
    from saywhy.spaces.text_encoder import load_encoder
    from saywhy.words.class_names import common_name

    classifier = Classifier.load(model or f"timm:{find_pack() / 'models' / 'mobilenetv2_imagenet'}")
    paths, labels = read_pictures(Path(images) if images else find_pack() / "imagenet-samples", classifier.labels)
    if limit:
        kept = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0))[:limit].tolist()
        paths, labels = [paths[n] for n in kept], [labels[n] for n in kept]
    features, head = cached_features(classifier, paths), classifier.head
    text = load_encoder(encoder)
    texts = text.encode(class_prompts(classifier.labels))
    key = f"{classifier.fingerprint}|{text.fingerprint}"
    task = Task(features, torch.tensor(labels), head.weight, head.bias, texts, key)
    return classifier, task, [common_name(label) for label in classifier.labels]


def read_pictures(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Pictures and class indices of a folder: by its labels.csv (columns file, class_index), or by class folders.

    A class folder has a class's name (see ``plain``), its English name, or its index. Raises SaywhyError where
    nothing fits.
    """
    pictures = list_pictures(folder)
    for label in (label for _, label in pictures if isinstance(label, int)):
        if not 0 <= label < len(classes):
            raise SaywhyError(f"{folder / TABLE}: class {label} of a classifier of {len(classes)} classes")
    known = folder_names(classes, {label for _, label in pictures if isinstance(label, str)})
    indices = [label if isinstance(label, int) else known.get(plain(label or "")) for _, label in pictures]
    if all(index is None for index in indices):
        raise SaywhyError(
            f"{folder}: no rows of a labels.csv, and no folder in it has the name of a class of the classifier"
        )
    both = [(path, index) for (path, _), index in zip(pictures, indices, strict=True) if index is not None]
    return [path for path, _ in both], [index for _, index in both]


def split(classes: int, folds: int) -> list[Tensor]:
    """Class indices of each fold; the same for the same numbers."""
    if not 2 <= folds <= classes // 2:
        raise SaywhyError(f"{folds} folds of {classes} classes: give at least 2, and two classes in each")
    return list(torch.randperm(classes, generator=torch.Generator().manual_seed(0)).tensor_split(folds))


def all_but(unseen: Tensor, classes: int) -> Tensor:
    """(C,) bool: the classes that are seen."""
    seen = torch.ones(classes, dtype=torch.bool)
    seen[unseen] = False
    return seen


def read_folds(folds: str) -> tuple[int, int]:
    """How many folds, and how many of them are wanted, of "10" or "10:3"."""
    match = re.fullmatch(r"(\d+)(?::([1-9]\d*))?", folds.strip())
    if not match:
        raise SaywhyError(f"--folds {folds!r}: give a number, or NUMBER:FIRST as in 10:3")
    return int(match[1]), int(match[2] or match[1])


def _check(names: Sequence[str]) -> None:
    from saywhy.spaces.text_to_weights import MAPPERS

    known = ["default", *MAPPERS, *ABLATIONS, "mean", "random-values"]
    if not names:
        raise SaywhyError(f"--mappers names none; there are {', '.join(known)}")
    for name in names:
        if name not in known:
            raise unknown("mapper", name, known)


# -- fitting and measuring --------------------------------------------------------------------------------------------


def _generated(name: str, task: Task, unseen: Tensor) -> tuple[Tensor, float]:
    """(C, d) rows for all classes by a mapper fitted on the seen ones, and the seconds it took. Slow fits are kept.

    Of ICIS (C, d + 1): rows as they are decoded, and the bias last.
    """
    from saywhy.plumbing.caches import cache_directory, keeping

    digest = hashlib.sha256(f"{task.key}|{KEPT.get(name, name)}|{unseen.tolist()}".encode()).hexdigest()[:24]
    kept = cache_directory() / "zsl" / f"{digest}.safetensors"
    if kept.is_file():
        with suppress(SaywhyError), reading_tensors(kept, "holds no rows") as file:
            return file.tensors["rows"], float(file.story)
    mapper, seconds = _fitted(name, task, unseen)
    if isinstance(mapper, ICIS):
        weight, bias = mapper.head(task.texts)
        rows = torch.cat([weight, bias[:, None]], 1)
    else:
        rows = mapper(task.texts)
    if seconds > 10:
        with keeping():
            write_tensors(kept, {"rows": rows}, seconds, make_folder=True)
    return rows, seconds


def _fitted(name: str, task: Task, unseen: Tensor) -> tuple[Callable[[Tensor], Tensor], float]:
    from saywhy.spaces.text_to_weights import DEFAULT_MAPPER, fit, mean_row, random_rows

    seen = all_but(unseen, len(task.texts))
    texts, weight = task.texts[seen], task.weight[seen]
    settings: dict[str, Any] = {"unseen": task.texts[unseen], "bias": task.bias[seen]} if name == "icis" else {}
    start = time.perf_counter()
    if name == "mean":
        return mean_row(weight), time.perf_counter() - start
    if name == "random-values":
        return random_rows(weight), time.perf_counter() - start
    if name in ABLATIONS:
        mapper = fit(texts, weight, method="mlp", **ABLATIONS[name])
    else:
        mapper = fit(texts, weight, method=DEFAULT_MAPPER if name == "default" else name, **settings)
    return mapper, time.perf_counter() - start


def _scores(task: Task, unseen: Tensor, rows: Tensor, picture: str) -> Tensor:
    """(N, C). The picture's vector knows of the head what is not hidden.

    ICIS as published puts its rows and biases beside the head's own ones, and reads the logits.
    """
    from saywhy.spaces.own import picture_vectors

    if rows.shape[1] > task.features.shape[1]:
        if picture == "features":
            seen = all_but(unseen, len(task.texts))
            weight = torch.where(seen[:, None], task.weight, rows[:, :-1])
            return task.features @ weight.T + torch.where(seen, task.bias, rows[:, -1])
        rows = F.normalize(rows[:, :-1], dim=1)
    if picture == "features":
        return F.normalize(task.features, dim=1) @ rows.T
    seen = all_but(unseen, len(task.texts))
    return picture_vectors(task.features, task.weight[seen], task.bias[seen]) @ rows.T


def _measured(
    task: Task, folds: Sequence[Tensor], fitted: Sequence[tuple[Tensor, float]], picture: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One row of the table, and the mean curve: seen and unseen accuracies at common calibrations' ranks."""
    from saywhy.metrics.zero_shot import seen_unseen_curve, top_k

    found = []
    grid = torch.linspace(0, 1, 101)
    curves = []
    for unseen, (rows, seconds) in zip(folds, fitted, strict=True):
        seen = all_but(unseen, len(task.texts))
        known = seen[task.labels]
        if known.all() or not known.any():
            continue  # no picture of this fold's classes, or of no others
        scores = _scores(task, unseen, rows, picture)
        curve = seen_unseen_curve(scores, task.labels, seen)
        place = torch.full((len(seen),), -1)
        place[unseen] = torch.arange(len(unseen))
        among = scores[~known][:, unseen], place[task.labels[~known]]
        train = top_k(scores[known], task.labels[known], 1)
        found.append(
            {
                "fit s": seconds,
                "Train@1": 100 * train,
                "Train@5": 100 * top_k(scores[known], task.labels[known], 5),
                "Test@1": 100 * top_k(scores[~known], task.labels[~known], 1),
                "Test@5": 100 * top_k(scores[~known], task.labels[~known], 5),
                "ZSL@1": 100 * top_k(*among, 1),
                "ZSL@5": 100 * top_k(*among, 5),
                "H": 100 * curve.harmonic,
                "AUSUC": curve.area,
            }
            | {f"Test@1 at -{loss:.0%}": 100 * curve.unseen_at(train - loss) for loss in LOSSES}
        )
        curves.append(torch.tensor([curve.unseen_at(float(level)) for level in grid]))
    if not found:
        raise SaywhyError("no fold has both pictures of its classes and of others: give more pictures or folds")
    mean = {key: sum(row[key] for row in found) / len(found) for key in found[0]}
    return mean, {"seen": grid, "unseen": torch.stack(curves).mean(0)}


def compared(curves: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, float]]:
    """Test@1 (percent) of every method at equal Train@1, for whole levels that can be compared."""
    levels = (0.85, 0.8, 0.75, 0.7)
    return {
        name: {f"Train@1 {level:.0%}": round(100 * float(curve["unseen"][round(level * 100)]), 1) for level in levels}
        for name, curve in curves.items()
    }


def _thinned(curves: dict[str, dict[str, Tensor]]) -> dict[str, list[float]]:
    return {name: [round(float(value), 4) for value in curve["unseen"][::5]] for name, curve in curves.items()}


# -- the further tables -----------------------------------------------------------------------------------------------


def _prompt_table(task: Task, names: Sequence[str], folds: Sequence[Tensor], text: Any) -> tuple[str, Any, Any]:
    """Table 7: the default mapper, fitted with the first prompt, asked with others; and with the mean of all."""
    asked = {prompt: text.encode([prompt.replace("{}", name) for name in names]) for prompt in PROMPTS}
    asked["the mean of these"] = F.normalize(torch.stack(list(asked.values())).mean(0), dim=1)
    mappers = [_fitted("default", task, unseen) for unseen in folds]
    rows = []
    for prompt, texts in asked.items():
        fitted = [(mapper(texts), seconds) for mapper, seconds in mappers]
        row, _ = _measured(task, folds, fitted, "halves")
        rows.append({"prompt": prompt} | {key: row[key] for key in ("Train@1", "Test@1", "Test@5", "ZSL@1", "AUSUC")})
    return "Table 7: prompts at inference", ("prompt", "Train@1", "Test@1", "Test@5", "ZSL@1", "AUSUC"), rows


def _parent_table(
    task: Task, names: Sequence[str], folds: Sequence[Tensor], text: Any, parents: Sequence[Sequence[str]]
) -> tuple[str, Any, Any]:
    """Table 12: names with their parents in WordNet. Not the default: a head's classes do not come with a hierarchy."""
    from dataclasses import replace

    versions = {
        "class names": list(names),
        "+ broad parent": [f"{n}, a type of {_broad(chain)}" for n, chain in zip(names, parents, strict=True)],
        "+ type parent": [
            f"{n}, a type of {chain[0] if chain else n}" for n, chain in zip(names, parents, strict=True)
        ],
        "+ three parents": [", ".join([n, *chain[:3]]) for n, chain in zip(names, parents, strict=True)],
    }
    rows = []
    for version, said in versions.items():
        texts = text.encode([PROMPTS[0].replace("{}", name) for name in said])
        other = replace(task, texts=texts, key=f"{task.key}|{version}")
        row, _ = _measured(other, folds, [_generated("default", other, unseen) for unseen in folds], "halves")
        rows.append({"names": version} | {key: row[key] for key in ("Train@1", "Test@1", "Test@5", "ZSL@1", "AUSUC")})
    return "Table 12: WordNet's parents", ("names", "Train@1", "Test@1", "Test@5", "ZSL@1", "AUSUC"), rows


_BROAD = (
    "animal",
    "plant",
    "food",
    "person",
    "vehicle",
    "device",
    "clothing",
    "structure",
    "instrumentality",
    "artifact",
)


def _broad(chain: Sequence[str]) -> str:
    return next((name for name in _BROAD if name in chain), chain[-1] if chain else "thing")


def wordnet_parents(labels: Sequence[str], folder: Path) -> list[list[str]]:
    """The chain of hypernyms of each of ImageNet's classes, nearest first; [] where WordNet or the ids are not here."""
    nouns = folder / "data.noun"
    if len(labels) != 1000 or not nouns.is_file():
        return []
    from timm.data import ImageNetInfo

    imagenet = ImageNetInfo().label_descriptions()
    if sum(plain(a.split(",")[0]) == plain(b.split(",")[0]) for a, b in zip(labels, imagenet, strict=True)) < 500:
        return []  # a thousand other classes
    above: dict[str, str] = {}
    word: dict[str, str] = {}
    for line in nouns.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue  # the licence
        cells = line.split()
        word[cells[0]] = cells[4].replace("_", " ")
        at = 4 + 2 * int(cells[3], 16)
        pointers = cells[at + 1 : at + 1 + 4 * int(cells[at])]
        for symbol, target in zip(pointers[::4], pointers[1::4], strict=True):
            if symbol in ("@", "@i"):
                above.setdefault(cells[0], target)
    chains = []
    for wnid in ImageNetInfo().label_names():
        chain, at_id = [], wnid[1:]
        while at_id in above:
            at_id = above[at_id]
            chain.append(word[at_id])
        chains.append(chain)
    return chains


def _transfer_table(classifier: Any, text: Any, folder: Path) -> tuple[str, Any, Any]:
    """Table 5: classes of another data set, by the names of their folders; none of the classifier's own competes."""
    from saywhy.classifiers.feature_cache import cached_features
    from saywhy.metrics.zero_shot import top_k
    from saywhy.pictures.reading import picture_files
    from saywhy.spaces.own import ClassifierSpace, class_prompts

    found = {path: picture_files(path) for path in sorted(folder.glob("*")) if path.is_dir()}
    places = [place for place, files in found.items() if files]
    if len(places) < 2:
        raise SaywhyError(f"--transfer {folder}: needs a folder of pictures for each of two classes or more")
    names = [plain(place.name) for place in places]
    paths = [(path, n) for n, place in enumerate(places) for path in found[place]]
    labels = torch.tensor([n for _, n in paths])
    space = ClassifierSpace(classifier, text)
    images = space.encode_features(cached_features(classifier, [path for path, _ in paths]))
    scores = images @ space.encode_texts(class_prompts(names)).T
    row = {
        "data": folder.name, "classes": len(names), "pictures": len(labels), "chance@1": 100 / len(names),
        "Test@1": 100 * top_k(scores, labels, 1), "Test@5": 100 * top_k(scores, labels, 5),
    }  # fmt: skip
    return "Table 5: transfer to other classes", tuple(row), [row]


def _read_count(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isdecimal() or int(text) < 2:
        raise SaywhyError(f"--tsne {text}: give the number of classes to name, 2 or more")
    return int(text)


def tsne_figure(task: Task, names: Sequence[str], held_out: Tensor, rows: Tensor, mapper: str, seed: int = 0) -> bytes:
    """The figures 2 and 5, as PNG: the head's rows, and what a mapper that never saw some of them makes of their names.

    One embedding of both, so that a held-out class's two points can be joined: the source shows the mapped ones alone,
    where neighbours look right whether or not they lie where the head has them. The same for the same seed.

    held_out: classes that the mapper was not fitted on. rows: (C, d) mapped from all names (ICIS: with a bias last).
    """
    from sklearn.manifold import TSNE

    from saywhy.answers.drawing import as_png, literal, new_figure
    from saywhy.spaces.text_to_weights import centred

    head = F.normalize(centred(task.weight), dim=1)
    mapped = F.normalize(rows[held_out, : head.shape[1]], dim=1)
    points = torch.cat([head, mapped]).numpy()
    tsne = TSNE(perplexity=min(30, (len(points) - 1) / 3), metric="cosine", init="pca", random_state=seed)
    placed = tsne.fit_transform(points)
    own, by_name, everyone = placed[held_out.numpy()], placed[len(head) :], placed[: len(head)]
    figure = new_figure(figsize=(13, 6.2), layout="tight")
    for axis, there in zip(figure.subplots(1, 2, sharex=True, sharey=True), (own, by_name), strict=True):
        axis.scatter(*everyone.T, s=5, color="#c9cdd3", zorder=0)
        axis.scatter(*there.T, s=16, color="#2563a8" if there is own else "#c2410c")
        for n, (x, y) in enumerate(there):
            label = literal(names[int(held_out[n])])
            axis.annotate(label, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=7)
        axis.set(xticks=[], yticks=[])
        axis.set_title(
            "the head's rows" if there is own else f"mapped from the names by {mapper}; lines: to the head's"
        )
        if there is by_name:
            for start, end in zip(own, by_name, strict=True):
                axis.plot(*zip(start, end, strict=True), color="#c2410c", linewidth=0.6, alpha=0.5)
    return as_png(figure)


def _figure(curves: dict[str, dict[str, Tensor]]) -> bytes:
    import matplotlib

    from saywhy.answers.drawing import as_png, new_figure

    figure = new_figure(figsize=(11, 4.6), layout="tight")
    axes = figure.subplots(1, 2, sharey=True)
    colours = matplotlib.colormaps["tab10"]
    names = list(dict.fromkeys(key.rpartition(", ")[0] for key in curves))
    for axis, picture in zip(axes, PICTURES, strict=True):
        for n, name in enumerate(names):
            curve = curves[f"{name}, {picture}"]
            axis.plot(100 * curve["seen"], 100 * curve["unseen"], label=name, color=colours(n % 10), linewidth=1.8)
        axis.set(xlabel="Train@1: accuracy on seen classes, %", xlim=(0, 100), ylim=(0, None))
        axis.set_title({"features": "picture = features, as in the paper", "halves": "picture = both halves"}[picture])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("Test@1: accuracy on unseen classes, %")
    axes[1].legend(frameon=False)
    return as_png(figure)
