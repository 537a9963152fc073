"""Why is this picture what it is? A category, and the rationales that it is chosen for, each with where it is (ECOR).

The path of one picture: rank pairs of category and rationale, say what each is believed to be, decide, and look where
the picture shows it. No rationale is said of which nobody knows whether it stands out, or which does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.answers.claims import WHOLE
from saywhy.answers.why import Alternative, Reason, Why, dissent, say, silent
from saywhy.attribution.gscorecam import Track
from saywhy.checks.reasons import AREAS, check_reasons
from saywhy.pictures.geometry import probe_geometry
from saywhy.pictures.reading import PictureLike, display_copy, picture_name, read_picture
from saywhy.questions.options import CHECKS, NO_MAPS, WhyOptions
from saywhy.seen.gate import NOTHING_KNOWN, Seen
from saywhy.seen.layer_statistics import eyes_of
from saywhy.seen.references import Reference, doubts_of
from saywhy.spaces.pairs.bank import Bank, WordBank
from saywhy.spaces.pairs.beliefs import Belief, ReasonChance, believe, reason_rows
from saywhy.spaces.pairs.ranking import Answer, shortlist
from saywhy.spaces.pairs.ranking import decide as pick
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.seeing import Seeing, as_seen, hot, on_picture
from saywhy.spaces.similarity import Usual, standing_out
from saywhy.spaces.text_heat import METHODS as TEXT_METHODS
from saywhy.spaces.text_heat import text_heat
from saywhy.spaces.traits import tower_of
from saywhy.types import Claim, RationaleUse, Space
from saywhy.words.rationale_words import RationaleWords

METHODS = (*TEXT_METHODS, NO_MAPS)
FULL_AREAS = 199  # elsewhere, for checks="full"


def why(
    image: PictureLike,
    space: Seeing,
    words: RationaleWords,
    bank: Bank | None,
    *,
    scoring: Scoring = WhyOptions.scoring,
    k: int = WhyOptions.k,
    decide: str = WhyOptions.decide,
    method: str = WhyOptions.method,
    visible_from: float | None = WhyOptions.visible_from,
    checks: str = WhyOptions.checks,
    inverse: Bank | None = None,
    usual: Usual | None = None,
    chance: ReasonChance | None = None,
    reference: Reference | None = None,
) -> Why:
    """Why one picture is what it is. Arguments as of ``read_picture``, ``WhyOptions`` and ``why_pictures``.

    >>> answer = why("toucan.jpg", clip, words, build_bank(clip, words))
    >>> answer.sentence
    'This is a toucan because there is a large bill and a white throat.'

    reference: pictures that the space's tower knows, as of ``explain``: of others nothing is said.

    Raises SaywhyError for a picture that cannot be read, and as ``why_pictures`` and ``doubts_of``.
    """
    options = WhyOptions(
        scoring=scoring, k=k, decide=decide, method=method, visible_from=visible_from, checks=checks
    )  # fmt: skip
    pictures = [(picture_name(image), read_picture(image))]
    seen = Seen(doubts=doubts_of(eyes_of(space, None), reference, tell=warnings.warn))
    answers = why_pictures(
        pictures, space, words, bank, options, inverse=inverse, usual=usual, chance=chance, seen=seen
    )
    return next(answers)


def why_pictures(
    pictures: Sequence[tuple[str, Image.Image]],
    space: Seeing,
    words: RationaleWords,
    bank: Bank | None,
    options: WhyOptions | None = None,
    *,
    inverse: Bank | None = None,
    usual: Usual | None = None,
    chance: ReasonChance | None = None,
    track: Track = iter,
    seen: Seen = NOTHING_KNOWN,
) -> Iterator[Why]:
    """An answer for each (name, RGB picture), ranked together and looked at one by one.

    space:   a ClipSpace, or one with a tuned ``tower`` and the ``clip`` it was made from.
    bank:    of all pairs of the words. None: only those of each picture's shortlist, which is not exact.
    options: None: the defaults.
    inverse: the bank the other way round, where the scoring has that term.
    usual:   what the rationales score on pictures in general; None: what stands out is judged among the rationales.
    chance:  how probable it is that a rationale which is given is there, of this space, these words and this usual;
             None, or where it was not fitted for these options: a rationale is said where it stands out far enough.
    track:   iterates over gScoreCAM's batches, and may show progress.
    seen:    what may keep words from a picture; by default nothing does.

    Raises SaywhyError for a space that is not a CLIP, and as ``rank``.
    """
    options = options or WhyOptions()
    scoring, method, by_vote = options.scoring, options.method, options.decide == "vote"
    tower, clip = tower_of(space)
    k = min(options.k, len(words.categories) * len(words.rationales))
    images = space.encode_images([image for _, image in pictures])
    rationales = space.encode_texts(words.rationale_texts()) if bank is None else bank.rationales
    scorer = None if bank is None else PairScorer(pairs=bank, inverse=inverse, scoring=scoring, scale=space.scale)
    tested: PairScorer[WordBank] | None = None
    if options.checks != CHECKS[0] and isinstance(bank, WordBank) and isinstance(inverse, WordBank | None):
        tested = PairScorer(pairs=bank, inverse=inverse, scoring=scoring, scale=space.scale)
    beliefs = (
        _believe_shortlists(images, space, words, rationales, scoring, k, by_vote)
        if scorer is None
        else iter([believe(images, scorer, k, by_vote)])
    )
    unusual = standing_out(images, rationales, usual)
    cosines = images @ rationales.T
    visible = _visible(options, usual)
    if bank is None or not _fits(chance, options, usual):
        chance = None
    settings = {
        "space": space.name, "terms": scoring.terms, "conditional": scoring.conditional, "weight": scoring.weight,
        "temperatures": dict(scoring.temperatures), "k": k, "decide": options.decide, "method": method,
        "checks": CHECKS[0] if tested is None else options.checks,
        "exact": bank is not None, "usual": "the rationales" if usual is None else "a reference",
        "visible from": visible.visible_from, "visible because": visible.basis,
        "categories": len(words.categories),
        "rationales": len(words.rationales), "templates": vars(words.templates), "saywhy": version("saywhy"),
        "torch": torch.__version__,
    }  # fmt: skip
    silences = seen.silences([image for _, image in pictures])
    rows = ((belief, n) for belief in beliefs for n in range(len(belief.given)))
    for n, ((name, image), (belief, row)) in enumerate(zip(pictures, rows, strict=True)):
        answer = pick(belief.ranked, row, k, None if by_vote else int(belief.likeliest[row]))
        reasons = _reasons(answer, belief, row, words, None if unusual is None else unusual[n], visible)
        if method != NO_MAPS:
            texts = _texts(words, answer, belief.ranked.rationales[row], space, "inverse" in scoring.terms)
            pixels = clip.transform(image)[None].to(clip.device)
            maps = text_heat(tower, pixels, texts, space.scale, method, track=track).unflatten(0, (-1, 2))
            reasons = [replace(reason, heat=heat) for reason, heat in zip(reasons, maps, strict=True)]
        if tested is not None and not silences[n]:
            named = [int(belief.ranked.rationales[row, position]) for position in answer.reasons]
            used = use_of_reasons(
                image, answer.category, named, space, tested,
                heats=[reason.heat[1] for reason in reasons if reason.heat is not None],
                areas=FULL_AREAS if options.checks == CHECKS[-1] else AREAS,
            )  # fmt: skip
            reasons = [replace(reason, used=use) for reason, use in zip(reasons, used, strict=True)]
        own = words.lists[answer.category]
        there = None
        if chance is not None and unusual is not None:
            there = chance.there(reason_rows(answer, belief, row, unusual[n], words.lists[answer.category]))
            reasons = [_as_sure(reason, p, chance) for reason, p in zip(reasons, there.tolist(), strict=True)]
        of_own = None if unusual is None or not own else float(unusual[n, list(own)].amax())
        any_visible = _reached(of_own, visible) if own else False
        category = words.categories[answer.category]
        other = int(belief.likeliest[row]) if by_vote else answer.voted
        rival = None if other == answer.category else words.categories[other]
        found = Why(
            picture=display_copy(image, name),
            geometry=probe_geometry(clip.transform, image.size),
            category=category,
            probability=float(belief.categories[row, answer.reasons[0]]),
            reasons=tuple(reasons),
            visible=any_visible,
            sentence=say(category, reasons, any_visible, bool(own), dissent(rival, options.decide)),
            claims=_claims(
                reasons,
                dict(zip(words.rationales, cosines[n].tolist(), strict=True)),
                space.name,
                visible.basis if chance is None else chance.basis,
                there,
            ),
            rival=rival,
            alternatives=_alternatives(answer, belief, row, words),
            space=space.name,
            settings=settings,
        )
        yield silent(found, silences[n])


# -- what is believed -------------------------------------------------------------------------------------------------


def _believe_shortlists(
    images: Tensor, space: Seeing, words: RationaleWords, rationales: Tensor, scoring: Scoring, k: int, by_vote: bool
) -> Iterator[Belief]:
    """One belief for each picture: probabilities are among its shortlist."""
    categories = space.encode_texts(words.category_texts())
    for image in images:
        part = shortlist(image, space, words, rationales, categories, "inverse" in scoring.terms)
        most = min(k, part.texts.shape[0] * part.texts.shape[1])
        scorer = PairScorer(pairs=part, inverse=part.inverse, scoring=scoring, scale=space.scale)
        belief = believe(image[None], scorer, most, by_vote)
        likeliest = part.category_indices.numpy()[belief.likeliest]
        yield replace(belief, ranked=part.named(belief.ranked), likeliest=likeliest)


def _reasons(
    answer: Answer, belief: Belief, row: int, words: RationaleWords, unusual: Tensor | None, visible: _Visible
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
                visible=_reached(out, visible),
                heat=None,
            )
        )
    return reasons


@final
@dataclass(frozen=True)
class _Visible:
    """From how many standard deviations a rationale is said to be visible; None: it cannot be told. basis: why."""

    visible_from: float | None
    basis: str


def _visible(options: WhyOptions, usual: Usual | None) -> _Visible:
    if options.visible_from is not None:
        return _Visible(options.visible_from, f"visible from {options.visible_from:+.1f} sd on, as was asked for")
    if usual is None:
        return _Visible(None, "no pictures say how far true and absent rationales stand out")
    return _Visible(usual.visible_from, usual.basis)


def _reached(unusual: float | None, visible: _Visible) -> bool | None:
    return None if unusual is None or visible.visible_from is None else unusual >= visible.visible_from


def _fits(chance: ReasonChance | None, options: WhyOptions, usual: Usual | None) -> bool:
    """Whether the probabilities were fitted for what is asked."""
    scoring = options.scoring
    return (
        chance is not None
        and usual is not None
        and options.visible_from is None
        and (options.decide, options.k, scoring.terms) == ("probability", chance.k, chance.terms)
        and (scoring.conditional, scoring.weight) == ("all", 1.0)
    )


def _as_sure(reason: Reason, there: float, chance: ReasonChance) -> Reason:
    """Visible where it is sure enough; one that stands out and is not sure cannot be told."""
    sure = there >= chance.threshold
    return replace(reason, visible=True if sure else None if reason.visible else reason.visible)


def _claims(
    reasons: Sequence[Reason], cosines: Mapping[str, float], space: str, basis: str, there: np.ndarray | None
) -> tuple[Claim, ...]:
    """Of each rationale that is given, whether it may be said; what may be stands first. cosines: by rationale.

    One that is not on the category's list is never said: it is paired with the category for another reason.
    """
    known = [None] * len(reasons) if there is None else there.tolist()
    claims = []
    for reason, p in zip(reasons, known, strict=True):
        said = bool(reason.visible and reason.listed)
        claims.append(Claim(reason.rationale, WHOLE, space, cosines[reason.rationale], p, basis, said))
    return tuple(sorted(claims, key=lambda claim: not claim.said))


def _alternatives(answer: Answer, belief: Belief, row: int, words: RationaleWords) -> tuple[Alternative, ...]:
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


# -- does the answer rest on it? --------------------------------------------------------------------------------------


def use_of_reasons(
    image: Image.Image,
    category: int,
    rationales: Sequence[int],
    space: Seeing,
    scorer: PairScorer[WordBank],
    *,
    heats: Sequence[Tensor] = (),
    areas: int = AREAS,
) -> list[RationaleUse]:
    """Of each rationale that a category is named for, whether the answer rests on it; see ``check_reasons``.

    heats: (H, W) of each, where the space sees it in the preprocessed frame; none: LRP's, made here.
    """
    tower, clip = tower_of(space)
    seen = as_seen(image, clip.transform)
    if len(heats) < len(rationales):
        texts = scorer.bank.rationales[list(rationales)]
        pixels = clip.transform(seen)[None].to(clip.device)
        heats = list(text_heat(tower, pixels, texts, space.scale))
    frame = probe_geometry(clip.transform, seen.size)
    places = [on_picture(hot(heat.numpy()), frame) for heat in heats]
    return check_reasons(seen, places, space.encode_images, scorer, category, rationales, areas=areas)


# -- where it is ------------------------------------------------------------------------------------------------------


def _texts(words: RationaleWords, answer: Answer, ranked: np.ndarray, space: Space, inverse: bool) -> Tensor:
    """(2 * reasons, d): of each reason the text of the pair, as it was asked, and that of the rationale alone."""
    alone = words.rationale_texts()
    named = [int(ranked[position]) for position in answer.reasons]
    return space.encode_texts(
        [text for r in named for text in (words.pair_text(answer.category, r, inverse), alone[r])]
    )
