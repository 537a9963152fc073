"""A server of the aviary's classifier, for the tests of one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from saywhy.web.models import Model
from tests.web.site import aviary, client


@pytest.fixture(scope="module")
def model() -> Model:
    return aviary()


@pytest.fixture(scope="module")
def asking(model: Model) -> Iterator[TestClient]:
    with client(model) as one:
        yield one
