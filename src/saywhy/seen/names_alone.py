"""What the classifier's own space may show where class names are all that it has learned words from.

On real birds its words are true more often than the same words dealt to another picture, and not more often than one
sentence for all pictures (``saywhy bench own-words``). So nothing is said as a fact. What is shown, small, is of the
whole picture, in words that class names teach, likeliest first, and marked where the name of the class alone would have
said it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from saywhy.answers.claims import WHOLE
from saywhy.seen.names import ELSEWHERE, LearnsFromNames
from saywhy.spaces.own import class_prompts
from saywhy.spaces.similarity import Usual, deviations
from saywhy.types import Claim, Finding, Label, Vocabulary
from saywhy.words.grounding import MENTIONS, GroundedWord, grounded_words

WORDS = 3  # of a picture, at most
DIVISOR = 3.0  # of deviations, before the prior is added; chosen on half of CUB's classes
BASIS = f"by class names alone words are right no more often than one sentence for all pictures; {ELSEWHERE}"
_NONE = f"fewer than {MENTIONS} class names mention any word of the vocabulary; {ELSEWHERE}"


@final
@dataclass(frozen=True, eq=False)
class NamesAlone:
    """W words that class names teach, in a classifier's own space.

    vocabulary: the words. texts: (W, d) unit. usual: their cosines with the rows of the head.
    prior:      (W,) log of how many class names mention them.
    by_name:    (C, W) how many deviations each word's text is nearer to a class's name than to the average one.
    """

    vocabulary: Vocabulary
    texts: Tensor
    usual: Usual
    prior: Tensor
    by_name: Tensor

    def silences(self, images: Sequence[Image]) -> list[str]:
        """A Doubt: where class names teach no word, no picture gets one."""
        return ["" if len(self.vocabulary) else _NONE] * len(images)

    def near(self, picture: Tensor, space: str, *, regions: int, top: int) -> list[Finding]:
        """The likeliest words of a picture (d,), and of its regions none: class names teach no parts."""
        cosines = picture @ self.texts.T
        unusual = self.usual.deviations(cosines)
        labels = tuple(
            Label(self.vocabulary.phrases[n], self.vocabulary.groups[n], float(cosines[n]), rank, float(unusual[n]))
            for rank, n in enumerate(self.likeliest(unusual, min(top, WORDS)), start=1)
        )
        return [Finding(None, labels, space), *(Finding(n, (), space) for n in range(regions))]

    def likeliest(self, unusual: Tensor, count: int) -> list[int]:
        """The words of most evidence (W,) and prior, best first; see docs/spaces.md."""
        return (unusual / DIVISOR + self.prior).topk(min(count, len(unusual))).indices.tolist()

    def claims(self, whole: Finding, target: int) -> tuple[Claim, ...]:
        """What is near in a whole picture that is explained as class ``target``, none of it a fact."""
        named = {self.vocabulary.phrases[n] for n in self.likeliest(self.by_name[target], WORDS)}
        return tuple(
            Claim(label.text, WHOLE, whole.space, label.score, None, BASIS, said=False, echo=label.text in named)
            for label in whole.labels
        )


def names_alone(
    space: LearnsFromNames, labels: Sequence[str], weights: Tensor, vocabulary: Vocabulary, texts: Tensor
) -> NamesAlone:
    """The words of a vocabulary that the names of C classes teach.

    weights: (C, d) unit directions of the classes. texts: (M, d) the vocabulary, by ``encode_vocabulary``.
    """
    words = grounded_words(vocabulary, labels)
    known = Vocabulary(tuple(w.text for w in words), tuple(w.group for w in words), name=vocabulary.name)
    if not words:
        none = torch.zeros(0)
        return NamesAlone(known, texts[:0], Usual(none, none), none, torch.zeros(len(labels), 0))
    rows = F.normalize(torch.stack([texts[list(word.members)].mean(0) for word in words]), dim=1)
    cosines = weights @ rows.T
    nearness = space.encoder.encode(class_prompts(labels)) @ _said(space, vocabulary, words).T
    return NamesAlone(
        known,
        rows,
        Usual(cosines.mean(0), cosines.std(0)),
        torch.tensor([float(word.mentions) for word in words]).log(),
        deviations(nearness, nearness.mean(0), nearness.std(0)),
    )


def _said(space: LearnsFromNames, vocabulary: Vocabulary, words: Sequence[GroundedWord]) -> Tensor:
    """(W, k) unit embeddings of words as the text encoder has them, without the classifier."""
    prompts = [[prompt for n in word.members for prompt in vocabulary.prompts(n)] for word in words]
    flat = space.encoder.encode([prompt for of_word in prompts for prompt in of_word])
    return F.normalize(torch.stack([part.mean(0) for part in flat.split([len(p) for p in prompts])]), dim=1)
