"""The models that ship with a world do what their cards say, on pictures drawn afresh."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.labels import encode_vocabulary
from saywhy.spaces.clip import load_clip
from saywhy.training.worlds.networks import aviary_network, write_timm
from saywhy.worlds import (
    TOWERS,
    WEIGHTS,
    WORLDS,
    aviary_facts,
    clip_directory,
    language_directory,
    world_vocabulary,
)
from saywhy.worlds.aviary import SPECIES, VALUES, phrases_of
from saywhy.worlds.digits import INKS, coloured_digits, digits
from saywhy.worlds.digits import SIDE as DIGIT_SIDE
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.scenes import class_names, draw
from saywhy.worlds.sentences import sentences
from tests.helpers import sample_images

FRESH = 5_000_000  # seeds nobody trained or measured on


def test_every_world_ships_its_models_and_they_fit() -> None:
    for world in WORLDS:
        for tower in TOWERS:
            directory = WEIGHTS / world / f"classifier-{tower}"
            assert {"config.json", "model.safetensors", "MODEL_CARD.md"} <= {p.name for p in directory.iterdir()}
    assert sum(p.stat().st_size for p in WEIGHTS.rglob("*")) < 60e6


@pytest.mark.parametrize("tower", TOWERS)
def test_the_classifier_knows_birds_it_has_not_seen(tower: str) -> None:
    classifier = Classifier.load(f"world:aviary/{tower}")
    drawn = [draw("species", FRESH + n, 160) for n in range(120)]
    predicted = [p[0].index for p in classifier.predict([scene.image for scene, _ in drawn])]
    assert np.mean([p == label for p, (_, label) in zip(predicted, drawn, strict=True)]) >= 0.92


@pytest.mark.parametrize("kind", ["background", "bill", "colour", "watermark"])
def test_the_planted_cause_is_known(kind: str) -> None:
    classifier = Classifier.load(f"world:aviary-{kind}")
    assert classifier.labels == class_names(f"planted-{kind}")
    drawn = [draw(f"planted-{kind}", FRESH + n, 160) for n in range(60)]
    predicted = [p[0].index for p in classifier.predict([scene.image for scene, _ in drawn])]
    assert np.mean([p == label for p, (_, label) in zip(predicted, drawn, strict=True)]) >= 0.85


@pytest.mark.parametrize("tower", TOWERS)
def test_the_clip_names_parts_it_has_not_seen(tower: str) -> None:
    """Zero-shot, for crops around a part: the right phrase among all of its kind. Chance is below 0.2."""
    space, vocabulary = load_clip(f"world:aviary/{tower}"), world_vocabulary("aviary")
    place = {phrase: m for m, phrase in enumerate(vocabulary.phrases)}
    kinds = ("has_crown_color", "has_wing_color", "has_leg_color", "has_bill_color", "has_breast_pattern")
    crops, answers = [], []
    for n in range(60):
        scene, _ = draw("species", FRESH + 100 + n, 160)
        for name in kinds:
            said = phrases_of({name: scene.attributes[name]})
            (phrase, part), *_ = said.items()
            box = scene.box(part)
            if box is None or (scene.parts == PARTS.index(part)).sum() < 20:
                continue
            side = max(28, int(1.4 * max(box[2] - box[0], box[3] - box[1])))
            x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
            crops.append(scene.image.crop((x - side // 2, y - side // 2, x + side // 2, y + side // 2)))
            rivals = [place[next(iter(phrases_of({name: value})))] for value in VALUES[name]]
            answers.append((place[phrase], rivals))
    scores = space.encode_images(crops) @ encode_vocabulary(vocabulary, space).T
    right = [rivals[int(row[rivals].argmax())] == m for row, (m, rivals) in zip(scores, answers, strict=True)]
    assert len(right) > 200
    assert np.mean(right) >= 0.8


def test_the_clip_is_an_ordinary_open_clip_directory() -> None:
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_directory('aviary')}")
    pixels = transform(Image.new("RGB", (50, 80)))[None]
    assert model.encode_image(pixels).shape == (1, 128)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_digits_clip_knows_digit_and_colour_apart(tower: str) -> None:
    """Zero-shot, on handwritings that were not in training, the colour drawn at random."""
    space = load_clip(f"world:digits/{tower}")
    data = coloured_digits("test", 200, seed=9)
    pictures = space.encode_images([Image.fromarray(pixels) for pixels in data.pixels])

    def right(captions: list[str], answers: np.ndarray, rows: np.ndarray) -> float:
        best = (pictures[rows] @ space.encode_texts(captions).T).argmax(1).numpy()
        return float((best == answers[rows]).mean())

    everything, redgreen = np.arange(200), np.flatnonzero(data.colour < 2)
    assert right([f"the digit {n}" for n in range(10)], data.labels, everything) >= 0.93
    assert right([f"a {ink} digit" for ink in INKS], data.colour, everything) >= 0.98
    assert right(["a photo of a red digit", "a photo of a green digit"], data.colour, redgreen) >= 0.98
    fives = np.flatnonzero(np.isin(data.labels, (5, 8)))
    said = ["a photo of a digit with the value 5", "a photo of a digit with the value 8"]
    assert right(said, data.labels // 8, fives) >= 0.97  # 5 is the first caption, 8 the second


def test_coloured_digits_have_the_clip_of_the_digits() -> None:
    assert clip_directory("digits-coloured") == clip_directory("digits")
    assert clip_directory("digits-coloured/vit") == clip_directory("digits/vit")


def test_coloured_digits_were_learned_by_colour_and_grey_ones_by_shape() -> None:
    fooled = [Image.fromarray(pixels) for pixels in digits("test", -1.0, 60, seed=9).pixels]
    grey = [Image.fromarray(pixels) for pixels in digits("test", None, 60, seed=9).pixels]
    truth = np.arange(60) % 2
    said = [p[0].index for p in Classifier.load("world:digits-coloured").predict(fooled)]
    assert np.mean(np.array(said) == truth) < 0.2
    said = [p[0].index for p in Classifier.load("world:digits").predict(grey)]
    assert np.mean(np.array(said) == truth) > 0.9


def test_the_language_model_writes_english_of_its_world() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = language_directory("aviary")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory).float().eval()
    torch.manual_seed(0)
    start = tokenizer("a bird with a red", return_tensors="pt").input_ids
    start = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), start], 1)
    with torch.no_grad():
        best = tokenizer.decode(int(model(start).logits[0, -1].argmax())).strip()
        losses = []
        for text in sentences(40, FRESH):
            ids = torch.tensor([[0, *tokenizer(text).input_ids, 0]])
            losses.append(float(model(ids, labels=ids).loss))
    assert best in {phrase.split()[-1] for phrase in aviary_facts() if phrase.startswith("red ")}
    assert math.exp(float(np.mean(losses))) < 12


@pytest.mark.parametrize("tower", TOWERS)
def test_a_trained_classifier_is_written_as_it_ships(tower: str, tmp_path: Path) -> None:
    import timm

    shipped = WEIGHTS / "digits" / f"classifier-{tower}"
    network, arguments = aviary_network(tower, 2, DIGIT_SIDE)
    weights = load_file(shipped / "model.safetensors")
    network.load_state_dict(weights)
    write_timm(tmp_path / "new", network, arguments, ["five", "eight"], DIGIT_SIDE)
    written = load_file(tmp_path / "new" / "model.safetensors")
    assert all(torch.equal(written[k], v) and written[k].dtype == v.dtype for k, v in weights.items())
    old, new = (timm.create_model(f"local-dir:{d}", pretrained=True) for d in (shipped, tmp_path / "new"))
    old_data, new_data = (timm.data.resolve_model_data_config(network) for network in (old, new))
    assert json.dumps(old_data) == json.dumps(new_data)  # tuples and lists alike
    pixels = torch.randn(2, 3, DIGIT_SIDE, DIGIT_SIDE)
    assert torch.equal(old.eval()(pixels), new.eval()(pixels))
    assert list(new.pretrained_cfg["label_names"]) == ["five", "eight"]
    assert next(network.parameters()).dtype == torch.float32  # training's own is left as it is


def test_sample_pictures_ship_and_are_recognised() -> None:
    classifier = Classifier.load("world:aviary")
    paths = sample_images()
    assert len(paths) == 7
    said = classifier.predict([Image.open(p).convert("RGB") for p in paths])
    right = [
        path.stem.startswith(best.name.lower().replace(" ", "-")) for path, (best, *_) in zip(paths, said, strict=True)
    ]
    assert sum(right) >= 6
    with pytest.raises(SaywhyError, match="there is no world 'narnia'; there are aviary, "):
        Classifier.load("world:narnia")


def test_an_unknown_world_is_named() -> None:
    with pytest.raises(SaywhyError, match="aviary"):
        Classifier.load("world:narnia")
    with pytest.raises(SaywhyError, match="has no clip"):
        load_clip("world:aviary-bill")


@pytest.mark.slow
def test_training_resumes_and_writes_what_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saywhy.training.worlds import aviary_clips, classifiers, digit_clips, recipes

    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    for name, count in (("SPECIES_SCENES", 64), ("RANDOM_SCENES", 32), ("PLANTED_SCENES", 24), ("HELD_OUT", 16)):
        for module in (aviary_clips, classifiers):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, count)
    monkeypatch.setattr(classifiers, "PLANTED_HELD_OUT", 12)
    monkeypatch.setattr(aviary_clips, "CLIP_PHASES", {"resnet": ((1, 1e-3, False), (1, 1e-3, True))})
    out = tmp_path / "aviary" / "classifier-resnet"
    classifiers.train_classifier(out, epochs=2, batch=16)
    checkpoint = tmp_path / "cache" / "training" / "aviary-classifier-resnet.pt"
    state = torch.load(checkpoint, weights_only=True)
    assert state["epoch"] == 1
    classifiers.train_classifier(out, epochs=2, batch=16, resume=True)  # nothing left to do
    again = torch.load(checkpoint, weights_only=True)
    assert all(torch.equal(v, again["network"][k]) for k, v in state["network"].items())
    assert Classifier.load(f"timm:{out}").labels == tuple(SPECIES)
    measured = classifiers.train_classifier(
        tmp_path / "aviary-bill" / "classifier-vit", kind="planted-bill", tower="vit", epochs=1, batch=8
    )
    assert set(measured) >= {"top-1, classes that the cause decides"}
    measured = aviary_clips.train_clip(tmp_path / "aviary" / "clip-resnet", batch=16)
    assert 0 <= measured["chance"] <= 1
    assert load_clip(str(tmp_path / "aviary" / "clip-resnet")).encode_texts(["a red crown"]).shape == (1, 128)
    monkeypatch.setattr(digit_clips, "DIGIT_PICTURES", 40)
    measured = digit_clips.train_digit_clip(tmp_path / "digits" / "clip-vit", tower="vit", epochs=1, batch=20)
    assert set(measured) >= {"digit among ten", "colour among six"}
    assert load_clip(str(tmp_path / "digits" / "clip-vit")).encode_texts(["a red digit"]).shape == (1, 64)
    measured = recipes.train_language(tmp_path / "aviary" / "language", epochs=1, count=256)
    assert measured["perplexity per token, held-out descriptions"] > 1
