"""The one exception that is meant for people, and how a person sees any text: in one line."""

from __future__ import annotations

from unicodedata import category

_JOINERS = "\u200c\u200d"  # Persian and Hindi are spelled with them, and pictures of families


MOST_SAID = 2000
"""So many characters of a message are shown at most; names in it may be longer than any message."""


class SaywhyError(Exception):
    """What was wrong, with which input, and what to do about it, in one sentence and one line.

    Everything a user can get wrong ends here; the command line prints the message and never a traceback.
    """

    def __str__(self) -> str:
        return one_line(super().__str__(), MOST_SAID)


def one_line(text: str, most: int | None = None) -> str:
    """A text as a person may see it: what moves the cursor, turns the direction of writing or ends a line is escaped.

    So is what is no character at all, such as the halves that stand for the bytes of a file's name that is not UTF-8.

    most: so many characters of the text are shown, without its middle; None: all.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]}...{text[-(most // 2) :]}"
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS or category(character) == "Zs":  # spaces of all kinds are seen
        return character
    return character.encode("unicode_escape").decode("ascii")
