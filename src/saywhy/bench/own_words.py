"""Are words true that a classifier's own space finds by class names alone? Real birds, beside what needs no picture.

Of half of the classes of CUB's crops: the likeliest one, two and three words of each picture (seen/names_alone.py),
held against what more than half of CUB's annotators say of the class, anywhere in the plumage. Beside them the same
words dealt to pictures of other classes, one sentence for all pictures (by mentions in class names; by the truth of
the other half), the row of the predicted class in the place of the picture, and the name of that class in the place
of both. Intervals are over classes. The settings were chosen on the other half (``--half choose``).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch

from saywhy.bench import Report
from saywhy.bench.pack import find_pack
from saywhy.errors import SaywhyError
from saywhy.intervals import difference, interval
from saywhy.pictures.cub import HAS, read_cub
from saywhy.pictures.reading import read_picture
from saywhy.words.cub_names import cub_vocabulary
from saywhy.words.grounding import grounded_words

LACKS = 10.0  # percent of annotators below which a word is plainly false
_BARE = ("bill", "eye", "leg")  # without plumage
HALVES = ("choose", "report")


def run(
    limit: int | None = None,
    half: Annotated[str, "classes: report, or choose, on which the settings were chosen"] = "report",
) -> Report:
    """A row a number of words and a way to choose them. limit: pictures at most.

    Raises SaywhyError without the pack.
    """
    from saywhy.classifiers.classifier import Classifier
    from saywhy.questions.labels import encode_vocabulary
    from saywhy.seen.names_alone import DIVISOR, WORDS, names_alone
    from saywhy.spaces.own import ClassifierSpace
    from saywhy.spaces.text_encoder import load_encoder

    if half not in HALVES:
        raise SaywhyError(f"--half {half}: choose or report")
    pack = find_pack()
    cub = read_cub(pack / "cub-crops")
    order = np.random.default_rng(0).permutation(sorted({bird.label for bird in cub.birds}))
    parts = dict(zip(HALVES, np.array_split(order, 2), strict=True))
    classes, others = parts[half], parts[HALVES[half == "choose"]]
    birds = [bird for bird in cub.birds if bird.label in classes]
    if limit:
        birds = [birds[n] for n in np.random.default_rng(0).permutation(len(birds))[:limit]]

    vocabulary, meant = cub_vocabulary(cub.attributes)
    classifier = Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_inat_bird'}")
    space = ClassifierSpace(classifier, load_encoder())
    alone = names_alone(space, classifier.labels, space.reference(), vocabulary, encode_vocabulary(vocabulary, space))
    by_class = np.loadtxt(cub.root / "attributes" / "class_attribute_labels_continuous.txt")
    truth = np.stack(
        [
            by_class[:, sorted({m for n in _plumage(word.members, vocabulary.groups) for m in meant[n]})].max(1)
            for word in grounded_words(vocabulary, classifier.labels)
        ],
        1,
    )  # (200, W) percent of annotators, of the part that most of them say it of

    features = space.features([read_picture(bird.path) for bird in birds])
    head = classifier.head
    predicted = (features @ head.weight.T + head.bias).argmax(1)
    rows = space.reference()
    unusual = {
        "own": alone.usual.deviations(space.encode_features(features) @ alone.texts.T),
        "row of the predicted class": alone.usual.deviations(rows @ alone.texts.T)[predicted],
        "name of the predicted class": alone.by_name[predicted],
        "constant: most mentioned": torch.zeros(len(birds), len(alone.vocabulary)),
    }
    scores = {name: (of / DIVISOR + alone.prior).numpy() for name, of in unusual.items()}
    scores["constant: true of most other classes"] = np.tile((truth[others] > HAS).mean(0), (len(birds), 1))
    labels = np.array([bird.label for bird in birds])
    ranked = {name: np.argsort(-of, axis=1, kind="stable") for name, of in scores.items()}
    table: list[dict[str, Any]] = []
    for count in range(1, WORDS + 1):
        said = {name: of[:, :count] for name, of in ranked.items()}
        measured = {
            name: _by_class(np.take_along_axis(truth[labels], words, 1) > HAS, labels) for name, words in said.items()
        }
        wrong = {
            name: _by_class(np.take_along_axis(truth[labels], words, 1) < LACKS, labels) for name, words in said.items()
        }
        own, known = measured["own"], np.unique(labels)
        dealt = [
            (truth[known[known != label]][:, words] > HAS).mean(0)
            for label, words in zip(labels, said["own"], strict=True)
        ]
        measured["dealt to other classes"] = _by_class(np.array(dealt), labels)
        table += [
            {
                "words": count, "chosen by": name,
                "true": f"{interval(values):.3f}",
                "plainly false": f"{wrong[name].mean():.3f}" if name in wrong else "",
                "own less this": "" if name == "own" else f"{difference(own, values):+.3f}",
            }
            for name, values in measured.items()
        ]  # fmt: skip
    return Report(
        "own-words",
        f"words by class names alone: {len(birds)} birds of {len(np.unique(labels))} classes ({half}), "
        f"{len(alone.vocabulary)} words; share that most annotators agree to",
        ("words", "chosen by", "true", "plainly false", "own less this"),
        table,
        {"pictures": len(birds), "classes": len(np.unique(labels)), "vocabulary": list(alone.vocabulary.phrases)},
    )


def _plumage(members: tuple[int, ...], groups: tuple[str, ...]) -> list[int]:
    """Of the phrases of a word those about plumage, where any is: all birds have a black eye, and that says nothing."""
    return [n for n in members if groups[n].split()[0] not in _BARE] or list(members)


def _by_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C,) the mean over the pictures and words (N, k) of each class."""
    return np.array([values[labels == label].mean() for label in np.unique(labels)])
