"""Geometry and colour of hand-made pictures, whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from saywhy.pictures.plain import (
    BAR,
    COLOURS,
    DISC,
    LETTER,
    RECTANGLE,
    SIDE,
    SQUARE,
    Piece,
    colour_name,
    frame,
    in_lab,
    levels,
    measured,
    pieces,
)

GREEN = (70, 120, 60)


def picture(size: tuple[int, int] = (160, 160), noise: float = 1.5) -> Image.Image:
    values = np.random.default_rng(0).normal(GREEN, noise, (size[1], size[0], 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def one(image: Image.Image) -> Piece:
    """The piece that stands out most."""
    return max(pieces(measured(image)), key=lambda piece: piece.contrast)


@pytest.mark.parametrize("name", COLOURS)
def test_each_basic_colour_has_its_name_in_brighter_and_darker_light_too(name: str) -> None:
    for light in (0.93, 1.0, 1.04):
        shown = np.clip(np.array([[COLOURS[name]]]) * light, 0, 255).astype(np.uint8)
        assert colour_name(in_lab(shown)[0, 0]) == name


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 190, 210), "blue"), ((170, 210, 240), "blue"), ((20, 30, 80), "blue"), ((250, 245, 200), "yellow"),
        ((20, 60, 20), "green"), ((230, 0, 200), "purple"), ((120, 112, 105), "grey"), ((250, 240, 242), "white"),
    ],
)  # fmt: skip
def test_what_is_clearly_coloured_is_no_grey(rgb: tuple[int, int, int], name: str) -> None:
    assert colour_name(in_lab(np.array([[rgb]], np.uint8))[0, 0]) == name


@pytest.mark.parametrize("side", [6, 9, 14, 30, 50])
@pytest.mark.parametrize("colour", ["yellow", "red", "white", "black"])
def test_a_square_is_a_square_at_all_sizes(side: int, colour: str) -> None:
    image = picture()
    ImageDraw.Draw(image).rectangle((20, 90, 20 + side - 1, 90 + side - 1), fill=COLOURS[colour])
    found = one(image)
    assert (found.shape, found.colour, found.box) == (SQUARE, colour, (20, 90, 20 + side, 90 + side))


def test_a_square_of_a_large_picture_survives_that_it_is_reduced() -> None:
    image = picture((1600, 1200))
    ImageDraw.Draw(image).rectangle((201, 703, 301, 803), fill=COLOURS["yellow"])
    assert min(measured(image).shape[:2]) == SIDE
    assert (one(image).shape, one(image).colour) == (SQUARE, "yellow")


def test_what_is_no_square_is_not_called_one() -> None:
    shapes = {
        "turned": lambda pen: pen.polygon([(80, 55), (105, 80), (80, 105), (55, 80)], fill=COLOURS["yellow"]),
        "disc": lambda pen: pen.ellipse((60, 60, 90, 90), fill=COLOURS["yellow"]),
        "triangle": lambda pen: pen.polygon([(60, 100), (100, 100), (80, 60)], fill=COLOURS["yellow"]),
        "rectangle": lambda pen: pen.rectangle((60, 60, 79, 99), fill=COLOURS["yellow"]),
        "bar": lambda pen: pen.rectangle((40, 60, 109, 67), fill=COLOURS["yellow"]),
    }
    found = {}
    for name, draw in shapes.items():
        image = picture()
        draw(ImageDraw.Draw(image))
        found[name] = one(image).shape
    assert found == {"turned": "", "disc": DISC, "triangle": "", "rectangle": RECTANGLE, "bar": BAR}


@pytest.mark.parametrize("letter", "AXORKSH")
def test_a_letter_is_a_mark_in_a_corner_and_nothing_in_the_middle(letter: str) -> None:
    for place, shape in (((10, 6), LETTER), ((70, 70), "")):
        image = picture()
        pen = ImageDraw.Draw(image)
        pen.text(place, letter, fill=COLOURS["white"], font=ImageFont.load_default(22), stroke_width=0.5)
        found = one(image)
        assert found.shape == shape
        assert found.colour == "white"


def test_a_blot_in_a_corner_is_no_letter() -> None:
    image = picture()
    ImageDraw.Draw(image).ellipse((8, 8, 26, 30), fill=COLOURS["white"])
    assert one(image).shape != LETTER


def test_a_frame_goes_all_around_and_ends_sharply() -> None:
    whole, three, fading = picture(), picture(), np.array(picture()).astype(float)
    ImageDraw.Draw(whole).rectangle((0, 0, 159, 159), outline=COLOURS["black"], width=6)
    ImageDraw.Draw(three).rectangle((0, 0, 159, 170), outline=COLOURS["black"], width=6)
    found = frame(measured(whole))
    assert found is not None
    assert found.colour == "black"
    assert found.mask.sum() == 160**2 - 148**2
    assert frame(measured(three)) is None
    assert frame(measured(picture())) is None  # of one colour all over
    edge = np.minimum.reduce([*np.mgrid[:160, :160], *np.mgrid[:160, :160][:, ::-1, ::-1]])
    fading *= np.clip(edge / 60, 0, 1)[..., None]  # a vignette
    assert frame(fading.astype(np.uint8)) is None


def test_only_pieces_with_weight_are_described() -> None:
    image, weight = picture(), np.zeros((160, 160))
    ImageDraw.Draw(image).rectangle((20, 90, 33, 103), fill=COLOURS["yellow"])
    ImageDraw.Draw(image).rectangle((120, 20, 133, 33), fill=COLOURS["red"])
    weight[90:104, 20:34] = 1
    assert [piece.colour for piece in pieces(measured(image), weight, 0.05)] == ["yellow"]


def test_levels_move_with_the_light() -> None:
    shown = measured(picture(noise=10))
    assert np.allclose(levels(shown + np.uint8(51)) - levels(shown), 0.2, atol=1e-6)
