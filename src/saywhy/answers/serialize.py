"""Explanations as strict JSON, and back, without loss."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from saywhy.errors import SaywhyError
from saywhy.types import (
    Contrast,
    Draft,
    Explanation,
    Finding,
    Geometry,
    Heatmap,
    Label,
    Picture,
    Prediction,
    Region,
    Sentence,
    Word,
)

FORMAT = "saywhy.explanation/1"


def explanation_to_json(explanation: Explanation) -> str:
    """One JSON document: words and numbers as they are, arrays packed (float32 and bits, zlib, base64)."""
    e = explanation
    document = {
        "format": FORMAT,
        "summary": e.summary,
        "predictions": [vars(p) for p in e.predictions],
        "target": vars(e.target),
        "regions": [
            {"box": r.box, "share": r.share, "mask": _pack(np.packbits(r.mask)), "frame": r.mask.shape}
            for r in e.regions
        ],
        "findings": [_finding(f) for f in e.findings],
        "concepts": _finding(e.concepts),
        "heatmap": {
            "values": _pack(e.heatmap.values.numpy().astype("<f4")), "shape": list(e.heatmap.values.shape),
            "targets": e.heatmap.targets, "logits": e.heatmap.logits, "method": e.heatmap.method,
            "composite": e.heatmap.composite,
        },
        "geometry": vars(e.geometry),
        "picture": vars(e.picture) | {"jpeg": base64.b64encode(e.picture.jpeg).decode()},
        "settings": dict(e.settings),
        "sentence": None if e.sentence is None else asdict(e.sentence),
        "contrast": None if e.contrast is None else asdict(e.contrast),
    }  # fmt: skip
    return json.dumps(_finite(document), allow_nan=False)


def explanation_from_json(text: str) -> Explanation:
    """The explanation that ``explanation_to_json`` wrote. Raises SaywhyError where the text is not one."""
    try:
        d = json.loads(text)
    except json.JSONDecodeError as error:
        raise SaywhyError(f"this is not JSON ({error})") from None
    if not isinstance(d, dict) or d.get("format") != FORMAT:
        raise SaywhyError(f"this JSON is not an explanation: its format is not {FORMAT!r}")
    try:
        h, p, g = d["heatmap"], d["picture"], d["geometry"]
        values = torch.from_numpy(np.frombuffer(_unpack(h["values"]), "<f4").reshape(h["shape"]).copy())
        return Explanation(
            picture=Picture(p["name"], p["width"], p["height"], base64.b64decode(p["jpeg"])),
            geometry=Geometry(*(tuple(g[key]) for key in ("size", "frame", "scale", "offset"))),
            predictions=tuple(_prediction(x) for x in d["predictions"]),
            target=_prediction(d["target"]),
            heatmap=Heatmap(values, tuple(h["targets"]), tuple(map(_number, h["logits"])), h["method"], h["composite"]),
            regions=tuple(_region(x) for x in d["regions"]),
            findings=tuple(_read_finding(x) for x in d["findings"]),
            concepts=_read_finding(d["concepts"]),
            summary=d["summary"],
            settings=d["settings"],
            sentence=_read_sentence(d.get("sentence")),
            contrast=_read_contrast(d.get("contrast")),
        )
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise SaywhyError(f"this explanation is damaged ({type(error).__name__}: {error})") from None


def _finding(finding: Finding) -> dict[str, Any]:
    return vars(finding) | {"labels": [vars(label) for label in finding.labels]}


def _read_finding(d: dict[str, Any]) -> Finding:
    return Finding(d["region"], _labels(d["labels"]), d["space"], d["fits"])


def _labels(found: list[dict[str, Any]]) -> tuple[Label, ...]:
    return tuple(Label(x["text"], x["group"], _number(x["score"]), x["rank"], _number(x["unusual"])) for x in found)


def _read_sentence(d: dict[str, Any] | None) -> Sentence | None:
    if d is None:
        return None
    numbers = {key: _number(d[key]) for key in ("score", "unusual", "judged", "perplexity")}
    words = tuple(Word(**word) for word in d["words"])
    drafts = tuple(Draft(x["text"], _number(x["score"]), _number(x["judged"])) for x in d["drafts"])
    return Sentence(**d | numbers | {"words": words, "drafts": drafts})


def _read_contrast(d: dict[str, Any] | None) -> Contrast | None:
    if d is None:
        return None
    return Contrast(_prediction(d["other"]), _labels(d["speaks_for"]), _labels(d["speaks_against"]))


def _prediction(d: dict[str, Any]) -> Prediction:
    return Prediction(d["index"], d["name"], _number(d["probability"]), _number(d["logit"]))


def _region(d: dict[str, Any]) -> Region:
    height, width = d["frame"]
    bits = np.unpackbits(np.frombuffer(_unpack(d["mask"]), np.uint8))[: height * width]
    left, top, right, bottom = d["box"]
    return Region((left, top, right, bottom), bits.reshape(height, width).astype(bool), d["share"])


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()


def _unpack(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _finite(value: Any) -> Any:
    """Strict JSON has no NaN or infinity: they become null."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
