"""What the pages show is there, and may be passed on."""

from __future__ import annotations

import re

from saywhy.pictures.photos import PHOTOS
from tests.binaries import tracked
from tests.gallery import IMAGES, PLACES, ROOT, pictures


def test_pages_and_pictures_go_together() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text("utf-8"))]
    shown = {(page.parent / link).resolve() for page, link in links}
    kept = {(ROOT / name).resolve() for name in tracked() if name.startswith("docs/images/") and (ROOT / name).exists()}
    assert shown == kept


def test_the_gallery_shows_only_what_may_be_passed_on() -> None:
    assert {path.name for path in (IMAGES / "gallery").iterdir()} == {
        place.removeprefix("gallery/") for place in PLACES.values() if place.startswith("gallery/")
    }
    photographs = PLACES.keys() & PHOTOS.keys()
    assert all(re.search("CC0|CC BY|public domain", PHOTOS[name].credit) for name in photographs)
    assert all(pictures()[name][0] == "world:aviary" for name in PLACES.keys() - photographs)
