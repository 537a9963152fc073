"""Explanations as self-contained HTML: one page, no script, no request to anywhere, every text escaped."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from saywhy.answers.drawing import BOXES, display_box, open_picture, overlay
from saywhy.answers.summary import position
from saywhy.errors import SaywhyError
from saywhy.types import Explanation, Finding, Sentence

if TYPE_CHECKING:
    from jinja2 import Environment


def explanation_to_html(explanation: Explanation, page: bool = True) -> str:
    """A whole page, or (page=False) a fragment with its own style, for a notebook cell."""
    template = "report.html" if page else "notebook.html"
    title = f"Why {explanation.target.name}?"
    return _environment().get_template(template).render(title=title, cards=[_card(explanation)], failures=())


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


def save_page(path: Path, template: str, **values: Any) -> Path:
    """A template with its values, in a file whose folder is made. Raises SaywhyError where it cannot be written."""
    html = _environment().get_template(template).render(**values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise SaywhyError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path


@cache
def _environment() -> Environment:
    """The page templates, which escape every text."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("saywhy.answers"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: f"{share:.0%}"
    environment.filters["emphasised"] = _emphasised
    return environment


def _emphasised(text: str) -> Any:
    """``*class name*`` of a summary in italics; everything in it is escaped first."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", str(escape(text))))


def _card(explanation: Explanation) -> dict[str, Any]:
    """What the template shows of one explanation: plain values and data URIs."""
    e = explanation
    picture = open_picture(e)
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


def data_uri(image: Image.Image) -> str:
    """A picture as the text that an <img> takes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
