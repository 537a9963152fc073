"""Who is audited, in whose words, on which pictures: all that the work on one batch needs, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from saywhy.audits.options import AuditOptions
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.collections import Collection, Entry
from saywhy.plumbing.caches import versions
from saywhy.seen.gate import Seen
from saywhy.types import Space, Vocabulary
from saywhy.words.class_names import folder_names, plain


@final
@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier, a space with its vocabulary and what it knows of words, and the pictures to ask about.

    It can be pickled where its parts can, so that other processes do the same work.
    """

    classifier: Classifier
    vocabulary: Vocabulary
    space: Space
    seen: Seen
    pictures: Collection
    options: AuditOptions
    classes: dict[str, int]
    """The collection's names of classes -> the classifier's indices, where it has them."""

    def true_classes(self, entry: Entry) -> list[int | None]:
        """The class index of each label of a picture; None of one that the classifier does not have."""
        return [self.classes.get(label) for label in entry.labels]

    def name_of(self, label: str) -> str:
        """What the classifier calls a label of the collection; the label itself where it has no such class."""
        index = self.classes.get(label)
        return label if index is None else self.classifier.labels[index]

    def story(self) -> dict[str, Any]:
        """What reproduces the audit, as JSON: of the manifest."""
        from dataclasses import asdict

        return {
            "versions": dict(
                pair.split("=") for pair in versions("saywhy", "torch", "timm", "open_clip_torch", "numpy").split()
            ),
            "model": {"name": self.classifier.name, "fingerprint": self.classifier.fingerprint,
                      "task": self.classifier.task, "labels": list(self.classifier.labels)},
            "space": self.space.name,
            "vocabulary": {"name": self.vocabulary.name, "phrases": list(self.vocabulary.phrases),
                           "groups": list(self.vocabulary.groups),
                           "attributes": [self.vocabulary.attribute(n) or "" for n in range(len(self.vocabulary))]},
            "calibration": None if self.seen.calibration is None else self.seen.calibration.basis,
            "data": {"name": self.pictures.name, "digest": self.pictures.digest, "pictures": len(self.pictures)},
            "options": asdict(self.options),
        }  # fmt: skip


def classes_of(labels: tuple[str, ...], given: set[str]) -> dict[str, int]:
    """Names of a collection -> class indices, as folders are matched to classes; indices as text are themselves."""
    known = folder_names(labels, {label for label in given if label})
    found = {}
    for label in given:
        index = known.get(plain(label))
        if index is None and label.isdecimal() and int(label) < len(labels):
            index = int(label)
        if index is not None:
            found[label] = index
    return found
