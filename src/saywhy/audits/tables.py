"""The tables of an audit: their columns, and the number of their format.

A vector in a row is bytes of float16, little-endian, so that a table of a million rows stays small and loads at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
"""Of tables and manifest. A version reads its own number and all below it."""
GRID = 16  # cells of ``relevance`` and ``look`` on each side of the frame
KEPT = 20  # classes of a picture whose probabilities are kept

PICTURES: Mapping[str, str] = {
    "number": "int", "file": "text", "truth": "text", "truths": "texts", "metadata": "map",
    "width": "int", "height": "int",
    "prediction": "text", "predicted": "int", "probability": "float", "logit": "float",
    "runner_up": "text", "runner_up_probability": "float",
    "true_class": "int", "true_probability": "float", "correct": "bool",
    "classes": "ints", "probabilities": "floats",
    "shares": "floats", "cells": "floats", "border": "float", "on_object": "float", "object_area": "float",
    "holds": "bool", "properties": "numbers",
    "words": "texts", "there": "floats", "concepts": "texts", "unusual": "floats", "silence": "text",
    "relevance": "bytes", "look": "bytes", "vector": "bytes", "features": "bytes", "profile": "bytes",
}  # fmt: skip
"""Columns of ``pictures``: a row a picture that could be read.

number: in the collection, from 0. truth: its class, by the classifier's name for it, else by the collection's; truths:
where it has several. metadata: column -> value. predicted, true_class: class indices; true_class none where the
classifier has no such class. correct: whether the truth is predicted; of several, whether exactly they are said.
classes, probabilities: the KEPT likeliest, best first.
shares: of positive relevance, of each region. cells: of a grid of 3 x 3, by rows. border: of the outer eighth of the
frame. on_object: of the object that stands out, and object_area its share of the frame; none where nothing does, and
for pictures beyond ``AuditOptions.objects`` of their class, where it is not sought.
holds: whether the map adds up. properties: name -> number, see ``pictures.properties``: pixels, aspect, blocks and jpeg
of the picture itself, the others of the part that the network saw. words: what is said as a fact, and there: how
probable each is. concepts: nearest phrases of the whole picture, and how unusual each is, in standard deviations.
silence: why nothing is said. relevance: (GRID * GRID,) positive relevance, adding up to 1. look: (GRID * GRID * 3,)
uint8, the frame reduced. vector: (d,) the whole picture in the space. features: what goes into the classifier's head;
none without one. profile: (M,) how unusual each phrase of the vocabulary is in the look in which it is most.
"""
REGIONS: Mapping[str, str] = {
    "number": "int", "region": "int", "left": "int", "top": "int", "right": "int", "bottom": "int",
    "x": "float", "y": "float", "area": "float", "share": "float",
    "labels": "texts", "unusual": "floats", "cosines": "floats", "said": "texts",
}  # fmt: skip
"""Columns of ``regions``: a row a region, counted from 1.

left to bottom: the box, in pixels of the picture. x, y: its centre, 0..1 of the frame. area: of the frame. labels: what
the space finds nearest, best first. said: what is said of the region as a fact.
"""
ERRORS: Mapping[str, str] = {"number": "int", "file": "text", "truth": "text", "reason": "text"}
"""Columns of ``errors``: a row a picture that has no row in ``pictures``, and why."""
SHOWN: Mapping[str, str] = {"number": "int", "thumbnail": "bytes", "map": "bytes"}
"""Columns of ``shown``: a row a picture of which a thumbnail and a map of its relevance are kept, both JPEGs."""
TRIALS: Mapping[str, str] = {
    "family": "text", "part": "text", "about": "text", "target": "int", "number": "int", "other": "int",
    "variant": "text", "place": "text", "box": "ints", "facts": "texts", "words": "texts",
    "control": "bool", "before": "int", "after": "int",
    "probability_before": "float", "probability_after": "float", "hit": "bool",
}  # fmt: skip
"""Columns of ``trials``: a row a changed picture that the classifier was asked about.

family: of the intervention ("swap"). part: what was written together: "000004" is of the class with index 4. about: the
name of the class or value whose cause is tried. target: that class' index, where it is one. number: the picture that
was changed; other: the one that something was taken from. variant: what was changed, in words; place: where, "" for
nowhere in particular; box: what was taken, in the preprocessed frame. facts, words: what is measured, and what the
space finds, in what was taken. control: whether the change is one that should do nothing. before, after: indices of
predicted classes, which ``pictures`` names (predicted, prediction). probability_*: of ``target``. hit: whether
``target`` is predicted after.
"""
CHANGED: Mapping[str, str] = {
    "family": "text", "part": "text", "about": "text", "number": "int", "variant": "text", "said": "text",
    "probability": "float", "before": "bytes", "after": "bytes",
}  # fmt: skip
"""Columns of ``changed``: a row a changed picture that is kept to be seen, of the row of ``trials`` with its family,
part, about, number and variant. said: what it is called then. probability: of the class tried. before, after: JPEGs.
"""
CHECKS: Mapping[str, str] = {
    "number": "int", "explained": "int", "about": "text", "text": "text", "verdict": "text", "fall": "float",
    "share": "float", "control": "float", "p": "float", "q": "float",
}  # fmt: skip
"""Columns of ``checks``: a row a claim about the decision on one picture that was put to the test.

explained: the class. about: "region 1", "word", "surroundings". text: the word. verdict: of ``types.Verdict``. fall: of
the explained logit, control: under the controls; share: fall over the logit's margin. q: p, corrected in the picture.
"""
TABLES: Mapping[str, Mapping[str, str]] = {
    "pictures": PICTURES, "regions": REGIONS, "errors": ERRORS, "shown": SHOWN, "trials": TRIALS, "checks": CHECKS,
    "changed": CHANGED,
}  # fmt: skip


def schema(table: str) -> pyarrow.Schema:
    """Of one of TABLES, with the format's number in its metadata."""
    import pyarrow as pa

    kinds = {
        "int": pa.int64(), "float": pa.float32(), "bool": pa.bool_(), "text": pa.string(), "bytes": pa.binary(),
        "texts": pa.list_(pa.string()), "floats": pa.list_(pa.float32()), "ints": pa.list_(pa.int32()),
        "map": pa.map_(pa.string(), pa.string()), "numbers": pa.map_(pa.string(), pa.float32()),
    }  # fmt: skip
    return pa.schema([(name, kinds[kind]) for name, kind in TABLES[table].items()], {"saywhy.audit": str(FORMAT)})


def as_table(table: str, rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    """Rows of one of TABLES; what a row leaves out is none."""
    import pyarrow as pa

    from saywhy.plumbing.names import in_utf8

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return in_utf8(value)
        if isinstance(value, Mapping):
            return [(plain(key), plain(one)) for key, one in value.items()]
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return pa.Table.from_pylist([{key: plain(one) for key, one in row.items()} for row in rows], schema(table))
