"""Who is audited, in whose words, on which pictures: all that the work on one batch needs, in one value."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import nn

from saywhy.audits.options import AuditOptions
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.entries import Collection, Entry, names_and_labels
from saywhy.plumbing.caches import versions, weights_digest
from saywhy.plumbing.files import open_file
from saywhy.seen.gate import Seen
from saywhy.types import Space, Vocabulary
from saywhy.words.class_names import folder_names, plain

ALIKE = 0.8  # of a label of the data and a class, as difflib has it: it may be meant


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
    files: Mapping[str, str] = field(default_factory=dict)
    """Files that the user named, other than pictures -> digest of what is in them."""

    def true_classes(self, entry: Entry) -> list[int | None]:
        """The class index of each label of a picture; None of one that the classifier does not have."""
        return [self.classes.get(label) for label in entry.labels]

    def name_of(self, label: str) -> str:
        """What the classifier calls a label of the collection; the label itself where it has no such class."""
        index = self.classes.get(label)
        return label if index is None else self.classifier.labels[index]

    @cached_property
    def turns(self) -> np.ndarray:
        """(N,) int32: which picture of its class each is, in an order by chance, from 0: what samples are taken by."""
        codes: dict[tuple[str, ...], int] = {}
        classes = np.array(
            [codes.setdefault(labels, len(codes)) for _, labels in names_and_labels(self.pictures)], np.int64
        )
        order = np.lexsort((self._draws, classes))
        sizes = np.bincount(classes, minlength=1)
        turns = np.empty(len(classes), np.int32)
        turns[order] = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return turns

    def evenly(self, count: int) -> frozenset[int]:
        """Numbers of ``count`` pictures, as many of each class as far as there are, always the same ones."""
        if count >= len(self.pictures):
            return frozenset(range(len(self.pictures)))
        return frozenset(np.lexsort((self._draws, self.turns))[:count].tolist())

    @property
    def _draws(self) -> np.ndarray:
        return np.random.default_rng(self.options.seed).random(len(self.pictures))

    def story(self) -> dict[str, Any]:
        """What reproduces the audit, as JSON: of the manifest."""
        from dataclasses import asdict

        return {
            "versions": dict(
                pair.split("=") for pair in versions("saywhy", "torch", "timm", "open_clip_torch", "numpy").split()
            ),
            "model": {"name": self.classifier.name, "fingerprint": self.classifier.fingerprint,
                      "task": self.classifier.task, "labels": list(self.classifier.labels),
                      **self.classifier.record},
            "space": self.space.name,
            "space_digest": digest_of(self.space),
            "vocabulary": {"name": self.vocabulary.name, "phrases": list(self.vocabulary.phrases),
                           "groups": list(self.vocabulary.groups),
                           "attributes": [self.vocabulary.attribute(n) or "" for n in range(len(self.vocabulary))]},
            "calibration": None if self.seen.calibration is None else self.seen.calibration.basis,
            "doubts": [digest_of(doubt) for doubt in self.seen.doubts],
            "data": {"name": self.pictures.name, "digest": self.pictures.digest, "pictures": len(self.pictures),
                     "files": files_digest(self.pictures)},
            "files": dict(self.files),
            "options": asdict(self.options),
        }  # fmt: skip


def files_digest(pictures: Collection) -> dict[str, Any]:
    """Of sizes and times of change of the files of pictures, and of how many pictures that is known.

    A picture in an archive is known by the archive. What is in the files is not read.
    """
    digest, covered = hashlib.sha256(), 0
    archives: dict[str, str] = {}

    def about(path: str) -> str:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return ""
        return f"{found.st_size} {found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else ""

    for name, _ in names_and_labels(pictures):
        known = about(name)
        if not known:
            above = os.path.dirname(name)
            if above not in archives:
                archives[above] = about(above)
            known = archives[above]
        covered += bool(known)
        digest.update(f"{known}\n".encode())
    return {"digest": digest.hexdigest()[:16], "covered": covered}


def digest_of(thing: object) -> str:
    """Of the networks, names and numbers that an object holds, and those of the objects in it; not of tensors.

    Tensors are made from these, and may differ in their last bit from run to run.
    """
    digest, met = hashlib.sha256(), set[int]()

    def add(value: Any, depth: int) -> None:
        if isinstance(value, nn.Module):
            digest.update(weights_digest(value.state_dict().values()).encode())
        elif isinstance(value, str | int | float | bool | None):
            digest.update(f"{value!r};".encode())
        elif isinstance(value, list | tuple):
            for one in value:
                add(one, depth)
        elif type(value).__module__.startswith("saywhy.") and id(value) not in met and depth:
            met.add(id(value))
            for name, held in sorted(getattr(value, "__dict__", {}).items()):
                digest.update(name.encode())
                add(held, depth - 1)

    add(thing, 4)
    return digest.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Of what is in a file, or in the files of a folder. Raises SaywhyError where it cannot be read."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode())
            with open_file(file) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()[:16]


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
