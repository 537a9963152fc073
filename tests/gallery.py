"""Makes the explained pictures of README.md and docs/gallery.md again, and what is said below them.

``python -m tests.gallery``. Only photographs that may be shown, and rendered birds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

import saywhy
from saywhy.pictures.photos import PHOTOS
from saywhy.worlds import SAMPLES

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PAGES = (ROOT / "README.md", ROOT / "docs" / "gallery.md")
PLACES = {"coffee": "explanation.jpg"} | {
    name: f"gallery/{name}.jpg" for name in ("chelsea", "rocket", "china", "flower", "kingfisher", "spoonbill")
}
"""Picture -> the file under docs/images that explains it."""
WIDTH = 1100  # pixels


def pictures() -> Mapping[str, tuple[str, Path]]:
    """Picture -> the classifier that is asked, and its file."""
    birds = {path.stem.split("-")[2]: ("world:aviary", path) for path in sorted((SAMPLES / "aviary").glob("*.jpg"))}
    return birds | {name: ("imagenet", photo.path) for name, photo in PHOTOS.items()}


def main() -> None:
    """Asks, draws, and puts each summary into the quotation that follows its picture on a page."""
    asked = pictures()
    classifiers = {model: saywhy.Classifier.load(model) for model, _ in asked.values()}
    for name, place in PLACES.items():
        model, path = asked[name]
        explanation = saywhy.explain(path, model=classifiers[model])
        figure = explanation.save(IMAGES / f"{place}.png")
        with Image.open(figure) as drawn:
            drawn.convert("RGB").resize((WIDTH, round(drawn.height * WIDTH / drawn.width))).save(
                IMAGES / place, quality=85
            )
        figure.unlink()
        for page in PAGES:
            text = page.read_text("utf-8")
            quoted = re.search(rf"images/{re.escape(place)}\)\n\n> (.*)", text)
            page.write_text(text.replace(quoted[1], explanation.summary) if quoted else text, "utf-8")


if __name__ == "__main__":
    main()
