"""How a counterfactual is said, shown and written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from saywhy.answers.counterfactual import in_concepts, why_this_one
from saywhy.answers.explanation import Explanation, explanation_to_html
from saywhy.pictures.reading import display_copy
from saywhy.types import ConceptChange, Counterfactual, Prediction, Region
from tests.helpers import explanation, picture


def found(text: str = "other") -> Counterfactual:
    mask = np.zeros((32, 32), bool)
    mask[4:12, 8:20] = True
    other = Prediction(1, text, 0.1, 2.0)
    change = ConceptChange(f"yellow {text}", -2.1, 1.5, -0.6, (-2.0, 2.0))
    return Counterfactual(
        other, replace(other, probability=0.7, logit=4.0), (0.9, 0.2), (0.1, 0.7), True, True,
        (Region((10, 5, 60, 40), mask, 0.6), Region((0, 0, 9, 9), ~mask, 0.1)), 0.12, "filled with the colours around",
        True, (1, 19), 40, display_copy(picture(), "bird.jpg"), (change,),
    )  # fmt: skip


def test_it_is_said_in_a_sentence() -> None:
    one = found()
    assert why_this_one(one, "toucan") == (
        "With 2 pieces (12% of the picture) filled with the colours around it says other (0.10 before, 0.70 now), "
        "and none of them can be left out; of 19 equal areas elsewhere 1 does so."
    )
    third = replace(one, after=Prediction(2, "third", 0.5, 3.0), turned=False, regions=one.regions[:1])
    assert why_this_one(third, "toucan") == (
        "With 1 piece (12% of the picture) filled with the colours around it says third (0.50), and other (0.70) lies "
        "above toucan (0.20); of 19 equal areas elsewhere 1 does so."
    )
    none = replace(one, regions=(), picture=None, turned=False, ahead=False, elsewhere=(0, 0))
    assert why_this_one(none, "toucan") == (
        "No change that was tried (of at most half the picture, filled with the colours around) puts other above "
        "toucan; it only takes away what is there, so that what other would need besides cannot be found so."
    )
    lent = replace(none, change="taken from a picture that it calls other")
    assert why_this_one(lent, "toucan").endswith("it calls other) puts other above toucan.")
    assert in_concepts(one, "toucan") == (
        "In its own features it would say other rather than toucan with 'yellow other' less by 2.1 sd."
    )
    assert in_concepts(replace(one, concepts=()), "toucan") == ""


def test_json_gives_the_same_back() -> None:
    first = replace(explanation(), counterfactual=found())
    again = Explanation.from_json(first.to_json())
    assert again.counterfactual is not None
    for one, other in zip(again.counterfactual.regions, found().regions, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert (one.box, one.share) == (other.box, other.share)
    assert vars(replace(again.counterfactual, regions=())) == vars(replace(found(), regions=()))
    assert again.to_json() == first.to_json()
    assert Explanation.from_json(explanation().to_json()).counterfactual is None


def test_page_and_figure_show_the_changed_picture() -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    page = explanation_to_html(replace(explanation(), counterfactual=found()))
    assert "What would make it other" in page
    assert why_this_one(found(), "toucan") in page
    assert 'alt="The changed picture"' in page
    assert "<img src=x" not in explanation_to_html(replace(explanation(), counterfactual=found(evil)))
    figure = replace(explanation(), counterfactual=found()).figure()
    assert any("now other" in axis.get_title() for axis in figure.axes)
    without = replace(found(), regions=(), picture=None)
    assert "No change that was tried" in explanation_to_html(replace(explanation(), counterfactual=without))
