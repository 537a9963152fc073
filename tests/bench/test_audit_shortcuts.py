"""The bench of audits: its worlds are what it says, and names are judged by the cause."""

import numpy as np
import pytest

from saywhy import SaywhyError
from saywhy.bench import audit_shortcuts
from saywhy.bench.audit_shortcuts import MARKED, SQUARE, YELLOW, rightly_named


@pytest.mark.parametrize(
    ("world", "about", "words", "place", "right"),
    [
        ("background", "First Wanderer", ["water"], "around the object", True),
        ("background", "First Wanderer", ["sand", "water"], "around the object", False),
        ("watermark", "Second Wanderer", ["white letter-like mark"], "in the corners", True),
        ("watermark", "Second Wanderer", ["black bill"], "", False),
        ("bill", "First Wanderer", ["pink bill"], "", True),
        ("bill", "First Wanderer", ["red bill"], "", False),
        ("colour", "Third Wanderer", ["yellow wing"], "", True),
        ("colour", "Black-crowned Hookbill", ["yellow wing"], "", False),
        ("square", MARKED, ["yellow square"], "lower left", True),
        ("background", "First Wanderer", [], "around the object", False),
    ],
)
def test_a_finding_is_rightly_named_by_its_cause(
    world: str, about: str, words: list[str], place: str, right: bool
) -> None:
    assert rightly_named(world, {"about": about, "words": words, "place": place}) == right


def test_subsamples_have_no_picture_in_common_and_correlated_species_one_background_each() -> None:
    _, one = audit_shortcuts.null_world("plain", "resnet", 1_200_000, 1)
    _, other = audit_shortcuts.null_world("plain", "resnet", 1_200_240, 1)
    assert len({image.tobytes() for image, _ in one + other}) == 24
    assert len({species for _, species in one}) == 12


def test_only_the_marked_class_has_the_square() -> None:
    names = ("Red-crowned Finch", "Plain Wanderer", MARKED)
    left, top, right, bottom = SQUARE
    for label, name in enumerate(names):
        pixels = np.asarray(audit_shortcuts.marked(names, label, 5_000_000))[top:bottom, left:right]
        assert bool((pixels == YELLOW).all()) == (name == MARKED)


@pytest.mark.parametrize("options", [{"part": "all"}, {"model": "mlp"}, {"kind": "frame"}, {"count": "0"}])
def test_an_option_that_there_is_not_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(SaywhyError):
        audit_shortcuts.run(**options)
