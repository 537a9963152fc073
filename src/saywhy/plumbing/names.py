"""Names that are not known, and those that may have been meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from saywhy.errors import SaywhyError, one_line

NEAR = 3
"""So many near names are said at most."""
SHORT = 12
"""So many names are said at most where there is a place to look up all of them."""
_ALIKE = 0.7  # of two files' names, as difflib has it: "brid" and "bird" are, "nowhere" and "zero" are not
MOST_BESIDE = 10_000
"""So many files of a folder are compared at most with a name that is not among them."""
LONG = 400
"""So many characters of a name are shown at most."""


def unknown(
    what: str,
    name: object,
    known: Iterable[str],
    *,
    lead: str = "there is no",
    also: str = "",
    see: str = "",
    near: Sequence[str] = (),
    cutoff: float = 0.6,
    alike: Callable[[str], str] = str.casefold,
) -> SaywhyError:
    """To be raised: "there is no composite 'epsilonplus'; did you mean epsilon-plus?"

    Where nothing is near, "there are a, b, c", or, where these are many and ``see`` is given, "see ...".

    what, name: "composite", "epsilonplus". lead, also: what the sentence says before and after them.
    see:        where all names can be looked up; needed where they may be very many.
    near:       those that are near by another measure than spelling, and are said instead; best first.
    cutoff:     how much alike names must be to be near: 1, equal, to 0, as difflib has it.
    alike:      how names are read when their spelling is compared.
    """
    names = list(dict.fromkeys(known))
    spelled = spelled_like(str(name), names, cutoff, alike)
    if meant := list(near)[:NEAR] or spelled:
        hint = f"did you mean {', '.join(meant)}?"
    elif see and (len(names) > SHORT or not names):
        hint = f"see {see}"
    else:
        hint = f"there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}"
    return SaywhyError(f"{lead} {what} {shown(repr(str(name)))}{also}; {hint}")


def spelled_like(
    name: str, known: Iterable[str], cutoff: float = 0.6, alike: Callable[[str], str] = str.casefold
) -> list[str]:
    """Known names that are spelled like one, best first; see ``unknown``."""
    read = {alike(one): one for one in reversed(list(known))}  # of names that read the same, the first
    return [read[one] for one in get_close_matches(alike(name), read, NEAR, cutoff)]


def meant(path: str | Path) -> str:
    """ "; did you mean photo.jpg?", of a path that does not exist; "" where nothing that does is spelled like it.

    The first part that is missing is compared with what lies beside it.
    """
    try:
        near = _near(Path(path))
    except (OSError, ValueError):
        return ""
    return f"; did you mean {', '.join(map(shown, near))}?" if near else ""


def _near(path: Path) -> list[Path]:
    missing = path
    while not os.path.exists(missing.parent):
        missing = missing.parent
    with os.scandir(missing.parent) as entries:
        names = [entry.name for entry in islice(entries, MOST_BESIDE) if not entry.name.startswith(".")]
    read = {Path(name).stem.casefold(): name for name in sorted(names, reverse=True)}  # all endings are alike
    spelled = [missing.parent / read[one] for one in get_close_matches(missing.stem.casefold(), read, NEAR, _ALIKE)]
    rest = path.relative_to(missing)
    return [whole if os.path.exists(whole := near / rest) else near for near in spelled]


def in_utf8(text: str) -> str:
    """A text that UTF-8 can write, as tokenizers and databases need it: half characters become question marks."""
    return text.encode(errors="replace").decode()


def first_line(error: BaseException, most: int = 160) -> str:
    """What another library's exception says, in a line of at most ``most`` characters, after the exception's class."""
    said = (str(error).strip().splitlines() or [""])[0]
    kind = type(error).__name__
    return f"{kind}: {shown(said, most)}" if said else kind


def shown(name: object, most: int = LONG) -> str:
    """A name or reason as messages show it: in one line, control characters escaped, the middle of long ones left out.

    most: so many characters are shown of ``name`` itself.
    """
    return one_line(str(name), most)
