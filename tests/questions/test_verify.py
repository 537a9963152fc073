import numpy as np
import pytest

import saywhy
from saywhy.errors import SaywhyError
from saywhy.types import BORNE_OUT, NOT_TESTABLE
from saywhy.worlds.planted import ORDINARY, planted_scene

SEED = 5_400_000


@pytest.fixture(scope="module")
def classifier() -> saywhy.Classifier:
    return saywhy.Classifier.load("world:aviary-background")


@pytest.fixture(scope="module")
def pictures() -> list:  # type: ignore[type-arg]
    return [planted_scene("background", ORDINARY + n % 4, SEED + n, 160).image for n in range(8)]


@pytest.fixture(scope="module")
def explained(classifier: saywhy.Classifier, pictures: list) -> list[saywhy.Explanation]:  # type: ignore[type-arg]
    return saywhy.explain(pictures, model=classifier, space="world:aviary")


def test_a_planted_background_is_found_though_no_region_is_it(explained: list[saywhy.Explanation]) -> None:
    borne = [e.surroundings is not None and e.surroundings.verdict == BORNE_OUT for e in explained]
    assert np.mean(borne) >= 0.75
    assert all("on its surroundings: in other" in e.summary for e, b in zip(explained, borne, strict=True) if b)


def test_verifying_again_gives_the_same(
    classifier: saywhy.Classifier,
    pictures: list,
    explained: list[saywhy.Explanation],  # type: ignore[type-arg]
) -> None:
    again = saywhy.verify(explained[0], classifier, pictures[0], others=pictures[1:])
    assert [r.used.verdict for r in again.regions if r.used] == [r.used.verdict for r in explained[0].regions if r.used]
    assert again.settings["checks"] == "fast"
    assert saywhy.verify(explained[0], classifier, pictures[0], checks="none").checks == ()


def test_a_record_keeps_its_checks(explained: list[saywhy.Explanation]) -> None:
    again = saywhy.Explanation.from_json(explained[0].to_json())
    assert again.surroundings == explained[0].surroundings
    assert len(again.checks) == len(explained[0].checks) > 0
    assert again.to_json() == explained[0].to_json()


def test_checks_stay_within_their_passes(explained: list[saywhy.Explanation]) -> None:
    for e in explained:
        assert sum(check.passes for check in (*e.checks, e.surroundings) if check) <= 64


def test_one_picture_alone_has_no_other_surroundings(classifier: saywhy.Classifier, pictures: list) -> None:  # type: ignore[type-arg]
    alone = saywhy.explain(pictures[0], model=classifier, space="world:aviary")
    assert alone.surroundings is not None
    assert alone.surroundings.verdict == NOT_TESTABLE
    assert "--reference" in alone.surroundings.reason
    untested = saywhy.explain(pictures[0], model=classifier, space="world:aviary", checks="none")
    assert untested.checks == ()
    assert "Put to the test" not in untested.summary


def test_another_classifier_or_picture_is_refused(
    classifier: saywhy.Classifier,
    pictures: list,
    explained: list[saywhy.Explanation],  # type: ignore[type-arg]
) -> None:
    with pytest.raises(SaywhyError, match="not of world:aviary"):
        saywhy.verify(explained[0], saywhy.Classifier.load("world:aviary"))
    with pytest.raises(SaywhyError, match="give the same picture="):
        saywhy.verify(explained[0], classifier, pictures[1])
    with pytest.raises(SaywhyError, match="no way to check"):
        saywhy.verify(explained[0], classifier, checks="some")
