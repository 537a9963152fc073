"""Banks of any size searched exactly, directions by name, and why this and not that."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.concepts import POOL, concepts, name_direction, nearest_phrases, read_bank, why_not
from saywhy.questions.names_and_defaults import load_vocabulary
from saywhy.spaces.own import ClassifierSpace, class_prompts
from saywhy.spaces.similarity import unusual_scores
from saywhy.spaces.text_encoder import load_encoder
from saywhy.types import Prediction, Vocabulary
from tests.helpers import picture, sample_images, tiny_classifier
from tests.writers import WordSpace, vectors

BANK = [f"{a} {b}" for a in ("red", "blue", "old", "tall") for b in (f"thing{n}" for n in range(25))]


class Usual(WordSpace):
    """A WordSpace that knows what is usual."""

    def reference(self) -> Tensor:
        return vectors(30, seed=9)


# -- searching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WordSpace, Usual])
@pytest.mark.parametrize("block", [1, 7, 33, 100, 4096])
def test_the_search_is_exact_whatever_the_block(kind: type[WordSpace], block: int) -> None:
    space, directions = kind(), vectors(3) * 5
    found = nearest_phrases(directions, BANK, space, top=12, block=block)
    reference = space.reference() if isinstance(space, Usual) else None
    scores, unusual = unusual_scores(F.normalize(directions, dim=1), kind().encode_texts(BANK), reference)
    for n, labels in enumerate(found):
        best = unusual[n].topk(12).indices.tolist()
        assert [label.text for label in labels] == [BANK[m] for m in best]
        assert [label.rank for label in labels] == list(range(1, 13))
        assert [label.score for label in labels] == pytest.approx(scores[n, best].tolist(), abs=1e-5)
        assert [label.unusual for label in labels] == pytest.approx(unusual[n, best].tolist(), abs=1e-3)


def test_no_more_texts_at_once_than_a_block() -> None:
    space = WordSpace()
    nearest_phrases(vectors(2), BANK, space, block=33)
    assert space.calls == [33, 33, 33, 1]


def test_a_bank_may_be_smaller_than_what_is_asked_for() -> None:
    space = Usual()
    [labels] = nearest_phrases(vectors(1), BANK[:4], space, top=15, block=3)
    assert {label.text for label in labels} == set(BANK[:4])
    assert nearest_phrases(vectors(2), [], space) == [(), ()]
    [[only]] = nearest_phrases(vectors(1), ["red"], WordSpace())
    assert only.unusual == 0
    assert nearest_phrases(vectors(0), BANK, space) == []


def test_directions_of_another_model_are_refused() -> None:
    with pytest.raises(SaywhyError, match="directions of 7 values in a space of 24"):
        nearest_phrases(torch.randn(2, 7), BANK, WordSpace())
    with pytest.raises(SaywhyError, match="another model"):
        name_direction(torch.randn(7), WordSpace(), BANK)


def test_concepts_of_pictures_are_those_of_their_vectors() -> None:
    space, images = WordSpace(), [picture(seed=n) for n in range(2)]
    found = concepts(images, space, BANK, top=3, block=40)
    assert found == nearest_phrases(space.encode_images(images), BANK, space, top=3)
    assert concepts([], space, BANK) == []


@pytest.mark.slow
def test_a_million_texts() -> None:
    """The best are where they were put, and memory is that of a block."""

    class Numbers(WordSpace):
        width = 8

        def encode_texts(self, texts: Sequence[str]) -> Tensor:
            numbers = torch.tensor([float(text) for text in texts])
            return F.normalize(torch.stack([(numbers * (k + 1)).sin() for k in range(8)], 1), dim=1)

    bank = [str(n) for n in range(1_000_000)]
    wanted = [3, 500_000, 999_999]
    tracemalloc.start()
    found = nearest_phrases(Numbers().encode_texts([str(n) for n in wanted]), bank, Numbers(), top=5)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(labels[0].score == pytest.approx(1, abs=1e-5) for labels in found)
    exact = torch.cat([Numbers().encode_texts(bank[s : s + 50_000]) for s in range(0, len(bank), 50_000)])
    scores = Numbers().encode_texts([str(n) for n in wanted]) @ exact.T
    for row, labels in zip(scores, found, strict=True):
        assert [label.score for label in labels] == pytest.approx(row.topk(5).values.tolist(), abs=1e-6)
    assert most < 20e6


# -- banks ------------------------------------------------------------------------------------------------------------


def test_a_bank_is_a_text_a_line_each_once(tmp_path: Path) -> None:
    path = tmp_path / "bank.txt"
    path.write_text("\ufeffa red bird\n\n  a hat \na red bird\nsize: 3 # inches\n", encoding="utf-8")
    assert read_bank(path) == read_bank(str(path)) == ["a red bird", "a hat", "size: 3 # inches"]


def test_a_vocabulary_is_a_bank(tmp_path: Path) -> None:
    assert read_bank("birds") == read_bank(Path("birds")) == list(load_vocabulary("birds").phrases)
    (tmp_path / "words.json").write_text('{"a": ["one", "two"]}')
    assert read_bank(tmp_path / "words.json") == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "there is no text"), (b" \n\n", "there is no text"), (b"\xff\xfe\x00\x81", "UTF-16")],
)
def test_a_bank_without_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bank.txt").write_bytes(content)
    with pytest.raises(SaywhyError, match=message):
        read_bank(tmp_path / "bank.txt")


def test_a_bank_that_is_not_there_is_named(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.txt", "brids", "x" * 5000, "a\0b"):
        with pytest.raises(SaywhyError, match="there is no vocabulary or file"):
            read_bank(missing)
    with pytest.raises(SaywhyError, match="is a folder"):
        read_bank(tmp_path)


# -- a classifier's directions ----------------------------------------------------------------------------------------


def test_a_class_is_called_by_its_name() -> None:
    """Where texts are mapped among the rows of a head, what describes a row best is the name it was fitted with."""
    classifier = tiny_classifier(12)
    space = ClassifierSpace(classifier, load_encoder())
    bank = [*load_vocabulary("world:aviary").phrases, *class_prompts(classifier.labels)]
    for index, prompt in enumerate(class_prompts(classifier.labels[:5])):
        assert prompt in [label.text for label in name_direction(space.class_direction(index), space, bank, top=3)]


def other(index: int) -> Prediction:
    return Prediction(index, f"class {index}", 0.5, 1.0)


def test_why_not_is_in_two_ordered_lists_that_share_nothing() -> None:
    space = ClassifierSpace(Classifier.load("world:aviary"), load_encoder())
    vocabulary = load_vocabulary("world:aviary")
    from saywhy.pictures.reading import read_picture

    image = read_picture(sample_images()[0])
    contrast = why_not(image, other(0), other(3), space, vocabulary, top=4)
    assert contrast.other == other(3)
    mine, theirs = contrast.speaks_for, contrast.speaks_against
    assert mine
    assert theirs
    assert not {label.text for label in mine} & {label.text for label in theirs}
    assert max(len(mine), len(theirs)) <= 4
    assert [label.score for label in mine] == sorted((label.score for label in mine), reverse=True)
    assert [label.score for label in theirs] == sorted(label.score for label in theirs)
    for sign, labels in ((1, mine), (-1, theirs)):
        assert [label.rank for label in labels] == list(range(1, len(labels) + 1))
        assert all(sign * label.unusual > 0 for label in labels)
        assert all(label.group == vocabulary.groups[vocabulary.phrases.index(label.text)] for label in labels)
    whole = why_not(image, other(0), other(3), space, vocabulary, top=99)
    assert len(whole.speaks_for) + len(whole.speaks_against) <= POOL
    assert whole.speaks_for[: len(mine)] == mine


def test_the_other_way_round_the_lists_change_places() -> None:
    space, vocabulary = ClassifierSpace(tiny_classifier(12), load_encoder()), load_vocabulary("world:digits")
    one = why_not(picture(), other(1), other(2), space, vocabulary, top=99)
    two = why_not(picture(), other(2), other(1), space, vocabulary, top=99)
    assert [label.text for label in one.speaks_for] == [label.text for label in two.speaks_against]
    assert [label.text for label in one.speaks_against] == [label.text for label in two.speaks_for]


def test_nothing_tells_a_class_from_itself() -> None:
    space = ClassifierSpace(tiny_classifier(12), load_encoder())
    for vocabulary in (load_vocabulary("world:digits"), Vocabulary(("red",), ("",))):
        contrast = why_not(picture(), other(1), other(1), space, vocabulary)
        assert (contrast.speaks_for, contrast.speaks_against) == ((), ())
