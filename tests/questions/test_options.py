"""Options are values: hashable, plain in JSON, with each default said once."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from typer.main import get_command

from saywhy.cli.app import app
from saywhy.errors import SaywhyError
from saywhy.questions.explain import explain
from saywhy.questions.options import AskOptions, ExplainOptions, WhyOptions
from saywhy.questions.why import why
from saywhy.spaces.operated import match_classifier
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.surgery.options import MatchOptions, Surgery

OTHERS: dict[type, dict[str, Any]] = {
    ExplainOptions: {"target": "zebra", "method": "grad-cam", "regions": 2, "top": 5, "phrases": ("a crown",)},
    WhyOptions: {"scoring": Scoring(weight=0.5, temperatures={"pair": 2.0}), "k": 3, "method": "none"},
    AskOptions: {"matching": MatchOptions(layers=("a", "b"), chance=0.1), "surgery": Surgery(0.5), "share": 0.25},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_they_are_values(kind: Any) -> None:
    plain, other = kind(), kind(**OTHERS[kind])
    assert plain == kind()
    assert hash(plain) == hash(kind())
    assert {plain: 1, other: 2}[replace(plain, **OTHERS[kind])] == 2
    json.dumps([asdict(plain), asdict(other)], allow_nan=False)
    with pytest.raises(TypeError):
        kind(None)  # built by keyword


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (ExplainOptions, {"method": "lrpp"}, "no method 'lrpp'; did you mean lrp"),
        (ExplainOptions, {"composite": "epsilonplus"}, "no composite 'epsilonplus'"),
        (ExplainOptions, {"composite": "epsilon", "method": "grad-cam"}, "takes none"),
        (ExplainOptions, {"regions": 0}, "must be at least 1; they are 0 and"),
        (ExplainOptions, {"phrases": ("a crown", " ")}, "a phrase to look for is empty"),
        (WhyOptions, {"method": "cam"}, "no method 'cam'"),
        (WhyOptions, {"k": 0}, "k must be at least 1; it is 0"),
        (WhyOptions, {"visible_from": float("inf")}, "standard deviations"),
    ],
)
def test_what_is_wrong_is_said_when_they_are_made(kind: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        kind(**wrong)


@pytest.mark.parametrize(
    ("function", "record"), [(explain, ExplainOptions), (why, WhyOptions), (match_classifier, MatchOptions)]
)
def test_python_has_the_defaults_of_the_record(function: Any, record: Any) -> None:
    parameters = inspect.signature(function).parameters
    for field in fields(record):
        assert parameters[field.name].default == field.default, field.name


@pytest.mark.parametrize(("name", "record"), [("explain", ExplainOptions), ("why", WhyOptions)])
def test_the_command_line_has_the_defaults_of_the_record(name: str, record: Any) -> None:
    options = {option.name: option.default for option in get_command(app).commands[name].params}  # type: ignore[attr-defined]
    shared = [field for field in fields(record) if field.name in options]
    assert len(shared) >= 3
    assert all(options[field.name] == field.default for field in shared)


def test_the_records_load_no_heavy_library() -> None:
    code = "import sys, saywhy.questions.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
