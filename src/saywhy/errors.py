"""The one exception that is meant for people, and how a person sees any text: in one line."""

from __future__ import annotations

from unicodedata import category

_JOINERS = "\u200c\u200d"  # Persian and Hindi are spelled with them, and pictures of families


class SaywhyError(Exception):
    """What was wrong, with which input, and what to do about it, in one sentence and one line.

    Everything a user can get wrong ends here; the command line prints the message and never a traceback.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A text as a person may see it: what moves the cursor, turns the direction of writing or ends a line is escaped.

    So is what is no character at all, such as the halves that stand for the bytes of a file's name that is not UTF-8.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS or category(character) == "Zs":  # spaces of all kinds are seen
        return character
    return character.encode("unicode_escape").decode("ascii")
