"""What each class is recognised by: the words, parts and places that its pictures have more often than others.

LRP-CLIP's second table, of any data set and class by class. Of each word it is said whether the class's name alone
would have said it, without a picture; see ``audits.names``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from saywhy.audits.contrasts import FEWEST, Contrast, contrast, examples, listed, of_pairs, rests_on
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.names import Names, echoes, names_of
from saywhy.audits.store import View
from saywhy.audits.traits import COLOUR, NEAR, PART, PLACE, SAID, WORDLY, Traits, parts, traits_of

KIND = "recognised by"
MOST_WORDS, MOST_COLOURS, MOST_PLACES = 3, 2, 1  # in a sentence
ECHO = "its name alone would say so"
LISTED = 8  # traits of a class in its details


def find(view: View) -> Tested:
    """A finding a class that is predicted for FEWEST pictures or more, and has something of its own.

    Its first trait has to be greater than what dealt predictions give of any trait of a class of that size.
    """
    everything = traits_of(view)
    traits, sure = everything.only((*WORDLY, PLACE, COLOUR)), everything.of_name("probability")
    labels = view.manifest["model"]["labels"]
    classes, groups = np.unique(traits.predicted, return_inverse=True)
    found = contrast(traits, groups, len(classes))
    names = names_of(view)
    findings, said = [], dict[int, list[str]]()
    for group, index in enumerate(classes.tolist()):
        by_name = names.says(index) if names else ()
        one = _of_class(traits, found, group, labels[index], by_name, groups == group, sure)
        if one is not None:
            findings.append(one)
            said[index] = [traits.traits[n].name for n in found.best(group, MOST_WORDS, (SAID, NEAR), more=True)]
    few = int((found.counts < FEWEST).sum())
    notes = [
        f"{len(classes) - few} classes with {FEWEST} pictures or more {traits.sampled}".rstrip(),
        f"{few} classes with fewer are not tested" if few else "",
        f"where predictions are dealt at random, the greatest difference of any class is {found.greatest:.2f}"
        if found.tested.size
        else "",
        _name_note(names, said, labels),
        _parts_note(view),
    ]
    return Tested(findings, found.tested, "; ".join(filter(None, notes)))


def _of_class(
    traits: Traits, found: Contrast, group: int, label: str, by_name: Sequence[str], members: np.ndarray,
    sure: np.ndarray,
) -> AuditFinding | None:  # fmt: skip
    words = found.best(group, LISTED, (SAID, NEAR), more=True)
    part = found.best(group, MOST_PLACES, (PART,), more=True)
    places, colours = found.best(group, MOST_PLACES, (PLACE,)), found.best(group, MOST_COLOURS, (COLOUR,))
    shown = words[:MOST_WORDS] + part + colours + places
    if not shown:
        return None
    echo = [found.traits[n].name for n in words + colours if echoes(found.traits[n].name, label, by_name)]
    said = [
        found.says(group, n, ECHO if found.traits[n].name in echo and found.delta[group, n] > 0 else "") for n in shown
    ]
    head = max(shown, key=lambda n: abs(found.delta[group, n]))
    if abs(found.delta[group, head]) <= found.null[group]:
        return None
    trait, delta = found.traits[head], float(found.delta[group, head])
    shows, counters = examples(traits, members, head, delta > 0, sure)
    position = {(t.kind, t.name): n for n, t in enumerate(found.traits)}
    details: dict[str, Any] = {
        "pictures": int(found.counts[group]), "headline": trait.name,
        "traits": [found.row(group, n) for n in found.best(group, LISTED)],
        "goes with the name": [found.traits[n].name for n in words if found.traits[n].name in echo],
        "goes with the pictures": [found.traits[n].name for n in words if found.traits[n].name not in echo],
        "name alone": {
            word: max((float(found.delta[group, position[kind, word]]) for kind in (SAID, NEAR)
                       if (kind, word) in position), default=None)
            for word in by_name
        },
        "parts": {t.name: float(found.inside[group, n]) for n, t in enumerate(found.traits) if t.kind == PART},
    }  # fmt: skip
    return AuditFinding(
        KIND, (label,), f"What is predicted as {label} goes with {listed(said)}; {int(found.counts[group])} pictures.",
        False, found.interval(group, head), _unit(trait.kind),
        words=found.words(words), place=found.place(group, places), null=float(found.null[group]),
        p=float(found.p[group, head]), examples=shows, counters=counters,
        rests_on=rests_on(trait.kind), details=details,
    )  # fmt: skip


def _unit(kind: str) -> str:
    return "share of the class's pictures less that of others" if kind in WORDLY else of_pairs("of the class", "other")


def _name_note(names: Names | None, said: dict[int, list[str]], labels: Sequence[str]) -> str:
    """How many of the words go with names, beside names that are dealt to other classes; and what names alone give."""
    worded = [index for index, words in said.items() if words]
    if names is None or len(worded) < 2:
        return ""
    own, dealt, total = 0, 0, 0
    for place, index in enumerate(worded):
        other = worded[(place + 1 + len(worded) // 2) % len(worded)]
        if other == index:
            other = worded[place - 1]
        own += sum(echoes(word, labels[index], names.says(index)) for word in said[index])
        dealt += sum(echoes(word, labels[other], names.says(other)) for word in said[index])
        total += len(said[index])
    return (
        f"of {total} words of classes {own} are what the class's name alone would say, and {dealt} what another "
        "class's would"
    )


def _parts_note(view: View) -> str:
    """LRP-CLIP's second table: which parts the first labels of regions name."""
    part_of = parts(view)
    if not part_of:
        return ""
    labels = view.sql("SELECT labels[1] AS text, count(*) AS n FROM regions WHERE len(labels) > 0 GROUP BY ALL")
    counts: dict[str, int] = {}
    for text, n in zip(labels["text"].to_pylist(), labels["n"].to_pylist(), strict=True):
        part = part_of.get(text, text)
        counts[part] = counts.get(part, 0) + n
    total = sum(counts.values())
    if not total:
        return ""
    order = sorted(counts, key=lambda part: -counts[part])
    shares = [f"{part} {100 * counts[part] / total:.1f} %" for part in order]
    told = ", ".join(shares[:3]) + ("; least: " + ", ".join(shares[-3:]) if len(shares) > 6 else "")
    return f"of the nearest phrases of {total} regions most are of: {told}"
