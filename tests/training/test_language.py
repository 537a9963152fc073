"""One's own sentences in, a model that transformers loads out; a resumed run is the run that was not stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saywhy.errors import SaywhyError
from saywhy.training import language as language_training
from saywhy.training.language import END, LanguageSettings, padded, read_sentences, tidy, token_rows, train_language
from saywhy.worlds.sentences import sentences
from tests.cli.test_app import refused, saywhy

SMALL = LanguageSettings(epochs=3, layers=1, width=16, vocabulary=300, batch_size=16, rate=5e-3)
TEXTS = sentences(300, 0)


def test_it_learns_and_transformers_loads_it(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    measured = train_language(TEXTS, tmp_path, SMALL)
    report = json.loads((tmp_path / "training.json").read_text())
    perplexities = [row["perplexity"] for row in report["history"]]
    assert perplexities == sorted(perplexities, reverse=True)
    assert measured == {"perplexity per token, held-out sentences": perplexities[-1], "epoch": 3}
    distinct = len(set(TEXTS))
    assert (report["sentences"], report["held out"]) == (distinct - round(distinct / 20), round(distinct / 20))

    network, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}
    assert network.config.model_type == "gpt2"
    assert network.generation_config.eos_token_id == network.generation_config.bos_token_id == 0
    assert len(tokenizer) == 300
    assert tokenizer.decode(token_rows(tokenizer, ["A bird."])[0]) == f"{END}A bird.{END}"
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in tmp_path.iterdir() if path.suffix != ".pt")


def test_resuming_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    uninterrupted = train_language(TEXTS, whole, SMALL)
    loss, steps = language_training.next_token_loss, 0

    def stop_in_the_second_epoch(network: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 30:
            raise KeyboardInterrupt
        return loss(network, rows)

    monkeypatch.setattr(language_training, "next_token_loss", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train_language(TEXTS, parts, SMALL)
    monkeypatch.undo()
    assert torch.load(parts / "training.pt", weights_only=True)["done"]["epoch"] == 0
    assert train_language(TEXTS, parts, SMALL, resume=True) == uninterrupted
    for name in ("model.safetensors", "tokenizer.json", "config.json", "training.json"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert train_language(TEXTS, parts, SMALL, resume=True) == uninterrupted  # nothing was left to do
    with pytest.raises(SaywhyError, match=r"other settings \(width\)"):
        train_language(TEXTS, parts, replace(SMALL, width=32), resume=True)
    with pytest.raises(SaywhyError, match="other sentences"):
        train_language(sentences(300, 1), parts, SMALL, resume=True)


def test_the_best_epoch_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([30.0, 20.0, 25.0])
    monkeypatch.setattr(language_training, "perplexity", lambda network, rows: next(measured))
    kept = []
    monkeypatch.setattr(language_training, "write_language", lambda *_: kept.append(1))
    assert train_language(TEXTS, tmp_path, SMALL) == {"perplexity per token, held-out sentences": 20.0, "epoch": 2}
    assert len(kept) == 2


def test_batches_hold_every_row_once_and_little_padding() -> None:
    lengths = torch.randint(3, 40, (101,)).tolist()
    rows = [torch.full((length,), n) for n, length in enumerate(lengths)]
    batches = list(language_training._by_length(rows, 10))
    assert sorted(int(row[0]) for batch in batches for row in batch) == list(range(101))
    assert sum(padded(batch).numel() for batch in batches) < 1.15 * sum(lengths)


def test_perplexity_is_the_same_however_rows_are_batched() -> None:
    network = language_training.gpt2(50, width=8, layers=1, heads=2)
    rows = [torch.randint(1, 50, (length,)) for length in (3, 9, 4, 12, 7)]
    one, all_at_once = (language_training.perplexity(network, rows, batch) for batch in (1, 5))
    assert one == pytest.approx(all_at_once, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("a bird", "a bird."),
        ("  A  bird\ton\u00a0a branch .\r", "A bird on a branch."),
        ("a bird,", "a bird."),
        ("Is it a bird?", "Is it a bird?"),
        ('It says "stop."', 'It says "stop."'),
        ("\n", ""),
    ],
)
def test_sentences_are_tidied(text: str, tidied: str) -> None:
    assert tidy(text) == tidied


def test_both_kinds_of_file(tmp_path: Path) -> None:
    lines, listed = tmp_path / "texts.txt", tmp_path / "texts.json"
    lines.write_text("\ufeffein Vogel\r\nzwei Vögel.\n", encoding="utf-8")
    listed.write_text(json.dumps(["ein Vogel", "zwei Vögel."]))
    assert read_sentences(lines) == read_sentences(listed) == ["ein Vogel", "zwei Vögel."]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.txt", None, "no such file"),
        ("empty.txt", b" \n\n", "empty"),
        ("few.txt", b"A bird.\n" * 150 + b"Two birds.", "only 2 different sentences; at least 100"),
        ("latin.txt", "ein Vögelein".encode("latin-1"), "UTF-8"),
        ("broken.json", b'["a bird"', "not JSON"),
        ("wrong.json", b'{"texts": ["a bird"]}', "should be a list of strings"),
        ("mixed.json", b'["a bird", 1]', "should be a list of strings"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SaywhyError, match=words) as caught:
        train_language(tmp_path / name, tmp_path / "out", SMALL)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="only 3 different"):
        train_language(TEXTS[:3], tmp_path, SMALL)
    with pytest.raises(SaywhyError, match="--width 18 is not a multiple of 4"):
        train_language(TEXTS, tmp_path, replace(SMALL, width=18))
    with pytest.raises(SaywhyError, match="no run here to resume"):
        train_language(TEXTS, tmp_path, SMALL, resume=True)
    for damage in (b"", b"no checkpoint", b"\x80\x02}q\x00."):
        (tmp_path / "training.pt").write_bytes(damage)
        with pytest.raises(SaywhyError, match="damaged, or not a checkpoint of saywhy"):
            train_language(TEXTS, tmp_path, SMALL, resume=True)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "model"
    texts.write_text("\n".join(TEXTS))
    command = ["train", "language", "--texts", texts, "--out", out]
    command += ["--epochs", 2, "--layers", 1, "--width", 16, "--vocabulary", 300]
    save = language_training._save

    def save_and_stop(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(language_training, "_save", save_and_stop)
    stopped = saywhy(*command)
    assert stopped.returncode == 130
    assert "continue with the same command and --resume" in stopped.stderr
    monkeypatch.undo()
    result = saywhy(*command, "--resume")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["epoch"] == 2
    assert (out / "model.safetensors").exists()
    refused(saywhy("train", "language", "--texts", tmp_path / "none.txt", "--out", out), "no such file")
    refused(saywhy(*command, "--vocabulary", 9), "257")
