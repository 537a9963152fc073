"""Why a classifier decided as it did on one picture: the record, as JSON, as a figure, as a page."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from PIL import Image

from saywhy.answers.drawing import BOXES, literal, open_picture, overlay
from saywhy.answers.pages import data_uri, page_templates, save_page
from saywhy.answers.summary import position
from saywhy.errors import SaywhyError
from saywhy.types import Contrast, Draft, Finding, Geometry, Heatmap, Label, Picture, Prediction, Region, Sentence, Word

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@final
@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a classifier decided as it did on one picture, with the evidence and every setting to repeat it.

    predictions: the best classes, best first.
    target:      the explained class (usually ``predictions[0]``).
    heatmap:     one picture's relevance (1, H, W).
    regions:     most relevant first; findings[i] is what was seen in regions[i].
    concepts:    what was seen in the whole picture.
    summary:     one sentence, built from all of the above.
    sentence:    one written by a language model against the space; None where no writer was asked for.
    contrast:    why this class and not the runner-up; None in a space that does not know the classes.
    """

    picture: Picture
    geometry: Geometry
    predictions: tuple[Prediction, ...]
    target: Prediction
    heatmap: Heatmap
    regions: tuple[Region, ...]
    findings: tuple[Finding, ...]
    concepts: Finding
    summary: str
    settings: Mapping[str, Any]
    sentence: Sentence | None = None
    contrast: Contrast | None = None

    def figure(self) -> Figure:
        """A matplotlib figure: picture, heatmap, regions and their labels."""
        return draw_explanation(self)

    def to_json(self) -> str:
        """One JSON document with everything in it; ``Explanation.from_json`` gives the same explanation back."""
        return explanation_to_json(self)

    @staticmethod
    def from_json(text: str) -> Explanation:
        """The explanation that ``to_json`` wrote. Raises SaywhyError where the text is not one."""
        return explanation_from_json(text)

    def save(self, path: str | Path) -> Path:
        """Write a self-contained report: HTML, JSON or PNG, by the ending of ``path``."""
        return save_explanation(self, Path(path))

    def _repr_html_(self) -> str:
        return explanation_to_html(self, page=False)


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


def display_box(explanation: Explanation, region: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of a region on a copy of the picture of ``size``, at least one pixel wide and high."""
    zoom = size[0] / explanation.picture.width, size[1] / explanation.picture.height
    box = [round(edge * zoom[i % 2]) for i, edge in enumerate(explanation.regions[region].box)]
    left, top = min(box[0], size[0] - 1), min(box[1], size[1] - 1)
    return left, top, max(box[2], left + 1), max(box[3], top + 1)


def draw_explanation(explanation: Explanation) -> Figure:
    """A matplotlib figure: the picture with its boxes, the heatmap, each region with its labels, and the sentence."""
    from textwrap import fill

    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    picture = open_picture(explanation.picture)
    count = max(len(explanation.regions), 1)
    figure = Figure(figsize=(4.2 + 4.2 + 2.4 * count, 4.6), layout="constrained")
    axes = figure.subplots(1, 2 + count, width_ratios=[4.2, 4.2, *[2.4] * count])
    axes[0].imshow(picture)
    axes[1].imshow(overlay(picture, explanation.heatmap.values[0].numpy(), explanation.geometry))
    axes[0].set_title(literal(f"{explanation.target.name} ({explanation.target.probability:.2f})"))
    axes[1].set_title("red: for it, blue: against")
    for axis in axes:
        axis.set_axis_off()
    for n, finding in enumerate(explanation.findings):
        left, top, right, bottom = box = display_box(explanation, n, picture.size)
        colour = BOXES[n % len(BOXES)]
        for axis in axes[:2]:
            axis.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2)
            )
        axis = axes[2 + n]
        axis.imshow(picture.crop(box))
        axis.set_title(f"{n + 1}: {explanation.regions[n].share:.0%} of relevance", color=colour, fontsize=9)
        words = [label.text for label in finding.labels[:3]] if finding.fits else ["nothing fits"]
        axis.text(0.5, -0.04, literal("\n".join(words)), transform=axis.transAxes, ha="center", va="top", fontsize=9)
    figure.suptitle(literal(fill(explanation.summary.replace("*", ""), 130)), fontsize=10)
    return figure


def explanation_to_html(explanation: Explanation, page: bool = True) -> str:
    """A whole page, or (page=False) a fragment with its own style, for a notebook cell."""
    template = "report.html" if page else "notebook.html"
    title = f"Why {explanation.target.name}?"
    return page_templates().get_template(template).render(title=title, cards=[_card(explanation)], failures=())


def save_explanation(explanation: Explanation, path: Path) -> Path:
    """Write .html, .json or .png, by the ending. Raises SaywhyError for any other, or where it cannot be written."""
    ending = path.suffix.lower()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending in (".html", ".htm"):
            path.write_text(explanation_to_html(explanation), encoding="utf-8")
        elif ending == ".json":
            path.write_text(explanation.to_json(), encoding="utf-8")
        elif ending == ".png":
            explanation.figure().savefig(path, dpi=110)
        else:
            raise SaywhyError(f"{path}: an explanation is saved as .html, .json or .png")
    except OSError as error:
        raise SaywhyError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path


def save_report(
    explanations: Sequence[Explanation], path: Path, *, failures: Sequence[tuple[str, str]] = (), title: str = "Why?"
) -> Path:
    """One page about many pictures. failures: (name, reason) of those that could not be explained."""
    cards = [_card(e) for e in explanations]
    return save_page(path, "report.html", title=title, cards=cards, failures=list(failures))


def _card(explanation: Explanation) -> dict[str, Any]:
    """What the template shows of one explanation: plain values and data URIs."""
    e = explanation
    picture = open_picture(e.picture)
    regions = [
        {
            "crop": data_uri(_enlarged(picture.crop(display_box(e, n, picture.size)))),
            "share": region.share,
            "where": position(region.box, (e.picture.width, e.picture.height)),
            "colour": BOXES[n % len(BOXES)],
            "box": _percent_box(region.box, e.picture.width, e.picture.height),
            "finding": _words(e.findings[n]),
        }
        for n, region in enumerate(e.regions)
    ]
    return {
        "name": e.picture.name,
        "size": (e.picture.width, e.picture.height),
        "picture": "data:image/jpeg;base64," + base64.b64encode(e.picture.jpeg).decode(),
        "overlay": data_uri(overlay(picture, e.heatmap.values[0].numpy(), e.geometry)),
        "summary": e.summary,
        "target": e.target,
        "predictions": e.predictions,
        "regions": regions,
        "concepts": _words(e.concepts),
        "settings": e.settings,
        "sentence": e.sentence,
        "words": _weighed(e.sentence),
        "contrast": e.contrast,
    }


def _weighed(sentence: Sentence | None) -> list[dict[str, Any]]:
    """Each word with its strength, 0..1 of the strongest; None for words without content of their own."""
    words = sentence.words if sentence else ()
    most = max((word.weight or 0.0 for word in words), default=0.0)
    return [
        {
            "text": w.text,
            "idle": w.idle,
            "weight": w.weight,
            "strength": w.weight and max(0.0, w.weight) / (most or 1.0),
        }
        for w in words
    ]


def _words(finding: Finding) -> dict[str, Any]:
    labels = [
        {"text": x.text, "group": x.group, "score": x.score, "unusual": x.unusual}
        for x in finding.labels
    ]  # fmt: skip
    return {"labels": labels, "fits": finding.fits, "space": finding.space}


def _percent_box(box: tuple[int, int, int, int], width: int, height: int) -> str:
    left, top, right, bottom = box
    return (
        f"left:{100 * left / width:.2f}%;top:{100 * top / height:.2f}%;"
        f"width:{100 * (right - left) / width:.2f}%;height:{100 * (bottom - top) / height:.2f}%"
    )


def _enlarged(crop: Image.Image, side: int = 220) -> Image.Image:
    zoom = side / max(crop.size)
    return crop.resize((max(1, round(crop.width * zoom)), max(1, round(crop.height * zoom))), Image.Resampling.BICUBIC)
