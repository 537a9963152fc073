"""One cue: pictures of a class have little in common but one thing, and that one makes other pictures the class.

What a class is told by can be put into other pictures, and these are called the class, whether it is a shortcut or not.
So that is only tried where the rest of the class varies: where its pictures' phrases are less alike than those of
other classes are. Such a class may be so for good reasons, as one of several merged ones is; the sentence says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.audits.finding import REGIONS, AuditFinding, Tested
from saywhy.audits.rows import unpacked
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.audits.swaps import (
    CONTROLS,
    LEVEL,
    THIRD,
    Cast,
    Opened,
    Shown,
    as_picture,
    beside_of,
    by_chance,
    cast_of,
    fits,
    in_percent,
    odds,
    opened,
    pairs,
    thirds,
    tried,
)
from saywhy.intervals import Interval, proportion
from saywhy.types import Box

FAMILY = "cue"
ALIKE = 0.5  # of the median over classes: less alike than this are the pictures of a diverse class
CLASSES = 4  # at least, for a median of them to say what is usual
MOST = 20  # diverse classes whose cue is tried, the most diverse
TOLD = 0.7  # AUC of a phrase that names the cue, at least
NAMES = 3
ONE_PLACE = 0.6  # of a class's pictures that have their cue at one place
SOFT = 2.0  # pixels over which the rim of what is pasted goes over into the picture
DRAWS = 50  # boxes of which the one that shares least with the cue and the other controls is a control
SCALE = (0.5, 2.0)  # by how much what is pasted is reduced or enlarged, at most


def trials(subject: Subject, view: View, done: set[str]) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    """A part for each diverse class."""
    cast, pictures = cast_of(view), Opened(subject)
    boxes = _boxes(subject, view, cast)
    for target in list(diverse(view, cast))[:MOST]:
        part = f"{target:06d}"
        if part in done:
            continue

        def planned(target: int = target, part: str = part) -> Iterator[tuple[dict[str, Any], Tensor]]:
            rng = np.random.default_rng([subject.options.seed, target, 1])
            for row, whose, lends in pairs(subject, cast, FAMILY, part, target, pictures):
                if row["control"] or row["other"] not in boxes:  # controls are other parts of the same object
                    continue
                cue = _in_frame(subject, lends, boxes[row["other"]])
                for control, box in ((False, cue), *((True, box) for box in _elsewhere(lends, cue, rng))):
                    variant = "a part as large from elsewhere" if control else "the part with most relevance"
                    pasted = transplanted(whose, lends, box)
                    yield row | {"control": control, "box": list(box), "variant": variant}, pasted
                for other in thirds(cast, target, row["number"], subject.options.seed):
                    beside = pictures(other)
                    if beside is not None and fits(whose, beside):
                        box = _same_place(cue, lends, beside)
                        changed = {"other": other, "control": True, "box": list(box), "variant": THIRD}
                        yield row | changed, transplanted(whose, beside, box)

        yield part, tried(subject, view, planned())


def changed_picture(subject: Subject, row: Mapping[str, Any]) -> Image.Image:
    """The picture of a row of trials again, as the classifier saw it. Raises SaywhyError where it cannot be read."""
    whose, lends = opened(subject, row)
    left, top, right, bottom = row["box"]
    return as_picture(subject.classifier, transplanted(whose, lends, (left, top, right, bottom)))


def diverse(view: View, cast: Cast) -> dict[int, float]:
    """Class index -> how alike its pictures' phrases are, as a share of what is usual; the most diverse first.

    By the mean cosine of profiles, less the mean of all; only those below ALIKE.
    """
    found = _profiles(view, cast)
    if found is None or len(cast.members) < CLASSES:
        return {}
    classes, profiles = found
    profiles = profiles - np.stack([profiles[classes == target].mean(0) for target in cast.members]).mean(0)
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True).clip(1e-9)
    alike = {}
    for target in cast.members:
        its = profiles[classes == target]
        if len(its) > 1:
            alike[target] = (float((its.sum(0) ** 2).sum()) - len(its)) / (len(its) * (len(its) - 1))
    usual = float(np.median(list(alike.values()))) if alike else 0.0
    if usual <= 0:  # the phrases say nothing of classes
        return {}
    low = {target: value / usual for target, value in alike.items() if value / usual < ALIKE}
    return dict(sorted(low.items(), key=lambda one: one[1]))


def transplanted(whose: Shown, lends: Shown, box: Box) -> Tensor:
    """(C, h, w): what is in a box of one picture, put into another at the same place of its object, as large there.

    Mirrored, where the objects' outlines agree better so.
    """
    left, top, right, bottom = box
    height, width = whose.object.shape
    of, to = _box(lends.object), _box(whose.object)
    mirrored = _agree(lends.object[:, ::-1], whose.object) > _agree(lends.object, whose.object)
    size = ((to[2] - to[0]) * (to[3] - to[1]) / ((of[2] - of[0]) * (of[3] - of[1]))) ** 0.5
    size = float(np.clip(size, *SCALE))
    high, wide = (int(np.clip(round(size * length), 2, most)) for length, most in
                  ((bottom - top, height), (right - left, width)))  # fmt: skip
    patch = lends.pixels[:, top:bottom, left:right].float()[None]
    patch = F.interpolate(patch, (high, wide), mode="bilinear", antialias=True)[0].to(whose.pixels)
    across = ((left + right) / 2 - of[0]) / (of[2] - of[0])
    down = ((top + bottom) / 2 - of[1]) / (of[3] - of[1])
    if mirrored:
        patch, across = patch.flip(2), 1 - across
    x = int(np.clip(round(to[0] + across * (to[2] - to[0]) - wide / 2), 0, width - wide))
    y = int(np.clip(round(to[1] + down * (to[3] - to[1]) - high / 2), 0, height - high))
    rim = [np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / SOFT for n in (high, wide)]
    kept = torch.as_tensor(np.clip(np.minimum(rim[0][:, None], rim[1][None]), 0, 1)).to(patch)
    changed = whose.pixels.clone()
    under = changed[:, y : y + high, x : x + wide]
    changed[:, y : y + high, x : x + wide] = kept * patch + (1 - kept) * under
    return changed


def _agree(a: np.ndarray, b: np.ndarray) -> float:
    """How far two objects' outlines agree (IoU), each in its box."""
    from skimage.transform import resize

    small = []
    for mask in (a, b):
        left, top, right, bottom = _box(mask)
        small.append(resize(mask[top:bottom, left:right].astype(float), (32, 32), order=1) > 0.5)
    return float((small[0] & small[1]).sum() / max(1, (small[0] | small[1]).sum()))


def _box(mask: np.ndarray) -> Box:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _boxes(subject: Subject, view: View, cast: Cast) -> dict[int, Box]:
    """Number -> the box of its most relevant region, in pixels of the picture."""
    numbers = ", ".join(str(number) for members in cast.members.values() for number in members) or "NULL"
    rows = view.sql(
        f'SELECT number, "left", top, "right", bottom FROM regions WHERE region = 1 AND number IN ({numbers})'
    ).to_pylist()
    return {row["number"]: (row["left"], row["top"], row["right"], row["bottom"]) for row in rows}


def _in_frame(subject: Subject, shown: Shown, box: Box) -> Box:
    """A box of the picture in the preprocessed frame; at least 2 pixels on each side."""
    geometry = subject.classifier.frame_on(shown.image)
    height, width = shown.object.shape
    ends = []
    for axis, most in ((0, width), (1, height)):
        low, high = ((box[axis + end] - geometry.offset[axis]) / geometry.scale[axis] for end in (0, 2))
        first = int(np.clip(np.floor(low), 0, most - 2))
        ends.append((first, int(np.clip(np.ceil(high), first + 2, most))))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _same_place(box: Box, of: Shown, on: Shown) -> Box:
    """The box that stands on one object where ``box`` stands on another, as large for it; at least 2 pixels a side."""
    height, width = on.object.shape
    here, there = _box(of.object), _box(on.object)
    ends = []
    for axis, most in ((0, width), (1, height)):
        times = (there[axis + 2] - there[axis]) / (here[axis + 2] - here[axis])
        low, high = (there[axis] + (box[axis + end] - here[axis]) * times for end in (0, 2))
        first = int(np.clip(round(low), 0, most - 2))
        ends.append((first, int(np.clip(round(high), first + 2, most))))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _elsewhere(shown: Shown, box: Box, rng: np.random.Generator) -> list[Box]:
    """CONTROLS boxes as large with their centres on the object.

    Of several drawn each is the one that shares least with ``box`` and those before it: boxes that share much are
    nearly one control.
    """
    height, width = shown.object.shape
    wide, high = box[2] - box[0], box[3] - box[1]
    rows, columns = np.nonzero(shown.object)
    found = [box]
    for _ in range(CONTROLS):
        best, least = box, (CONTROLS + 1) * wide * high
        for n in rng.integers(0, len(rows), DRAWS):
            left = int(np.clip(columns[n] - wide // 2, 0, width - wide))
            top = int(np.clip(rows[n] - high // 2, 0, height - high))
            shared = sum(max(0, wide - abs(left - x)) * max(0, high - abs(top - y)) for x, y, *_ in found)
            if shared < least:
                best, least = (left, top, left + wide, top + high), shared
        found.append(best)
    return found[1:]


def find(view: View) -> Tested:
    """The diverse classes, and which of them their cue makes of other pictures."""
    cast = cast_of(view)
    low = diverse(view, cast)
    rows = view.sql(f"SELECT * FROM trials WHERE family = '{FAMILY}' ORDER BY target, number, other").to_pylist()
    tests = view.sql("SELECT DISTINCT family, part FROM trials").num_rows  # with which these will be corrected
    ps, findings = [], []
    for target, alike in low.items():
        mine = [row for row in rows if row["target"] == target]
        given, (beside, others) = [row for row in mine if not row["control"]], beside_of(mine)
        p = odds(given, beside, others) if given else None
        if p is not None:
            ps.append(p)
        names, auc = _named(view, cast, target)
        if not names and (p is None or p > LEVEL / tests):
            continue  # nothing could be said of it
        decides = p is not None and p <= LEVEL / tests
        findings.append(_finding(view, cast, target, alike, given, beside, others, p if decides else None, names, auc))
    note = cast.left_out
    if _profiles(view, cast) is None or len(cast.members) < CLASSES:
        needs = f"one cue: needs words, and {CLASSES} classes with enough pictures"
        note = f"{note}; {needs}" if note else needs
    return Tested(findings, np.array(ps), note, changed=True)


def _finding(
    view: View, cast: Cast, target: int, alike: float, given: Sequence[Mapping[str, Any]],
    beside: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], p: float | None, names: Sequence[str],
    auc: Interval,
) -> AuditFinding:  # fmt: skip
    about = view.manifest["model"]["labels"][target]
    hits, chance, anyway = (sum(row["hit"] for row in some) for some in (given, beside, others))
    share = proportion(hits, len(given))
    place = _place(view, cast.members[target])
    named = ", ".join(filter(None, (*names, place)))
    cue = f" ({named})" if named else ""
    varies = (
        f"Otherwise its pictures vary: they are {100 * alike:.0f} % as alike as those of other classes. A class may be "
        "so for good reasons, as one of several merged ones is."
    )
    third = f"; the same place of pictures of third classes, {anyway} of {len(others)}" if others else ""
    if p is not None:
        sentence = (
            f"{about}: one cue decides{cue}. The most relevant part of its pictures, pasted into {len(given)} pictures "
            f"of other classes, makes {hits} of them {about} ({in_percent(share)}); parts as large from elsewhere "
            f"on the object, {chance} of {len(beside)}{third}. {varies}"
        )
    else:
        sentence = f"{about} goes with one cue{cue}. {varies}"
        if given:
            sentence += (
                f" Pasted into other pictures, the cue makes {hits} of {len(given)} the class: not clearly more "
            )
            sentence += "than chance, so nothing says that it decides."
    lenders = Counter({row["other"]: 0 for row in given})
    lenders.update(row["other"] for row in given if row["hit"])
    examples = tuple(n for n, times in lenders.most_common() if times or p is None)
    return AuditFinding(
        "one cue", (about,), sentence, p is not None, auc if p is None else share,
        "AUC of the words, class against rest" if p is None else "of pictures of other classes, given its cue",
        tuple(names), place, by_chance(beside, others), p,
        examples=examples or tuple(cast.members[target]),
        counters=tuple(n for n, times in lenders.items() if not times) if p is not None else (), rests_on=REGIONS,
        details={"alike": alike, "given": len(given), "hits": hits, "control hits": chance,
                 "third class": [anyway, len(others)], "auc": auc.value},
    )  # fmt: skip


def _named(view: View, cast: Cast, target: int) -> tuple[list[str], Interval]:
    """What the class's most relevant regions are called that sets it apart, best first; and how far the best does."""
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    found = _profiles(view, cast)
    if found is None:
        return [], nothing
    classes, profiles = found
    its = classes == target
    numbers = ", ".join(str(number) for number in cast.members[target])
    said = Counter(
        label
        for labels in view.sql(f"SELECT labels FROM regions WHERE number IN ({numbers}) AND region = 1")[
            "labels"
        ].to_pylist()
        for label in set(labels or ())
    )
    phrases = list(view.manifest["vocabulary"]["phrases"])
    column = {phrase: n for n, phrase in enumerate(phrases)}
    aucs = {
        name: _auc(profiles[its, column[name]], profiles[~its, column[name]])
        for name, times in said.items()
        if name in column and times >= 0.2 * its.sum()
    }
    names = sorted((name for name in aucs if aucs[name].value >= TOLD), key=lambda name: -aucs[name].value)[:NAMES]
    return names, aucs[names[0]] if names else nothing


def _auc(its: np.ndarray, rest: np.ndarray) -> Interval:
    """With its interval by Hanley and McNeil (1982)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([its, rest]))[: len(its)]
    value = float((ranks.sum() - len(its) * (len(its) + 1) / 2) / (len(its) * len(rest)))
    one, two = value / (2 - value), 2 * value**2 / (1 + value)
    spread = value * (1 - value) + (len(its) - 1) * (one - value**2) + (len(rest) - 1) * (two - value**2)
    error = 1.96 * max(0.0, spread / (len(its) * len(rest))) ** 0.5
    return Interval(value, max(0.0, value - error), min(1.0, value + error))


def _profiles(view: View, cast: Cast) -> tuple[np.ndarray, np.ndarray] | None:
    """(N,) class and (N, M) profile of the pictures that take part; None where the space has no words."""
    numbers = ", ".join(str(number) for members in cast.members.values() for number in members) or "NULL"
    found = view.sql(
        f"SELECT predicted, profile FROM pictures WHERE number IN ({numbers}) AND profile IS NOT NULL ORDER BY number"
    )
    if not found.num_rows:
        return None
    return found["predicted"].to_numpy(), unpacked(found["profile"].to_pylist())


def _place(view: View, numbers: Sequence[int]) -> str:
    """Where the most relevant region lies in most of the pictures; "" where it lies here and there."""
    from saywhy.answers.places import position

    listed = ", ".join(str(number) for number in numbers)
    rows = view.sql(f"SELECT x, y FROM regions WHERE region = 1 AND number IN ({listed})").to_pylist()
    boxes = [(round(1000 * row["x"]), round(1000 * row["y"])) for row in rows]
    places = Counter(position((x, y, x + 1, y + 1), (1000, 1000)) for x, y in boxes)
    place, times = places.most_common(1)[0] if places else ("", 0)
    return place if place and times >= ONE_PLACE * places.total() else ""
