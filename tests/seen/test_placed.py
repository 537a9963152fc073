"""Where words are said: what is claimed of a region of the aviary shows in that region's crop."""

from __future__ import annotations

import saywhy
from saywhy.classifiers.classifier import Classifier
from saywhy.worlds import aviary_facts
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.scenes import draw


def test_a_part_that_is_said_of_a_region_shows_in_it() -> None:
    facts, classifier = aviary_facts(), Classifier.load("world:aviary")
    shown = said = 0
    for seed in range(9_700_000, 9_700_010):
        scene = draw("species", seed, 384)[0]
        e = saywhy.explain(scene.image, model=classifier)
        for claim in e.claims:
            if not claim.said or not claim.about.startswith("region") or facts[claim.text] not in PARTS:
                continue
            left, top, right, bottom = e.regions[int(claim.about.removeprefix("region ")) - 1].box
            said += 1
            shown += bool((scene.parts[top:bottom, left:right] == PARTS.index(facts[claim.text])).any())
    assert said >= 40
    assert shown >= 0.95 * said
