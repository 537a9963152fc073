"""A bank is on disk whole or in whole shards, goes on where it was, and gives what plain encoding gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.pairs import on_disk as prompt_bank
from saywhy.spaces.pairs.encoding import BankWarning, PairEncoder
from saywhy.spaces.pairs.on_disk import PromptBank, bank_key, build_bank, estimate
from saywhy.words.rationale_words import RationaleWords, Templates
from tests.helpers import bank_of
from tests.text_towers import tiny_clip

C, R, D = 11, 6, 12
CATEGORIES = tuple(f"bird {n}" for n in range(C))
RATIONALES = ("a tail", "long wings", "a red and very long bill", "legs", "a crest", "an eye ring")
WORDS = RationaleWords(CATEGORIES, RATIONALES, ((0, 1),) * C)
SHARD = 3 * 2 * R * D  # bytes of three categories; the last shard has two
HALF = 2e-3  # what float16 may change in the value of a unit vector


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prompt_bank, "SHARD", SHARD)


@pytest.fixture(params=["in memory", "on disk"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "on disk":
        monkeypatch.setattr(prompt_bank, "HELD", 0)
    return request.param


@pytest.fixture(scope="module")
def clip() -> ClipSpace:
    return tiny_clip(context_length=32)


def plainly(clip: ClipSpace, inverse: bool = False) -> Tensor:
    """(C, R, d): every text as a string."""
    return torch.stack([clip.encode_texts_once([WORDS.pair_text(c, r, inverse) for r in range(R)]) for c in range(C)])


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


# -- what is in it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inverse", [False, True])
def test_a_bank_holds_what_plain_encoding_gives(clip: ClipSpace, where: str, inverse: bool) -> None:
    bank = build_bank(clip, WORDS, inverse=inverse)
    assert (bank.held is None) == (where == "on disk")
    expected = plainly(clip, inverse)
    torch.testing.assert_close(bank.dense(), expected, atol=HALF, rtol=0)
    torch.testing.assert_close(bank.rationales, clip.encode_texts_once(WORDS.rationale_texts()), atol=1e-5, rtol=0)
    torch.testing.assert_close(bank.categories, clip.encode_texts_once(WORDS.category_texts()), atol=1e-5, rtol=0)
    assert (bank.dimension, bank.inverse, bank.words) == (D, inverse, WORDS)
    assert len(bank.shards) == 4


@pytest.mark.parametrize("columns", [1, R, 2 * R + 1, 4 * R, 10_000])
def test_blocks_are_the_bank_in_order(clip: ClipSpace, where: str, columns: int) -> None:
    bank = build_bank(clip, WORDS)
    blocks = list(bank.blocks(columns))
    assert [first for first, _ in blocks] == list(range(0, C, max(1, columns // R)))
    assert all(block.shape[1] * block.shape[0] <= max(R, columns) for _, block in blocks)
    assert torch.equal(torch.cat([block for _, block in blocks]).float(), bank.dense())
    assert blocks[0][1].dtype == torch.float16


def test_pairs_are_gathered(clip: ClipSpace, where: str) -> None:
    bank = build_bank(clip, WORDS)
    categories, rationales = torch.randint(C, (40,)), torch.randint(R, (40,))
    found = bank.pairs(categories, rationales)
    assert found.dtype == torch.float32
    assert torch.equal(found, bank.dense()[categories, rationales])
    assert bank.pairs(categories[:0], rationales[:0]).shape == (0, D)


def test_a_bank_of_vectors() -> None:
    given = torch.randn(R, D), torch.randn(C, D), torch.randn(C, R, D)
    bank = bank_of(WORDS, *given)
    torch.testing.assert_close(bank.dense(), given[2] / given[2].norm(dim=-1, keepdim=True))
    torch.testing.assert_close(bank.rationales, given[0] / given[0].norm(dim=-1, keepdim=True))


# -- on disk ----------------------------------------------------------------------------------------------------------


def test_a_bank_that_is_there_is_not_encoded_again(clip: ClipSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build_bank(clip, WORDS)
    assert before.shards[0].path.parent == prompt_bank.cache_directory() / "banks" / before.key
    monkeypatch.setattr(prompt_bank, "pair_encoder", None)
    for verify in (False, True):
        assert torch.equal(build_bank(clip, replace(WORDS, lists=((),) * C), verify=verify).dense(), before.dense())


def test_the_key_is_of_all_that_matters(clip: ClipSpace) -> None:
    other = clip.tokenizer
    changed = [
        bank_key(clip, WORDS),
        bank_key(clip, WORDS, inverse=True),
        bank_key(clip, WORDS, dtype=torch.bfloat16),
        bank_key(replace(clip, key="clip:other"), WORDS),
        bank_key(replace(clip, tokenizer=lambda texts: other([text.replace("'", "") for text in texts])), WORDS),
        bank_key(clip, replace(WORDS, categories=CATEGORIES[::-1])),
        bank_key(clip, replace(WORDS, rationales=RATIONALES[::-1])),
        bank_key(clip, replace(WORDS, templates=Templates(pair="a {c} with {r}"))),
    ]
    assert len(set(changed)) == len(changed)
    assert changed[0] == bank_key(clip, replace(WORDS, lists=((3,),) * C))


@pytest.mark.parametrize("left", [0, 1, 3])
@pytest.mark.parametrize("inverse", [False, True])
def test_a_bank_goes_on_where_it_was(
    clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, inverse: bool
) -> None:
    whole = build_bank(clip, WORDS, inverse=inverse, directory=tmp_path / "whole")
    write, written = prompt_bank.write_shard, list[int]()

    def stopped(folder: Path, first: int, vectors: Tensor) -> None:
        if len(written) == left:
            raise KeyboardInterrupt
        written.append(first)
        write(folder, first, vectors)

    monkeypatch.setattr(prompt_bank, "write_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        build_bank(clip, WORDS, inverse=inverse, directory=tmp_path / "stopped")
    assert len(shards(tmp_path / "stopped")) == left
    assert not list((tmp_path / "stopped").glob("*.part"))
    monkeypatch.setattr(prompt_bank, "write_shard", write)
    again = build_bank(clip, WORDS, inverse=inverse, directory=tmp_path / "stopped")
    assert shards(tmp_path / "stopped") == shards(tmp_path / "whole")
    assert torch.equal(again.dense(), whole.dense())


KILLED = """
import os, signal, sys
from pathlib import Path
from saywhy.spaces.pairs import on_disk as prompt_bank
from tests.spaces.pairs.test_on_disk import SHARD, WORDS, tiny_clip

folder, save = Path(sys.argv[1]), prompt_bank.np.save

def killed(file, values):
    if len(list(folder.glob("*.npy"))) == 2:
        file.write(b"half of it")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(file, values)

prompt_bank.SHARD = SHARD
prompt_bank.np.save = killed
prompt_bank.build_bank(tiny_clip(context_length=32), WORDS, directory=folder)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_without_mercy(clip: ClipSpace, tmp_path: Path) -> None:
    paths = [str(Path(prompt_bank.__file__).parents[3]), str(Path(__file__).parents[3])]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
    assert subprocess.run(command, env=os.environ | environment, timeout=300).returncode == -9
    assert len(shards(tmp_path / "killed")) == 2
    assert len(list((tmp_path / "killed").glob("*.part"))) == 1
    for folder in ("killed", "whole"):
        build_bank(clip, WORDS, directory=tmp_path / folder)
    assert len(shards(tmp_path / "whole")) == 4
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")


def test_unfinished_files_are_cleared_once_nobody_writes_them(clip: ClipSpace, tmp_path: Path) -> None:
    old, new = tmp_path / "000000-00000000.npy.1.part", tmp_path / "000003-00000000.npy.2.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    build_bank(clip, WORDS, directory=tmp_path)
    assert not old.exists()
    assert new.exists()


def test_another_process_may_be_quicker(clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While we encode our second shard, another process makes all that is missing."""
    write, written = prompt_bank.write_shard, list[int]()

    def overtaken(folder: Path, first: int, vectors: Tensor) -> None:
        written.append(first)
        if len(written) == 2:
            build_bank(clip, WORDS, directory=tmp_path)
        write(folder, first, vectors)

    monkeypatch.setattr(prompt_bank, "write_shard", overtaken)
    build_bank(clip, WORDS, directory=tmp_path)
    assert written == [0, 3, 3, 6, 9]
    assert len(shards(tmp_path)) == 4


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def lengthened(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_bytes(b"no array at all, but as long as one might be")


def of_another_shape(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((2, R, D), np.float16))


def of_another_type(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((3, R, D), np.float32))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, lengthened, emptied, foreign, of_another_shape, of_another_type, flipped])
@pytest.mark.parametrize("noticed", ["opened", "verified", "resumed"])
def test_only_a_damaged_shard_is_encoded_again(
    clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, noticed: str
) -> None:
    before = build_bank(clip, WORDS, directory=tmp_path)
    whole = shards(tmp_path)
    damage(before.shards[1].path)
    if damage is flipped and noticed == "opened":  # only the checksum can tell: of a bank that is not read as a whole
        with monkeypatch.context() as large:
            large.setattr(prompt_bank, "HELD", 0)
            build_bank(clip, WORDS, directory=tmp_path)
        assert shards(tmp_path) != whole
    if noticed == "resumed":
        before.shards[3].path.unlink()
    write, encoded = prompt_bank.write_shard, list[int]()
    monkeypatch.setattr(prompt_bank, "write_shard", lambda *args: (encoded.append(args[1]), write(*args)))
    with pytest.warns(BankWarning, match=rf"{before.shards[1].path.name}: .*; its 18 texts are encoded again") as said:
        again = build_bank(clip, WORDS, directory=tmp_path, verify=noticed == "verified")
    assert len(said) == 1
    assert encoded == ([3, 9] if noticed == "resumed" else [3])
    assert shards(tmp_path) == whole
    assert torch.equal(again.dense(), before.dense())


def test_a_header_that_is_no_python_is_damage(tmp_path: Path) -> None:
    """NumPy raises the tokenizer's error for some of them."""
    path = tmp_path / "000000-00000000.npy"
    np.save(path, np.ones((1, 2, 3), np.float16))
    whole = bytearray(path.read_bytes())
    whole[20:24] = b"((((("[:4]
    path.write_bytes(whole)
    with pytest.raises(TokenError):
        np.load(path)
    with pytest.raises(SaywhyError, match="build the bank again"):
        prompt_bank.Shard(path, 0, 1).read()


def test_a_shard_that_vanishes_is_named(clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_bank, "HELD", 0)
    bank = build_bank(clip, WORDS, directory=tmp_path)
    bank.shards[2].path.unlink()
    with pytest.raises(SaywhyError, match=r"000006-.*: cannot be read .*; build the bank again"):
        bank.dense()


# -- what is said -----------------------------------------------------------------------------------------------------


def test_the_estimate_is_of_texts_bytes_and_time(clip: ClipSpace) -> None:
    found = estimate(clip, WORDS)
    assert (found.texts, found.bytes) == (C * R, 2 * C * R * D)
    assert found.seconds > 0
    assert str(replace(found, texts=4_229_000, bytes=4_330_496_000, seconds=13_000.0)) == (
        "4,229,000 texts, 4.3 GB, about 3.6 hours"
    )
    assert str(replace(found, seconds=0.01)) == "66 texts, 1.6 kB, about 1 s"
    assert str(replace(found, bytes=20_000, seconds=600)) == "66 texts, 20 kB, about 10 minutes"


def test_what_takes_long_is_announced(
    clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_bank(clip, WORDS, directory=tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(PairEncoder, "seconds", lambda encoder: 6000.0)
    for path in sorted(tmp_path.glob("*.npy"))[1:]:
        path.unlink()
    build_bank(clip, WORDS, directory=tmp_path)
    said = capsys.readouterr()
    assert "prompt bank: 48 texts, 1.2 kB, about 73 minutes (1 of 4 shards are there)" in said.err
    assert said.out == ""


def test_texts_that_are_cut_are_counted(tmp_path: Path) -> None:
    short = tiny_clip(context_length=15)
    texts = [WORDS.pair_text(c, r) for c in range(C) for r in range(R)]
    count = sum(len(short.tokenizer.encode(text)) + 2 > 15 for text in texts)  # type: ignore[attr-defined]
    assert 0 < count < C * R
    with pytest.warns(BankWarning, match=f"{count} of 66 texts are longer than the 15 tokens that a tiny CLIP reads"):
        bank = build_bank(short, WORDS, directory=tmp_path)
    torch.testing.assert_close(bank.dense(), plainly(short), atol=HALF, rtol=0)


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_the_folder_of_another_bank_is_refused(clip: ClipSpace, tmp_path: Path) -> None:
    build_bank(clip, WORDS, directory=tmp_path)
    before = shards(tmp_path)
    with pytest.raises(SaywhyError, match="contains the bank of other words"):
        build_bank(clip, WORDS, inverse=True, directory=tmp_path)
    assert shards(tmp_path) == before
    for content in ("", "[]", "{}", json.dumps({"key": None})):
        (tmp_path / "bank.json").write_text(content)
        with pytest.raises(SaywhyError, match="name another folder, or remove it"):
            build_bank(clip, WORDS, directory=tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(clip: ClipSpace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaywhyError, match=r"cannot be kept there .*; set SAYWHY_CACHE"):
        build_bank(clip, WORDS, directory=tmp_path / "file")


def test_a_disk_that_is_too_small_is_noticed_before(
    clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1500))
    with pytest.raises(SaywhyError, match=r"needs 1.6 kB, and 1.5 kB are free"):
        build_bank(clip, WORDS, directory=tmp_path)
    assert not shards(tmp_path)


def test_no_words_no_bank(clip: ClipSpace) -> None:
    for make in (build_bank, estimate):
        with pytest.raises(SaywhyError, match="there are 0 and 0"):
            make(clip, RationaleWords((), (), ()))


def test_a_bank_is_of_unit_vectors(clip: ClipSpace) -> None:
    bank: PromptBank = build_bank(clip, WORDS)
    for vectors in (bank.dense(), bank.rationales, bank.categories):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]), atol=HALF, rtol=0)
