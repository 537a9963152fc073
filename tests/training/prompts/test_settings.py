"""Recipes: the published ones say what was published; what is wrong in one's own is named."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from math import cos, pi
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.spaces.objectives import OBJECTIVES
from saywhy.training.prompts.settings import RECIPES, TuningSettings, read_recipe, recipe_names, with_settings

SETS = ("cifar10", "cifar100", "food101", "caltech101", "sun", "imagenet")


def test_there_is_a_recipe_for_every_published_run() -> None:
    assert set(recipe_names()) == {f"{method}-{name}" for method in ("ecor", "dror") for name in SETS} | {"aviary"}


@pytest.mark.parametrize("method", ["ecor", "dror"])
@pytest.mark.parametrize("name", SETS)
def test_recipes_say_what_table_one_says(method: str, name: str) -> None:
    settings = read_recipe(f"{method}-{name}")
    deep = name == "imagenet"
    assert OBJECTIVES[settings.objective].scored == OBJECTIVES[method].scored
    assert settings.deep is deep
    assert settings.prompts == {"sun": 100, "imagenet": 30}.get(name, 3)
    assert settings.clip == ("ViT-B-32-quickgelu/openai" if deep else "ViT-L-14-quickgelu/openai")
    assert (settings.rate, settings.batch_size) == ((10, 256) if deep else (40, 32))
    assert (settings.optimiser, settings.momentum, settings.warmup) == ("sgd", 0.9, 1000)


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_say_where_each_value_is_from(name: str) -> None:
    lines = (RECIPES / f"{name}.toml").read_text().splitlines()
    given = [line for line in lines if "=" in line and not line.startswith("#")]
    assert all(len(line) <= 120 for line in lines)
    if name != "aviary":
        assert all(any(mark in line for mark in ("[paper]", "[code]", "[inferred]", "[ours]")) for line in given)
        unused = {"steps", "epoch_length"} | ({"lambda_r"} if name.startswith("dror") else set())
        assert {line.split()[0] for line in given} >= {field.name for field in fields(TuningSettings)} - unused


def test_recipes_name_clips_that_open_clip_has() -> None:
    import open_clip

    for name in recipe_names():
        architecture, _, tag = read_recipe(name).clip.partition("/")
        assert ":" in architecture or tag in open_clip.list_pretrained_tags_by_model(architecture)


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('clip = "world:aviary/vit"\nrate = 2\nsteps = 5\n')
    settings = read_recipe(path)
    assert (settings.rate, settings.steps, settings.prompts) == (2.0, 5, TuningSettings().prompts)
    assert with_settings(settings, {"steps": None, "deep": True}) == with_settings(
        read_recipe(str(path)), {"deep": True, "steps": None}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ratee = 1.0", "own.toml: there is no setting 'ratee'; did you mean rate"),
        ('rate = "40"', "own.toml: rate must be a number; it is '40'"),
        ("rate = true", "rate must be a number; it is True"),
        ("deep = 1", "deep must be true or false; it is 1"),
        ("epochs = 2.5", "epochs must be a whole number; it is 2.5"),
        ("clip = 3", "clip must be a string; it is 3"),
        ("[rate]\na = 1", "rate must be a number"),
        ('objective = "ecorr"', "objective cannot be 'ecorr'; it is one of ecor, clip"),
        ('objective = "clip"', "the objective 'clip' trains nothing"),
        ('optimiser = "lion"', "optimiser cannot be 'lion'; it is one of sgd, adam, adamw"),
        ("epochs = 0", "epochs must be at least 1; it is 0"),
        ("rate = -1.0", "rate must be a number, at least 0"),
        ("rate = nan", "rate must be a number, at least 0; it is nan"),
        ("validation = 1.0", "a share of the pictures"),
        ("batch_size = 2\naccumulate = 3", "a batch of 2 cannot be split into 3 parts"),
        ("epoch_length = 9", "epoch_length is for the sampler pair-balanced"),
        ("rate =", "own.toml: is not a TOML file"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(SaywhyError, match=message):
        read_recipe(tmp_path / "own.toml")


def test_a_recipe_that_there_is_not() -> None:
    with pytest.raises(
        SaywhyError, match=r"there is no recipe 'ecor-cifar', nor such a file; did you mean .*ecor-cifar10"
    ):
        read_recipe("ecor-cifar")


def test_the_published_recipes_are_plain_toml() -> None:
    assert all(tomllib.loads(path.read_text()) for path in RECIPES.glob("*.toml"))


@pytest.mark.parametrize("total", [1, 2, 9, 10, 20, 100])
def test_the_rate_warms_up_and_falls(total: int) -> None:
    """It reaches its height in every run, however short: a warm-up takes half of it at most."""
    settings = TuningSettings(rate=2.0, warmup=10)
    rates = [settings.rate_at(step, total) for step in range(total)]
    warmup = min(10, total // 2)
    assert settings.warmup_of(total) == warmup
    assert rates[:warmup] == pytest.approx([2.0 * (n + 1) / warmup for n in range(warmup)])
    assert rates[warmup:] == pytest.approx([1 + cos(pi * n / (total - warmup)) for n in range(total - warmup)])
    assert max(rates) == pytest.approx(2.0)
    constant = TuningSettings(rate=2.0, warmup=0, schedule="constant")
    assert {constant.rate_at(step, total) for step in range(total)} == {2.0}
