"""CLIP with a classifier's activations in it is a space like others, and is kept with the networks it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from saywhy.answers.captions_measures import kept, verdict
from saywhy.classifiers.borrowing import untrained
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.evidence import EVIDENCE
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval
from saywhy.questions.ask import ask
from saywhy.questions.explain import explain
from saywhy.spaces.clip import ClipSpace, load_clip
from saywhy.spaces.operated import OperatedSpace, image_tower, load_operated, match_classifier
from saywhy.spaces.surgery.matching import Matching
from saywhy.spaces.surgery.options import DEFAULT_SURGERY, Surgery
from saywhy.types import Space, Vocabulary
from saywhy.worlds.digits import digits
from tests.helpers import picture, tiny_classifier

TOWERS = {
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    "vit": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
}
PICTURES = [picture(90 + 3 * n, 64, n) for n in range(12)]


@pytest.fixture(scope="module", params=TOWERS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipSpace:
    """A tiny open_clip local directory at random weights, loaded."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {
        "embed_dim": 16,
        "vision_cfg": TOWERS[request.param],
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    path = tmp_path_factory.mktemp("clip") / request.param
    path.mkdir()
    save_file(open_clip.model.CLIP(**config).state_dict(), path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return load_clip(str(path), device="cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def classifier() -> Classifier:
    return tiny_classifier()


@pytest.fixture
def space(clip: ClipSpace, classifier: Classifier) -> OperatedSpace:
    return OperatedSpace(clip, classifier, match_classifier(clip, classifier, PICTURES, batch_size=6, chance=0.5))


def test_it_is_a_space(space: OperatedSpace) -> None:
    assert isinstance(space, Space)
    assert space.name == f"{space.clip.name} with tiny's activations"
    assert space.scale == space.clip.scale
    vectors = space.encode_images(PICTURES[:3])
    assert (vectors.shape, vectors.dtype) == ((3, 16), torch.float32)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(space.encode_images(PICTURES[1:2])[0], vectors[1], rtol=1e-4, atol=1e-5)


def test_texts_are_clips_and_pictures_are_not(space: OperatedSpace) -> None:
    texts = ["a red bird", "a teapot"]
    assert torch.equal(space.encode_texts(texts), space.clip.encode_texts(texts))
    assert torch.equal(space.encode_texts_once(texts), space.clip.encode_texts_once(texts))
    assert not torch.allclose(space.encode_images(PICTURES[:2]), space.clip.encode_images(PICTURES[:2]), atol=1e-4)


def test_at_strength_0_it_is_clip(space: OperatedSpace) -> None:
    plain = OperatedSpace(space.clip, space.classifier, space.matching, Surgery(strength=0))
    torch.testing.assert_close(plain.encode_images(PICTURES[:2]), space.clip.encode_images(PICTURES[:2]))


def test_many_pictures_come_in_batches(space: OperatedSpace) -> None:
    many = [PICTURES[n % 12] for n in range(40)]  # more than one batch
    vectors = space.encode_images(many)
    assert vectors.shape == (40, 16)
    torch.testing.assert_close(vectors[36:], vectors[:4], rtol=1e-4, atol=1e-5)


def test_a_picture_is_explained_in_it(space: OperatedSpace) -> None:
    words = Vocabulary(("red", "green", "blue", "thing", "other"), ("",) * 5)
    e = explain(picture(), model=space.classifier, vocabulary=words, space=space, top=2)
    assert len(e.findings) >= 1
    assert all(finding.space == space.name for finding in e.findings)
    assert all(label.text in words.phrases for finding in e.findings for label in finding.labels)


def test_a_classifier_is_matched_by_stages_convolutions_or_names(clip: ClipSpace, classifier: Classifier) -> None:
    before = image_tower(clip).training
    sources = {
        layers: [name for name, _ in match_classifier(clip, classifier, PICTURES, layers=layers).layers[0].sources]
        for layers in ("stages", "convolutions")
    }
    assert sources == {"stages": ["body.2", "body"], "convolutions": ["body.0", "body.3"]}
    matching = match_classifier(clip, classifier, iter(PICTURES), layers=["body.1"], how="one-to-one", signed=True)
    assert all(layer.sources == (("body.1", 8),) for layer in matching.layers)
    assert (matching.how, matching.images, matching.source) == ("one-to-one", 12, "tiny")
    assert matching.fingerprints == {"source": classifier.fingerprint, "target": clip.key}
    assert image_tower(clip).training == before


def test_clips_layers_are_its_stages_or_those_named(clip: ClipSpace, classifier: Classifier) -> None:
    names = [layer.layer for layer in match_classifier(clip, classifier, PICTURES, clip_layers="stages").layers]
    blocks = [f"transformer.resblocks.{n}" for n in range(2)]
    assert names in (
        ["layer1", "layer2", "layer3", "layer4"],
        [part for block in blocks for part in (block, f"{block}:class")],
    )
    (one,) = match_classifier(clip, classifier, PICTURES, clip_layers=names[1:2]).layers
    assert one.layer == names[1]
    (one,) = match_classifier(clip, classifier, PICTURES).layers
    assert one.layer == names[-1]


def test_a_space_is_kept_and_comes_back(space: OperatedSpace, tmp_path: Path) -> None:
    path = space.matching.save(tmp_path / "matching.safetensors")
    again = load_operated(path, space.classifier, Surgery(strength=0.5))
    assert again.surgery.strength == 0.5
    half = OperatedSpace(space.clip, space.classifier, space.matching, Surgery(0.5))
    torch.testing.assert_close(
        again.encode_images(PICTURES[:2]), half.encode_images(PICTURES[:2]), rtol=1e-4, atol=1e-5
    )


def test_what_was_made_with_others_is_refused(space: OperatedSpace, tmp_path: Path) -> None:
    from dataclasses import replace

    path = space.matching.save(tmp_path / "matching.safetensors")
    with pytest.raises(SaywhyError, match=r"another source \(tiny\); match again"):
        load_operated(path, tiny_classifier())  # other random weights
    fingerprints = {**space.matching.fingerprints, "target": "clip:other:0"}
    path = replace(space.matching, fingerprints=fingerprints).save(tmp_path / "other.safetensors")
    with pytest.raises(SaywhyError, match="another target"):
        load_operated(path, space.classifier)
    path = replace(space.matching, target="ViT-B-33/openai").save(tmp_path / "unknown.safetensors")
    with pytest.raises(SaywhyError, match="no architecture 'ViT-B-33'"):
        load_operated(path, space.classifier)


def test_what_cannot_be_matched_is_refused(clip: ClipSpace, classifier: Classifier) -> None:
    from dataclasses import replace

    for pictures, layers, clip_layers, message in (
        ([], "stages", "last", "at least two pictures; there are none"),
        (PICTURES[:1], "stages", "last", "at least two pictures; there is one"),
        (PICTURES, "blocks", "last", "no layers 'blocks'; there are evidence, stages, last, convolutions"),
        (PICTURES, ["body.9"], "last", "TinyNet has no layer 'body.9'; did you mean body"),
        (PICTURES, ["head"], "last", "layer head: its output of shape .* is not a map"),
        (PICTURES, ["body.0:class"], "last", "has no class token"),
        (PICTURES, [], "last", "at least one layer"),
        (PICTURES, "stages", ["layer9"], "has no layer 'layer9'"),
        (PICTURES, ["evidence", "body"], "last", "evidence is matched alone"),
    ):  # fmt: skip
        with pytest.raises(SaywhyError, match=message):
            match_classifier(clip, classifier, pictures, layers=layers, clip_layers=clip_layers)
    with pytest.raises(SaywhyError, match="no matching 'worst'"):
        match_classifier(clip, classifier, (pytest.fail("it read a picture") for _ in range(2)), how="worst")
    bare = replace(clip, image_tower=lambda x: x.flatten(1))
    with pytest.raises(SaywhyError, match="its image tower is not a network with layers"):
        match_classifier(bare, classifier, PICTURES)
    with pytest.raises(SaywhyError, match=r"must lie in 0\.\.1"):
        OperatedSpace(clip, classifier, match_classifier(clip, classifier, PICTURES), Surgery(1.5))


# -- evidence ---------------------------------------------------------------------------------------------------------


def test_evidence_is_what_is_matched_if_nothing_is_said(clip: ClipSpace, classifier: Classifier) -> None:
    """At CLIP's last stage, all its channels but the matched silenced; only where the decision depends on it."""
    for matching in (
        match_classifier(clip, classifier, PICTURES, floor=0),
        match_classifier(clip, classifier, PICTURES, layers=[EVIDENCE], floor=0),
    ):
        (layer,) = matching.layers
        assert layer.sources == ((EVIDENCE, 5),)
        assert matching.decisive == {EVIDENCE: 5}
    assert match_classifier(clip, classifier, PICTURES, floor=1e6).decisive == {EVIDENCE: 0}
    assert OperatedSpace(clip, classifier, matching).surgery == DEFAULT_SURGERY == Surgery(unmatched="mean")


@pytest.fixture
def evident(clip: ClipSpace, classifier: Classifier) -> OperatedSpace:
    return OperatedSpace(clip, classifier, match_classifier(clip, classifier, PICTURES, chance=1.0, floor=0))


def test_evidence_is_kept_and_comes_back(evident: OperatedSpace, tmp_path: Path) -> None:
    path = evident.matching.save(tmp_path / "matching.safetensors")
    again = load_operated(path, evident.classifier)
    assert again.surgery == DEFAULT_SURGERY
    torch.testing.assert_close(again.encode_images(PICTURES), evident.encode_images(PICTURES), rtol=1e-4, atol=1e-5)


def test_only_the_classifier_is_seen(evident: OperatedSpace) -> None:
    """Where all is at its mean but what comes from it: with its evidence gone, all pictures are the same."""
    classifier = evident.classifier
    assert evident.matching.layers[0].matched.any()
    before = evident.encode_images(PICTURES[:3])
    with torch.no_grad():
        classifier.network.get_submodule("head").get_parameter("weight").zero_()
    after = evident.encode_images(PICTURES[:3])
    assert after.std(0).max() < 0.05 * before.std(0).max()


def test_another_classifier_put_in_is_the_one_that_is_seen(evident: OperatedSpace) -> None:
    from dataclasses import replace

    before = evident.encode_images(PICTURES[:3])
    other = tiny_classifier()
    expected = OperatedSpace(evident.clip, other, evident.matching).encode_images(PICTURES[:3])
    found = replace(evident, classifier=other).encode_images(PICTURES[:3])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - before).abs().max() > 10 * (found - expected).abs().max()


def test_a_picture_is_explained_by_the_evidence(evident: OperatedSpace) -> None:
    words = Vocabulary(("red", "green", "blue", "thing", "other"), ("",) * 5)
    e = explain(picture(), model=evident.classifier, vocabulary=words, space=evident, top=2)
    assert len(e.findings) >= 1
    assert all(finding.space == evident.name for finding in e.findings)


def test_with_nothing_decisive_nothing_is_seen(clip: ClipSpace, classifier: Classifier) -> None:
    """A head that says nothing: no match, one vector for all pictures, and still it can be kept and used."""
    with torch.no_grad():
        classifier.network.get_submodule("head").get_parameter("weight").zero_()
    matching = match_classifier(clip, classifier, PICTURES)
    assert matching.decisive == {EVIDENCE: 0}
    vectors = OperatedSpace(clip, classifier, matching).encode_images(PICTURES[:3])
    torch.testing.assert_close(vectors, vectors[:1].expand_as(vectors), rtol=1e-4, atol=1e-5)


# -- what it says of classifiers of which it is known what they go by -------------------------------------------------

COLOUR, SHAPE = ("a red digit", "a green digit"), ("the digit 5", "the digit 8")


@pytest.fixture(scope="module")
def digit_clip() -> ClipSpace:
    return load_clip("world:digits", device="cpu")


def digit_pictures(split: str, count: int) -> list[Image.Image]:
    """In an order that is random with respect to the digits; colour says nothing."""
    pictures = [Image.fromarray(pixels) for pixels in digits(split, 0.0, count, 9).pixels]
    return [pictures[n] for n in torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()]


def said_of(clip: ClipSpace, classifier: Classifier, matching: Matching) -> tuple[Interval, Interval, Interval]:
    """(colour kept, shape kept, verdict)."""
    asked = ask(digit_pictures("test", 100), (COLOUR, SHAPE), clip, OperatedSpace(clip, classifier, matching))
    return kept(asked, 0), kept(asked, 1), verdict(asked, 0, 1)


def test_a_classifier_that_goes_by_colour_is_told_from_one_that_never_saw_any(digit_clip: ClipSpace) -> None:
    shown = digit_pictures("train", 256)
    for name, by_colour in (("world:digits-coloured", True), ("world:digits", False)):
        classifier = Classifier.load(name, device="cpu")
        matching = match_classifier(digit_clip, classifier, shown)
        colour, shape, found = said_of(digit_clip, classifier, matching)
        if by_colour:
            assert found.low > 0.5
            assert colour.low > 0.5
            assert abs(shape.value) < 0.2
        else:
            assert found.high < -0.2
            assert shape.low > 0.3
            assert colour.value < 0.3
        dealt = [said_of(digit_clip, classifier, matching.shuffled(seed))[2].value for seed in range(4)]
        assert abs(sum(dealt) / 4) < 0.2 < abs(found.value)


def test_of_a_classifier_that_has_learned_nothing_nothing_is_said(digit_clip: ClipSpace) -> None:
    from dataclasses import replace

    classifier = Classifier.load("world:digits-coloured", device="cpu")
    shown = digit_pictures("train", 128)
    for seed in (100, 101):
        random = replace(classifier, network=untrained(classifier.network, seed))
        _, _, found = said_of(digit_clip, random, match_classifier(digit_clip, random, shown))
        assert abs(found.value) < 0.1
