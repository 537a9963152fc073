"""The benchmark of names of what is inside: its truth, and that names beat names dealt to other components."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from saywhy import SaywhyError
from saywhy.bench.audit_inside import areas, run, truth_of
from saywhy.worlds import world_vocabulary
from saywhy.worlds.scenes import facts_of, scenes


def test_the_truth_of_a_scene_is_what_was_drawn() -> None:
    truth = truth_of(scenes("species", 3, 5_900_000), "species")
    phrases = world_vocabulary("aviary").phrases
    for n, row in enumerate(truth):
        assert {phrase for phrase, there in zip(phrases, row, strict=True) if there} == facts_of(
            "species", 5_900_000 + n
        )


def test_areas_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    active, truth = np.round(rng.normal(size=(60, 3)), 1), rng.random((60, 4)) < 0.4
    truth[:, 3] = False
    found = areas(active, truth)
    for k in range(3):
        for m in range(3):
            assert found[k, m] == pytest.approx(roc_auc_score(truth[:, m], active[:, k]))
    assert np.isnan(found[:, 3]).all()


def test_another_world_is_refused() -> None:
    with pytest.raises(SaywhyError, match="one of world:aviary"):
        run(model="world:digits")
    with pytest.raises(SaywhyError, match="yes or no"):
        run(sae="maybe")
    with pytest.raises(SaywhyError, match="--data is scenes"):
        run(data="cats")


@pytest.mark.slow
def test_components_for_affected_classes_are_named_by_the_cause() -> None:
    found = run(limit=150, model="world:aviary-background", sae="no")
    (channels, *_) = found.more[0][2]
    assert float(channels["named by the cause"].split()[0]) > 0.6
    assert float(channels["by a cause"].split()[0]) < 0.3
