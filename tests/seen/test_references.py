"""References: shipped ones know their worlds and nothing else; a user's are kept; a run may stand for itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.sources import LabelledImage, read_sources
from saywhy.plumbing.tensors import write_tensors
from saywhy.seen import references
from saywhy.seen.doubts import FLAT_SAID, Foreign
from saywhy.seen.gate import Doubt, Seen
from saywhy.seen.layer_statistics import eyes_of
from saywhy.seen.references import doubts_of, keep_typical, shipped
from saywhy.spaces.clip import load_clip
from saywhy.worlds import WEIGHTS, WORLDS
from saywhy.worlds.digits import digits
from saywhy.worlds.scenes import draw


def noise(count: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)) for _ in range(count)]


def scenes(count: int, first: int = 5_300_000) -> list[Image.Image]:
    return [draw("species", first + n)[0].image for n in range(count)]


def silenced(doubts: Sequence[Doubt], images: Sequence[Image.Image]) -> float:
    return float(np.mean([bool(reason) for reason in Seen(None, tuple(doubts)).silences(images)]))


@pytest.mark.parametrize("tower", ["resnet", "vit"])
def test_the_worlds_networks_know_their_world_and_refuse_others(tower: str) -> None:
    photos = [picture.open() for picture in read_sources(["photos:all"])]
    bird = load_clip(f"world:aviary/{tower}", "cpu"), Classifier.load(f"world:aviary/{tower}", device="cpu")
    digit = load_clip(f"world:digits/{tower}", "cpu"), Classifier.load(f"world:digits/{tower}", device="cpu")
    for eye in eyes_of(*bird):
        doubts = doubts_of([eye])
        assert silenced(doubts, scenes(40)) <= 0.05
        assert silenced(doubts, noise(10)) == 1
        assert silenced(doubts, photos) > 0.8
    fives = [Image.fromarray(pixels) for pixels in digits("test", None, 40).pixels]
    for eye in eyes_of(*digit):
        doubts = doubts_of([eye])
        assert silenced(doubts, fives) <= 0.05
        assert silenced(doubts, [*noise(10), *photos, *scenes(10)]) == 1


def test_every_model_of_the_worlds_that_sees_brings_its_reference() -> None:
    for world in WORLDS:
        for tower in ("resnet", "vit"):
            (eye,) = eyes_of(None, Classifier.load(f"world:{world}/{tower}", device="cpu"))
            known = shipped(eye.fingerprint)
            assert known is not None
            assert known.layers == eye.early(noise(1))
    assert all(file.stat().st_size < 400_000 for file in WEIGHTS.rglob(references.SHIPPED))


def test_probes_bring_what_they_were_learned_from(tmp_path: Path) -> None:
    (eye,) = eyes_of(None, Classifier.load("world:aviary", device="cpu"))
    file = write_tensors(tmp_path / "probes.safetensors", {"weights": torch.ones(1)})
    keep_typical(file, [eye], listed(noise(60)), "pictures of noise")
    assert silenced(doubts_of([eye], brought=[file]), noise(20, 7)) <= 0.1
    assert silenced(doubts_of([eye], brought=[file]), scenes(10)) == 1
    (other,) = eyes_of(None, Classifier.load("world:aviary/vit", device="cpu"))
    assert silenced(doubts_of([other], brought=[file]), scenes(10)) <= 0.2  # of another network nothing was brought
    told: list[str] = []
    assert keep_typical(file, [eye], listed(noise(20)), "too few", tell=told.append) == []
    assert "a reference of 20 pictures does not say what is typical" in told[0]


def test_a_reason_says_whose_network_and_what_it_knows() -> None:
    doubts = doubts_of(eyes_of(load_clip("world:aviary", "cpu"), None))
    flat, foreign, bird = Seen(None, doubts).silences([Image.new("RGB", (64, 64), "red"), *noise(1), *scenes(1)])
    assert flat == FLAT_SAID
    assert foreign.startswith("the aviary's CLIP does not know pictures like this one")
    assert foreign.endswith("otherwise than to 800 scenes of the aviary")
    assert bird == ""


def folder(path: Path, images: Sequence[Image.Image]) -> Path:
    path.mkdir()
    for n, image in enumerate(images):
        image.save(path / f"{n:03}.png")
    return path


def test_a_users_reference_stands_before_the_shipped_and_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    there, told = folder(tmp_path / "noise", noise(60)), list[str]()
    eyes = eyes_of(load_clip("world:aviary", "cpu"), None)
    doubts = doubts_of(eyes, there, tell=told.append)
    assert silenced(doubts, noise(20, seed=1)) <= 0.15
    assert silenced(doubts, scenes(10)) == 1
    assert told == ["a reference of 60 pictures is rough; 100 or more are better"]

    monkeypatch.setattr(references, "learn", pytest.fail)
    again = doubts_of(eyes, there)
    assert isinstance(again[1], Foreign)
    assert isinstance(doubts[1], Foreign)
    assert again[1].typical.threshold == doubts[1].typical.threshold


def test_changed_pictures_of_a_reference_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    there = folder(tmp_path / "pictures", noise(30))
    eyes = eyes_of(None, Classifier.load("world:digits", device="cpu"))
    doubts_of(eyes, str(there))
    for n, image in enumerate(scenes(30)):
        image.save(there / f"{n:03}.png")
    assert silenced(doubts_of(eyes, str(there)), noise(5)) == 1


def test_a_reference_of_few_or_of_none_is_refused_in_a_line(tmp_path: Path) -> None:
    eyes = eyes_of(None, Classifier.load("world:digits", device="cpu"))
    few = folder(tmp_path / "few", [*noise(20), *[Image.new("RGB", (9, 9))] * 20])
    with pytest.raises(SaywhyError, match="a reference of 20 pictures does not say what is typical; give 30 or more"):
        doubts_of(eyes, few)
    with pytest.raises(SaywhyError, match="nowhere"):
        doubts_of(eyes, tmp_path / "nowhere")


def listed(images: Sequence[Image.Image]) -> list[LabelledImage]:
    return [LabelledImage(str(n), None, partial(Image.Image.copy, image)) for n, image in enumerate(images)]


def test_a_long_run_stands_for_itself_with_a_few_foreign_pictures_in_it() -> None:
    odd = noise(6)
    run = [*scenes(114), *odd]
    eyes = eyes_of(None, _stranger())
    doubts = doubts_of(eyes, run=listed(run))
    assert silenced(doubts, odd) == 1
    assert silenced(doubts, run[:114]) <= 0.06
    assert len(doubts_of(eyes, run=listed(run[:99]))) == 1  # too few: only what is flat


def _stranger() -> Classifier:
    """A network of no world, for which nothing is shipped."""
    import timm

    made = Classifier.load("world:digits", device="cpu")
    network = timm.create_model("test_resnet", pretrained=False, num_classes=2).eval()
    return Classifier.from_module(network, transform=made.transform, name="a stranger")
