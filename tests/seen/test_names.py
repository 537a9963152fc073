"""Which class names teach what words mean: real ones, and none that stand for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saywhy.seen.names import FEWEST, MOST, LearnsFromNames, check_names, check_space_names
from saywhy.spaces.own import PHRASES, ClassifierSpace
from saywhy.spaces.text_encoder import load_encoder
from tests.helpers import tiny_classifier
from tests.spaces.test_own import FakeEncoder

KINDS = ["dog", "boat", "fruit", "chair", "bird", "truck", "snake", "hat"]
OF_EACH = ["small", "large", "old", "wild", "white", "common"]


def _named_by_kind(noise: float = 0.3) -> tuple[list[str], Tensor]:
    """48 names, and rows that are alike where the kinds are."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(len(KINDS), 32, generator=generator)
    rows = kinds.repeat_interleave(len(OF_EACH), 0) + noise * torch.randn(48, 32, generator=generator)
    order = torch.randperm(48, generator=generator)
    names = [f"{of} {kind}" for kind in KINDS for of in OF_EACH]
    return [names[n] for n in order], rows[order]


def test_names_that_say_what_is_alike_are_understood_and_dealt_ones_are_not() -> None:
    names, rows = _named_by_kind()
    check = check_names(names, rows, load_encoder(), **PHRASES)
    assert check.understood
    assert check.reason == ""
    assert check.found > max(0.7, check.greatest, check.numbers)
    assert check.permuted == pytest.approx(check.chance, abs=0.1)
    assert check.silences([None, None]) == ["", ""]  # type: ignore[list-item]
    understood = 0
    for seed in range(20):
        order = torch.randperm(48, generator=torch.Generator().manual_seed(seed))
        dealt = check_names([names[n] for n in order], rows, load_encoder(), **PHRASES)
        understood += dealt.understood
    assert understood <= 1


@pytest.mark.parametrize("form", ["{}", "class {}", "n{:08d}", "c{:03d}"])
def test_numbers_are_no_names_though_they_may_say_what_is_alike(form: str) -> None:
    """Classes in the order of their kinds: neighbouring numbers stand for like classes."""
    names, rows = _named_by_kind()
    in_order = rows[torch.tensor(sorted(range(48), key=lambda n: names[n].split()[1]))]
    check = check_names([form.format(n) for n in range(48)], in_order, load_encoder(), **PHRASES)
    assert not check.understood
    assert "numbers or codes" in check.reason
    assert "howto-few-classes" in check.reason
    assert check.silences([None]) == [check.reason]  # type: ignore[list-item]


@pytest.mark.parametrize("classes", [2, 3, 4, FEWEST - 1])
def test_few_classes_say_so(classes: int) -> None:
    names, rows = _named_by_kind(0.0)
    check = check_names(names[:classes], rows[:classes], load_encoder(), **PHRASES)
    assert not check.understood
    assert f"{classes} classes" in check.reason
    assert all(value == value for value in (check.found, check.permuted, check.numbers))
    assert ("cannot be checked" in str(check)) == (classes < 4)


def test_of_many_classes_some_are_compared() -> None:
    encoder = FakeEncoder()
    check = check_names([f"word {n:x}" for n in range(MOST + 50)], torch.randn(MOST + 50, 8), encoder, **PHRASES)
    assert len(encoder.kept) == 2 * MOST
    assert check.classes == MOST + 50


def test_a_check_is_kept_and_a_damaged_one_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))
    classifier, encoder = tiny_classifier(), FakeEncoder()
    space = ClassifierSpace(classifier, encoder)
    assert isinstance(space, LearnsFromNames)
    first = check_space_names(space, classifier)
    asked = len(encoder.kept)
    assert check_space_names(space, classifier) == first
    assert len(encoder.kept) == asked
    (file,) = (tmp_path / "names").glob("*.json")
    for damage in ("{", json.dumps({"found": 1}), file.read_text().replace("false", '"no"')):
        file.write_text(damage)
        assert check_space_names(space, classifier) == first


def test_real_names_are_understood_and_no_others(pack: Path) -> None:
    """Of a real head, whole and cut to 60 classes; the bench has more of it."""
    from saywhy.classifiers.classifier import Classifier

    classifier = Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_inat_bird'}")
    weights = classifier.head.weight.detach()
    for seed in range(3):
        cut = torch.randperm(len(weights), generator=torch.Generator().manual_seed(seed))[:100].sort().values
        names = [classifier.labels[n] for n in cut]
        assert check_names(names, weights[cut], load_encoder(), **PHRASES).understood
        wrong = [names[n] for n in torch.randperm(100)]
        assert not check_names(wrong, weights[cut], load_encoder(), **PHRASES).understood
