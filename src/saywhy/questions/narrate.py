"""One sentence about a picture, written by a language model so that it fits the picture in a space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.plumbing.names import unknown
from saywhy.questions.labels import encode_looks
from saywhy.questions.sentences.content_words import DANGLING, has_content
from saywhy.questions.sentences.facts import Factual, state_facts
from saywhy.questions.sentences.guided import guided_drafts
from saywhy.questions.sentences.language_filter import is_appropriate
from saywhy.questions.sentences.language_model import LanguageModel
from saywhy.questions.sentences.prefix import prefix_drafts
from saywhy.questions.sentences.scoring import Scorer
from saywhy.seen.doubts import FLAT_SAID, is_flat
from saywhy.spaces.similarity import FEWEST, unusual_scores
from saywhy.spaces.traits import reference_of
from saywhy.types import Claim, Draft, Sentence, Space, Vocabulary, Word

WHOLE = 0.3  # weight of the whole picture beside the mean of its pieces; docs/sentences.md says how it was chosen
_Facts = Callable[[Sequence[Draft]], Factual | str]
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
    claims: Sequence[Sequence[Claim]] | None = None,
    vocabulary: Vocabulary | None = None,
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
    claims:      of each picture, in phrases of the vocabulary: the sentence states what may be said of it, and nothing
                 else; see sentences/facts.py. None: it says what fits, true or not, as the paper does.
    settings:    those of the method: see guided_drafts and prefix_drafts.

    A picture of one flat colour gets no sentence, nor does one for which no draft is fit to be said, or of which
    nothing may be said; ``refusal`` says why. Raises SaywhyError for an unknown method.
    """
    if method not in METHODS:
        raise unknown("way to write", method, METHODS)
    if not images:
        return []
    flat = [is_flat(image) for image in images]
    shown = [n for n, nothing in enumerate(flat) if not nothing]
    sentences: list[Sentence] = []
    if shown:
        looks = [[images[n], *(crops[n] if crops else ())] for n in shown]
        vectors = looked_at(looks, space) if encoded is None else _joined([encoded[n] for n in shown])
        seen_by = vectors if judge is None else looked_at(looks, judge)
        scorer = Scorer(space, vectors)
        facts = None
        if claims is not None and vocabulary is not None:
            facts = [partial(_of_facts, claims=claims[n], vocabulary=vocabulary, writer=writer) for n in shown]
        sentences = _written(scorer, seen_by, judge or space, writer, method, appropriate, allowed, facts, settings)
    rest = iter(sentences)
    refused = _refused(FLAT_SAID, space, judge or space, writer, method, 0)
    return [refused if nothing else next(rest) for nothing in flat]


def looked_at(looks: Sequence[Sequence[Image.Image]], space: Space) -> Tensor:
    """(N, d) unit vectors of N pictures, each with the pieces of it that count: their mean, and WHOLE of the whole.

    looks: of each picture, the whole and then the pieces, if any.
    """
    return _joined(encode_looks(looks, space))


def _joined(vectors: Sequence[Tensor]) -> Tensor:
    return F.normalize(torch.stack([WHOLE * v[0] + v[1:].mean(0) if len(v) > 1 else v[0] for v in vectors]), dim=1)


def _written(
    scorer: Scorer, seen_by: Tensor, judge: Space, writer: LanguageModel, method: str, appropriate: bool,
    allowed: Collection[str], facts: Sequence[_Facts] | None, settings: dict[str, Any],
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

        def rated(texts: list[str], picture: int = picture) -> list[Draft]:
            scores: list[float] = scorer(texts, [picture] * len(texts)).tolist()
            judged = scores if judge is scorer.space else (judge.encode_texts(texts) @ seen_by[picture]).tolist()
            return list(map(Draft, texts, scores, judged))

        drafts = sorted(rated(fit), key=lambda draft: -draft.judged) if fit else []
        if facts is not None:
            said = facts[picture](drafts)
        elif fit:
            said = Factual(drafts[0].text, (), True)
        else:
            said = "every draft had words that are not fit to be said" if whole else "no draft came to an end"
        if isinstance(said, str):
            sentences.append(_refused(said, scorer.space, judge, writer, method, cost, drafts))
            continue
        (best,) = rated([said.text])
        words = weigh(best.text, picture, scorer)
        if said.facts:  # what a sentence of facts says is there, however little it does for the cosine
            words = tuple(replace(word, idle=False) for word in words)
        sentences.append(
            Sentence(
                text=best.text,
                score=best.score,
                unusual=_unusual(scorer, picture, best.text),
                space=scorer.space.name,
                judge=judge.name,
                judged=best.judged,
                perplexity=writer.perplexities([best.text])[0],
                words=words,
                drafts=tuple(drafts),
                method=method,
                writer=writer.name,
                encodings=cost,
                facts=said.facts,
                written=said.written,
            )
        )
    return sentences


def _of_facts(
    drafts: Sequence[Draft], claims: Sequence[Claim], vocabulary: Vocabulary, writer: LanguageModel
) -> Factual | str:
    """The sentence of what may be said of a picture, or why there is none."""
    said = state_facts(drafts, claims, vocabulary, writer)
    if said is not None:
        return said
    unknown = next((claim.basis for claim in claims if claim.there is None), "")
    sure = any(claim.there is not None for claim in claims)
    return "nothing of what may be there is sure enough to be said" if sure or not unknown else unknown


def _refused(
    why: str, space: Space, judge: Space, writer: LanguageModel, method: str, cost: int, drafts: Sequence[Draft] = ()
) -> Sentence:
    nan = float("nan")
    return Sentence(
        text="", score=nan, unusual=nan, space=space.name, judge=judge.name, judged=nan, perplexity=nan, words=(),
        drafts=tuple(drafts), method=method, writer=writer.name, encodings=cost, refusal=why,
    )  # fmt: skip


def _unusual(scorer: Scorer, picture: int, text: str) -> float:
    """How far a sentence's score lies above its usual one, where the space knows what is usual; else NaN."""
    reference = reference_of(scorer.space)
    if reference is None or len(reference) < FEWEST:
        return float("nan")
    vector = scorer.space.encode_texts([text])
    return float(unusual_scores(scorer.pictures[picture][None], vector, reference)[1])


# -- sentences as text ------------------------------------------------------------------------------------------------


def finished(text: str) -> str:
    """A draft as a sentence: without words that lead nowhere at its end, with a full stop; "" where nothing is left."""
    words = text.replace(" ,", ",").split()
    while words and (words[-1].strip(",.").lower() in DANGLING or not words[-1].strip(",.-'")):
        words.pop()
    said = " ".join(words).strip(" ,.-")
    return f"{said}." if said else ""


def weigh(text: str, picture: int, scorer: Scorer) -> tuple[Word, ...]:
    """Each word of a sentence with how much the picture's score falls without it."""
    words = text.split()
    content = [n for n, word in enumerate(words) if has_content(word)]
    without = [" ".join(words[:n] + words[n + 1 :]) for n in content]
    whole = float(scorer([text], [picture])[0])
    falls = dict(zip(content, (whole - scorer(without, [picture] * len(without))).tolist(), strict=True))
    return tuple(Word(word, falls.get(n), n in falls and falls[n] <= 0) for n, word in enumerate(words))
