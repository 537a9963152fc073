"""What the name of a class alone would say of it: how near each word is to it, by the space's texts, without a picture.

A word that goes with a class and is near its name may be an echo: a space that knows the name, as a classifier's own
space does, finds it in any picture. It is kept beside the rows, since findings are made without the space.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from saywhy.audits.store import Store, View
from saywhy.audits.subject import Subject
from saywhy.plumbing.files import write_whole
from saywhy.spaces.traits import vocabulary_of
from saywhy.words.class_names import are_words, common_name, plain

NAMES = "names.npz"
WORDS = 3  # that a name alone would say: as many as are shown of a picture


@final
@dataclass(frozen=True, eq=False)
class Names:
    """Of C classes, W words: (C, W) by how many deviations each word is nearer to a class's name than to the others."""

    words: tuple[str, ...]
    near: np.ndarray

    def says(self, index: int) -> tuple[str, ...]:
        """The words that the name of class ``index`` alone would say, nearest first."""
        return tuple(self.words[n] for n in np.argsort(-self.near[index], kind="stable")[:WORDS])


def keep_names(store: Store, subject: Subject) -> None:
    """Write what names alone would say beside the rows; nothing where classes have no names, the space takes no texts
    but its own phrases (concept probes), or it is there.
    """
    path = store.folder / NAMES
    labels = subject.classifier.labels
    if subject.seen.alone is None and vocabulary_of(subject.space) is not None:  # it takes its own phrases, and no name
        return
    if path.is_file() or not len(subject.vocabulary) or not are_words(labels):
        return
    words, near = _near(subject)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, words=np.array(words, dtype=np.str_), near=near.astype("<f2"))
    write_whole(path, buffer.getvalue())


def names_of(view: View) -> Names | None:
    """What was kept; None where nothing was."""
    path = view.store.folder / NAMES
    if not path.is_file():
        return None
    with np.load(path) as kept:
        return Names(tuple(kept["words"].tolist()), kept["near"].astype(np.float32))


def echoes(word: str, label: str, said: Sequence[str]) -> bool:
    """Whether a word goes with a class's name: the name holds it, or would say it."""
    own = set(plain(common_name(label)).split())
    content = {part for part in plain(word).split() if part not in ("a", "an", "the")}
    return word in said or (bool(content) and content <= own)


def _near(subject: Subject) -> tuple[tuple[str, ...], np.ndarray]:
    """Words, and (C, W) how much nearer they are to each class's name than to the average one."""
    from saywhy.questions.labels import encode_vocabulary
    from saywhy.seen.names import LearnsFromNames
    from saywhy.spaces.own import class_prompts
    from saywhy.spaces.similarity import deviations

    alone = subject.seen.alone
    if alone is not None:
        return alone.vocabulary.phrases, alone.by_name.numpy()
    vocabulary, space = subject.vocabulary, subject.space
    prompts = class_prompts(subject.classifier.labels)
    if isinstance(space, LearnsFromNames):
        texts = space.encoder.encode([vocabulary.prompts(n)[0] for n in range(len(vocabulary))])
        cosines = space.encoder.encode(prompts) @ texts.T
    else:
        cosines = space.encode_texts(prompts) @ encode_vocabulary(vocabulary, space).T
    return vocabulary.phrases, deviations(cosines, cosines.mean(0), cosines.std(0)).numpy()
