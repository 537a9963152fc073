"""What a row of an audit says of a picture."""

from PIL import Image, ImageDraw

from saywhy.audits import rows
from saywhy.pictures.properties import properties
from saywhy.types import Geometry


def _framed(wide: int) -> Image.Image:
    image = Image.effect_noise((128, 128), 60).convert("RGB")
    ImageDraw.Draw(image).rectangle((0, 0, 127, 127), outline=(0, 255, 255), width=wide)
    return image


def test_a_frame_beyond_what_the_network_sees_is_no_property_of_the_picture() -> None:
    whole, middle = (
        Geometry((128, 128), (64, 64), (side / 64, side / 64), ((128 - side) / 2,) * 2) for side in (128, 104)
    )
    thin, thick = _framed(9), _framed(18)
    assert properties(thin)["framed"] == 1
    assert rows._properties(thin, whole) == properties(thin)
    seen = rows._properties(thin, middle)
    assert seen["framed"] == 0
    assert seen["saturation"] < 0.05 < properties(thin)["saturation"]
    assert {name: seen[name] for name in rows.OF_FILE if name in seen} == {
        name: value for name, value in properties(thin).items() if name in rows.OF_FILE
    }
    assert rows._properties(thick, middle)["framed"] == 1
