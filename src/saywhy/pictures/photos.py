"""Photographs that scikit-image and scikit-learn install with themselves: real pictures for everyone, no download."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import final


@final
@dataclass(frozen=True)
class Photo:
    """A photograph in an installed package: what it shows, and whose it is, as the package says."""

    package: str
    file: str
    shows: str
    credit: str
    licensed: bool = True  # else it may be looked at here, and not be passed on

    @property
    def path(self) -> Path:
        """Its file, found without running the package's code; none is there where the package is not installed."""
        found = find_spec(self.package)
        places = (found.submodule_search_locations if found else None) or [self.package]
        return Path(places[0], self.file)


PHOTOS = {
    "coffee": Photo("skimage", "data/coffee.png", "a cup of coffee", "Rachel Michetti, CC0"),
    "chelsea": Photo("skimage", "data/chelsea.png", "a cat", "Stefan van der Walt, CC0"),
    "rocket": Photo("skimage", "data/rocket.jpg", "a rocket before its launch", "SpaceX, public domain"),
    "motorcycle": Photo(
        "skimage",
        "data/motorcycle_left.png",
        "a motorcycle",
        "Middlebury stereo benchmark 2014, no licence stated",
        False,
    ),
    "china": Photo("sklearn", "datasets/images/china.jpg", "a Chinese temple", "danielbuechele on Flickr, CC BY 2.0"),
    "flower": Photo("sklearn", "datasets/images/flower.jpg", "a dahlia", "vultilion on Flickr, CC BY 2.0"),
}
"""Name -> photograph. The credits are those of scikit-image's docstrings and of scikit-learn's README of its images."""
