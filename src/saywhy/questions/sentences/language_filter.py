"""English words that a generated sentence must not contain: glin-profanity's dictionary, adapted to pictures."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glin_profanity import Filter

_MISSING = {
    "arse", "arsed", "bitchy", "bitching", "bugger", "buggered", "crap", "crappy", "damn", "damned", "goddamn", "dyke",
    "ejaculate", "ejaculated", "ejaculating", "fag", "fucked", "fucks", "gook", "masturbates", "masturbated",
    "masturbating", "masturbation", "molest", "molested", "molesting", "phallus", "piss", "raped", "rapes", "shagged",
    "shagging", "shat", "shits", "shitting", "slutty", "turd", "wanked", "wanker", "wanking", "whore", "whoring",
}  # fmt: skip
_ORDINARY = {
    "alaskan pipeline", "baby juice", "ball kicking", "bareback", "big black", "birdlock", "blonde action",
    "brunette action", "bs", "camel toe", "chocolate rosebuds", "clover clamps", "cornhole", "dirty pillows",
    "domination", "escort", "fingering", "girl on", "hard core", "hardcore", "huge fat", "jelly donut",
    "leather restraint", "lemon party", "mr hands", "pegging", "rimming", "rosy palm", "rusty trombone", "scat",
    "scissoring", "shrimping", "skeet", "snatch", "snowballing", "strap on", "suck", "sucks", "swinger",
    "tainted love", "taste my", "tied up", "tight white", "tongue in a", "twinkie", "violet wand", "wrapping men",
    "wrinkled starfish",
}  # fmt: skip
"""Entries of the dictionary that an honest caption may hold: a boat is tied up, a girl on a swing has a strap on."""
_HARMLESS = ("anal fin", "anal fins", "coon cat", "maine coon", "maine coons", "rapping")
_NO_PLURAL = {"anal", "crappy", "sex"}


def is_appropriate(text: str, allowed: Collection[str] = ()) -> bool:
    """Whether ``text`` has none of the inappropriate_words."""
    return not inappropriate_words(text, allowed)


def inappropriate_words(text: str, allowed: Collection[str] = ()) -> list[str]:
    """The obscene, sexual and abusive English words of ``text``, each once.

    Only whole words count (a woodcock is none); inflected, masked ("d**k"), spelt with digits, stretched and spaced out
    ones count too.

    allowed: names, such as of classes, that may be said: with "cock" a cock may, with "cock of the rock" only that
             bird. Plurals, and either spelling with hyphens and spaces, are included; of a name with commas or brackets
             each part counts.
    """
    profane = _filter(frozenset(allowed)).check_profanity(text)["profane_words"]
    return list(dict.fromkeys(word.lower() for word in profane))


@lru_cache(maxsize=16)
def _filter(allowed: frozenset[str]) -> Filter:
    from glin_profanity import Filter

    known = set(Filter({"languages": ["english"]}).words)
    alone = (known | {*_MISSING}) - _ORDINARY
    plurals = {_plural(word) for word in alone - _NO_PLURAL if word.isascii() and word.isalpha()}
    # Of "giant cock" the second word tells; where that is allowed, so is a giant one.
    twice = {entry for entry in known if " " in entry and alone & set(entry.split())}
    return Filter(
        {
            "languages": ["english"],
            "word_boundaries": True,
            "detect_leetspeak": True,
            "obfuscation": "standard",
            "custom_words": sorted({*_MISSING, *plurals}),
            "ignore_words": sorted(_ORDINARY | twice),
            "whitelist": sorted({*_HARMLESS, *(form for name in allowed for form in _forms(name))}),
        }
    )


def _plural(word: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


def _forms(name: str) -> Iterator[str]:
    """ "Long-tailed Tit" -> that, with a space for the hyphen, with hyphens for the spaces; and the plurals."""
    for part in filter(None, map(str.strip, re.split(r"[,;/()]", name))):
        for form in (part, part.replace("-", " "), part.replace(" ", "-")):
            yield form
            yield _plural(form)
