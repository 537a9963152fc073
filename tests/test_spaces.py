"""Spaces: the classifier's own, and CLIP's; the mapper between texts and weights; how unusual a score is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy import hub
from saywhy.choices import default_space, default_vocabulary, resolve_space
from saywhy.classifier_space import ClassifierSpace, common_name
from saywhy.classifiers import Classifier
from saywhy.clip_space import load_clip
from saywhy.errors import SaywhyError
from saywhy.labels import encode_vocabulary, label_images
from saywhy.similarity import UNUSUAL, unusual_scores
from saywhy.text_encoder import ClipTextEncoder, load_encoder
from saywhy.text_to_weights import fit_kernel_ridge
from saywhy.types import Space, Vocabulary
from tests.helpers import FakeSpace, picture, tiny_classifier


def unit(rows: int, width: int) -> Tensor:
    return F.normalize(torch.randn(rows, width), dim=1)


# -- the mapper -------------------------------------------------------------------------------------------------------


def test_with_little_regularisation_class_names_map_to_their_own_weights() -> None:
    texts, weights = unit(40, 16), torch.randn(40, 24)
    mapped = fit_kernel_ridge(texts, weights, ridge=1e-6)(texts)
    torch.testing.assert_close(mapped, F.normalize(weights, dim=1), rtol=1e-3, atol=1e-3)


def test_the_mapper_does_not_care_for_the_order_or_the_length_of_weights() -> None:
    texts, weights, new = unit(40, 16), torch.randn(40, 24), unit(7, 16)
    order = torch.randperm(40)
    expected = fit_kernel_ridge(texts, weights)(new)
    torch.testing.assert_close(fit_kernel_ridge(texts[order], weights[order] * 3)(new), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(7))


def test_the_mapper_generalises_a_smooth_relation() -> None:
    """Weights that are a linear function of the text: unseen texts land nearer to theirs than to any other's."""
    texts, matrix = unit(400, 6), torch.randn(6, 24)
    mapped = fit_kernel_ridge(texts[:360], texts[:360] @ matrix, ridge=0.01, width=1.0)(texts[360:])
    nearest = (mapped @ F.normalize(texts[360:] @ matrix, dim=1).T).argmax(1)
    assert (nearest == torch.arange(40)).float().mean() > 0.8


def test_two_classes_of_one_name_are_no_obstacle() -> None:
    texts = unit(3, 8)[[0, 0, 1]]
    assert fit_kernel_ridge(texts, torch.randn(3, 5))(texts).isfinite().all()
    assert fit_kernel_ridge(texts[:1], torch.randn(1, 5))(texts).isfinite().all()


# -- spaces -----------------------------------------------------------------------------------------------------------


def test_the_sentence_encoder_needs_no_hub_and_knows_some_english() -> None:
    vectors = load_encoder().encode(["a red bird", "a crimson bird", "an income tax form"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def test_the_classifiers_own_space_has_its_classes_in_it() -> None:
    """A class name's own prompt lands nearest to its own row: the mapper is right at least where it was fitted."""
    classifier = tiny_classifier()
    space = ClassifierSpace(classifier, load_encoder())
    assert isinstance(space, Space)
    texts = space.encode_texts([f"an image of a {name}" for name in classifier.labels])
    assert (texts @ space.reference().T).argmax(1).tolist() == list(range(5))
    images = space.encode_images([picture(seed=n) for n in range(3)])
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    assert images.shape[1] == texts.shape[1] == 16


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


def test_a_mapper_that_was_kept_is_the_same_and_of_no_one_else(tmp_path: Path) -> None:
    classifier, encoder = tiny_classifier(), load_encoder()
    space = ClassifierSpace(classifier, encoder)
    path = space.save(tmp_path / "made" / "mapper.safetensors")
    texts = ["a toucan", "something yellow"]
    again = ClassifierSpace.load(path, classifier, encoder)
    torch.testing.assert_close(again.encode_texts(texts), space.encode_texts(texts))

    with pytest.raises(SaywhyError, match="another classifier"):
        ClassifierSpace.load(path, tiny_classifier(), encoder)  # of the same form, with other weights
    stranger = ClipTextEncoder("words", "other words", encoder.encode, encoder.encode_once)
    with pytest.raises(SaywhyError, match="another text encoder"):
        ClassifierSpace.load(path, classifier, stranger)
    (tmp_path / "none").write_text("nothing of the kind")
    for missing in (tmp_path / "none", tmp_path / "nowhere"):
        with pytest.raises(SaywhyError, match="is not a mapper"):
            ClassifierSpace.load(missing, classifier, encoder)


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
