"""Short English descriptions of what is in the worlds' pictures, for their language model to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saywhy.words.rationale_words import with_article
from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, phrases_of, random_plumage
from saywhy.worlds.digits import COLOURS, DIGITS

PLACES = {
    "water": ("on the water", "near the water", "in front of the sea"),
    "sky": ("in the sky", "against a blue sky", "in front of clouds"),
    "grass": ("on the grass", "in green grass", "in a meadow"),
    "sand": ("on the sand", "on a sandy beach", "in the desert"),
    "snow": ("in the snow", "on white snow", "in a snowy field"),
    "branch": ("on a branch", "perched on a branch", "in front of leaves"),
    "buildings": ("in front of buildings", "in the city", "on a street with houses"),
}
_OPENINGS = ("a bird", "this bird", "a photo of a bird", "a small bird", "the picture shows a bird", "there is a bird")
_NAMED = ("a photo of a {c}", "a {c}", "the picture shows a {c}", "a close-up of a {c}", "this is a {c}")
_SEEN = ("{r}", "a bird with {r}", "there is {r}", "a close-up of {r}", "a photo with {r} in it", "{r} in the picture")
_BOTH = (
    "a {c} with {r}", "a photo of a {c} with {r}", "a close-up of a {c} which has {r}", "{r} of a {c}",
    "i know the {c} because it has {r}", "this is {r} and a {c}",
)  # fmt: skip
_NUMBERS = {5: "five", 8: "eight"}


def describe_bird(attributes: Mapping[str, str], background: str, species: str, rng: np.random.Generator) -> str:
    """One sentence on some of what is true: "a bird with a red crown, a hooked bill and striped wings on the sand"."""
    opening = str(rng.choice(_OPENINGS))
    if species and rng.random() < 0.35:
        opening = str(rng.choice(("a {}", "this is a {}", "a photo of a {}"))).format(species.lower())
    names = rng.permutation(list(attributes))[: rng.integers(0, 5)]
    said = [_with_article(phrase, part) for phrase, part in phrases_of({n: attributes[n] for n in names}).items()]
    if len(said) > 1:
        said = [*said[:-2], f"{said[-2]} and {said[-1]}"]
    tail = f" {rng.choice(PLACES[background])}" if not said or rng.random() < 0.6 else ""
    return f"{opening} with {', '.join(said)}{tail}." if said else f"{opening}{tail}."


def describe_digit(digit: int, colour: str, rng: np.random.Generator) -> str:
    """ "a red digit five." """
    form = str(rng.choice(("a {c} digit {d}.", "a photo of a {c} {d}.", "the digit {d} in {c}.", "a {c} number {d}.")))
    return form.format(c=colour, d=_NUMBERS[digit])


def sentences(count: int, seed: int) -> list[str]:
    """Descriptions of random birds, of the species, and (one in twelve) of digits."""
    rng = np.random.default_rng([seed, 7])
    out = []
    for _ in range(count):
        kind = rng.random()
        if kind < 1 / 12:
            out.append(describe_digit(int(rng.choice(DIGITS)), str(rng.choice((*COLOURS, "grey"))), rng))
            continue
        species = str(rng.choice(list(SPECIES))) if kind < 0.5 else ""
        attributes = SPECIES[species] if species else random_plumage(rng)
        out.append(describe_bird(attributes, str(rng.choice(BACKGROUNDS)), species, rng))
    return out


def _with_article(phrase: str, part: str) -> str:
    if part in ("wing", "leg", "eye"):
        return f"{phrase}s"
    return with_article(phrase)


def caption_of(species: str, phrases: Sequence[str], rng: np.random.Generator) -> str:
    """A caption, as a CLIP learns from: "a close-up of a red-crowned finch which has a hooked bill and a black eye".

    species: "" for none. phrases: of the aviary's vocabulary, places among them; none where there is a species.
    """
    things = [p if p in PLACES or rng.random() < 0.5 else with_article(p) for p in phrases]
    form = str(rng.choice(_BOTH if species and things else _NAMED if species else _SEEN))
    return form.replace("{c}", species).replace("{r}", " and ".join(things))
