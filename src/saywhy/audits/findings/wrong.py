"""What differs between wrong and right predictions: words, places, properties; over all, and class by class."""

from __future__ import annotations

import numpy as np

from saywhy.audits.contrasts import FEWEST, Contrast, contrast, examples, listed, of_pairs, rests_on
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.audits.traits import DECISION, Traits, traits_of
from saywhy.intervals import proportion

KIND = "wrong predictions"
SHOWN = 4  # traits in a sentence
CLASSES = 100  # those with most wrong predictions are looked at by themselves
MOSTLY = 0.7  # of a difference
WRONG = 0  # the group of pictures that are not right


def find(view: View) -> Tested:
    """A finding of all pictures, and one a class with FEWEST wrong and FEWEST right predictions, where traits differ.

    A picture of several true classes counts for each of them. Some classes are harder than others, and what is theirs
    goes with wrong predictions: of each trait it is said how much of the difference the mix of classes alone gives, by
    dealing wrong and right at random inside each class.
    """
    traits = traits_of(view)
    labels = view.manifest["model"]["labels"]
    traits = traits.where(np.isfinite(traits.correct))
    if not len(traits.pictures):
        return Tested(note="the truth is not known of any picture")
    first = np.asarray(traits.true.argmax(1)).ravel()
    tested, findings, notes = [], [], []
    found = contrast(traits, traits.correct.astype(int), 2, within=first)
    tested.append(found.tested[: found.p.shape[1]])
    findings += _of(traits, found, "")
    notes.append(f"{int(found.counts[WRONG])} of {found.pictures} predictions are wrong {traits.sampled}".rstrip())
    if found.tested.size:
        notes.append(f"where wrong and right are dealt at random, the greatest difference is {found.greatest:.2f}")
    wrong = np.asarray(traits.true[traits.correct == 0].sum(0)).ravel()
    right = np.asarray(traits.true[traits.correct == 1].sum(0)).ravel()
    enough = np.flatnonzero((wrong >= FEWEST) & (right >= FEWEST))
    chosen = enough[np.argsort(-wrong[enough], kind="stable")][:CLASSES]
    for index in chosen.tolist():
        of_class = traits.where(traits.members(index))
        found = contrast(of_class, of_class.correct.astype(int), 2)
        tested.append(found.tested[: found.p.shape[1]])
        findings += _of(of_class, found, labels[index])
    notes.append(
        f"{len(chosen)} classes have {FEWEST} wrong and {FEWEST} right predictions and are looked at by themselves"
    )
    return Tested(findings, np.concatenate(tested), "; ".join(notes))


def _of(traits: Traits, found: Contrast, label: str) -> list[AuditFinding]:
    best = found.best(WRONG, 3 * SHOWN)
    telling = [n for n in best if found.traits[n].kind != DECISION][:SHOWN]
    telling += [n for n in best if found.traits[n].kind == DECISION][:1]
    if not telling or (label and found.traits[telling[0]].kind == DECISION):  # it is less sure where it is wrong
        return []
    head = telling[0]
    wrong = traits.correct == 0
    share = proportion(int(found.counts[WRONG]), found.pictures)
    who = f"Wrong predictions of {label}" if label else "Wrong predictions"
    sure = traits.of_name("probability")
    shows, counters = examples(traits, wrong, head, bool(found.delta[WRONG, head] > 0), sure)
    return [
        AuditFinding(
            KIND, (label,) if label else (),
            f"{who} ({int(found.counts[WRONG])} of {found.pictures}) go with "
            f"{listed([found.says(WRONG, n, _mix(found, n)) for n in telling])}.",
            False, found.interval(WRONG, head), of_pairs("wrong", "right"),
            words=found.words(telling), place=found.place(WRONG, telling), null=float(found.null[WRONG]),
            p=float(found.p[WRONG, head]), examples=shows, counters=counters,
            rests_on=rests_on(found.traits[head].kind),
            details={"wrong": share.value, "low": share.low, "high": share.high, "pictures": found.pictures,
                     "traits": [found.row(WRONG, n) for n in best]},
        )
    ]  # fmt: skip


def _mix(found: Contrast, trait: int) -> str:
    """Where most of a difference is one of classes."""
    mix, delta = float(found.mix[WRONG, trait]), float(found.delta[WRONG, trait])
    return "the mix of classes alone gives that" if not np.isnan(mix) and mix / delta > MOSTLY else ""
