"""``saywhy inside`` and ``saywhy train sae`` on made-up audits."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from saywhy.cli.app import app
from tests.audits.made_up import CHANNELS, PHRASES, made_up


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("inside")
    made_up(folder / "one")
    made_up(folder / "two", order=np.arange(CHANNELS)[::-1], lost=(3,))
    return str(folder / "one"), str(folder / "two")


def saywhy(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return found.exit_code, found.stdout


def test_components_are_listed_with_their_names(audits: tuple[str, str]) -> None:
    code, text = saywhy("inside", audits[0])
    assert code == 0
    assert "channels: 20, of which" in text
    assert "water" in text
    assert "no name (nearest:" in text
    code, text = saywhy("inside", audits[0], "--json")
    found = json.loads(text)
    assert {one["kind"] for one in found} == {"channel", "head row"}
    assert found[0]["words"][0] == "water"


def test_a_text_is_searched(audits: tuple[str, str]) -> None:
    code, text = saywhy("inside", audits[0], "--search", PHRASES[4], "--json", "--top", "1")
    assert code == 0
    assert json.loads(text)[0]["called"] == "channel 4"


def test_two_models_are_compared(audits: tuple[str, str]) -> None:
    code, text = saywhy("inside", audits[0], "--compare", audits[1])
    assert code == 0
    assert "phrases that one model holds more of: 1 of 8" in text
    assert "grass" in text
    code, text = saywhy("inside", audits[0], "--compare", audits[1], "--json")
    assert json.loads(text)["same pictures"] is True


def test_latents_are_learned_from_an_audit_and_listed(audits: tuple[str, str], tmp_path: Path) -> None:
    out = str(tmp_path / "sae.safetensors")
    code, text = saywhy("train", "sae", audits[0], "--out", out, "--steps", "150", "--width", "12", "--k", "4")
    assert code == 0
    assert json.loads(text)["width"] == 12
    code, text = saywhy("inside", audits[0], "--sae", out, "--json")
    assert sum(one["kind"] == "latent" for one in json.loads(text)) == 12
    assert not (tmp_path / "sae.safetensors.run").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("inside", "ONE", "--search", "a", "--compare", "TWO"),
        ("inside", "ONE", "--other-sae", "TWO"),
        ("inside", "nowhere"),
        ("inside", "ONE", "--sae", "nowhere"),
        ("inside", "ONE", "--space", "nothing"),
        ("train", "sae", "ONE", "--out", "ONE"),
        ("train", "sae", "ONE", "--out", "x.safetensors", "--model", "world:aviary"),
        ("train", "sae", "nowhere", "--out", "x.safetensors"),
        ("train", "sae", "ONE", "--out", "x.safetensors", "--k", "9", "--width", "3"),
    ],
)
def test_what_cannot_be_asked_ends_in_a_line(
    audits: tuple[str, str], wrong: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"ONE": audits[0], "TWO": audits[1]}
    from saywhy.errors import SaywhyError

    found = CliRunner().invoke(app, [named.get(word, word) for word in wrong])
    assert found.exit_code != 0
    assert isinstance(found.exception, SaywhyError | SystemExit)
    if isinstance(found.exception, SaywhyError):
        assert "\n" not in str(found.exception)
