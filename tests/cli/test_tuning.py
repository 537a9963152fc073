"""``saywhy train prompts``: from pictures and a command to a folder that loads."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from saywhy.cli.train import train_prompts
from saywhy.errors import SaywhyError
from saywhy.spaces.tuned import load_tuned
from saywhy.training.prompts import tuning as prompt_tuning
from tests.tuning import write_pictures

app = typer.Typer()
app.command()(train_prompts)
SMALL = ("--clip", "world:aviary/vit", "--steps", "3", "--batch-size", "4", "--device", "cpu", "--workers", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "data")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_it_makes_a_space_that_loads(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('rate = 1.0\nprompts = 5\nobjective = "dror"\n')
    words = ("--data", folder, "--out", tmp_path / "out", "--recipe", own, "--prompts", 2, "--set", "lambda_r=0.5")
    result = invoke(*words, "--set", "transform=squash", *SMALL)
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["step"], told["kept"]["step"]) == (3, 3)
    assert f"next: saywhy why PICTURES --space tuned:{tmp_path / 'out'}\n" in result.stderr
    settings = json.loads((tmp_path / "out" / "history.json").read_text())["settings"]
    expected = {"rate": 1.0, "prompts": 2, "objective": "dror", "lambda_r": 0.5, "transform": "squash", "steps": 3}
    assert settings == settings | expected
    space = load_tuned(tmp_path / "out")
    assert space.prompts.shape == (1, 2, 96)
    assert space.objective == "dror"
    assert invoke(*words, "--set", "transform=squash", *SMALL, "--resume").exit_code == 0
    with pytest.raises(SaywhyError, match="that run had transform 'squash', now 'clip'"):
        invoke(*words, *SMALL, "--resume")


def test_ctrl_c_says_how_to_go_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = prompt_tuning._step

    def interrupted(run: Any, *arguments: Any) -> Any:
        if run.done.step == 2:
            raise KeyboardInterrupt
        return step(run, *arguments)

    monkeypatch.setattr(prompt_tuning, "_step", interrupted)
    result = invoke("--data", folder, "--out", tmp_path / "out", *SMALL)
    assert result.exit_code == 130
    assert result.stderr.count("stopped; continue with the same command and --resume") == 1
    monkeypatch.setattr(prompt_tuning, "_step", step)
    assert invoke("--data", folder, "--out", tmp_path / "out", *SMALL, "--resume").exit_code == 0


def test_ctrl_c_before_the_first_step_promises_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(prompt_tuning, "build_bank", interrupted)
    result = invoke("--data", folder, "--out", tmp_path / "out", *SMALL)
    assert result.exit_code == 130
    assert "--resume" not in result.stderr
    assert "start again with the same command" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "rate"), "--set rate: expected KEY=VALUE"),
        (("--set", "ratte=1"), "there is no setting 'ratte'; did you mean rate"),
        (("--set", "deep=maybe"), "deep must be true or false; it is 'maybe'"),
        (("--recipe", "ecor-cifar1"), "there is no recipe 'ecor-cifar1'"),
        (("--objective", "clip"), "trains nothing"),
        (("--validate-on", "holdout"), "holdout"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        invoke("--data", folder, "--out", tmp_path / "out", *SMALL, *words)
    assert not (tmp_path / "out").exists()


def test_help_tells_of_several_processes() -> None:
    assert "accelerate launch" in invoke("--help").stdout


def test_the_recipes_are_in_the_package() -> None:
    """They lie beside the code, and hatchling puts into a wheel all that git does not ignore."""
    from saywhy.training.prompts.settings import RECIPES

    ignored = subprocess.run(["git", "check-ignore", *map(str, RECIPES.glob("*.toml"))], cwd=RECIPES, text=True,
                             capture_output=True)  # fmt: skip
    assert ignored.stdout == ""
