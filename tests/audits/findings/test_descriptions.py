"""Recognised by, confused, wrong, groups: what was planted among made-up rows is what they say, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saywhy.audits.finding import corrected
from saywhy.audits.findings import confused, groups, recognised, wrong
from saywhy.audits.store import ROWS, Store, View
from saywhy.bench.audit_findings import make_up


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    folder = tmp_path_factory.mktemp("made-up") / "audit"
    make_up(folder, 2400, 8, phrases=24, features=8, vector=8, part=1200)
    return Store.open(folder).view()


def test_each_class_has_one_finding_with_its_word_and_place(view: View) -> None:
    tested = recognised.find(view)
    assert len(tested.findings) == 8
    for finding in tested.findings:
        n = int(finding.about[0].split()[1])
        assert finding.words[0] == f"phrase {n}"
        assert "goes with" in finding.sentence
        assert not finding.decides
        assert finding.effect.value > finding.null
        assert finding.effect.low > 0
        assert finding.examples
    assert len(tested.p) > 8 * 24


def test_dealt_labels_leave_no_class_recognised(tmp_path: Path) -> None:
    make_up(tmp_path / "a", 1200, 8, phrases=24, features=8, vector=8, part=1200)
    store = Store.open(tmp_path / "a")
    part = store.view().sql("SELECT * FROM pictures ORDER BY number")
    order = np.random.default_rng(0).permutation(1200)
    place = part.schema.get_field_index("predicted")
    dealt = part.set_column(place, part.schema.field("predicted"), part["predicted"].take(order))
    other = Store.create(tmp_path / "b", {key: value for key, value in store.manifest.items() if key != "format"})
    regions = store.view().sql("SELECT * FROM regions")
    other.commit(ROWS, "00000000", {"pictures": dealt, "regions": regions})
    found = [finding for finding in corrected([recognised.find(other.view())]) if finding.significant]
    assert len(found) <= 1


def test_the_planted_confusion_is_first_and_its_cue_is_named(view: View) -> None:
    tested = confused.find(view)
    first = tested.findings[0]
    assert first.about == ("class 0", "class 1")
    assert first.details["confused and right"][0]["trait"] == "phrase 5"
    assert {"phrase 0", "phrase 1", "part 0", "part 1", "upper left", "upper middle"} >= {
        row["trait"] for row in first.details["the two classes"]
    }
    assert first.effect.value > first.null
    assert "predicted as it" in first.sentence
    assert len(tested.findings) >= 5


def test_the_counts_of_a_pair_are_those_of_the_table(view: View) -> None:
    first = confused.find(view).findings[0]
    there = "SELECT count(*) AS n FROM pictures WHERE true_class = {} AND predicted = {}"
    assert list(first.details["predicted as the other"]) == [
        view.sql(there.format(a, b))["n"][0].as_py() for a, b in ((0, 1), (1, 0))
    ]


def test_wrong_predictions_go_with_a_low_probability_and_of_the_class_with_its_cue(view: View) -> None:
    found = {finding.about: finding for finding in wrong.find(view).findings}
    assert found[()].details["traits"][0]["trait"] in ("probability", "lead")
    assert found["class 0",].words[0] == "phrase 5"
    assert not [about for about in found if about not in ((), ("class 0",))]


def test_train_and_test_differ_in_accuracy_and_brightness_and_cameras_do_not(view: View) -> None:
    found = [finding for finding in corrected([groups.find(view)]) if finding.significant]
    assert [finding.about for finding in found] == [("split=test", "split=train")]
    assert found[0].details["traits"][0]["trait"] == "brightness"
    assert "darker" in found[0].sentence
    assert found[0].effect.high < 0


def test_without_truth_and_metadata_the_notes_say_so(tmp_path: Path, view: View) -> None:
    store = Store.create(tmp_path / "bare", {key: value for key, value in view.manifest.items() if key != "format"})
    rows = view.sql("SELECT * FROM pictures WHERE number < 50").to_pylist()
    for row in rows:
        row.update(truth=None, truths=[], true_class=None, correct=None, metadata={}, words=[], concepts=[],
                   properties=dict(row["properties"]))  # fmt: skip
    store.commit(ROWS, "00000000", {"pictures": rows})
    bare = store.view()
    for module in (confused, wrong):
        assert module.find(bare).note == "the truth is not known of any picture"
    assert "no metadata column" in groups.find(bare).note
    assert not recognised.find(bare).note.startswith("0 classes")


def test_a_picture_of_two_classes_counts_for_each_and_is_not_confused_with_itself(tmp_path: Path, view: View) -> None:
    store = Store.create(tmp_path / "two", {key: value for key, value in view.manifest.items() if key != "format"})
    rows = view.sql("SELECT * FROM pictures WHERE number < 300").to_pylist()
    for row in rows:
        row.update(metadata={}, properties=dict(row["properties"]), truth=None, true_class=None,
                   truths=[f"class {row['predicted']}", f"class {(row['classes'][1])}"], correct=True)  # fmt: skip
    store.commit(ROWS, "00000000", {"pictures": rows})
    two = store.view()
    from saywhy.audits.traits import traits_of

    assert traits_of(two).true.sum() == 600
    assert all(finding.details["predicted as the other"] == (0, 0) for finding in confused.find(two).findings)


def test_what_a_class_has_less_of_is_no_echo_of_its_name(tmp_path: Path, view: View) -> None:
    from saywhy.audits.names import NAMES

    store = Store.open(view.store.folder)
    near = np.zeros((8, 24), "<f2")
    near[np.arange(8), np.arange(8)] = 2  # each name says its class's own phrase
    np.savez(store.folder / NAMES, words=np.array([f"phrase {n}" for n in range(24)]), near=near)
    try:
        tested = recognised.find(store.view())
    finally:
        (store.folder / NAMES).unlink()
    for finding in tested.findings:
        assert finding.words[0] in finding.details["goes with the name"]
        assert finding.sentence.count(recognised.ECHO) <= len(finding.details["goes with the name"])
        assert not set(finding.details["goes with the name"]) & set(finding.details["goes with the pictures"])
    assert "are what the class's name alone would say" in tested.note
