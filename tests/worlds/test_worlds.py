"""The models that ship with a world do what their cards say, on scenes drawn afresh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.classifiers import Classifier
from saywhy.clip_space import load_clip
from saywhy.errors import SaywhyError
from saywhy.labels import encode_vocabulary
from saywhy.worlds import clip_directory, sample_images, world_vocabulary
from saywhy.worlds.aviary import PARTS, SPECIES, phrases_of, render

FRESH = 5_000_000  # seeds nobody trained or measured on


def test_the_classifier_knows_birds_it_has_not_seen() -> None:
    classifier = Classifier.load("world:aviary")
    scenes = [render(species, FRESH + n, 160) for n, species in enumerate(list(SPECIES) * 4)]
    predicted = [p[0].name for p in classifier.predict([scene.image for scene in scenes])]
    assert np.mean([p == scene.species for p, scene in zip(predicted, scenes, strict=True)]) >= 0.95


def test_the_clip_names_parts_it_has_not_seen() -> None:
    """Zero-shot, for crops around a part: the right phrase among all of that part. Chance is about 0.16."""
    space, vocabulary = load_clip("world:aviary"), world_vocabulary("aviary")
    crops, answers = [], []
    for n, species in enumerate(list(SPECIES) * 2):
        scene = render(species, FRESH + 100 + n, 160)
        for part in ("bill", "crown", "wing", "leg"):
            box = scene.box(part)
            if box is None or (scene.parts == PARTS.index(part)).sum() < 20:
                continue
            side = max(28, int(1.4 * max(box[2] - box[0], box[3] - box[1])))
            x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
            crops.append(scene.image.crop((x - side // 2, y - side // 2, x + side // 2, y + side // 2)))
            answers.append((part, phrases_of(species)))
    scores = space.encode_images(crops) @ encode_vocabulary(vocabulary, space).T
    right = []
    for row, (part, said) in zip(scores, answers, strict=True):
        rivals = [m for m, group in enumerate(vocabulary.groups) if group == part]
        right.append(vocabulary.phrases[rivals[int(row[rivals].argmax())]] in said)
    assert len(right) > 100
    assert np.mean(right) >= 0.85


def test_the_clip_is_an_ordinary_open_clip_directory() -> None:
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_directory('aviary')}")
    pixels = transform(Image.new("RGB", (50, 80)))[None]
    assert model.encode_image(pixels).shape == (1, 128)


def test_sample_pictures_ship_and_are_recognised() -> None:
    classifier = Classifier.load("world:aviary")
    paths = sample_images("aviary")
    assert len(paths) == 6
    for path, (best, *_) in zip(paths, classifier.predict([Image.open(p).convert("RGB") for p in paths]), strict=True):
        assert path.stem.startswith(best.name.lower().replace(" ", "-"))


def test_an_unknown_world_is_named() -> None:
    with pytest.raises(SaywhyError, match="aviary"):
        Classifier.load("world:narnia")


@pytest.mark.slow
def test_training_resumes_and_writes_what_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saywhy.worlds import train

    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(train, "TRAIN", 64)
    monkeypatch.setattr(train, "HELD_OUT", 16)
    monkeypatch.setattr(train, "SIDE", 64)
    train.train_classifier(tmp_path / "classifier", epochs=2, batch=16)
    state = torch.load(tmp_path / "cache" / "aviary" / "classifier.pt", weights_only=True)
    assert state["epoch"] == 1
    train.train_classifier(tmp_path / "classifier", epochs=2, batch=16, resume=True)  # nothing left to do
    again = torch.load(tmp_path / "cache" / "aviary" / "classifier.pt", weights_only=True)
    assert all(torch.equal(v, again["network"][k]) for k, v in state["network"].items())
    assert Classifier.load(f"timm:{tmp_path / 'classifier'}").labels == tuple(SPECIES)
    measured = train.train_clip(tmp_path / "clip", epochs=1, batch=16)
    assert 0 <= measured["chance"] <= 1
    assert load_clip(str(tmp_path / "clip")).encode_texts(["a red crown"]).shape == (1, 128)
