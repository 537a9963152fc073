"""One sentence about a picture, written by a language model so that it fits the picture in a space."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.plumbing.names import unknown
from saywhy.questions.labels import encode_looks
from saywhy.questions.sentences.guided import guided_drafts
from saywhy.questions.sentences.language_filter import is_appropriate
from saywhy.questions.sentences.language_model import LanguageModel
from saywhy.questions.sentences.prefix import prefix_drafts
from saywhy.questions.sentences.scoring import Scorer
from saywhy.spaces.similarity import FEWEST, unusual_scores
from saywhy.spaces.traits import reference_of
from saywhy.types import Draft, Sentence, Space, Word

WHOLE = 0.3  # weight of the whole picture beside the mean of its pieces; docs/sentences.md says how it was chosen
FLAT = 2  # of 255: a picture whose channels vary no more shows nothing
METHODS = {
    "guided": "beam search on the closed-form optimum of each step; all pictures at once",
    "prefix": "prefix tuning at inference, as published; one picture at a time",
}


def narrate(
    images: Sequence[Image.Image],
    space: Space,
    writer: LanguageModel,
    *,
    crops: Sequence[Sequence[Image.Image]] | None = None,
    encoded: Sequence[Tensor] | None = None,
    method: str = "guided",
    judge: Space | None = None,
    appropriate: bool = True,
    allowed: Collection[str] = (),
    **settings: Any,
) -> list[Sentence]:
    """One sentence for each picture, in the words of the writer, chosen by the judge among its drafts.

    space:       what the sentence must fit: the classifier's own, for a sentence about what the classifier represents.
    crops:       of each picture, the pieces that the decision rests on: the sentence must fit both these and the whole.
    encoded:     of each picture, (1 + crops, d) vectors of it and its crops in the space, where they are known already.
    judge:       who chooses among the drafts; None: the space itself. The paper chooses by CLIP and then measures by
                 CLIP; both scores are in the result, so that selector and metric can be kept apart.
    appropriate: leave drafts with obscene or abusive words out (the paper's own stated failure).
    allowed:     names that such a filter must let pass ("cock", for poultry).
    settings:    those of the method: see guided_drafts and prefix_drafts.

    A picture of one flat colour gets no sentence, nor does one for which no draft is fit to be said; ``refusal`` says
    why. Raises SaywhyError for an unknown method.
    """
    if method not in METHODS:
        raise unknown("way to write", method, METHODS)
    if not images:
        return []
    flat = [_is_flat(image) for image in images]
    shown = [n for n, is_flat in enumerate(flat) if not is_flat]
    sentences: list[Sentence] = []
    if shown:
        looks = [[images[n], *(crops[n] if crops else ())] for n in shown]
        vectors = looked_at(looks, space) if encoded is None else _joined([encoded[n] for n in shown])
        seen_by = vectors if judge is None else looked_at(looks, judge)
        scorer = Scorer(space, vectors)
        sentences = _written(scorer, seen_by, judge or space, writer, method, appropriate, allowed, settings)
    rest = iter(sentences)
    nothing = _refused("the picture is of one flat colour", space, judge or space, writer, method, 0)
    return [nothing if is_flat else next(rest) for is_flat in flat]


def looked_at(looks: Sequence[Sequence[Image.Image]], space: Space) -> Tensor:
    """(N, d) unit vectors of N pictures, each with the pieces of it that count: their mean, and WHOLE of the whole.

    looks: of each picture, the whole and then the pieces, if any.
    """
    return _joined(encode_looks(looks, space))


def _joined(vectors: Sequence[Tensor]) -> Tensor:
    return F.normalize(torch.stack([WHOLE * v[0] + v[1:].mean(0) if len(v) > 1 else v[0] for v in vectors]), dim=1)


def _written(
    scorer: Scorer, seen_by: Tensor, judge: Space, writer: LanguageModel, method: str, appropriate: bool,
    allowed: Collection[str], settings: dict[str, Any],
) -> list[Sentence]:  # fmt: skip
    count = len(scorer.pictures)
    if method == "guided":
        drafted = guided_drafts(writer, scorer, **settings)
        costs = [scorer.encodings // count] * count
    else:
        drafted, costs = [], []
        for picture in range(count):
            before = scorer.encodings
            drafted.append(prefix_drafts(writer, scorer, picture, **settings))
            costs.append(scorer.encodings - before)
    sentences = []
    for picture, (texts, cost) in enumerate(zip(drafted, costs, strict=True)):
        whole = list(dict.fromkeys(text for text in map(finished, texts) if text))
        fit = [text for text in whole if not appropriate or is_appropriate(text, allowed)]
        if not fit:
            why = "every draft had words that are not fit to be said" if whole else "no draft came to an end"
            sentences.append(_refused(why, scorer.space, judge, writer, method, cost))
            continue
        scores: list[float] = scorer(fit, [picture] * len(fit)).tolist()
        judged = scores if judge is scorer.space else (judge.encode_texts(fit) @ seen_by[picture]).tolist()
        drafts = sorted(map(Draft, fit, scores, judged), key=lambda draft: -draft.judged)
        best = drafts[0]
        sentences.append(
            Sentence(
                text=best.text,
                score=best.score,
                unusual=_unusual(scorer, picture, best.text),
                space=scorer.space.name,
                judge=judge.name,
                judged=best.judged,
                perplexity=writer.perplexities([best.text])[0],
                words=weigh(best.text, picture, scorer),
                drafts=tuple(drafts),
                method=method,
                writer=writer.name,
                encodings=cost,
            )
        )
    return sentences


def _refused(why: str, space: Space, judge: Space, writer: LanguageModel, method: str, cost: int) -> Sentence:
    nan = float("nan")
    return Sentence(
        text="", score=nan, unusual=nan, space=space.name, judge=judge.name, judged=nan, perplexity=nan, words=(),
        drafts=(), method=method, writer=writer.name, encodings=cost, refusal=why,
    )  # fmt: skip


def _is_flat(image: Image.Image) -> bool:
    values = np.asarray(image.convert("RGB"))
    return bool((values.max((0, 1)) - values.min((0, 1)) <= FLAT).all())


def _unusual(scorer: Scorer, picture: int, text: str) -> float:
    """How far a sentence's score lies above its usual one, where the space knows what is usual; else NaN."""
    reference = reference_of(scorer.space)
    if reference is None or len(reference) < FEWEST:
        return float("nan")
    vector = scorer.space.encode_texts([text])
    return float(unusual_scores(scorer.pictures[picture][None], vector, reference)[1])


# -- sentences as text ------------------------------------------------------------------------------------------------

_DANGLING = {
    "a", "an", "the", "of", "with", "and", "or", "in", "on", "at", "to", "is", "are", "that", "which", "its", "his",
    "her", "their", "by", "for", "from", "near", "as", "this", "while", "into", "over", "under", "next", "very", "some",
    "two",
}  # fmt: skip

_SEEN = {
    "back", "bill", "bottom", "cry", "eight", "eleven", "empty", "fifteen", "fifty", "fire", "five", "forty", "four",
    "front", "full", "hundred", "mill", "nine", "side", "six", "sixty", "ten", "thick", "thin", "third", "three",
    "top", "twelve", "twenty", "two",
}  # fmt: skip
"""Of scikit-learn's stop words those that name what can be seen."""


def finished(text: str) -> str:
    """A draft as a sentence: without words that lead nowhere at its end, with a full stop; "" where nothing is left."""
    words = text.replace(" ,", ",").split()
    while words and (words[-1].strip(",.").lower() in _DANGLING or not words[-1].strip(",.-'")):
        words.pop()
    said = " ".join(words).strip(" ,.-")
    return f"{said}." if said else ""


def weigh(text: str, picture: int, scorer: Scorer) -> tuple[Word, ...]:
    """Each word of a sentence with how much the picture's score falls without it."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = text.split()
    empty = (ENGLISH_STOP_WORDS | _DANGLING) - _SEEN
    content = [n for n, word in enumerate(words) if _bare(word) and _bare(word) not in empty]
    without = [" ".join(words[:n] + words[n + 1 :]) for n in content]
    whole = float(scorer([text], [picture])[0])
    falls = dict(zip(content, (whole - scorer(without, [picture] * len(without))).tolist(), strict=True))
    return tuple(Word(word, falls.get(n), n in falls and falls[n] <= 0) for n, word in enumerate(words))


def _bare(word: str) -> str:
    return re.sub(r"[^a-z']", "", word.lower())
