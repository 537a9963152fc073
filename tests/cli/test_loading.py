"""Every command that loads a classifier takes the same options for it."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from saywhy.cli import loading
from saywhy.cli.ask import ask
from saywhy.cli.audit import audit
from saywhy.cli.calibrate import calibrate
from saywhy.cli.explain import explain
from saywhy.cli.inside import inside
from saywhy.cli.loading import NOTHING_SAID, Loading, takes_a_classifier
from saywhy.cli.serve import serve
from saywhy.cli.train import train_concepts, train_sae_command

COMMANDS = [explain, ask, audit, serve, calibrate, inside, train_concepts, train_sae_command]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_loads_a_classifier_takes_every_option_that_loading_knows(command: Any) -> None:
    options = inspect.signature(command, eval_str=True).parameters
    hints = get_type_hints(Loading, include_extras=True)
    assert "model" in options
    assert "loading" not in options
    for one in fields(Loading):
        hint = options[one.name].annotation
        assert hint == hints[one.name]
        assert get_origin(hint) is Annotated
        assert get_args(hint)[1].rich_help_panel == loading.CLASSIFIER
        assert options[one.name].default == one.default


def test_what_is_said_reaches_the_command() -> None:
    met: list[Any] = []

    @takes_a_classifier
    def command(model: str, loading: Loading = NOTHING_SAID, device: str | None = None) -> None:
        met.append((model, loading, device))

    command(model="timm:x", img_size=96, std=(0.1, 0.2, 0.3), device="cpu")
    command(model="timm:y")
    assert met == [("timm:x", Loading(img_size=96, std=(0.1, 0.2, 0.3)), "cpu"), ("timm:y", NOTHING_SAID, None)]
