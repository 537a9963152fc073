"""What fills the templates of every page: one file, no script, no request to anywhere, every text escaped."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from saywhy.errors import one_line
from saywhy.plumbing.files import write_whole

if TYPE_CHECKING:
    from jinja2 import Environment


def save_page(path: Path, template: str, **values: Any) -> Path:
    """A template with its values, in a file whose folder is made. Raises SaywhyError where it cannot be written."""
    return write_whole(path, page_templates().get_template(template).render(**values))


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


def data_uri(image: Image.Image) -> str:
    """A picture as the text that an <img> takes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
