import numpy as np
import pytest
import torch

from saywhy.checks.edits import colour_of, has_hue, in_lab, of_colour, washed_out
from saywhy.pictures.plain import COLOURS

LIMITS = (torch.tensor([-1.0, 0.0, -2.0]), torch.tensor([1.0, 1.0, 3.0]))


def _painted(*rows: str) -> torch.Tensor:
    """(3, R, 4): each row of a basic colour, in a frame whose channels have each their black and white."""
    rgb = torch.tensor([COLOURS[name] for name in rows], dtype=torch.float32).T[:, :, None].expand(-1, -1, 4) / 255
    black, white = (edge[:, None, None] for edge in LIMITS)
    return rgb * (white - black) + black


@pytest.mark.parametrize(
    ("phrase", "colour"),
    [("a red crown", "red"), ("Gray wings", "grey"), ("reddish bill", None), ("a red and white cap", None), ("", None)],
)
def test_a_phrase_names_one_basic_colour_or_none(phrase: str, colour: str | None) -> None:
    assert colour_of(phrase) == colour


def test_black_white_and_grey_have_no_hue() -> None:
    assert [name for name in COLOURS if not has_hue(name)] == ["black", "white", "grey"]


def test_every_basic_colour_is_found_where_it_is_in_any_normalisation() -> None:
    names = list(COLOURS)
    lab = in_lab(_painted(*names), LIMITS)
    for row, name in enumerate(names):
        mask = of_colour(lab, name)
        assert mask[row].all()
        assert mask.sum() == 4


def test_what_is_washed_out_is_grey_of_the_same_lightness_and_the_rest_as_it_was() -> None:
    pixels = _painted("red", "blue")
    lab = in_lab(pixels, LIMITS)
    mask = np.zeros((1, 2, 4), bool)
    mask[0, 0] = True
    (edited,) = washed_out(pixels, lab, mask, LIMITS)
    after = in_lab(edited, LIMITS)
    assert torch.equal(edited[:, 1], pixels[:, 1])
    assert after[0, :, 0] == pytest.approx(lab[0, :, 0], abs=0.1)
    assert np.abs(after[0, :, 1:]).max() < 0.1
