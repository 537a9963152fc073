"""The one gate: which phrases are said of a picture as facts, which are shown as uncertain, and when to be silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, final, runtime_checkable

from PIL.Image import Image
from torch import Tensor

from saywhy.answers.claims import SENTENCE, WHOLE
from saywhy.answers.claims import region as region_name
from saywhy.seen.evidence import Evidence
from saywhy.seen.names import NamesCheck
from saywhy.seen.names_alone import NamesAlone
from saywhy.seen.plain_facts import UsualLight
from saywhy.types import Claim, Finding, Sentence

UNKNOWN = "no calibration says how often such words are true"


@runtime_checkable
class Calibrated(Protocol):
    """What knows how probable it is that phrases are there: a ``Calibration``, or what concept probes bring along."""

    @property
    def threshold(self) -> float:
        """The probability from which a phrase is said."""

    @property
    def basis(self) -> str:
        """What the probabilities rest on, in a few words."""

    @property
    def shifts(self) -> bool:
        """Whether it needs ``Evidence.steady``, which takes more crops."""

    @property
    def places(self) -> bool:
        """Whether a phrase is known to be where it stands out most; else facts are of the whole picture."""

    def there(self, evidence: Evidence) -> Tensor:
        """(M,) the probability that each phrase is in the picture; NaN where that is not known."""


@runtime_checkable
class KnowsWhyNot(Protocol):
    """A ``Calibrated`` that says why no probability is known of some phrases; others leave it at UNKNOWN."""

    @property
    def unknown(self) -> str:
        """The reason, in a few words."""


@runtime_checkable
class Doubt(Protocol):
    """What may know that nothing can be said of a picture."""

    def silences(self, images: Sequence[Image]) -> list[str]:
        """Why no words are said of each RGB picture, as a sentence without its full stop; "" where they may be."""


@final
@dataclass(frozen=True)
class Seen:
    """What decides about the words of a space.

    calibration: None where there is none. doubts: any of them may silence a picture.
    names:       of a space that learns words from class names, whether it does; else None.
    alone:       what may be shown where class names are all that there is; None where there is more.
    light:       what brightness is usual; None where nobody knows.
    """

    calibration: Calibrated | None = None
    doubts: tuple[Doubt, ...] = ()
    names: NamesCheck | None = None
    alone: NamesAlone | None = None
    light: UsualLight | None = None

    @property
    def shifts(self) -> bool:
        """Whether the evidence must be of shifted crops too."""
        return self.calibration is not None and self.calibration.shifts

    def silences(self, images: Sequence[Image]) -> list[str]:
        """Why no words are said of each picture, by the first that doubts; "" where they may be."""
        reasons = [""] * len(images)
        for doubt in self.doubts if images else ():
            reasons = [reason or other for reason, other in zip(reasons, doubt.silences(images), strict=True)]
        return reasons


NOTHING_KNOWN = Seen()


def claims_of(evidence: Evidence, findings: Sequence[Finding], seen: Seen = NOTHING_KNOWN) -> tuple[Claim, ...]:
    """All that is claimed of one picture. What is said stands first, by look, and in it the surest first.

    A phrase is said once, of the look in which it stands out most, or of the whole picture where nobody knows how well
    that places it; of the values of an attribute the likeliest. What is
    near in any look and not said follows, likewise, with its probability, where that is known.

    findings: of the looks, in the order of the evidence: which phrases are near.
    """
    calibration, space = seen.calibration, findings[0].space
    if calibration is None:
        return tuple(
            Claim(label.text, about(finding.region), space, label.score, None, UNKNOWN, said=False)
            for finding in findings
            for label in finding.labels
        )
    there = calibration.there(evidence)
    unknown = calibration.unknown if isinstance(calibration, KnowsWhyNot) else UNKNOWN
    vocabulary, best = evidence.vocabulary, evidence.best.tolist()
    places = best if calibration.places else [0] * len(best)
    sure: list[int] = []
    taken: set[str | None] = set()
    for m in there.nan_to_num(-1.0).argsort(descending=True, stable=True).tolist():
        attribute = vocabulary.attribute(m)
        if not float(there[m]) >= calibration.threshold:
            break
        if attribute not in taken:
            sure.append(m)
            taken |= {attribute} - {None}

    def claim(m: int, look: int, said: bool) -> Claim:
        known = not bool(there[m].isnan())
        return Claim(
            vocabulary.phrases[m], about(findings[look].region), space, float(evidence.cosines[look, m]),
            float(there[m]) if known else None, calibration.basis if known else unknown, said,
        )  # fmt: skip

    claims = [claim(m, places[m], True) for m in sorted(sure, key=lambda m: places[m])]
    rows = {phrase: m for m, phrase in enumerate(vocabulary.phrases)}
    near = {rows[label.text] for finding in findings for label in finding.labels} - set(sure)
    claims += [claim(m, best[m], False) for m in sorted(near, key=lambda m: (best[m], -float(there[m].nan_to_num(-1))))]
    return tuple(claims)


def of_sentence(claims: Sequence[Claim], sentence: Sentence) -> tuple[Claim, ...]:
    """What a sentence states, as claims about the sentence; claims: of its picture."""
    said = {claim.text: claim for claim in claims if claim.said}
    return tuple(replace(said[fact], about=SENTENCE) for fact in sentence.facts)


def about(region: int | None) -> str:
    """How a claim names what it is about: a region by its index, or the whole picture."""
    return WHOLE if region is None else region_name(region)
