"""How docstrings look in the documentation: a plugin of mkdocstrings (mkdocs.yml names this file).

In the code they are plain text: examples by ``>>>``, arguments as ``name: what it is``, a paragraph of lines. In
Markdown the first would be quotations within quotations, and the second one run of text.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \w+)*): +(?=\S)")
_NEXT = re.compile(r"\. ([a-z]\w*): (?=\S)")  # another one in the same line


def as_markdown(text: str) -> str:
    """The docstring with its examples as code and its arguments as a list."""
    return "\n\n".join(map(_paragraph, re.split(r"\n\s*\n", text.strip())))


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if lines[0].startswith(">>>"):
        return "\n".join(["```pycon", *lines, "```"])
    if not all(_ENTRY.match(line) for line in lines if not line.startswith(" ")):
        return text
    return "\n".join(_NEXT.sub(r".\n- `\1`: ", _ENTRY.sub(r"- `\1`: ", line, count=1)) for line in lines)


class Docstrings(Extension):
    """Rewrites each docstring that the documentation shows."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
