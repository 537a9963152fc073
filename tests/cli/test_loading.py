"""Every command that loads a classifier takes the same options for it."""

from __future__ import annotations

import inspect
from typing import Annotated, get_args, get_origin

import pytest

from saywhy.cli import loading
from saywhy.cli.ask import ask
from saywhy.cli.explain import explain
from saywhy.cli.loading import load_classifier

SHARED = {name: hint for name, hint in vars(loading).items() if get_origin(hint) is Annotated}


@pytest.mark.parametrize("command", [explain, ask])
def test_a_command_that_loads_a_classifier_takes_every_option_that_loading_knows(command: object) -> None:
    assert callable(command)
    options = inspect.signature(command, eval_str=True).parameters
    for name in inspect.signature(load_classifier).parameters:
        assert name in options
        if name != "device":
            hint = options[name].annotation
            assert any(hint == shared for shared in SHARED.values()), f"{name} of {command} is not of cli/loading"
            assert get_args(hint)[1].rich_help_panel == loading.CLASSIFIER
