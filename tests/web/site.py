"""A server for tests: the embedded aviary behind the real application, asked in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from saywhy.classifiers.classifier import Classifier
from saywhy.web.app import Site, create_app
from saywhy.web.forms import Room
from saywhy.web.guard import Access
from saywhy.web.models import Model, Named, prepared
from saywhy.web.work import Queue

EXAMPLE = "red-crowned-kingfisher-sand"
LOCAL = "http://127.0.0.1:8760"


def aviary() -> Model:
    """The aviary's classifier, without its writer, which takes long."""
    return prepared(Named("world:aviary", Classifier.load("world:aviary")), writer="none")


@contextmanager
def client(model: Model, *, workers: int = 1, places: int = 8, **how: Any) -> Iterator[TestClient]:
    """Asks a server of one model. how: fields of its Site."""
    queue = Queue(workers, places)
    site = Site({model.name: model}, queue, **{"room": Room(), "access": Access()} | how)
    try:
        with TestClient(create_app(site), base_url=LOCAL, raise_server_exceptions=False) as asking:
            yield asking
    finally:
        queue.close()


def called(model: Model, labels: tuple[str, ...]) -> Model:
    """The same model with other names of classes."""
    return replace(model, classifier=replace(model.classifier, labels=labels))


def png(width: int = 64, height: int = 64, seed: int = 0) -> bytes:
    """A picture of noise, as a file."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def lines(text: str) -> list[dict[str, Any]]:
    """Of an answer in lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]


def undescribed(document: dict[str, Any]) -> list[str]:
    """What an OpenAPI document names without saying what it is, and refusals of every path that it leaves out."""
    found = []
    for name, one in document["components"]["schemas"].items():
        found += [name] if "description" not in one else []
        fields = one["properties"].items()
        found += [f"{name}.{key}" for key, about in fields if "description" not in about and key != "state"]
    for path, ways in document["paths"].items():
        for asked in ways.values():
            found += [f"{path} {code}" for code in ("200", "401", "403", "421") if code not in asked["responses"]]
            found += [f"{path} {one['name']}" for one in asked.get("parameters", []) if "description" not in one]
    return found
