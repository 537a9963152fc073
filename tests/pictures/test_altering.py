"""Pictures made like another: what is measured afterwards is what was measured there, and nothing else moves much."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from saywhy.pictures.altering import PROPERTIES, is_piece, like, moved, piece_names, recoloured, unlike
from saywhy.pictures.properties import of_pixels, properties
from saywhy.pictures.reading import read_picture
from saywhy.worlds.aviary import SPECIES, render
from saywhy.worlds.pasted import Marks, paste


@pytest.fixture(scope="module")
def pair() -> tuple[Image.Image, Image.Image]:
    names = list(SPECIES)
    return render(names[3], 5, 160).image, render(names[8], 9, 160).image


def _donor(name: str, base: Image.Image) -> Image.Image:
    pixels = np.asarray(base).astype(float)
    changed = {
        "brightness": pixels + 45, "contrast": 128 + (pixels - 128) / 2,
        "saturation": np.asarray(base.convert("L").convert("RGB")).astype(float),
        "colour cast": pixels + np.array([25, 0, -25]), "white balance": pixels * np.array([1.2, 1, 0.8]),
        "light and colour": pixels + np.array([40, 20, 10]),
    }  # fmt: skip
    if name in changed:
        return Image.fromarray(np.clip(changed[name], 0, 255).astype(np.uint8))
    if name == "blur":
        return base.filter(ImageFilter.GaussianBlur(1.5))
    if name == "vignette":
        down, across = np.mgrid[-1:1:160j, -1:1:160j]
        return Image.fromarray((pixels * (1 - 0.35 * (down**2 + across**2))[..., None]).clip(0, 255).astype(np.uint8))
    if name == "JPEG quality":
        buffer = io.BytesIO()
        base.save(buffer, "JPEG", quality=15)
        return read_picture(buffer.getvalue())
    if name == "frame":
        return Image.fromarray(paste(np.asarray(base), "frame", Marks(), np.random.default_rng(0))[0])
    return base.resize({"size": (80, 80), "aspect": (240, 160)}[name])


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_picture_takes_on_what_is_measured_of_another(name: str, pair: tuple[Image.Image, Image.Image]) -> None:
    image, base = pair
    donor = _donor(name, base)
    if PROPERTIES[name].moves:
        pairs = [(properties(donor)[key], properties(image)[key]) for key in PROPERTIES[name].measures]
        given = moved(image, name, [wanted - own for wanted, own in pairs])
    else:
        given = like(image, donor, name)
    assert given is not None
    for measure in PROPERTIES[name].measures:
        own, wanted, got = (properties(one).get(measure, 100) for one in (image, donor, given))
        if name == "JPEG quality":
            assert got > own if measure == "blocks" else got == wanted
        else:
            assert got == pytest.approx(wanted, abs=0.05 + 0.02 * abs(wanted))


@pytest.mark.parametrize("name", [name for name in PROPERTIES if name not in ("frame", "JPEG quality")])
def test_the_other_way_is_the_other_way(name: str, pair: tuple[Image.Image, Image.Image]) -> None:
    image, base = pair
    donor = _donor(name, base)
    opposite = unlike(image, donor, name)
    assert opposite is not None
    measure = PROPERTIES[name].measures[0]
    own, wanted, got = (properties(one)[measure] for one in (image, donor, opposite))
    assert np.sign(got - own) == -np.sign(wanted - own)


def test_brightness_moves_and_sharpness_stays(pair: tuple[Image.Image, Image.Image]) -> None:
    image, base = pair
    given = like(image, _donor("brightness", base), "brightness")
    assert given is not None
    assert properties(given)["sharpness"] == pytest.approx(properties(image)["sharpness"], abs=0.5)


@pytest.mark.parametrize("species", [0, 7, 15, 31])
def test_sharpness_is_of_the_blur_and_not_of_what_is_shown(species: int) -> None:
    images = [render(list(SPECIES)[(species + n) % 40], 50 + n, 160).image for n in range(4)]
    sharp = [of_pixels(np.asarray(one))["sharpness"] for one in images]
    blurred = [of_pixels(np.asarray(one.filter(ImageFilter.GaussianBlur(1.2))))["sharpness"] for one in images]
    assert min(sharp) > max(blurred) + 0.3


@pytest.mark.parametrize(("kind", "name"), [("square", "yellow square"), ("letter", "white letter-like mark")])
def test_a_piece_is_pasted_where_it_stands_and_taken_out(
    kind: str, name: str, pair: tuple[Image.Image, Image.Image]
) -> None:
    image, base = pair
    pixels, mask = paste(np.asarray(base), kind, Marks(), np.random.default_rng(3))
    donor = Image.fromarray(pixels)
    assert name in piece_names(donor)
    assert name not in piece_names(base)
    assert is_piece(name)
    given, instead, other = like(image, donor, name), unlike(image, donor, name), recoloured(image, donor, name)
    assert given is not None
    assert instead is not None
    assert other is not None
    changed = (np.asarray(given) != np.asarray(image)).any(2)
    assert changed[mask].mean() > 0.8
    assert not changed[~mask].any()
    np.testing.assert_array_equal(np.asarray(given)[changed], pixels[changed])
    assert name not in piece_names(instead)
    assert name not in piece_names(other)
    freed = like(donor, base, name)
    assert freed is not None
    assert name not in piece_names(freed)


def test_a_frame_is_taken_off(pair: tuple[Image.Image, Image.Image]) -> None:
    image, base = pair
    freed = like(_donor("frame", base), image, "frame")
    assert freed is not None
    assert freed.size == base.size
    assert not properties(freed)["framed"]
    assert like(base, image, "frame") is None


def test_nothing_is_made_where_nothing_can_be(pair: tuple[Image.Image, Image.Image]) -> None:
    image, base = pair
    assert like(_donor("JPEG quality", base), image, "JPEG quality") is None
    assert unlike(image, base, "frame") is None
    assert like(image, base, "yellow square") is None
    with pytest.raises(KeyError):
        like(image, base, "loudness")


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 95])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int, pair: tuple[Image.Image, Image.Image]) -> None:
    buffer = io.BytesIO()
    pair[0].save(buffer, "JPEG", quality=quality)
    assert properties(read_picture(buffer.getvalue()))["jpeg"] == pytest.approx(quality, abs=6)
    assert "jpeg" not in properties(pair[0])


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 5), (4000, 90)])
def test_pictures_of_any_size_and_colour_are_measured(size: tuple[int, int]) -> None:
    for colour in ("black", "white", "red"):
        found = properties(Image.new("RGB", size, colour))
        assert all(np.isfinite(value) for value in found.values())
