"""The one sentence: what the classifier says, where it looked, what is there, and whose opinion that is."""

from __future__ import annotations

from collections.abc import Sequence

from saywhy.answers.claims import MEASURED, SENTENCE, WHOLE, chance, said
from saywhy.answers.claims import region as region_name
from saywhy.answers.places import places
from saywhy.answers.verdicts import ELSEWHERE, SURROUNDINGS, fall
from saywhy.attribution import self_check
from saywhy.attribution.regions import diffuse
from saywhy.types import BORNE_OUT, NOT_TESTABLE, Check, Claim, Heatmap, Picture, Prediction, Region

UNSURE = 0.5  # probability below which the runner-up is named
NAMED = 3  # claims that are called by their names at most, of those that are borne out and those that are untestable
DECIDES = 0.5  # of the margin: what takes so much, or the class, is said first of all
MOSTLY = 0.5  # of the relevance: what "mostly" names holds at least as much


def summarise(
    picture: Picture,
    target: Prediction,
    predictions: Sequence[Prediction],
    regions: Sequence[Region],
    claims: Sequence[Claim],
    heatmap: Heatmap,
    labels: Sequence[Prediction] | None = None,
    silence: str = "",
    surroundings: Check | None = None,
) -> str:
    """One plain-text paragraph; a name between asterisks is a class.

    It says no words but those that are claimed as facts, whose opinion they are, and how sure that is; where there are
    none, why.

    heatmap: of this picture, which the regions are cut from; where there are none, it says why.
    labels:  those that a multi-label classifier says, most probable first, any number; None: it says one class.
    silence: why nothing may be said of what is there.
    surroundings: the test of whether the decision rests on what is around the object.
    """
    verdict = _verdict(target, predictions) if labels is None else _verdict_of_labels(target, predictions, labels)
    others = summary_parts(picture, regions, claims, heatmap, silence, surroundings)
    return " ".join(filter(None, [verdict, *others.values()])).strip()


CAUSE = "What decides"
LOOKED, SEEN, SURE, OPINION, PLAIN = "Where", "What is there", "How sure", "Whose words", "Measured"


def summary_parts(
    picture: Picture, regions: Sequence[Region], claims: Sequence[Claim], heatmap: Heatmap, silence: str,
    surroundings: Check | None,
) -> dict[str, str]:  # fmt: skip
    """What ``summarise`` says after its verdict, in the same order: what it is about -> sentences, "" for none."""
    whole = said(claims, WHOLE)
    strongest = _strongest(picture, regions, claims, surroundings)
    cause = None if strongest is None else strongest[1]
    return {
        CAUSE: "" if strongest is None else strongest[0],
        LOOKED: _looked(picture, regions, claims, heatmap) if regions else f"{why_no_region(heatmap)}.",
        SEEN: f"In the whole picture: {_listed(whole)}." if whole else "",
        SURE: _tested(picture, regions, claims, surroundings, cause),
        OPINION: _opinion([claim for claim in claims if claim.space != MEASURED], silence),
        PLAIN: _measured([claim for claim in claims if cause is None or claim.used is not cause]),
    }


def _strongest(
    picture: Picture, regions: Sequence[Region], claims: Sequence[Claim], surroundings: Check | None
) -> tuple[str, Check] | None:
    """What the decision is shown to rest on most, as a sentence, and its test; None where nothing tested decides.

    Of what is borne out, be it a place, a word, a plain fact or the surroundings, that without which the logit falls
    most, where another class is then first, or DECIDES of the margin is gone. The surroundings only where nothing else
    is that: they hold all that is around the object, a frame or a mark too, and what has a name says more.
    """
    where = places([region.box for region in regions], (picture.width, picture.height))
    made: list[tuple[str, str, str, Check | None]] = [
        (f"the {place}", "without it", ELSEWHERE, region.used) for region, place in zip(regions, where, strict=True)
    ]
    for claim in claims:
        if claim.said and claim.about != SENTENCE:
            measured = ", measured in the picture and no network's opinion" if claim.space == MEASURED else ""
            made.append((f'"{claim.text}"{measured}', "without it", ELSEWHERE, claim.used))
    made.append(("its surroundings", *SURROUNDINGS, surroundings))
    found = [
        (check, f"It rests most on {name}: {fall(check, what, beside)}.")
        for name, what, beside, check in made
        if check is not None and check.verdict == BORNE_OUT
    ]
    deciding = [one for one in found if one[0].share >= DECIDES or one[0].rank[0] == 1 < one[0].rank[1]]
    if not deciding:
        return None
    check, sentence = max(deciding, key=lambda one: (one[0] is not surroundings, one[0].effect))
    return sentence, check


def _measured(claims: Sequence[Claim]) -> str:
    """That plain facts are no network's opinion, and what the score does without them; "" where there are none."""
    facts = [claim for claim in claims if claim.space == MEASURED]
    falls = [f'"{claim.text}": {fall(claim.used)}' for claim in facts if claim.used is not None]
    return f"Measured in the picture, and no network's opinion: {'; '.join(falls)}." if falls else ""


def _tested(
    picture: Picture, regions: Sequence[Region], claims: Sequence[Claim], surroundings: Check | None,
    cause: Check | None,
) -> str:  # fmt: skip
    """What was tested, how many of these claims are borne out and which, and the region that counts most; "" for none.

    The surroundings are tested beside the claims, and are not counted among them. cause: the test that is said already.
    """
    words = [claim for claim in claims if claim.said and claim.about != SENTENCE and claim.space != MEASURED]
    where = places([region.box for region in regions], (picture.width, picture.height))
    of_places = [(f"the {place}", r.used) for r, place in zip(regions, where, strict=True) if r.used is not None]
    of_words = [(f'"{claim.text}"', claim.used) for claim in words if claim.used is not None]
    made = of_places + of_words
    around = surroundings is not None and surroundings is not cause and surroundings.verdict == BORNE_OUT
    rests = f"It rests on its surroundings: {fall(surroundings, *SURROUNDINGS)}." if around and surroundings else ""
    if not made:
        return rests
    borne, untestable = ([name for name, check in made if check.verdict == v] for v in (BORNE_OUT, NOT_TESTABLE))
    kinds = [_count(len(kind), one) for kind, one in ((of_places, "place"), (of_words, "word")) if kind]
    failed = len(made) - len(borne) - len(untestable)
    found = [
        f"{len(borne)} borne out ({_few(borne)})" if borne else "",
        f"{failed} not borne out" if failed else "",
        f"{len(untestable)} not testable ({_few(untestable)})" if untestable else "",
    ]
    how = " one by one" if len(made) > 1 else ""
    if len(made) == 1:
        counts = "It is shown to count" if borne else "It is not shown to count"
    else:
        counts = f"{len(borne) or 'None'} of them {'are' if len(borne) > 1 else 'is'} shown to count"
    said = f"Put to the test{how}: {' and '.join(kinds)}. {counts}: {', '.join(filter(None, found))}."
    if borne and cause is None:
        said += " None decides alone." if len(made) > 1 else " It does not decide alone."
    of_borne = [(check, name) for name, check in of_places if check.verdict == BORNE_OUT]
    if of_borne:
        check, name = max(of_borne, key=lambda each: each[0].effect)
        said += "" if check is cause else f" {fall(check, f'Without {name}')}."
    return f"{said} {rests}".strip()


def _opinion(claims: Sequence[Claim], silence: str) -> str:
    """Whose the words are and how sure they are, or why there are none; "" where nobody was asked."""
    if silence:
        return f"What is there is not said: {silence}."
    if not claims:
        return ""
    first = next((claim for claim in claims if claim.said), claims[0])
    if first.said:
        least = min((claim for claim in claims if claim.said), key=lambda claim: claim.there or 0)
        return (
            f"The words are the opinion of {first.space}, each at least {chance(least)} likely to be there, "
            f"{first.basis}."
        )
    if any(claim.there is not None for claim in claims):
        return f"Nothing of what may be there is sure enough for {first.space} to be said."
    return f"What is there is not said: {first.basis}."


def why_no_region(heatmap: Heatmap) -> str:
    """Why a picture's map has no region, as a sentence without its full stop: a map of zeros is none at all."""
    if not heatmap.values.any():
        return checked(heatmap) or "There is no map: all of it is zero"
    if heatmap.positive.any():
        return "What speaks for it is scattered, or outside of the picture, so there is no region to show"
    return "All that counts in the picture speaks against it, so there is no region to show"


def checked(heatmap: Heatmap) -> str:
    """What the check of a picture's map says, as a sentence without its full stop; "" where there is none to say."""
    words = self_check.said(heatmap.checks[0], heatmap.method) if heatmap.checks else ""
    return words[:1].upper() + words[1:]


def _verdict(target: Prediction, predictions: Sequence[Prediction]) -> str:
    first = predictions[0]
    if target.index != first.index:
        return (
            f"It says *{first.name}* ({first.probability:.2f}); explained here is what speaks for *{target.name}* "
            f"({target.probability:.2f})."
        )
    if first.probability < UNSURE and len(predictions) > 1:
        second = predictions[1]
        return (
            f"It is not sure: *{first.name}* ({first.probability:.2f}), or *{second.name}* ({second.probability:.2f})."
        )
    return f"It says *{first.name}* ({first.probability:.2f})."


def _verdict_of_labels(target: Prediction, predictions: Sequence[Prediction], labels: Sequence[Prediction]) -> str:
    if not labels:
        first = predictions[0]
        verdict = f"It says none of its labels; the most probable is *{first.name}* ({first.probability:.2f})"
    else:
        named = [f"*{p.name}* ({p.probability:.2f})" for p in labels]
        verdict = f"It says {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}"
    if target.index not in [p.index for p in labels or predictions[:1]]:
        return f"{verdict}; explained here is what speaks for *{target.name}* ({target.probability:.2f})."
    return f"{verdict}; explained here is what speaks for *{target.name}*." if len(labels) > 1 else f"{verdict}."


def _looked(picture: Picture, regions: Sequence[Region], claims: Sequence[Claim], heatmap: Heatmap) -> str:
    """Where relevance lies, most first. "Mostly" is said of what holds half of it or more: a place, or all together."""
    few = self_check.arrives(heatmap.checks[0]) if heatmap.checks and heatmap.method == "lrp" else ""
    where = places([region.box for region in regions], (picture.width, picture.height))
    held = sum(region.share for region in regions)
    rest = diffuse(regions)
    spread = f"; the rest ({rest:.0%}) lies elsewhere in the picture" if rest else ""
    looked = []
    for n, (region, place) in enumerate(zip(regions, where, strict=True)):
        seen = said(claims, region_name(n))
        share = f"{region.share:.0%}{' of relevance' if n == 0 and held >= MOSTLY else ''}"
        looked.append(f"the {place} ({share}{f': {_listed(seen)}' if seen else ''})")
    listed = ", then ".join(looked)
    if held < MOSTLY:
        most = f"no place holds more than {regions[0].share:.0%} of it"
        looked_at = f"Relevance is spread over the picture: {most}. First comes {listed}{spread}."
    elif regions[0].share < MOSTLY:
        looked_at = f"It looked mostly at {_count(len(regions), 'place')}: {listed}{spread}."
    else:
        looked_at = f"It looked mostly at {listed}{spread}."
    return f"{looked_at} {few}".strip()


def _few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are: pages have all of them, one beside the other."""
    more = len(names) - NAMED
    return "; ".join([*names[:NAMED], *([f"and {more} more"] if more > 0 else [])])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(claims: Sequence[Claim]) -> str:
    return ", ".join(claim.text for claim in claims)
