"""``saywhy why`` as a person types it, with everything that a person can get wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import saywhy.questions.why as main_path
from saywhy.answers.why import Why
from saywhy.errors import SaywhyError
from saywhy.spaces.clip import load_clip
from saywhy.worlds.aviary import SPECIES, phrases_of, render
from tests.cli.test_app import refused, saywhy

ASKED = ("--space", "world:aviary/vit", "--device", "cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six species with their attributes."""
    path = tmp_path_factory.mktemp("words") / "birds.json"
    path.write_text(json.dumps({name: list(phrases_of(SPECIES[name])) for name in list(SPECIES)[::7]}))
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "bird.png"
    render(list(SPECIES)[7], seed=5, size=96).image.save(path)
    return path


def copied(photo: Path, folder: Path) -> Path:
    return Path(shutil.copy(photo, folder / "again.png"))


def test_one_command_gives_a_sentence_a_report_and_a_record(photo: Path, birds: Path, tmp_path: Path) -> None:
    out = tmp_path / "why"
    result = saywhy("why", photo, *ASKED, "--rationales", birds, "--out", out)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["001-bird.json", "001-bird.png", "index.html"]
    document = json.loads((out / "001-bird.json").read_text())
    printed = " ".join(result.stdout.replace("│", " ").split())
    assert document["sentence"] in printed
    assert document["category"] in printed
    assert all(one["rationale"] in printed for one in (*document["reasons"], *document["alternatives"]))
    assert document["settings"]["terms"] == ["rationale", "pair"]
    assert document["settings"]["exact"] is True
    with Image.open(out / "001-bird.png") as figure:
        assert figure.width > 800


def test_bad_pictures_are_named_and_the_others_done(photo: Path, birds: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    pictures = [tmp_path / "absent.png", photo, tmp_path / "text.jpg", copied(photo, tmp_path)]
    result = saywhy("why", *pictures, *ASKED, "--rationales", birds, "--method", "none", "--json")
    assert result.returncode == 1
    assert [json.loads(line)["picture"]["name"] for line in result.stdout.splitlines()] == ["bird.png", "again.png"]
    assert "absent.png: no such picture" in result.stderr
    assert "text.jpg: not a picture" in result.stderr


def test_a_picture_that_cannot_be_answered_does_not_lose_the_others(
    photo: Path, birds: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for n in range(4):
        Image.open(photo).save(tmp_path / f"{n}.png")
    whole = main_path.why_pictures

    def fails_on_two(pictures: Sequence[tuple[str, Any]], *rest: Any, **options: Any) -> Iterator[Why]:
        for one in whole(pictures, *rest, **options):
            if one.picture.name == "2.png":
                raise SaywhyError("it is odd")
            yield one

    monkeypatch.setattr(main_path, "why_pictures", fails_on_two)
    pictures = [tmp_path / f"{n}.png" for n in range(4)]
    result = saywhy("why", *pictures, *ASKED, "--rationales", birds, "--method", "none", "--json")
    assert result.returncode == 1
    names = [json.loads(line)["picture"]["name"] for line in result.stdout.splitlines()]
    assert names == ["0.png", "1.png", "3.png"]
    assert "2.png: it is odd" in result.stderr


def test_ctrl_c_keeps_what_is_done(photo: Path, birds: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = main_path.why_pictures

    def interrupted(*rest: Any, **options: Any) -> Iterator[Why]:
        yield next(whole(*rest, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(main_path, "why_pictures", interrupted)
    result = saywhy(
        "why",
        photo,
        copied(photo, tmp_path),
        *ASKED,
        "--rationales",
        birds,
        "--method",
        "none",
        "--out",
        tmp_path / "out",
    )
    assert result.returncode == 130
    assert "interrupted; 1 of 2 pictures are done" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"001-bird.json", "001-bird.png", "index.html"}


def test_a_tuned_space_brings_its_own_words_and_objective(photo: Path, birds: Path, tmp_path: Path) -> None:
    from saywhy.pictures.rationale_data import read_rationales
    from saywhy.spaces.tuned import TunedSpace
    from saywhy.spaces.visual_prompts import draw_prompts

    clip, (words, _) = load_clip("world:aviary/vit", "cpu"), read_rationales(birds)
    prompts = draw_prompts(clip.image_tower, 3, True, 0, 0.02)
    TunedSpace(clip, prompts, "ab4", words, "key", {"inverse": 2.0}).save(tmp_path / "tuned")
    result = saywhy(
        "why", photo, "--space", f"tuned:{tmp_path / 'tuned'}", "--method", "gscorecam", "--conditional", "category",
        "--device", "cpu", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["settings"]["terms"] == ["rationale", "inverse"]
    assert document["settings"]["temperatures"] == {"inverse": 2.0}
    assert document["category"] in words.categories
    assert document["reasons"][0]["heat"]["shape"] == [2, 64, 64]


def test_a_tuned_space_is_told_where_its_clip_is_now(photo: Path, birds: Path, tmp_path: Path) -> None:
    import shutil

    from saywhy.pictures.rationale_data import read_rationales
    from saywhy.spaces.tuned import TunedSpace
    from saywhy.spaces.visual_prompts import draw_prompts
    from saywhy.worlds import clip_directory

    for place in ("before", "now"):
        shutil.copytree(clip_directory("aviary/vit"), tmp_path / place)
    clip, (words, _) = load_clip(str(tmp_path / "before"), "cpu"), read_rationales(birds)
    TunedSpace(clip, draw_prompts(clip.image_tower, 3, True, 0, 0.02), "ecor", words, "key").save(tmp_path / "tuned")
    shutil.rmtree(tmp_path / "before")
    load_clip.cache_clear()
    asked = ("why", photo, "--space", f"tuned:{tmp_path / 'tuned'}", "--device", "cpu", "--method", "none", "--json")
    refused(saywhy(*asked), "say where it is now with --clip", "is neither a folder nor")
    result = saywhy(*asked, "--clip", tmp_path / "now")
    assert result.returncode == 0, result.stderr


def test_what_only_programmers_want_to_know_is_not_said(photo: Path, tmp_path: Path) -> None:
    """Texts that are cut are told in one line; glyphs that the figure's font lacks, by source line, are not."""
    words = tmp_path / "words.json"
    words.write_text(json.dumps({"bird": ["日本の鳥", "a red crown " * 60]}))
    result = saywhy("why", photo, *ASKED, "--rationales", words, "--out", tmp_path / "why")
    assert result.returncode == 0, result.stderr
    notes = [line for line in result.stderr.splitlines() if line.startswith("note:")]
    assert [line for line in notes if "1 of 2 texts are longer" in line]
    assert not any(word in result.stderr for word in ("Warning", "Glyph", "warnings.warn"))


def test_a_full_memory_is_one_line(photo: Path, birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*rest: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(main_path, "why_pictures", full)
    refused(saywhy("why", photo, *ASKED, "--rationales", birds), "out of memory: use fewer pictures")


def test_a_shortlist_says_that_it_is_not_exact(photo: Path, birds: Path) -> None:
    result = saywhy(
        "why", photo, *ASKED, "--rationales", birds, "--method", "none", "--shortlist", "--objective", "ab5"
    )
    assert result.returncode == 0, result.stderr
    assert "not exact" in result.stdout
    assert "not exact" in result.stderr


def test_a_reference_says_what_is_usual(photo: Path, birds: Path, tmp_path: Path) -> None:
    for n in range(9):
        render(list(SPECIES)[n], seed=n, size=64).image.save(tmp_path / f"{n}.png")
    (tmp_path / "bad.png").write_text("no picture")
    result = saywhy(
        "why", photo, *ASKED, "--rationales", birds, "--method", "none", "--reference", tmp_path, "--json",
        "--visible-from", -9,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["settings"]["usual"] == "a reference"
    assert all(reason["visible"] for reason in document["reasons"])
    assert "bad.png" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("knows no rationales", "--rationales FILE")),
        (("--rationales", "absent.json"), ("absent.json",)),
        (("--rationales", "BIRDS", "--objective", "ecr"), ("no objective 'ecr'", "ecor")),
        (("--rationales", "BIRDS", "--method", "cam"), ("no method 'cam'", "gscorecam")),
        (("--rationales", "BIRDS", "--conditional", "some"), ("all or category", "'some'")),
        (("--rationales", "BIRDS", "--weight", "inf"), ("must be at least 0",)),
        (("--rationales", "BIRDS", "--reference", "PHOTO"), ("1 pictures do not say what is usual",)),
        (("--rationales", "BIRDS", "--out", "PHOTO"), ("is a file; name a folder",)),
        (("--model", "hf:birds"), ("asks a CLIP", "saywhy explain PICTURES --model hf:birds")),
        (("--rationales", "BIRDS", "--space", "own"), ("own",)),
        (("--rationales", "BIRDS", "--visible-from", "nan"), ("--visible-from", "nan")),
        (("--rationales", "BIRDS", "--device", "nonsense"), ("no device 'nonsense'",)),
        (("--rationales", "BIRDS", "--space", "/gone/clip"), ("no space '/gone/clip'",)),
        (
            ("--rationales", "BIRDS", "--space", "clip:/gone/clip"),
            ("'/gone/clip' is neither a folder nor an open_clip name",),
        ),
        (("--rationales", "BIRDS", "--clip", "world:aviary"), ("--clip", "tuned:DIR")),
        (("--rationales", "BIRDS", "--space", "nowhere"), ("no space 'nowhere'",)),
    ],
)
def test_what_is_wrong_is_said(photo: Path, birds: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    named = {"BIRDS": birds, "PHOTO": photo}
    refused(saywhy("why", photo, *ASKED, *(named.get(option, option) for option in options)), *words)
