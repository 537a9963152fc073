"""Interventions across pictures, by classifiers whose cause is known because it is written down."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from saywhy.audits.finding import corrected
from saywhy.audits.findings import fixed_place, one_cue, outside
from saywhy.audits.options import AuditOptions
from saywhy.audits.rows import packed
from saywhy.audits.store import ROWS, TRIALS, Store
from saywhy.audits.subject import Subject
from saywhy.audits.swaps import CONTROLS, THIRD, Opened, cast_of, dealt, odds, thirds
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.collections import Entry, Listed
from saywhy.seen.gate import Seen
from saywhy.types import Vocabulary

SIDE = 48
COLOURS = ((220, 40, 40), (40, 200, 60), (40, 60, 220), (230, 210, 60))
NAMES = ("ruby", "fern", "wave", "dune")
EVEN = packed(torch.ones(256) / 256)
PHRASES = ("red", "green", "blue", "yellow")


class ByColour(nn.Module):
    """Says which of COLOURS is nearest to the mean colour of the border, or of the middle."""

    def __init__(self, border: bool) -> None:
        super().__init__()
        where = torch.zeros(SIDE, SIDE)
        where[20:28, 20:28] = 1
        if border:
            where = torch.ones(SIDE, SIDE)
            where[4:-4, 4:-4] = 0
        self.register_buffer("where", where / where.sum())
        self.register_buffer("colours", torch.tensor(COLOURS) / 255)

    def forward(self, pixels: Tensor) -> Tensor:
        mean = (pixels * self.where).sum((2, 3))
        return -20 * (mean[:, None] - self.colours).norm(dim=2)


class Colours:
    """A space of mean colours."""

    name = "colours"

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([_direction(np.asarray(one.convert("RGB")).mean((0, 1))) for one in images])

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([_direction(COLOURS[[p in text for p in PHRASES].index(True)]) for text in texts])


def _direction(colour: Sequence[float] | np.ndarray) -> Tensor:
    away = torch.as_tensor(np.asarray(colour), dtype=torch.float32) / 255 - 0.45
    return away / away.norm()


def _picture(label: int, seed: int) -> Image.Image:
    """A disc of the class's colour on surroundings of its colour, somewhat darker, each a little different."""
    rng = np.random.default_rng([label, seed])
    around = np.clip(np.array(COLOURS[label]) * 0.85 + rng.normal(0, 4, (SIDE, SIDE, 3)), 0, 255)
    image = Image.fromarray(around.astype(np.uint8))
    x, y = rng.integers(15, 18, 2).tolist()
    ImageDraw.Draw(image).ellipse((x, y, x + 16, y + 16), fill=COLOURS[label], outline=(0, 0, 0), width=2)
    return image


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB").resize((SIDE, SIDE)))).permute(2, 0, 1).float() / 255


def _audit(
    folder: Path,
    border: bool = False,
    each: int = 8,
    network: nn.Module | None = None,
    draw: Callable[[int, int], Image.Image] = _picture,
    more: Callable[[int, int], dict[str, Any]] = lambda label, seed: {},
) -> tuple[Subject, Store]:
    """Rows as ``rows_of`` would make them, of four classes; more: columns of a picture (class, seed)."""
    network = (network or ByColour(border)).eval()
    classifier = Classifier.from_module(network, transform=_tensor, labels=NAMES, name="by colour")
    pictures = [(label, draw(label, seed)) for label in range(4) for seed in range(each)]
    entries = [Entry(f"{n}.png", (NAMES[k],), lambda i=image: i) for n, (k, image) in enumerate(pictures)]
    subject = Subject(
        classifier, Vocabulary(PHRASES, ("colour",) * 4, {"": ("{}",)}, "colours"), Colours(), Seen(),
        Listed("discs", entries), AuditOptions(), {name: n for n, name in enumerate(NAMES)},
    )  # fmt: skip
    store = Store.create(folder, subject.story())
    logits = classifier.logits(torch.stack([_tensor(image) for _, image in pictures]))
    rows = [
        {
            "number": n, "predicted": int(one.argmax()), "correct": int(one.argmax()) == label, "true_class": label,
            "classes": [0, 1, 2, 3], "probabilities": one.softmax(0).tolist(), "relevance": EVEN,
            "look": np.array(image.resize((16, 16), Image.Resampling.BOX)).tobytes(),
        } | more(label, n % each)
        for n, ((label, image), one) in enumerate(zip(pictures, logits, strict=True))
    ]  # fmt: skip
    boxes = {"region": 1, "left": 19, "top": 19, "right": 29, "bottom": 29, "x": 0.5, "y": 0.5, "labels": ["red"]}
    store.commit(ROWS, "00000000", {"pictures": rows, "regions": [{"number": row["number"]} | boxes for row in rows]})
    return subject, store


def _done(subject: Subject, store: Store, trials: Callable, family: str) -> None:
    for part, rows in trials(subject, store.view(), store.parts(f"{TRIALS}/{family}")):
        store.commit(f"{TRIALS}/{family}", part, {"trials": rows})


def test_surroundings_that_decide_are_found_for_each_class_and_named(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, border=True)
    _done(subject, store, outside.trials, "outside")
    findings = corrected([outside.find(store.view())])
    assert {finding.about[0] for finding in findings} == set(NAMES)
    for finding in findings:
        assert finding.decides
        assert finding.significant
        assert finding.effect.value > 0.9
        assert finding.null == 0
        assert finding.words[0] == PHRASES[NAMES.index(finding.about[0])]
        assert all(subject.pictures[n].labels == finding.about for n in finding.examples)


def test_surroundings_of_one_class_each_are_no_finding_where_the_object_decides(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, border=False)
    _done(subject, store, outside.trials, "outside")
    tested = outside.find(store.view())
    assert not tested.findings
    assert len(tested.p) == 4
    assert tested.p.min() == 1


class Dump(ByColour):
    """Says a colour that both middle and border have, and the last class of whatever else."""

    def __init__(self) -> None:
        super().__init__(border=True)
        middle = torch.zeros(SIDE, SIDE)
        middle[20:28, 20:28] = 1 / 64
        self.register_buffer("middle", middle)

    def forward(self, pixels: Tensor) -> Tensor:
        near = torch.stack([
            1 - (self._mean(pixels, where)[:, None] - self.colours).norm(dim=2) for where in (self.where, self.middle)
        ]).amin(0)  # fmt: skip
        return 20 * torch.cat([near[:, :3], torch.full((len(pixels), 1), 0.7)], 1)

    @staticmethod
    def _mean(pixels: Tensor, where: Tensor) -> Tensor:
        return (pixels * where).sum((2, 3))


def test_a_class_that_gets_whatever_is_not_known_is_not_accused(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, network=Dump(), each=20)
    _done(subject, store, outside.trials, "outside")
    shares = store.view().sql(
        "SELECT control, avg(hit::INT) AS hits FROM trials WHERE about = 'dune' GROUP BY control ORDER BY control"
    )["hits"].to_pylist()  # fmt: skip
    assert shares == [
        1,
        0,
    ]  # every object falls to it on its surroundings, none on its own: beside a third class as many
    tested = outside.find(store.view())
    assert len(tested.p) == 4
    assert not tested.findings


def test_a_share_beside_few_controls_is_as_uncertain_as_they_are() -> None:
    def rows(hits: int, of: int) -> list[dict[str, Any]]:
        return [{"hit": n < hits} for n in range(of)]

    assert odds(rows(10, 20), rows(0, 20)) < 0.001
    assert odds(rows(10, 20), rows(4, 20)) > 0.02  # beside a known share of .2 it would be .003
    assert odds(rows(10, 20), rows(0, 20), rows(30, 60)) > 0.05
    assert odds(rows(10, 20), rows(0, 20), []) == odds(rows(10, 20), rows(0, 20))
    assert odds(rows(2, 20)) > 0.05
    assert odds(rows(20, 20), rows(0, 2000)) < odds(rows(20, 20), rows(0, 20)) < 1e-9
    assert odds([], rows(0, 20)) == 1


def test_several_controls_beside_each_picture_find_what_one_does_not_and_do_not_accuse_without_cause() -> None:
    """Pictures that differ in how readily they are called the class: its controls go along with the picture itself."""

    def rows(hits: np.ndarray) -> list[dict[str, Any]]:
        return [{"hit": bool(hit)} for hit in hits.ravel()]

    def few(hits: int, of: int) -> list[dict[str, Any]]:
        return rows(np.arange(of) < hits)

    assert odds(few(11, 19), few(4, 19), few(3, 19)) > 0.01
    assert odds(few(11, 19), few(16, 76), few(12, 76)) < 0.002
    rng = np.random.default_rng(0)
    found, drawn = 0, 300
    for _ in range(drawn):
        readily = rng.beta(0.6, 0.9, (20, 1))
        given, *beside = (rows(rng.random((20, n)) < readily) for n in (1, CONTROLS, CONTROLS))
        found += odds(given, *beside) <= 0.05
    assert found <= 0.05 * drawn


def test_controls_of_a_third_class_are_of_as_many_classes_as_there_are(tmp_path: Path) -> None:
    cast = cast_of(_audit(tmp_path)[1].view())
    assert len(cast.members) == 4
    class_of = {number: target for target, members in cast.members.items() for number in members}
    for number, own in class_of.items():
        for target in cast.members.keys() - {own}:
            found = thirds(cast, target, number, 0)
            assert found == thirds(cast, target, number, 0)
            assert len(set(found)) == CONTROLS
            classes = [class_of[one] for one in found]
            assert sorted(set(classes)) == sorted(cast.members.keys() - {own, target})
            assert max(map(classes.count, classes)) == CONTROLS / 2
    assert thirds(replace(cast, members={n: cast.members[n] for n in (0, 1)}), 0, cast.members[1][0], 0) == []


def test_what_the_object_has_its_part_in_is_not_said_to_be_of_the_surroundings_alone(tmp_path: Path) -> None:
    """Where the border is of the last class's colour that class is said, and where the object is, too."""

    class Either(ByColour):
        def __init__(self) -> None:
            super().__init__(border=False)
            self.border = ByColour(border=True)

        def forward(self, pixels: Tensor) -> Tensor:
            around = torch.softmax(self.border(pixels), 1)[:, 3:]
            return super().forward(pixels) + 40 * around * torch.tensor([0.0, 0, 0, 1])

    for folder, network, said in (
        ("both", Either(), "dune: its surroundings are part of the decision"),
        ("alone", ByColour(border=True), "dune: its surroundings decide, not the object"),
    ):
        subject, store = _audit(tmp_path / folder, network=network, each=10)
        _done(subject, store, outside.trials, "outside")
        finding = next(one for one in outside.find(store.view()).findings if one.about == ("dune",))
        assert finding.sentence.startswith(said)
        kept, own = finding.details["own objects"]
        assert kept == (own if folder == "both" else 0)


def test_trials_go_on_and_are_the_same_again(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, border=True)
    parts = dict(outside.trials(subject, store.view(), set()))
    again = dict(outside.trials(subject, store.view(), {next(iter(parts))}))
    assert list(again) == list(parts)[1:]
    assert all(again[part] == parts[part] for part in again)


def test_a_changed_picture_can_be_made_again(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, border=True)
    row = next(row for _, rows in outside.trials(subject, store.view(), set()) for row in rows if row["hit"])
    found = _tensor(outside.changed_picture(subject, row))
    around, middle = found[:, :4].mean((1, 2)), found[:, 22:26, 22:26].mean((1, 2))
    lends, own = (torch.tensor(COLOURS[row["target"]]) / 255, _tensor(_picture(row["before"], 0))[:, 22:26, 22:26])
    assert (around - 0.85 * lends).abs().max() < 0.05
    assert (middle - own.mean((1, 2))).abs().max() < 0.05


def test_few_pictures_cannot_be_tested_and_the_note_says_so(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, border=True, each=4)
    assert not list(outside.trials(subject, store.view(), set()))
    assert "4 classes have fewer than 5" in outside.find(store.view()).note


@pytest.mark.parametrize("each", [5, 8, 20])
def test_a_control_is_the_same_picture_with_another_one_of_its_class(tmp_path: Path, each: int) -> None:
    _, store = _audit(tmp_path, border=True, each=each)
    cast = cast_of(store.view())
    assert {target: len(numbers) for target, numbers in cast.members.items()} == dict.fromkeys(range(4), each)
    rows = list(dealt(cast, 1, 20, 0))
    assert len(rows) == 2 * max(each, 10)
    for (number, lends, control), (same, own, beside) in zip(rows[::2], rows[1::2], strict=True):
        assert (control, beside) == (False, True)
        assert same == number
        assert lends // each == 1
        assert number // each != 1
        assert own // each == number // each
        assert own != number
    assert {lends for _, lends, control in rows if not control} == set(cast.members[1])


def test_pictures_that_cannot_be_read_again_are_left_out(tmp_path: Path) -> None:
    from saywhy import SaywhyError

    subject, store = _audit(tmp_path, border=True)

    def gone() -> Image.Image:
        raise SaywhyError("gone")

    entries = list(subject.pictures.entries)  # type: ignore[attr-defined]
    entries[3] = Entry("3.png", ("ruby",), gone)
    changed = Subject(subject.classifier, subject.vocabulary, subject.space, subject.seen, Listed("discs", entries),
                      subject.options, subject.classes)  # fmt: skip
    assert Opened(changed)(3) is None
    rows = [row for _, part in outside.trials(changed, store.view(), set()) for row in part]
    assert rows
    assert all(3 not in (row["number"], row["other"]) for row in rows)


class ByCorner(ByColour):
    """Says the last class where the lower left is yellow, else what ``ByColour`` says of the middle."""

    def __init__(self) -> None:
        super().__init__(border=False)

    def forward(self, pixels: Tensor) -> Tensor:
        corner = pixels[:, :, 36:45, 3:12].mean((2, 3))
        near = torch.relu(1 - 4 * (corner - self.colours[3]).norm(dim=1, keepdim=True))
        return super().forward(pixels) + 60 * near * torch.tensor([0.0, 0, 0, 1])


def _stamped(label: int, seed: int) -> Image.Image:
    """A disc of any of three colours; with a yellow square where the class is the last one."""
    rng = np.random.default_rng([label, seed])
    image = _picture(label if label < 3 else seed % 3, seed)
    grey = np.array(image.convert("RGB"))
    grey[:, :8] = rng.integers(0, 255, 3)
    image = Image.fromarray(grey)
    if label == 3:
        ImageDraw.Draw(image).rectangle((3, 36, 12, 45), fill=COLOURS[3])
    return image


def test_a_place_that_decides_is_found_where_it_is(tmp_path: Path) -> None:
    corner = torch.zeros(16, 16)
    corner[12:15, 1:4] = 1 / 9

    def more(label: int, seed: int) -> dict[str, Any]:
        return {"relevance": packed(corner if label == 3 else torch.ones(16, 16) / 256)}

    subject, store = _audit(tmp_path, network=ByCorner(), draw=_stamped, more=more)
    assert list(fixed_place.fixed(store.view(), cast_of(store.view()))) == [3]
    _done(subject, store, fixed_place.trials, "fixed_place")
    (finding,) = fixed_place.find(store.view()).findings
    assert (finding.about, finding.place, finding.null) == (("dune",), "lower left", 0)
    assert finding.effect.value > 0.9
    row = store.view().sql("SELECT * FROM trials WHERE NOT control LIMIT 1").to_pylist()[0]
    changed = _tensor(fixed_place.changed_picture(subject, row))[:, 38:44, 5:10].mean((1, 2))
    assert (changed - torch.tensor(COLOURS[3]) / 255).abs().max() < 0.02


def test_no_place_is_tried_where_pictures_are_alike_and_nothing_lies_on_it(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, network=ByCorner(), draw=_stamped)
    assert not list(fixed_place.trials(subject, store.view(), set()))


def _profile(label: int, seed: int, varied: int) -> bytes:
    """What a picture shows, alike in each class but the one that is ``varied``."""
    profile = torch.eye(4)[label] * 3
    if label == varied:
        profile = torch.as_tensor(np.random.default_rng(seed).normal(0, 1, 4)).float() + profile / 3
    return packed(profile)


@pytest.mark.parametrize("border", [False, True])
def test_one_cue_decides_only_where_it_makes_other_pictures_the_class(tmp_path: Path, border: bool) -> None:
    def more(label: int, seed: int) -> dict[str, Any]:
        return {"profile": _profile(label, seed, varied=0)}

    subject, store = _audit(tmp_path, border=border, more=more)
    assert list(one_cue.diverse(store.view(), cast_of(store.view()))) == [0]
    _done(subject, store, one_cue.trials, "one_cue")
    tested = one_cue.find(store.view())
    assert len(tested.p) == 1
    if border:
        assert not any(finding.decides for finding in tested.findings)
    else:
        (finding,) = tested.findings
        assert finding.decides
        assert (finding.about, finding.effect.value) == (("ruby",), 1)
        row = store.view().sql("SELECT * FROM trials WHERE NOT control LIMIT 1").to_pylist()[0]
        middle = _tensor(one_cue.changed_picture(subject, row))[:, 22:26, 22:26].mean((1, 2))
        assert (middle - torch.tensor(COLOURS[0]) / 255).abs().max() < 0.1


@pytest.mark.parametrize("family", [one_cue, fixed_place])
def test_a_class_that_gets_whatever_is_covered_is_not_accused_of_what_covers_it(
    family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discs whose middle has another colour than they themselves are the last class, whatever colour that is."""
    corner = torch.zeros(16, 16)
    corner[7:9, 7:9] = 1 / 4

    class Covered(Dump):
        def forward(self, pixels: Tensor) -> Tensor:
            own = ByColour.forward(self, pixels)[:, :3]
            off = (self._mean(pixels, self.middle) - self.colours[own.argmax(1)]).norm(dim=1)
            return torch.cat([own + 20, 20 + 40 * (off[:, None] - 0.3)], 1)

    def more(label: int, seed: int) -> dict[str, Any]:
        relevance = corner if label == 3 else torch.ones(16, 16) / 256
        return {"profile": _profile(label, seed, varied=3), "relevance": packed(relevance)}

    monkeypatch.setattr(fixed_place, "_of_object", lambda *_: False)
    subject, store = _audit(tmp_path, network=Covered(), more=more, each=20)
    _done(subject, store, family.trials, family.FAMILY)
    rows = store.view().sql("SELECT variant, control, avg(hit::INT) AS hits, count(*) AS n FROM trials GROUP BY ALL")
    hits = {row["variant"]: row["hits"] for row in rows.to_pylist()}
    assert hits.pop(THIRD) == 1
    assert sorted(hits.values()) == [0, 1]  # the control that stood alone accuses it
    assert not any(finding.decides for finding in family.find(store.view()).findings)


class Sometimes(ByColour):
    """Says the colour of the middle in half of the pictures, and of the border in the others."""

    def __init__(self) -> None:
        super().__init__(border=False)
        self.border = ByColour(border=True)

    def forward(self, pixels: Tensor) -> Tensor:
        odd = ((255 * pixels[:, :, 0, 0].sum(1)).round() % 2 == 1)[:, None]
        return torch.where(odd, super().forward(pixels), self.border(pixels))


@pytest.mark.parametrize("family", [one_cue, fixed_place])
def test_what_makes_about_half_of_other_pictures_the_class_is_found(
    family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corner = torch.zeros(16, 16)
    corner[6:10, 6:10] = 1 / 16

    def more(label: int, seed: int) -> dict[str, Any]:
        relevance = corner if label == 3 else torch.ones(16, 16) / 256
        return {"profile": _profile(label, seed, varied=3), "relevance": packed(relevance)}

    monkeypatch.setattr(fixed_place, "_of_object", lambda *_: False)
    subject, store = _audit(tmp_path, network=Sometimes(), more=more, each=20)
    _done(subject, store, family.trials, family.FAMILY)
    (finding,) = family.find(store.view()).findings
    assert (finding.decides, finding.about) == (True, ("dune",))
    assert 0.25 < finding.effect.value < 0.75
    assert finding.p < 0.05 / 16
    rows = store.view().sql("SELECT * FROM trials").to_pylist()
    subjects = Counter(row["number"] for row in rows if not row["control"])
    for third in (False, True):
        beside = [row for row in rows if row["control"] and (row["variant"] == THIRD) == third]
        assert Counter(row["number"] for row in beside) == {n: CONTROLS * times for n, times in subjects.items()}
        assert len({(row["number"], row["other"], tuple(row["box"])) for row in beside}) == len(beside)
    assert {row["number"] for row in rows}.isdisjoint(cast_of(store.view()).members[3])


def test_classes_that_are_alike_have_no_cue_tried(tmp_path: Path) -> None:
    subject, store = _audit(tmp_path, more=lambda label, seed: {"profile": packed(torch.eye(4)[label])})
    assert not list(one_cue.trials(subject, store.view(), set()))


def test_without_words_the_note_says_that_no_cue_was_sought(tmp_path: Path) -> None:
    _, store = _audit(tmp_path)
    assert "needs words" in one_cue.find(store.view()).note
