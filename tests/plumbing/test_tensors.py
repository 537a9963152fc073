"""Tensors and what is said of them: the same when they come back, and one sentence for every damage."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from saywhy.errors import SaywhyError
from saywhy.plumbing.tensors import reading_tensors, write_checkpoint, write_tensors, writing_model

STORY = {"how": "best", "of": ["ä", 1, None]}
SAID = "x.safetensors: holds nothing ("


def tensors() -> dict[str, torch.Tensor]:
    return {"a": torch.arange(6).view(2, 3), "b": torch.randn(3, 2).half()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tensors(tmp_path / "x.safetensors", tensors() | {"c": torch.eye(3)[:, :2].t()}, STORY)


def test_all_comes_back(path: Path) -> None:
    with reading_tensors(path, "holds nothing") as file:
        assert file.story == STORY
        assert file.tensors.keys() == {"a", "b", "c"}
        assert torch.equal(file.tensors["a"], tensors()["a"])
        assert file.tensors["b"].dtype == torch.float16
        assert torch.equal(file.tensors["c"], torch.eye(3)[:2])


def test_a_newer_format_is_refused_and_an_older_one_or_none_is_read(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "x.safetensors", tensors(), STORY, form=2)
    with (
        pytest.raises(SaywhyError, match="is of format 2, and this saywhy reads up to 1: update"),
        reading_tensors(path, "holds nothing"),
    ):
        raise AssertionError
    for form in (2, 3):
        with reading_tensors(path, "holds nothing", form=form) as file:
            assert file.story == STORY
    save_file(tensors(), path, {"saywhy": json.dumps(STORY)})  # before formats had numbers
    with reading_tensors(path, "holds nothing") as file:
        assert file.story == STORY


@pytest.mark.parametrize(
    ("written", "metadata"),
    [
        ({"story": STORY}, {"saywhy": json.dumps(STORY)}),
        ({"story": {}}, {"saywhy": "{}"}),
        ({"story": STORY, "key": "mapper", "texts": {"classifier": "c"}},
         {"classifier": "c", "mapper": json.dumps(STORY)}),
        ({"texts": {"format": "pt"}}, {"format": "pt"}),
        ({}, None),
    ],
)  # fmt: skip
def test_what_stands_in_the_file(written: dict[str, Any], metadata: dict[str, str] | None, tmp_path: Path) -> None:
    """Files of earlier versions are read by it, and earlier versions read its files."""
    path = write_tensors(tmp_path / "x.safetensors", tensors(), **written)
    with safe_open(path, "pt") as file:
        assert file.metadata() == metadata
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
    save_file(tensors(), path, metadata)
    key = written.get("key", "saywhy") if "story" in written else None
    with reading_tensors(path, "holds nothing", key=key) as again:
        assert again.story == written.get("story")
        assert again.metadata == (metadata or {})


def test_a_folder_is_made_only_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a" / "folder" / "x.safetensors"
    with pytest.raises(SaywhyError, match=rf"^{path}: cannot be written \("):
        write_tensors(path, tensors())
    assert not list(tmp_path.iterdir())
    assert write_tensors(path, tensors(), make_folder=True).is_file()


def test_what_cannot_be_written_leaves_the_file_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, where: Path, metadata: object) -> None:
        where.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr("saywhy.plumbing.tensors.save_file", full)
    with pytest.raises(SaywhyError, match=r"x\.safetensors: cannot be written \(.*No space left"):
        write_tensors(path, tensors())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def refused(path: Path, *words: str, key: str | None = "saywhy") -> None:
    with pytest.raises(SaywhyError) as caught, reading_tensors(path, "holds nothing", "; make it anew", key=key):
        pytest.fail("it was read")
    said = str(caught.value)
    assert said.startswith(f"{path}: holds nothing (")
    assert said.endswith("); make it anew")
    assert "\n" not in said
    assert all(word in said for word in words)


@pytest.mark.parametrize("content", [b"", b"no tensors at all\n" * 40, b"\x00" * 40, b"\xff" * 40])
def test_a_file_of_something_else(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    refused(path)
    refused(path, key=None)


def test_a_file_cut_short_anywhere(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refused(path)


def test_no_file_at_all(tmp_path: Path) -> None:
    refused(tmp_path / "x.safetensors")
    refused(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "word"),
    [(None, "there is no 'saywhy'"), ({"other": "{}"}, "there is no 'saywhy'"), ({"saywhy": "{"}, "line 1"),
     ({"saywhy": "[" * 100_000}, "64 levels")],
)  # fmt: skip
def test_a_story_that_is_not_there(metadata: dict[str, str] | None, word: str, path: Path) -> None:
    save_file(tensors(), path, metadata)
    refused(path, word)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda file: file.tensors["z"], "there is no 'z'"),
        (lambda file: file.story["of"][9], "list index out of range"),
        (lambda file: file.story.shape, "'dict' object has no attribute 'shape'"),
        (lambda file: float(file.story["of"][0]), "could not convert string to float"),
        (lambda file: float(10**400), "int too large to convert to float"),
        (lambda file: file.tensors["a"] @ file.tensors["b"], ""),
    ],
)
def test_what_is_found_wrong_later_is_damage_too(wrong: Any, reason: str, path: Path) -> None:
    with pytest.raises(SaywhyError, match=re.escape(f"{SAID}{reason}")), reading_tensors(path, "holds nothing") as file:
        wrong(file)


def test_a_refusal_of_the_body_is_the_reason(path: Path) -> None:
    with (
        pytest.raises(SaywhyError, match=re.escape(f"{SAID}of others\\nand more)")),
        reading_tensors(path, "holds nothing"),
    ):
        raise SaywhyError("of others\nand more")


def test_what_is_no_damage_goes_through(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), reading_tensors(path, "holds nothing"):
        raise KeyboardInterrupt
    with pytest.raises(AssertionError), reading_tensors(path, "holds nothing"):
        raise AssertionError


def full(_: object, path: Path, *__: object) -> None:
    """What ``torch.save`` does on a full disk."""
    Path(path).write_bytes(b"half")
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534\nand more")


def test_a_checkpoint_without_room_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "training.pt"
    write_checkpoint(path, {"step": 1})
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SaywhyError, match=r"training.pt: cannot be written \(is the disk full\? .*534\)$"):
        write_checkpoint(path, {"step": 2})
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("by", [SafetensorError("No space left on device"), OSError(28, "No space left"), KeyError()])
def test_half_a_model_leaves_the_one_before(by: Exception, tmp_path: Path) -> None:
    def written(text: str, by: Exception | None = None) -> None:
        with writing_model(tmp_path / "model") as folder:
            (folder / "config.json").write_text(text)
            if by is not None:
                raise by
            (folder / "model.safetensors").write_text(text)

    written("before")
    with pytest.raises(KeyError if isinstance(by, KeyError) else SaywhyError, match=r"No space left|^$"):
        written("after", by)
    files = {path.name: path.read_text() for path in (tmp_path / "model").iterdir()}
    assert files == {"config.json": "before", "model.safetensors": "before"}
