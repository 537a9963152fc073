"""Spaces: the classifier's own, and CLIP's; how unusual a score is; findings."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing import hub
from saywhy.questions.choices import default_space, default_vocabulary, resolve_space
from saywhy.questions.labels import against_alternatives, encode_vocabulary, label_images
from saywhy.spaces.clip import load_clip
from saywhy.spaces.own import PHRASES, ClassifierSpace, class_prompts
from saywhy.spaces.similarity import UNUSUAL, unusual_scores
from saywhy.spaces.text_encoder import load_encoder
from saywhy.spaces.text_to_weights import MAPPERS, fit
from saywhy.spaces.text_to_weights.closed_form import KernelRidge
from saywhy.types import Space, Vocabulary
from saywhy.words.class_names import common_name
from tests.helpers import FakeSpace, picture, tiny_classifier, unit

# -- spaces -----------------------------------------------------------------------------------------------------------


def test_the_sentence_encoder_needs_no_hub_and_knows_some_english() -> None:
    vectors = load_encoder().encode(["a red bird", "a crimson bird", "an income tax form"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


class FakeEncoder:
    """A text encoder without weights: each text has a direction of its own. Counts what it is asked to keep."""

    name = "a fake encoder"

    def __init__(self, fingerprint: str = "fake-1") -> None:
        self.fingerprint = fingerprint
        self.kept: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.kept += texts
        return self.encode_once(texts)

    def encode_once(self, texts: Sequence[str]) -> Tensor:
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [torch.randn(48, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(rows), dim=1)


def test_the_classifiers_own_space_has_its_classes_in_it() -> None:
    """A class name's own prompt lands nearest to its own row: the mapper is right at least where it was fitted."""
    classifier = tiny_classifier()
    space = ClassifierSpace(classifier, load_encoder())
    assert isinstance(space, Space)
    texts = space.encode_texts(class_prompts(classifier.labels))
    assert (texts @ space.reference().T).argmax(1).tolist() == list(range(5))
    images = space.encode_images([picture(seed=n) for n in range(3)])
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    assert images.shape[1] == texts.shape[1] == 16


def test_phrases_have_a_kernel_of_their_own_unless_a_mapper_is_given() -> None:
    classifier, encoder = tiny_classifier(), FakeEncoder()
    mapper = ClassifierSpace(classifier, encoder).mapper
    assert isinstance(mapper, KernelRidge)
    assert {"width": mapper.width, "ridge": mapper.ridge} == PHRASES
    texts = encoder.encode(class_prompts(classifier.labels))
    for method in ("ridge", "neighbours"):
        mapper = fit(texts, classifier.head.weight, method=method)
        space = ClassifierSpace(classifier, encoder, mapper)
        assert torch.equal(space.encode_texts(["red", "blue"]), mapper(encoder.encode(["red", "blue"])))


def test_pictures_may_come_as_features() -> None:
    classifier = tiny_classifier()
    space, pictures = ClassifierSpace(classifier, FakeEncoder()), [picture(seed=n) for n in range(40)]  # two batches
    features = classifier.features(classifier.preprocess(pictures))
    torch.testing.assert_close(space.encode_features(features), space.encode_images(pictures), rtol=1e-4, atol=1e-5)


def test_what_all_classes_share_is_nothing_to_the_picture() -> None:
    """A softmax ignores a constant added to all rows of a head, and so does the space, but for the features' half."""
    classifier, features, phrases = tiny_classifier(), torch.rand(3, 16), ["red", "blue"]
    before = ClassifierSpace(classifier, FakeEncoder())
    pictures, texts = before.encode_features(features), before.encode_texts(phrases)
    with torch.no_grad():
        head = classifier.network.head
        assert isinstance(head, nn.Linear)
        head.weight += torch.randn(16)
    after = ClassifierSpace(classifier, FakeEncoder())
    torch.testing.assert_close(after.encode_features(features), pictures, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.encode_texts(phrases), texts, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.reference(), before.reference(), rtol=1e-4, atol=1e-5)


def test_texts_asked_once_are_not_kept() -> None:
    encoder = FakeEncoder()
    space = ClassifierSpace(tiny_classifier(), encoder)
    encoder.kept.clear()
    once = space.encode_texts_once(["red", "blue"])
    assert not encoder.kept
    assert torch.equal(once, space.encode_texts(["red", "blue"]))
    assert encoder.kept == ["red", "blue"]


def test_the_direction_of_a_class() -> None:
    space = ClassifierSpace(tiny_classifier(), FakeEncoder())
    torch.testing.assert_close(space.class_direction(2), space.reference()[2])


@pytest.mark.parametrize("method", sorted(set(MAPPERS) - {"mlp", "icis"}))
def test_a_space_is_kept_and_comes_back(method: str, tmp_path: Path) -> None:
    classifier, encoder = tiny_classifier(), FakeEncoder()
    mapper = fit(encoder.encode(class_prompts(classifier.labels)), classifier.head.weight, method=method)
    space = ClassifierSpace(classifier, encoder, mapper)
    path = space.save(tmp_path / "space.safetensors")
    again = ClassifierSpace.load(path, classifier, encoder)
    torch.testing.assert_close(again.encode_texts(["red", "blue"]), space.encode_texts(["red", "blue"]))
    with pytest.raises(SaywhyError, match="another text encoder"):
        ClassifierSpace.load(path, classifier, FakeEncoder("fake-2"))
    with pytest.raises(SaywhyError, match="another classifier"):
        ClassifierSpace.load(path, tiny_classifier(), encoder)  # other random weights


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Cyanocitta cristata (Blue Jay)", "Blue Jay"),
        ("Junco hyemalis hyemalis (Dark-eyed Junco)", "Dark-eyed Junco"),
        ("kite (bird of prey)", "kite (bird of prey)"),
        ("background", "background"),
    ],
)
def test_latin_names_give_way_to_english_ones(label: str, name: str) -> None:
    assert common_name(label) == name


def clip_directory(path: Path) -> Path:
    """A tiny open_clip local directory at random weights."""
    import open_clip
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    path.mkdir()
    save_file(open_clip.model.CLIP(**config).state_dict(), path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return path


def test_any_open_clip_folder_is_a_space(tmp_path: Path) -> None:
    space = load_clip(str(clip_directory(tmp_path / "clip")))
    assert isinstance(space, Space)
    images, texts = space.encode_images([picture(seed=n) for n in range(3)]), space.encode_texts(["red", "blue"])
    assert (images.shape, texts.shape) == ((3, 16), (2, 16))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(space.encode_images([picture(seed=1)])[0], images[1], rtol=1e-4, atol=1e-5)


def test_the_image_tower_can_be_replaced(tmp_path: Path) -> None:
    from dataclasses import replace

    space = load_clip(str(clip_directory(tmp_path / "clip")))
    operated = replace(space, image_tower=lambda pixels: torch.ones(len(pixels), 16))
    assert torch.equal(operated.encode_images([picture()]), torch.full((1, 16), 0.25))


def test_a_clip_that_cannot_be_had_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(SaywhyError, match="--space own") as caught:
        resolve_space("clip", tiny_classifier())
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clop", "there is no space"),
        ("clip:ViT-B-33/openai", "ViT-B-32"),
        ("clip:ViT-B-32/nothing", "laion2b_s34b_b79k"),
        ("world:narnia", "aviary"),
    ],
)
def test_unknown_spaces_are_named(name: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        resolve_space(name, tiny_classifier())


def test_defaults_need_no_hub_where_they_can() -> None:
    assert (default_space(tiny_classifier()), default_vocabulary(tiny_classifier())) == ("own", "concepts")
    world = Classifier.load("world:aviary")
    assert (default_space(world), default_vocabulary(world)) == ("world:aviary", "world:aviary")


# -- scores and labels ------------------------------------------------------------------------------------------------


def test_unusual_is_relative_to_what_is_usual() -> None:
    """A phrase near everything (a hub) is not unusual anywhere, however high its cosine."""
    reference = F.normalize(torch.randn(200, 12) * 0.3 + torch.ones(12), dim=1)
    hub_text, rare = F.normalize(torch.ones(1, 12)), F.normalize(torch.randn(1, 12))
    image = F.normalize(rare + 0.3 * hub_text)
    _, unusual = unusual_scores(image, torch.cat([hub_text, rare]), reference)
    assert unusual[0, 1] > UNUSUAL > unusual[0, 0]
    _, same = unusual_scores(reference, torch.cat([hub_text, rare]), reference)
    torch.testing.assert_close(same.mean(0), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(same.std(0), torch.ones(2), rtol=1e-3, atol=1e-3)


def test_without_a_reference_the_vocabulary_is_what_is_usual() -> None:
    _, unusual = unusual_scores(unit(4, 12), unit(30, 12))
    torch.testing.assert_close(unusual.mean(1), torch.zeros(4), rtol=0, atol=1e-5)
    assert not unusual_scores(unit(4, 12), unit(1, 12))[1].any()


def test_prompts_of_a_phrase_are_averaged() -> None:
    vocabulary = Vocabulary(("red", "blue"), ("", ""), {"": ("{}", "a {} thing", "not green but {}")})
    vectors = encode_vocabulary(vocabulary, FakeSpace())
    single = FakeSpace().encode_texts(["red", "a red thing", "not green but red"]).mean(0)
    torch.testing.assert_close(vectors[0], F.normalize(single, dim=0))


def test_alternatives_are_what_they_do_not_share() -> None:
    """Of what "red wing", "blue wing" and "green wing" share, nothing stays; what is in no group stays as it is."""
    wing, colours, other = unit(1, 12), unit(3, 12), unit(2, 12)
    phrases = F.normalize(torch.cat([3 * wing + colours, other]), dim=1)
    apart = against_alternatives(phrases, ["wing", "wing", "wing", None, None])
    torch.testing.assert_close(apart.norm(dim=1), torch.ones(5))
    assert (apart[:3] @ wing.T).abs().max() < 0.25 < (phrases[:3] @ wing.T).min()
    expected = F.normalize(phrases[:3] - phrases[:3].mean(0), dim=1)
    torch.testing.assert_close(apart[:3], expected)
    torch.testing.assert_close(apart[3:], phrases[3:])


def test_groups_do_not_touch_each_other_and_two_are_too_few() -> None:
    phrases = unit(8, 12)
    apart = against_alternatives(phrases, ["a", "b", "a", "b", "a", "b", "c", "c"])
    for rows in ([0, 2, 4], [1, 3, 5]):
        torch.testing.assert_close(apart[rows], against_alternatives(phrases[rows], ["x"] * 3))
    torch.testing.assert_close(apart[6:], phrases[6:])
    torch.testing.assert_close(against_alternatives(phrases, [None] * 8), phrases)


def test_only_some_spaces_and_only_exclusive_groups_are_told_apart() -> None:
    words = tuple(f"{colour} {part}" for part in ("wing", "bill") for colour in ("red", "green", "blue"))
    groups = ("wing",) * 3 + ("bill",) * 3
    vocabulary, plain = Vocabulary(words, groups, exclusive=frozenset({"wing"})), Vocabulary(words, groups)
    space = FakeSpace()
    as_they_are = encode_vocabulary(plain, space)
    torch.testing.assert_close(encode_vocabulary(vocabulary, space), as_they_are)
    space.alternatives = True  # type: ignore[attr-defined]
    torch.testing.assert_close(encode_vocabulary(plain, space), as_they_are)
    apart = encode_vocabulary(vocabulary, space)
    torch.testing.assert_close(apart[3:], as_they_are[3:])
    torch.testing.assert_close(apart[:3].sum(0), torch.zeros(3), rtol=0, atol=1e-5)


def test_labels_are_ranked_and_know_whose_opinion_they_are() -> None:
    from PIL import Image

    words = ("red", "green", "blue", *(f"thing {n}" for n in range(12)))
    vocabulary = Vocabulary(words, tuple("colour" if w in ("red", "green", "blue") else "other" for w in words))
    images = [Image.new("RGB", (20, 20), c) for c in ("red", "blue", "grey")]
    red, blue, grey = label_images(images, vocabulary, FakeSpace(), regions=[0, 1, None], top=3)
    assert (red.labels[0].text, blue.labels[0].text, red.labels[0].group) == ("red", "blue", "colour")
    assert (red.region, blue.region, grey.region) == (0, 1, None)
    assert [label.rank for label in red.labels] == [1, 2, 3]
    assert red.space == FakeSpace.name
    assert red.fits
    assert not grey.fits  # as near to one phrase as to another
    assert label_images([], vocabulary, FakeSpace(), regions=[]) == []
