"""The words of a doubly right answer: categories, rationales, which rationale is listed for which category, and how
they are put into a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import final

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown


@final
@dataclass(frozen=True)
class Templates:
    """How rationales and categories are worded for CLIP; ``{c}`` and ``{r}`` are filled in (ECOR, section III-C).

    rationale: of one rationale. rationales: of several, joined by "and".
    category:  of a category alone. pair: the category because of the rationale. inverse: the other way round (AB4).
    """

    rationale: str = "There is {r} in the photo."
    rationales: str = "There are {r} in the photo."
    category: str = "This is a photo of a {c}."
    pair: str = "This is a photo of a {c} because there is {r}"
    inverse: str = "There is {r} because this is a photo of a {c}"


@final
@dataclass(frozen=True)
class RationaleWords:
    """C categories, R rationales, and the lists that say which rationales speak for which category.

    categories: unique, as they are said ("kit fox"), see ``spoken``.
    rationales: unique, as they are said.
    lists:      for each category the indices of its rationales, in the order of its list, each once; may be empty.
    several:    rationales that stand for more than one thing ("a red bill and a long tail") -> their members, by
                name; see ``pictures.truth.joined``.
    """

    categories: tuple[str, ...]
    rationales: tuple[str, ...]
    lists: tuple[tuple[int, ...], ...]
    several: Mapping[int, tuple[str, ...]] | None = None
    templates: Templates = Templates()

    def __post_init__(self) -> None:
        if len(self.lists) != len(self.categories):
            raise SaywhyError(f"{len(self.lists)} lists of rationales for {len(self.categories)} categories")
        for names in (self.categories, self.rationales):
            if len(set(names)) != len(names):
                raise SaywhyError("each category and each rationale may be named only once")
        if any(not 0 <= r < len(self.rationales) for r in (*chain(*self.lists), *(self.several or ()))):
            raise SaywhyError(f"a list names a rationale that is none of the {len(self.rationales)}")

    def rationale_texts(self) -> list[str]:
        """(R) what is said of each rationale alone."""
        several = self.several or {}
        single, joint = self.templates.rationale, self.templates.rationales
        return [(joint if r in several else single).replace("{r}", name) for r, name in enumerate(self.rationales)]

    def category_texts(self) -> list[str]:
        """(C) what is said of each category alone."""
        return [self.templates.category.replace("{c}", name) for name in self.categories]

    def pair_text(self, category: int, rationale: int, inverse: bool = False) -> str:
        """What is said of a category and a rationale together."""
        template = self.templates.inverse if inverse else self.templates.pair
        return template.replace("{c}", self.categories[category]).replace("{r}", self.rationales[rationale])

    def category(self, name: str) -> int:
        """The index of a category by name, however it is spelled. Raises SaywhyError where there is none."""
        return _index(self.categories, name, "category")

    def rationale(self, name: str) -> int:
        """The index of a rationale by name, however it is spelled. Raises SaywhyError where there is none."""
        return _index(self.rationales, name, "rationale")


def spoken(name: str) -> str:
    """A name as it is said: ``_`` and ``-`` are spaces, ``/`` (also written ``__``) is "or", lower case, single spaces.

    "kit_fox" and "Kit-Fox" are the same; "sea" and "seal" are not.
    """
    return " ".join(name.replace("__", " or ").replace("/", " or ").replace("_", " ").replace("-", " ").lower().split())


def with_article(name: str) -> str:
    """ "an owl", "a unicorn", "an hourglass": by its first letters, which is right but for rare words."""
    low = name.lower()
    if low.startswith(("a ", "an ", "the ")):
        return name
    vowel = low.startswith(tuple("aeiou")) and not low.startswith(("eu", "ewe", "uni", "use", "usu", "uku", "one "))
    return f"{'an' if vowel or low.startswith(('hour', 'honest', 'heir')) else 'a'} {name}"


def _index(names: Sequence[str], name: str, what: str) -> int:
    wanted = spoken(name)
    for n, known in enumerate(names):
        if spoken(known) == wanted:
            return n
    raise unknown(what, name, names, see="the list of rationales", alike=spoken)
