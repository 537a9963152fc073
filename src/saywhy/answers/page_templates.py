"""What fills the templates of every page: one file, no script, no request to anywhere, every text escaped.

The look of all of them is templates/look.css.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from PIL import Image

from saywhy.answers.plain_names import plain_name, without_home
from saywhy.errors import one_line

if TYPE_CHECKING:
    from jinja2 import Environment


def macro(template: str, name: str) -> Any:
    """A macro of a template as a function, which gives HTML."""
    return getattr(page_templates().get_template(template).module, name)


@cache
def page_templates() -> Environment:
    """The page templates, which escape every text, and in it what cannot be seen."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("saywhy.answers"), autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_seen
    )
    environment.filters["plain"] = plain_name
    environment.filters["percent"] = lambda share: f"{share:.0%}"
    environment.filters["emphasised"] = _emphasised
    return environment


def _seen(value: Any) -> Any:
    """What an expression of a template gives; of a text that is not HTML already, what a person may see of it."""
    return _shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _shown(text: str) -> str:
    return without_home(one_line(text))


def _emphasised(text: str) -> Any:
    """``*class name*`` of a summary in italics; everything in it is escaped first."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", str(escape(_shown(text)))))


def jpeg(image: Image.Image) -> bytes:
    """A picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def in_html(image: bytes, kind: str = "jpeg") -> str:
    """A picture's file as an <img> takes it, in the page itself. No character of it is escaped in HTML."""
    from markupsafe import Markup

    return Markup(f"data:image/{kind};base64,{base64.b64encode(image).decode()}")


def links(files: Sequence[str]) -> list[dict[str, str]]:
    """What a page shows of files beside it, by their names: "001-cup.json" is called JSON, a table by its name."""
    return [{"href": f"./{quote(os.fsencode(name))}", "name": _called(name)} for name in files]


def _called(name: str) -> str:
    ending = PurePath(name).suffix.lower()
    return {".json": "JSON", ".png": "PNG"}.get(ending, name)
