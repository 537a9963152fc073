"""What a model holds inside: its channels, the rows of its head, latents of a sparse autoencoder, each with a name.

A component is something that is more or less active in a picture. Its name is the phrase that stands out where it is
active, chosen on half of a sample of the pictures. How well the name fits is measured on the other half, beside names
that chance would give: those of other components, and in the classifier's own space those that the same search finds
where the class names are dealt to other classes. A name that does not beat them is not said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from saywhy.audits.finding import LEVEL
from saywhy.audits.store import View
from saywhy.classifiers.outputs import MULTI
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.types import Vocabulary

if TYPE_CHECKING:
    from saywhy.audits.subject import Subject
    from saywhy.classifiers.heads import Head
    from saywhy.classifiers.sae import SparseAutoencoder
    from saywhy.pictures.collections import Collection
    from saywhy.types import Space

KEPT: Final = "inside.safetensors"
"""In an audit's folder: the classifier's head, and the vocabulary in the space."""
CHANNEL, ROW, LATENT = "channel", "head row", "latent"
SAMPLE = 4000  # pictures, at most
FEWEST = 40  # pictures from which names are measured
EXAMPLES = 12  # most active pictures of a component
WORDS = 3
CLASSES = 3  # that a component speaks for, and against
BATCH = 32  # pictures at once
DEALT = 5  # times that class names are dealt to other classes
_DRAWS = 100  # of the bootstrap, of which only the deviation is used
Z = 1.959964  # of a normal distribution, 95 %


@final
@dataclass(frozen=True, eq=False)
class Component:
    """Something inside a model that is more or less active in a picture.

    kind:     CHANNEL of the features that go into the head, ROW of the head, or LATENT of a sparse autoencoder.
    index:    which one; of a row: the class. called: "channel 17", "row of First Wanderer".
    words:    nearest phrases, best first, chosen on half of the pictures.
    said:     whether the first of them beats the controls; else it has no name, and ``words`` claims nothing.
    fit:      correlation of its activation with how far the first word stands out, on the other half of the pictures.
    control:  the mean of the same for names of other components of its kind, and of other channels. p, q: of the fit
              among these of all components; q is corrected.
    speaks_for: (class, what it adds to that class' logit in that class' pictures, above what it adds on average).
    speaks_against: (class, what it takes from that class' logit where it is above its mean), the most first.
    contribution: its share in what all components of its kind add to the logits of predicted classes.
    active:   share of the pictures in which it is above its mean.
    examples: numbers of its most active pictures, best first.
    toward:   (e,) unit, in the space: the mean of its examples less the mean of all pictures.
    """

    kind: str
    index: int
    called: str
    words: tuple[str, ...]
    said: bool
    fit: Interval
    control: float
    p: float
    q: float
    speaks_for: tuple[tuple[str, float], ...]
    speaks_against: tuple[tuple[str, float], ...]
    contribution: Interval
    active: float
    examples: tuple[int, ...]
    toward: np.ndarray = field(repr=False)

    @property
    def name(self) -> str:
        """Its first word, where that may be said; else ""."""
        return self.words[0] if self.said else ""

    def document(self) -> dict[str, Any]:
        """As JSON, without its vector."""
        return {key: value for key, value in asdict(replace(self, toward=np.zeros(0))).items() if key != "toward"}


@final
@dataclass(frozen=True, eq=False)
class Inside:
    """A sample of an audit's pictures, with all that components are made from.

    numbers:   (N,). features: (N, d). vectors: (N, e) in the space. predicted: (N,) class indices.
    weight:    (C, d) of the head, bias: (C,). labels: of the classes.
    texts:     (M, e) the phrases in the space. dealt: (S, M, e) the same where class names were dealt; none elsewhere.
    chooses:   (N,) bool, the half on which names are chosen; the rest measures them.
    of:        pictures that there are in all.
    competing: whether one class of several is true of a picture; then what all classes share says nothing.
    """

    numbers: np.ndarray
    features: np.ndarray
    vectors: np.ndarray
    predicted: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    labels: tuple[str, ...]
    phrases: tuple[str, ...]
    texts: np.ndarray
    dealt: np.ndarray
    chooses: np.ndarray
    of: int
    competing: bool = True


def keep_inside(folder: Path, subject: Subject, space: str | None) -> None:
    """Write what an audit's vectors mean beside its rows. Nothing is written for a classifier without a linear head.

    space: the name that the user gave it; None: none.

    Raises SaywhyError where it cannot be written.
    """
    from saywhy.questions.labels import encode_vocabulary

    if not subject.classifier.has_head or (folder / KEPT).is_file():
        return
    words, opinion = subject.vocabulary, subject.space
    write_inside(
        folder, subject.classifier.head, words, encode_vocabulary(words, opinion), dealt_phrases(opinion, words), space
    )


def write_inside(
    folder: Path, head: Head, words: Vocabulary, texts: Tensor, dealt: Tensor | None = None, space: str | None = None
) -> None:
    """As ``keep_inside``, of its parts: texts (M, e) the vocabulary in the space, dealt as ``dealt_phrases`` has it."""
    tensors = {
        "weight": head.weight.half(), "bias": head.bias.float(), "texts": texts.half(),
        "dealt": (torch.zeros(0) if dealt is None else dealt).half(),
    }  # fmt: skip
    vocabulary = {
        "phrases": words.phrases, "groups": words.groups, "name": words.name, "templates": dict(words.templates),
        "exclusive": sorted(words.exclusive), "attributes": words.attributes,
    }  # fmt: skip
    write_tensors(folder / KEPT, tensors, {"space": space, "vocabulary": vocabulary})


def dealt_phrases(space: Space, vocabulary: Vocabulary) -> Tensor:
    """(S, M, e) the phrases in the classifier's own space, had its classes each other's names; (0,) in other spaces."""
    from saywhy.questions.labels import encode_vocabulary
    from saywhy.spaces.own import PHRASES, ClassifierSpace, class_prompts
    from saywhy.spaces.text_to_weights import fit

    if not isinstance(space, ClassifierSpace):
        return torch.zeros(0)
    encoded = space.encoder.encode(class_prompts(space.classifier.labels))
    found = []
    for draw in range(DEALT):
        order = torch.from_numpy(np.random.default_rng(draw).permutation(len(encoded)))
        mapper = fit(encoded[order], space.classifier.head.weight, **PHRASES)
        found.append(encode_vocabulary(vocabulary, ClassifierSpace(space.classifier, space.encoder, mapper)))
    return torch.stack(found)


def look_inside(view: View, space: Space | None = None, pictures: Collection | None = None) -> Inside:
    """A sample of an audit's pictures, and what their features mean.

    space:    None: the audit's. The classifier's own sees the features that were kept; another one the pictures, again.
    pictures: the audit's; None: they are looked for under the names that the audit was given.

    Raises SaywhyError for an audit without features, with too few pictures, or whose pictures are not there any more.
    """
    folder = view.store.folder
    if not (folder / KEPT).is_file():
        raise SaywhyError(
            f"{folder}: what is inside its model was not kept: the classifier has no linear head, or the audit was "
            "made by an earlier version; make it again"
        )
    with reading_tensors(folder / KEPT, "holds no head") as file:
        weight, bias = (file.tensors[name].float().numpy() for name in ("weight", "bias"))
        texts, dealt = (file.tensors[name].float().numpy() for name in ("texts", "dealt"))
        words = _vocabulary(file.story["vocabulary"])
    some = sample(view)
    numbers, features, vectors = some.numbers, some.features, some.vectors
    if len(numbers) < FEWEST:
        raise SaywhyError(f"{folder}: {len(numbers)} pictures; {FEWEST} at least are needed to name what is inside")
    if features.shape[1] != weight.shape[1] or list(words.phrases) != view.manifest["vocabulary"]["phrases"]:
        raise SaywhyError(f"{folder / KEPT}: is of another audit; make this one again")
    if space is not None and space.name != view.manifest["space"]:
        vectors, texts, dealt = _seen_by(space, words, view, numbers, features, pictures)
    halves = np.random.default_rng(0).permutation(len(numbers)) < len(numbers) // 2
    return Inside(
        numbers, features, vectors, some.predicted, weight, bias, tuple(view.manifest["model"]["labels"]),
        words.phrases, texts, dealt, halves, some.of, view.manifest["model"]["task"] != MULTI,
    )  # fmt: skip


def space_named(view: View) -> str | None:
    """What the user called the audit's space; None: nothing. Raises SaywhyError as ``look_inside``."""
    with reading_tensors(view.store.folder / KEPT, "holds no head") as file:
        return None if file.story["space"] is None else str(file.story["space"])


def _vocabulary(story: Mapping[str, Any]) -> Vocabulary:
    templates = {group: tuple(prompts) for group, prompts in story["templates"].items()}
    phrases, groups, attributes = (tuple(story[key]) for key in ("phrases", "groups", "attributes"))
    return Vocabulary(phrases, groups, templates, story["name"], frozenset(story["exclusive"]), attributes)


@final
@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures of an audit that have features: numbers (N,), predicted (N,), features (N, d), vectors (N, e).

    of: how many have features in all.
    """

    numbers: np.ndarray
    predicted: np.ndarray
    features: np.ndarray
    vectors: np.ndarray
    of: int


def sample(view: View, count: int = SAMPLE) -> Sample:
    """``count`` pictures at most, always the same ones, less those with features too large to be kept.

    Raises SaywhyError where none has features.
    """
    from saywhy.audits.rows import unpacked

    known = "features IS NOT NULL AND vector IS NOT NULL"
    numbers = np.sort(view.columns(f"SELECT number FROM pictures WHERE {known}")["number"].astype(np.int64))
    if not len(numbers):
        raise SaywhyError(f"{view.store.folder}: no picture has features; the classifier has no linear head")
    query = f"SELECT number, predicted, features, vector FROM pictures WHERE {known}"
    given: list[Any] = []
    if len(numbers) > count:
        query += " AND number IN (SELECT unnest(?))"
        given = [np.random.default_rng(0).choice(numbers, count, replace=False).tolist()]
    found = view.sql(f"{query} ORDER BY number", given)
    features, vectors = (unpacked(found[name].to_pylist()) for name in ("features", "vector"))
    held = np.isfinite(features).all(1) & np.isfinite(vectors).all(1)  # float16 ends at 65,504
    return Sample(
        found["number"].to_numpy()[held], found["predicted"].to_numpy()[held], features[held], vectors[held],
        len(numbers),
    )  # fmt: skip


def _seen_by(
    space: Space, words: Vocabulary, view: View, numbers: np.ndarray, features: np.ndarray, pictures: Collection | None
) -> tuple[Any, Any, Any]:
    """(N, e) vectors, (M, e) phrases and dealt phrases in another space than the audit's."""
    from saywhy.questions.labels import encode_vocabulary
    from saywhy.spaces.traits import KnowsFeatures

    if isinstance(space, KnowsFeatures):
        if space.classifier.fingerprint != view.manifest["model"]["fingerprint"]:
            raise SaywhyError(f"{space.name} is of another classifier than the audit's")
        vectors = space.encode_features(torch.from_numpy(features))
    else:
        vectors = _looked_at(space, pictures or pictures_of(view), numbers)
    return vectors.numpy(), encode_vocabulary(words, space).numpy(), dealt_phrases(space, words).numpy()


def pictures_of(view: View) -> Collection:
    """The pictures that an audit was made of, found again. Raises SaywhyError where they are others, or gone."""
    from saywhy.pictures.collections import collection

    given, seed = view.manifest["data"], int(view.manifest["options"]["seed"])
    for limit in (None, int(given["pictures"])):
        try:
            found = collection(given["name"].split(", "), limit, seed)
        except SaywhyError:
            continue
        if found.digest == given["digest"]:
            return found
    raise SaywhyError(
        f"{view.store.folder}: the pictures of {given['name']} are not there any more, or are others; ask in the "
        f"audit's own space, {view.manifest['space']}"
    )


def _looked_at(space: Space, pictures: Collection, numbers: np.ndarray) -> Tensor:
    """(N, e) of the pictures themselves. Raises SaywhyError for one that cannot be read."""
    starts = range(0, len(numbers), BATCH)
    return torch.cat(
        [
            space.encode_images([pictures[int(n)].open() for n in numbers[start : start + BATCH]])
            for start in track(starts, "looking at the pictures", transient=True, disable=len(starts) < 3)
        ]
    )


# -- components -------------------------------------------------------------------------------------------------------


def components(
    view: View | None,
    space: Space | None = None,
    sae: SparseAutoencoder | None = None,
    *,
    inside: Inside | None = None,
    kinds: Sequence[str] = (CHANNEL, ROW, LATENT),
) -> list[Component]:
    """Channels, head rows and, where a sparse autoencoder is given, latents; of each kind what matters most first.

    inside: what ``look_inside(view, space)`` gave, where it is known already; then no view is needed.

    Raises SaywhyError as ``look_inside``, and for a sparse autoencoder of other features.
    """
    if inside is None:
        if view is None:
            raise SaywhyError("components are those of a view, or of what look_inside gave")
        inside = look_inside(view, space)
    found = list[Component]()
    for kind in kinds:
        if kind == LATENT and sae is None:
            continue
        active, effects = parts_of(inside, kind, sae)
        found += _components(inside, kind, active, effects)
    return found


def parts_of(inside: Inside, kind: str, sae: SparseAutoencoder | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) how active each component of a kind is, and (C, K) what it adds to each logit, less the mean over
    classes that compete.

    Raises SaywhyError for a sparse autoencoder of other features.
    """
    weight, bias = inside.weight, inside.bias
    if inside.competing:
        weight, bias = weight - weight.mean(0), bias - bias.mean()
    if kind == CHANNEL:
        return inside.features, weight
    if kind == ROW:
        return inside.features @ weight.T + bias, np.eye(len(weight), dtype=np.float32)
    if sae is None:
        raise SaywhyError("latents need a sparse autoencoder; make one with saywhy train sae")
    return sae.latents(torch.from_numpy(inside.features)).numpy(), weight @ sae.decoder.numpy().T


def standing_out(vectors: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(N, M) how far each phrase stands out in each picture, squared; 0 where it does not stand out.

    Cosines of pictures without what all share, in standard deviations over the pictures. Squared, a picture in which a
    phrase stands out far counts more than many in which it does a little: of 43 variants that were tried, its names
    told the truth of scenes best over two worlds together; docs/audit-inside.md.
    """
    apart = _unit(vectors - vectors.mean(0))
    scores = apart @ _unit(texts - texts.mean(0)).T
    return np.square(np.maximum(_standard(scores), 0))


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K, M) Pearson's correlations of the columns of (N, K) and (N, M); 0 for a column that is all the same."""
    return _standard(a).T @ _standard(b) / len(a)


def _components(inside: Inside, kind: str, active: np.ndarray, effects: np.ndarray) -> list[Component]:
    from scipy.stats import false_discovery_control

    chosen, measured = inside.chooses, ~inside.chooses
    phrases = standing_out(inside.vectors, inside.texts)
    chooses = correlations(active[chosen], phrases[chosen])
    fits = correlations(active[measured], phrases[measured])
    order = np.argsort(-chooses, 1, kind="stable")[:, :WORDS]
    names, each = order[:, 0], np.arange(len(order))
    fit = fits[each, names]
    channels = correlations(inside.features[chosen], phrases[chosen]).argmax(1)
    dealt = np.concatenate([names, channels])  # a head of few rows has too few names of its own
    others = dealt[None] != names[:, None]
    controls = fits[:, dealt]
    p = _above(fit, controls[others])
    control = (controls * others).sum(1) / np.maximum(others.sum(1), 1)
    if len(inside.dealt):
        by_chance = np.concatenate([_best_fits(inside, active, texts) for texts in inside.dealt])
        p = np.maximum(p, _above(fit, by_chance))
        control = np.full(len(fit), by_chance.mean())
    p = np.where(fit > 0, p, 1.0)
    q = false_discovery_control(p)
    spread = fitted(fit, drawn_correlations(active[measured], phrases[measured][:, names]))
    shares = _shares(active, effects, inside.predicted)
    speaks_for, speaks_against = _speaks(active, effects, inside.predicted, inside.labels)
    best = np.argsort(-active, 0, kind="stable")[: min(EXAMPLES, len(active))]
    toward = _unit(inside.vectors[best].mean(0) - inside.vectors.mean(0))
    above = (active > active.mean(0)).mean(0)
    found = [
        Component(
            kind, int(k), f"row of {inside.labels[k]}" if kind == ROW else f"{kind} {k}",
            tuple(inside.phrases[m] for m in order[k]), bool(q[k] <= LEVEL), spread[k], float(control[k]), float(p[k]),
            float(q[k]), speaks_for[k], speaks_against[k], shares[k],
            float(above[k]), tuple(int(n) for n in inside.numbers[best[:, k]]), toward[k],
        )
        for k in each
    ]  # fmt: skip
    return sorted(found, key=lambda one: -one.contribution.value)


def _best_fits(inside: Inside, active: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(K,) fits of names that are chosen and measured as the components' own, with other phrases."""
    phrases, chosen = standing_out(inside.vectors, texts), inside.chooses
    names = correlations(active[chosen], phrases[chosen]).argmax(1)
    return correlations(active[~chosen], phrases[~chosen])[np.arange(len(names)), names]


def _above(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """(K,) how probable values at least as large are among those of a null."""
    ordered = np.sort(null[np.isfinite(null)])
    return (1 + len(ordered) - np.searchsorted(ordered, values, side="left")) / (1 + len(ordered))


def fitted(fit: np.ndarray, drawn: np.ndarray) -> list[Interval]:
    """Correlations (K,) with their intervals, by (draws, K) of a bootstrap: its deviation on Fisher's scale."""
    spread = np.arctanh(np.clip(drawn, -0.9999, 0.9999)).std(0)
    middle = np.arctanh(np.clip(fit, -0.9999, 0.9999))
    return [
        Interval(float(value), float(np.tanh(at - Z * by)), float(np.tanh(at + Z * by)))
        for value, at, by in zip(fit, middle, spread, strict=True)
    ]


def drawn_correlations(a: np.ndarray, b: np.ndarray, draws: int = _DRAWS, seed: int = 0) -> np.ndarray:
    """(draws, K) correlations of each column of (N, K) with that of (N, K), with pictures drawn with replacement."""
    count = len(a)
    weights = (
        np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws).astype(np.float32) / count
    )
    x, y = _standard(a), _standard(b)
    mean_x, mean_y = weights @ x, weights @ y
    both = weights @ (x * y) - mean_x * mean_y
    size = (weights @ (x * x) - mean_x**2) * (weights @ (y * y) - mean_y**2)
    return both / np.sqrt(np.maximum(size, 1e-12))


def _shares(active: np.ndarray, effects: np.ndarray, predicted: np.ndarray) -> list[Interval]:
    """Of each component: its share in what all add to the logits of predicted classes, as absolute values."""
    added = np.abs((active - active.mean(0)) * effects[predicted])
    drawn = _drawn(len(added)) @ added
    drawn /= np.maximum(drawn.sum(1, keepdims=True), 1e-12)
    share = added.sum(0) / max(float(added.sum()), 1e-12)
    spread = Z * drawn.std(0)
    return [
        Interval(float(v), float(max(0.0, v - s)), float(min(1.0, v + s))) for v, s in zip(share, spread, strict=True)
    ]


def _speaks(
    active: np.ndarray, effects: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> tuple[list[tuple[tuple[str, float], ...]], list[tuple[tuple[str, float], ...]]]:
    """For each component the classes that it speaks for, and against, as ``Component`` says."""
    away, count = active - active.mean(0), len(effects)
    sums = np.zeros((count, active.shape[1]), np.float64)
    np.add.at(sums, predicted, away)
    there = sums / np.maximum(np.bincount(predicted, minlength=count)[:, None], 1)
    level = np.maximum(away, 0).sum(0) / np.maximum((away > 0).sum(0), 1)
    adds = np.where((there > 0) & (effects > 0), there * effects, 0)
    return [_largest(column, labels) for column in adds.T], [_largest(c, labels, -1) for c in (-effects * level).T]


def _largest(added: np.ndarray, labels: Sequence[str], sign: int = 1) -> tuple[tuple[str, float], ...]:
    best = np.argsort(-added, kind="stable")[:CLASSES]
    return tuple((labels[c], sign * float(added[c])) for c in best if added[c] > 0)


def _drawn(count: int, draws: int = _DRAWS, seed: int = 0) -> np.ndarray:
    """(draws, N) how often each of N pictures is drawn."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws).astype(np.float32)


def _standard(values: np.ndarray) -> np.ndarray:
    away = values - values.mean(0)
    deviation = away.std(0)
    return np.where(deviation > 1e-9, away / np.maximum(deviation, 1e-9), 0).astype(np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)
    return found
