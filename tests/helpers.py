"""Small networks, pictures and spaces that tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from saywhy.answers.explanation import Explanation
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.reading import display_copy
from saywhy.spaces.pairs.on_disk import PromptBank
from saywhy.types import (
    Claim,
    Contrast,
    Draft,
    Finding,
    Geometry,
    Heatmap,
    Label,
    MapCheck,
    PhraseMap,
    Prediction,
    Region,
    Sentence,
    Word,
)
from saywhy.words.rationale_words import RationaleWords
from saywhy.worlds import SAMPLES
from tests.pictures.drawn import picture as picture

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(40),
        transforms.CenterCrop(32),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.25] * 3),
    ]
)


def unit(rows: int, width: int) -> Tensor:
    """(rows, width) random directions."""
    return F.normalize(torch.randn(rows, width), dim=1)


class TinyNet(nn.Module):
    """Two convolutions, a pool and a linear head."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(True)
        )
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Then(nn.Module):
    """A network, and what its author writes after it."""

    def __init__(self, network: nn.Module, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.function = network, function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.inner(x))


def tiny_classifier(classes: int = 5) -> Classifier:
    names = ["toucan", "king snake", "ambulance", "teapot", "zebra", *[f"thing {n}" for n in range(5, classes)]]
    return Classifier.from_module(TinyNet(classes), transform=TRANSFORM, labels=names[:classes], name="tiny")


class FakeSpace:
    """A space without weights: pictures by mean colour, texts by the colour they name."""

    name = "a fake space"
    colours = ("red", "green", "blue")

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        means = [torch.as_tensor(np.asarray(image, dtype=np.float32)).mean((0, 1)) for image in images]
        return F.normalize(torch.stack(means), dim=1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        rows = [[1.0 if colour in text else 0.1 for colour in self.colours] for text in texts]
        return F.normalize(torch.tensor(rows), dim=1)


def silence_biases(network: nn.Module) -> nn.Module:
    """Zero everything that is added whatever the picture: biases, position embeddings, class and register tokens.

    What remains must carry all relevance. Heads that a library starts at zero get random weights instead.
    """
    for name, parameter in network.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if (
            ("bias" in last and "table" not in last)
            or "pos_emb" in name
            or "token" in last
            or "position_embeddings" in name
        ):
            nn.init.zeros_(parameter)
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    return network


def bank_of(words: RationaleWords, rationales: Tensor, categories: Tensor, pairs: Tensor) -> PromptBank:
    """A bank of vectors that are there already: (R, d), (C, d), (C, R, d). They are normalised here."""
    unit = [F.normalize(vectors.float(), dim=-1) for vectors in (rationales, categories, pairs)]
    return PromptBank(words, "given", pairs.shape[-1], unit[0], unit[1], held=unit[2])


def sample_images(world: str = "aviary") -> list[Path]:
    """The pictures that ship with a world, none of them seen in training."""
    return sorted((SAMPLES / world).glob("*.jpg"))


def finding(region: int | None, *words: str) -> Finding:
    labels = tuple(Label(w, "group", 0.5, n, 4.0 - n) for n, w in enumerate(words, 1))
    return Finding(region, labels, "a fake space")


def claim(text: str, about: str = "picture", there: float | None = 0.97, said: bool = True) -> Claim:
    basis = "no calibration" if there is None else "calibrated on nothing"
    return Claim(text, about, "a fake space", 0.5, there, basis, said)


def explanation(text: str = "toucan") -> Explanation:
    """A plausible explanation, made of nothing; ``text`` is in every place that a user's text can reach."""
    mask = np.zeros((32, 32), bool)
    mask[4:12, 8:20] = True
    values = torch.linspace(-1, 1, 1024).view(1, 32, 32)
    predictions = (Prediction(0, text, 0.9, 5.0), Prediction(1, "other", 0.1, 2.0))
    regions = (Region((10, 5, 60, 40), mask, 0.61), Region((40, 30, 90, 60), ~mask, 0.2))
    findings = (finding(0, f"large {text}", "yellow"), finding(1, "nothing"))
    claims = (claim(f"large {text}", "region 1"), claim("yellow", "region 1", 0.4, said=False),
              claim("nothing", "region 2", None, said=False), claim("a bird"))  # fmt: skip
    return Explanation(
        picture=display_copy(picture(), f"{text}.jpg"),
        geometry=Geometry((96, 64), (32, 32), (2.0, 2.0), (16.0, 0.0)),
        predictions=predictions,
        target=predictions[0],
        heatmap=Heatmap(
            values, (0,), (5.0,), "lrp", "epsilon-plus", (MapCheck(5.0, 4.0, 0.9, scale=6.0, allowed=0.25),)
        ),
        regions=regions,
        findings=findings,
        concepts=finding(None, "a bird"),
        claims=claims,
        silence="",
        summary=f"It says *{text}* (0.90).",
        settings={"model": text, "top": 3, "target": None},
        sentence=sentence(text),
        contrast=Contrast(predictions[1], finding(None, f"striped {text}").labels, ()),
        phrases=(phrase_map(f"a red {text}"), phrase_map("nothing", fits=False)),
    )


def phrase_map(text: str, fits: bool = True) -> PhraseMap:
    heatmap = Heatmap(torch.linspace(1, -1, 600).view(1, 20, 30), (text,), (0.3,), "lrp", "attnlrp")
    frame = Geometry((96, 64), (30, 20), (3.2, 3.2), (0.0, 0.0))
    return PhraseMap(text, heatmap, frame, 0.3, 2.5 if fits else 0.1, fits, "a fake space")


def sentence(text: str) -> Sentence:
    words = (Word("a", None, False), Word(text, 0.2, False), Word("indoors.", -0.1, True))
    drafts = (Draft(f"a {text} indoors.", 0.5, 0.5), Draft("a bird.", 0.4, 0.4))
    said = drafts[0].text
    return Sentence(said, 0.5, 3.0, text, text, 0.5, 9.0, words, drafts, "guided", text, 7)
