"""Why is this picture what it is? A category, and the rationales that it is chosen for, each with where it is (ECOR).

The path of one picture: rank pairs of category and rationale, vote, say what each is believed to be, and look where
the picture shows it. Nothing is claimed of a category none of whose own rationales stands out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.answers.why import Alternative, Reason, Why, say
from saywhy.attribution.gscorecam import Track
from saywhy.pictures.geometry import probe_geometry
from saywhy.pictures.reading import PictureLike, display_copy, picture_name, read_picture
from saywhy.questions.options import NO_MAPS, WhyOptions
from saywhy.spaces.pairs.bank import Bank
from saywhy.spaces.pairs.ranking import Answer, Ranked, decide, probabilities, rank, shortlist
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.seeing import Seeing
from saywhy.spaces.similarity import UNUSUAL, Usual, standing_out
from saywhy.spaces.text_heat import METHODS as TEXT_METHODS
from saywhy.spaces.text_heat import text_heat
from saywhy.spaces.traits import tower_of
from saywhy.types import Space
from saywhy.words.rationale_words import RationaleWords

METHODS = (*TEXT_METHODS, NO_MAPS)


def why(
    image: PictureLike,
    space: Seeing,
    words: RationaleWords,
    bank: Bank | None,
    *,
    scoring: Scoring = WhyOptions.scoring,
    k: int = WhyOptions.k,
    method: str = WhyOptions.method,
    visible_from: float | None = WhyOptions.visible_from,
    inverse: Bank | None = None,
    usual: Usual | None = None,
) -> Why:
    """Why one picture is what it is. Arguments as of ``read_picture``, ``WhyOptions`` and ``why_pictures``.

    >>> answer = why("toucan.jpg", clip, words, build_bank(clip, words))
    >>> answer.sentence
    'This is a toucan because there is a large bill and a white throat.'

    Raises SaywhyError for a picture that cannot be read, and as ``why_pictures``.
    """
    options = WhyOptions(scoring=scoring, k=k, method=method, visible_from=visible_from)
    pictures = [(picture_name(image), read_picture(image))]
    return next(why_pictures(pictures, space, words, bank, options, inverse=inverse, usual=usual))


def why_pictures(
    pictures: Sequence[tuple[str, Image.Image]],
    space: Seeing,
    words: RationaleWords,
    bank: Bank | None,
    options: WhyOptions | None = None,
    *,
    inverse: Bank | None = None,
    usual: Usual | None = None,
    track: Track = iter,
) -> Iterator[Why]:
    """An answer for each (name, RGB picture), ranked together and looked at one by one.

    space:   a ClipSpace, or one with a tuned ``tower`` and the ``clip`` it was made from.
    bank:    of all pairs of the words. None: only those of each picture's shortlist, which is not exact.
    options: None: the defaults.
    inverse: the bank the other way round, where the scoring has that term.
    usual:   what the rationales score on pictures in general; None: what stands out is judged among the rationales.
    track:   iterates over gScoreCAM's batches, and may show progress.

    Raises SaywhyError for a space that is not a CLIP, and as ``rank``.
    """
    options = options or WhyOptions()
    scoring, method, visible_from = options.scoring, options.method, options.visible_from
    tower, clip = tower_of(space)
    k = min(options.k, len(words.categories) * len(words.rationales))
    images = space.encode_images([image for _, image in pictures])
    rationales = space.encode_texts(words.rationale_texts()) if bank is None else bank.rationales
    beliefs = (
        _believe_shortlists(images, space, words, rationales, scoring, k)
        if bank is None
        else iter([_believe(images, PairScorer(pairs=bank, inverse=inverse, scoring=scoring, scale=space.scale), k)])
    )
    unusual = standing_out(images, rationales, usual)
    if visible_from is None:
        visible_from = UNUSUAL if usual is None else usual.visible_from
    settings = {
        "space": space.name, "terms": scoring.terms, "conditional": scoring.conditional, "weight": scoring.weight,
        "temperatures": dict(scoring.temperatures), "k": k, "method": method, "exact": bank is not None,
        "usual": "the rationales" if usual is None else "a reference", "visible from": visible_from,
        "categories": len(words.categories),
        "rationales": len(words.rationales), "templates": vars(words.templates), "saywhy": version("saywhy"),
        "torch": torch.__version__,
    }  # fmt: skip
    rows = ((belief, n) for belief in beliefs for n in range(len(belief.given)))
    for n, ((name, image), (belief, row)) in enumerate(zip(pictures, rows, strict=True)):
        answer = decide(belief.ranked, row, k)
        reasons = _reasons(answer, belief, row, words, None if unusual is None else unusual[n], visible_from)
        if method != NO_MAPS:
            texts = _texts(words, answer, belief.ranked.rationales[row], space, "inverse" in scoring.terms)
            pixels = clip.transform(image)[None].to(clip.device)
            maps = text_heat(tower, pixels, texts, space.scale, method, track=track).unflatten(0, (-1, 2))
            reasons = [replace(reason, heat=heat) for reason, heat in zip(reasons, maps, strict=True)]
        own = words.lists[answer.category]
        visible = None if unusual is None else bool((unusual[n, list(own)] >= visible_from).any())
        category = words.categories[answer.category]
        yield Why(
            picture=display_copy(image, name),
            geometry=probe_geometry(clip.transform, image.size),
            category=category,
            probability=float(belief.categories[row, answer.reasons[0]]),
            reasons=tuple(reasons),
            visible=visible,
            sentence=say(category, reasons, visible, bool(own)),
            alternatives=_alternatives(answer, belief, row, words),
            space=space.name,
            settings=settings,
        )


# -- what is believed -------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class _Belief:
    """Ranked pairs of n pictures, and of each pair (n, K): P(r | I), P(c | r, I) and P(c | I)."""

    ranked: Ranked
    rationales: np.ndarray
    given: np.ndarray
    categories: np.ndarray


def _believe(images: Tensor, scorer: PairScorer[Bank], k: int) -> _Belief:
    # Temperatures make probabilities right and, differing between terms, rankings worse than those that were measured.
    ranked = rank(images, scorer.plain, k)
    all_of = probabilities(images, scorer, ranked)
    return _Belief(
        ranked,
        np.take_along_axis(all_of.rationales.numpy(), ranked.rationales, 1),
        all_of.given.numpy(),
        np.take_along_axis(all_of.categories.numpy(), ranked.categories, 1),
    )


def _believe_shortlists(
    images: Tensor, space: Seeing, words: RationaleWords, rationales: Tensor, scoring: Scoring, k: int
) -> Iterator[_Belief]:
    """One belief for each picture: probabilities are among its shortlist."""
    categories = space.encode_texts(words.category_texts())
    for image in images:
        part = shortlist(image, space, words, rationales, categories, "inverse" in scoring.terms)
        most = min(k, part.texts.shape[0] * part.texts.shape[1])
        scorer = PairScorer(pairs=part, inverse=part.inverse, scoring=scoring, scale=space.scale)
        belief = _believe(image[None], scorer, most)
        yield replace(belief, ranked=part.named(belief.ranked))


def _reasons(
    answer: Answer, belief: _Belief, row: int, words: RationaleWords, unusual: Tensor | None, visible_from: float
) -> list[Reason]:
    reasons = []
    for position in answer.reasons:
        r = int(belief.ranked.rationales[row, position])
        out = None if unusual is None else float(unusual[r])
        reasons.append(
            Reason(
                rationale=words.rationales[r],
                rank=position + 1,
                score=float(belief.ranked.scores[row, position]),
                probability=float(belief.rationales[row, position]),
                given=float(belief.given[row, position]),
                listed=r in words.lists[answer.category],
                unusual=out,
                visible=None if out is None else out >= visible_from,
                heat=None,
            )
        )
    return reasons


def _alternatives(answer: Answer, belief: _Belief, row: int, words: RationaleWords) -> tuple[Alternative, ...]:
    ranked = belief.ranked
    return tuple(
        Alternative(
            category=words.categories[int(ranked.categories[row, n])],
            rationale=words.rationales[int(ranked.rationales[row, n])],
            rank=n + 1,
            score=float(ranked.scores[row, n]),
            joint=float(belief.rationales[row, n] * belief.given[row, n]),
        )
        for n in answer.alternatives
    )


# -- where it is ------------------------------------------------------------------------------------------------------


def _texts(words: RationaleWords, answer: Answer, ranked: np.ndarray, space: Space, inverse: bool) -> Tensor:
    """(2 * reasons, d): of each reason the text of the pair, as it was asked, and that of the rationale alone."""
    alone = words.rationale_texts()
    named = [int(ranked[position]) for position in answer.reasons]
    return space.encode_texts(
        [text for r in named for text in (words.pair_text(answer.category, r, inverse), alone[r])]
    )
