"""What fills the templates of every page: one file, no script, no request to anywhere, every text escaped."""

from __future__ import annotations

import io
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

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
    environment.filters["percent"] = lambda share: f"{share:.0%}"
    environment.filters["emphasised"] = _emphasised
    return environment


def _seen(value: Any) -> Any:
    """What an expression of a template gives; of a text that is not HTML already, what a person may see of it."""
    return one_line(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _emphasised(text: str) -> Any:
    """``*class name*`` of a summary in italics; everything in it is escaped first."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", str(escape(one_line(text)))))


def jpeg(image: Image.Image) -> bytes:
    """A picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
