"""What documents and tables hold, field by field: names and types from the records, meanings from their docstrings.

``tests/test_formats.py`` compares with documents that are written.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

from tests.tables import table

PACKED = "packed array"


PLAIN = {
    "picture": "the picture's copy, with its name and size", "geometry": "where the frame lies on the picture",
    "findings": "what the space finds nearest in each region, in their order",
    "settings": "all that is needed to repeat it: model, space, vocabulary, method, options, versions",
    "index": "of the class, from 0", "name": "what reports call it", "logit": "what the network gives it",
    "text": "what is said, or looked for", "group": "of the phrase in the vocabulary",
    "width": "pixels of the picture", "height": "pixels of the picture", "jpeg": "a copy, 1024 pixels at most",
    "other": "the class it is held against", "speaks_for": "phrases for the explained class",
    "speaks_against": "phrases for the other class", "method": "how it was made", "writer": "the language model",
    "refusal": "why there is none", "category": "what it says the picture is", "rationale": "the reason's text",
    "rank": "1 is the best", "score": "of the pair; comparable within one answer", "file": "the picture's name",
    "prediction": "name of the likeliest class", "probability": "of the prediction",
    "explained_probability": "of the explained class", "summary": "one sentence of what was found",
    "there": "how probable each of `words` is", "number": "of the picture", "explained": "name of the explained class",
    "region": "counted from 1", "top": "of the box", "right": "of the box; exclusive",
    "share": "of all relevance that speaks for the class", "fall": "of the explained logit without the region",
    "p": "how probable such a fall is for an equal change elsewhere", "cosines": "of each of `labels`",
    "unusual": "standard deviations above the usual score, of each", "runner_up": "name of the second class",
    "runner_up_probability": "of the second class", "true_probability": "of the true class",
    "object_area": "its share of the frame", "truth": "its class", "reason": "why it has no row",
    "thumbnail": "a JPEG", "map": "a JPEG of its relevance", "probability_before": "of `target`, before the change",
    "probability_after": "of `target`, after the change", "control": "the same under equal changes elsewhere",
    "family": "of the intervention", "part": "what was written together", "about": "whose cause is tried",
    "variant": "what was changed, in words", "reliability": "how right its probabilities were, out of fold",
    "figures": "how well each phrase is known, out of fold",
}  # fmt: skip
"""Meanings of fields that docstrings leave to their names."""


def meanings(text: str, names: Sequence[str]) -> dict[str, str]:
    """Name -> what a docstring says of it, where it says "name: text" or "name, other: text"."""
    known = "|".join(map(re.escape, names))
    mark = re.compile(rf"(?:^|(?<=[.;:] )|(?<=\n))((?:{known})(?:(?:, | to | and )(?:{known}))*):\s", re.MULTILINE)
    plain = re.sub(r"\n +", "\n", inspect.cleandoc(text))
    found: dict[str, str] = {}
    marks = list(mark.finditer(plain))
    for n, one in enumerate(marks):
        end = marks[n + 1].start() if n + 1 < len(marks) else None
        said = plain[one.end() : end].split("\n\n")[0].strip().rstrip(";").replace("``", "`")
        for name in re.split(r", | to | and ", one[1]):
            found.setdefault(name, said)
    return found


def type_in_words(hint: str) -> str:
    """A Python annotation as JSON has it: "tuple[Region, ...]" is a list of Region."""
    if hint.endswith(" | None"):
        return f"{type_in_words(hint.removesuffix(' | None'))}, or null"
    if found := re.fullmatch(r"(?:tuple|Sequence|list)\[(.+), \.\.\.\]|(?:Sequence|list)\[(.+)\]", hint):
        return f"list of {type_in_words(found[1] or found[2])}"
    if found := re.fullmatch(r"tuple\[(.+)\]", hint):
        return f"[{', '.join(type_in_words(one) for one in re.split(r', (?![^[]*])', found[1]))}]"
    if hint.startswith(("Mapping", "dict")):
        return "object"
    words = {
        "str": "text", "int": "integer", "float": "number", "bool": "true or false", "bytes": "base64",
        "Tensor": PACKED, "torch.Tensor": PACKED, "np.ndarray": PACKED, "Box": "[left, top, right, bottom]",
        "Verdict": "text", "int | str": "integer or text", "Interval": "{value, low, high}",
    }  # fmt: skip
    if hint == "Explanation":
        return "[Explanation](#an-explanation)"
    if hint[:1].isupper() and hint not in words:  # records that have no table of their own on the page are objects
        return f"[{hint}](#{hint.lower()})" if hint in RECORDS else "object"
    return words.get(hint, hint)


def _as_json(text: str) -> str:
    return re.sub(r"\b(None|NaN)\b", "null", text)


def record(kind: type, more: Mapping[str, tuple[str, str]] | None = None, without: Sequence[str] = ()) -> str:
    """A record's fields as a table. more: fields that its document has beside -> (type, meaning)."""
    names = [one.name for one in fields(kind)]
    said = meanings(kind.__doc__ or "", names)
    rows = [
        (f"`{one.name}`", type_in_words(str(one.type)), _as_json(said.get(one.name) or PLAIN[one.name]))
        for one in fields(kind)
        if one.name not in without
    ]
    rows += [(f"`{name}`", kind_of, text) for name, (kind_of, text) in (more or {}).items()]
    return table(("field", "type", ""), rows)


PACK = {"values": ("text", "little-endian float32, by zlib and base64"), "shape": ("list of integer", "its shape")}
MASK = {"mask": ("text", "bits, by zlib and base64"), "frame": ("[height, width]", "of the mask")}
RECORDS: dict[str, tuple[Mapping[str, tuple[str, str]], tuple[str, ...]]] = {
    "Prediction": ({}, ()),
    "Region": (MASK, ("mask",)),
    "Check": ({}, ()),
    "Claim": ({}, ()),
    "Finding": ({}, ()),
    "Label": ({}, ()),
    "Heatmap": (PACK, ("values",)),
    "MapCheck": ({}, ()),
    "Geometry": ({}, ()),
    "Picture": ({}, ()),
    "Contrast": ({}, ()),
    "Counterfactual": ({}, ()),
    "ConceptChange": ({}, ()),
    "Sentence": ({}, ()),
    "Word": ({}, ()),
    "Draft": ({}, ()),
    "PhraseMap": ({}, ()),
    "RationaleUse": ({}, ()),
}
"""Records of documents -> fields that are there beside, and that are not."""


def records() -> str:
    from saywhy import types

    parts = []
    for name, (more, without) in RECORDS.items():
        kind = getattr(types, name)
        said = (kind.__doc__ or "").strip().partition("\n")[0]
        parts += [f"### {name}", said, record(kind, more, without)]
    return "\n\n".join(parts)


FORMAT_FIELD = ("text", "which format it is, and which version")
EXPLANATION = {
    "format": FORMAT_FIELD,
    "borne_out": (
        "object",
        "`made`, `borne_out`, `not_testable`: how many claims were tested, are borne out, are not testable",
    ),
}


def explanation() -> str:
    from saywhy.answers.explanation import Explanation

    return record(Explanation, EXPLANATION)


def why() -> str:
    from saywhy.answers.why import Alternative, Reason, Why

    parts = [record(Why, {"format": FORMAT_FIELD})]
    for kind in (Reason, Alternative):
        parts += [f"### {kind.__name__}", (kind.__doc__ or "").partition("\n")[0], record(kind)]
    return "\n\n".join(parts)


ANSWERS = {
    "format": FORMAT_FIELD,
    "pictures": ("integer", "how many"),
    "groups": ("list of list of text", "captions that compete with each other"),
    "spaces": ("list of text", "one, or CLIP and CLIP seeing through the classifier"),
    "scale": ("number", "what cosines are multiplied by before a softmax"),
    "model": ("text, or null", "the classifier's name"),
    "model_record": ("object", "how pictures are prepared for it (`transform`), and where its weights come from"),
    "findings": ("object", "what is found over all pictures and of each subset, with intervals"),
    "cautions": ("list of text", "what a reader should know before reading numbers"),
    "concepts": ("list of object", "what is left of each group, in rows as on the page"),
    "claims": ("list of object", "sentences about groups that hold, with their numbers"),
    "noise": ("list of number, or null", "of each group, what CLIP's own contrast must exceed"),
    "failures": ("object", "picture -> why it could not be read"),
    "surgery": ("object", "with `--operate`: how activations were replaced"),
    "matching": ("object", "with `--operate`: how channels were matched"),
    "record": (
        "object",
        "of every picture: `before`, `after`, `unusual` (packed), `pictures`, `classes`, `predicted`, `judged`",
    ),
}


def answers() -> str:
    return table(("field", "type", ""), ((f"`{name}`", *about) for name, about in ANSWERS.items()))


def _texts_after(module: Any) -> dict[str, str]:
    """Name -> the text that stands below its assignment at the top of a module."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for one, after in pairwise(body):
        targets = [one.target] if isinstance(one, ast.AnnAssign) else one.targets if isinstance(one, ast.Assign) else []
        target = targets[0] if targets else None
        if isinstance(target, ast.Name) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[target.id] = str(after.value.value)
    return found


def _columns(columns: Mapping[str, str], text: str) -> str:
    said = meanings(text.replace("``", "`"), list(columns))
    kinds = {
        "int": "integer", "float": "float32", "ints": "list of integer", "floats": "list of float32",
        "texts": "list of text", "map": "text -> text", "numbers": "text -> float32",
    }  # fmt: skip
    return table(
        ("column", "type", ""), ((f"`{n}`", kinds.get(k, k), said.get(n) or PLAIN[n]) for n, k in columns.items())
    )


def answer_tables() -> str:
    from saywhy.answers import tables

    texts = _texts_after(tables)
    parts = []
    for name, columns in (("pictures", tables.PICTURES), ("regions", tables.REGIONS)):
        parts += [f"### {name}.csv and {name}.parquet", _columns(columns, texts[name.upper()])]
    return "\n\n".join(parts)


def audit_tables() -> str:
    from saywhy.audits import tables

    texts = _texts_after(tables)
    parts = []
    for name, columns in tables.TABLES.items():
        first = texts[name.upper()].partition(": ")[2].partition("\n")[0].partition(".")[0]
        parts += [
            f"### Table {name}",
            f"{first[:1].upper()}{first[1:]}.".replace("``", "`"),
            _columns(columns, texts[name.upper()]),
        ]
    return "\n\n".join(parts)


def audit_findings() -> str:
    from saywhy.audits.finding import AuditFinding

    return record(AuditFinding)


def probes() -> str:
    from saywhy.spaces.concepts import Probes

    return record(Probes)


def calibration() -> str:
    from saywhy.seen.calibration import Calibration

    return record(Calibration)


def versions() -> str:
    from saywhy.answers import captions, explanation, why
    from saywhy.audits import tables

    read = "`saywhy.answers.captions.Answers.from_json`"
    rows = [
        ("an explanation", f"`{explanation.FORMAT}`", "`explain --out`, `--json`", "`saywhy.Explanation.from_json`"),
        ("an answer of `why`", f"`{why.FORMAT}`", "`why --out`, `--json`", "`saywhy.answers.why.Why.from_json`"),
        ("an answer of `ask`", f"`{captions.FORMAT}`", "`ask --out`, `--json`", read),
        ("an audit", f"`format` {tables.FORMAT}", "`audit --out`", "`saywhy.Audit.open`, `saywhy query`"),
    ]  # fmt: skip
    return table(("what", "format", "written by", "read by"), rows)
