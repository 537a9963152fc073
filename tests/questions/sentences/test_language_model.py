"""What a writer must know of a language model's tokens, for several kinds of tokenizers; and models that are none."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from saywhy.bench.pack import find_pack
from saywhy.errors import SaywhyError
from saywhy.plumbing import hub
from saywhy.questions.sentences.language_model import (
    PROMPTS,
    WORLD_PROMPTS,
    LanguageModel,
    language_model,
    load_language_model,
)
from saywhy.training.language import END, byte_pair_tokenizer
from tests.writers import TEXTS, tiny_gpt2, word_tokenizer, writer

WORDS = ("a", "bird", "with", "red", "wings", "42")


@pytest.fixture(scope="module")
def stories() -> LanguageModel:
    try:
        folder = find_pack() / "lm-stories260k"
    except SaywhyError as error:
        pytest.skip(str(error))
    if not folder.is_dir():
        pytest.skip(f"needs the language model of {folder}")
    return load_language_model(str(folder))


def said(model: LanguageModel, prompt: str, ids: list[int]) -> str:
    """The whole as the tokenizer reads it, with the prompt's tokens before it."""
    tokens = [*model.tokens(prompt)[len(model.start) :], *ids]
    return model.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


def check_strings(model: LanguageModel, prompt: str) -> None:
    """A text is its prompt and the strings of its tokens joined, whatever the tokenizer does with spaces."""
    places = torch.nonzero(model.usable)[:, 0].tolist()
    assert places
    assert len(model.strings) == len(model.usable) == model.network.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        ids = [places[n] for n in torch.randint(len(places), (9,), generator=generator).tolist()]
        assert said(model, prompt, ids) == prompt + "".join(model.strings[n] for n in ids)
    for n in places:
        assert model.strings[n].strip(), "a token that may be written is something to read"
        assert model.strings[n].lstrip(" ").replace("'", "").isascii()
        assert not any(c.isdigit() or c in '.!?"<>' for c in model.strings[n])
    for n in model.tokenizer.all_special_ids:
        assert model.strings[n] == ""
        assert not model.usable[n]
    assert not model.usable[list(model.stops)].any()


def test_a_byte_level_tokenizer() -> None:
    model = writer(tokenizer=byte_pair_tokenizer(TEXTS * 20, 300))
    check_strings(model, "Image of")
    assert [model.strings[n] for n in model.stops] == ["."]
    assert model.start == (0,)
    assert model.tokens("red") == [0, *model.tokenizer("red")["input_ids"]]
    tokens = {string: bool(usable) for string, usable in zip(model.strings, model.usable, strict=True)}
    assert tokens[" b"]
    assert tokens[","]
    assert not tokens["!"]
    assert not tokens["7"]


def test_the_worlds_own() -> None:
    model = load_language_model("world:aviary")
    assert load_language_model("world:aviary") is model
    check_strings(model, "a bird with")
    assert model.prompts == WORLD_PROMPTS
    assert not any(p.requires_grad for p in model.network.parameters())
    assert not model.network.training


def test_a_tokenizer_like_sentencepiece(stories: LanguageModel) -> None:
    """Its first token loses its space; a full stop is both a byte and a piece."""
    check_strings(stories, "Once upon")
    assert {stories.strings[n] for n in stories.stops} == {"."}
    assert len(stories.stops) == 2
    assert stories.start == (1,)
    assert stories.prompts == PROMPTS
    assert any(string.startswith(" ") for string in stories.strings)


def test_without_a_full_stop_the_end_of_a_text_ends_a_sentence() -> None:
    model = writer(tokenizer=word_tokenizer(WORDS))
    check_strings(model, "a bird")
    assert model.stops == (0,)
    assert model.strings[2:] == (" a", " bird", " with", " red", " wings", " 42")
    assert model.usable.tolist() == [False, False, True, True, True, True, True, False]


def test_without_either_there_are_no_stops_and_no_start() -> None:
    model = writer(tokenizer=word_tokenizer(WORDS, end=None))
    assert (model.stops, model.start) == ((), ())
    assert len(model.tokens("a bird")) == 2
    with pytest.raises(SaywhyError, match="no start token"):
        model.begin("", 9)


def test_a_prompt_leaves_room_for_a_sentence() -> None:
    model = writer(tokenizer=word_tokenizer(WORDS))
    assert model.begin("a bird with", 4) == model.tokens("a bird with")
    with pytest.raises(SaywhyError, match="'a bird with' is 3 tokens of tiny gpt2, and a sentence has at most 3"):
        model.begin("a bird with", 3)
    assert model.begin("", 1) == list(model.start)


def test_a_sentence_needs_positions_for_its_full_stop_too_and_for_a_prefix() -> None:
    model = writer(tokenizer=word_tokenizer(WORDS), longest=12)
    assert model.begin("a bird", 10) == model.begin("a bird", 5, before=7) == model.tokens("a bird")
    with pytest.raises(SaywhyError, match="a sentence of up to 11 tokens takes 13 positions, and tiny gpt2 has 12;"):
        model.begin("a bird", 11)
    with pytest.raises(SaywhyError, match="up to 6 tokens takes 13 positions"):
        model.begin("a bird", 6, before=7)


@pytest.mark.parametrize("said", [None, -1])
def test_a_network_that_states_no_positions_has_no_end_of_them(said: int | None) -> None:
    model = writer()
    model.network.config.max_position_embeddings = said
    assert model.begin("a bird", 1000) == model.tokens("a bird")


def test_words_that_must_not_be_said_are_not_written() -> None:
    model = writer(tokenizer=word_tokenizer(("a", "cunt", "bird")))
    assert model.usable.tolist() == [False, False, True, False, True]


def test_a_network_larger_than_its_tokenizer_is_as_good() -> None:
    tokenizer = word_tokenizer(WORDS)
    model = language_model(tiny_gpt2(tokenizer, tokens=20), tokenizer, "padded")
    assert len(model.strings) == len(model.usable) == 20
    assert not any(model.strings[len(tokenizer) :])
    assert not model.usable[len(tokenizer) :].any()


def test_a_tokenizer_larger_than_the_network_is_refused() -> None:
    tokenizer = word_tokenizer(WORDS)
    with pytest.raises(SaywhyError, match="the tokenizer has 8 tokens and the network 5"):
        language_model(tiny_gpt2(tokenizer, tokens=5), tokenizer, "small")


def test_a_tokenizer_that_leaves_numbers_out_is_refused() -> None:
    """It has fewer tokens than the network, and one of them lies beyond its last."""
    tokenizer = word_tokenizer(WORDS)
    tokens = tokenizer.get_vocab()
    tokenizer.get_vocab = lambda: tokens | {"far": 900}
    with pytest.raises(SaywhyError, match="counts its tokens up to 900, and the network has 20"):
        language_model(tiny_gpt2(tokenizer, tokens=20), tokenizer, "gaps")


def test_a_text_that_the_network_cannot_read_is_one_line() -> None:
    model = writer(longest=8)
    assert model.perplexities(["a bird"])[0] > 0
    with pytest.raises(SaywhyError, match="and it reads 8 at most; use a writer that reads more") as caught:
        model.perplexities(["a bird with red wings and blue wings and red wings."])
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_latin_letters_is_refused() -> None:
    tokenizer = word_tokenizer(("птица", "鳥", "7"))
    with pytest.raises(SaywhyError, match="none of its 5 tokens"):
        language_model(tiny_gpt2(tokenizer), tokenizer, "elsewhere")


def refused(source: str) -> str:
    with pytest.raises(SaywhyError) as caught:
        load_language_model(source)
    assert "\n" not in str(caught.value)
    assert repr(source) in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_no_language_model(tmp_path: Path) -> None:
    assert "does not load" in refused(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTForImageClassification"]}')
    assert "does not load" in refused(str(tmp_path))


def test_a_name_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    assert "cannot be loaded" in refused("nobody/nothing")
    assert time.monotonic() - start < 20
    with pytest.raises(SaywhyError, match="digits has no language"):
        load_language_model("world:digits")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_perplexities_are_of_the_tokens_after_the_beginning(kind: str) -> None:
    model: Any = writer(kind)
    texts = ["a bird with red wings.", "blue", ""]
    *found, nothing = model.perplexities(texts)
    assert math.isnan(nothing)
    for text, perplexity in zip(texts, found, strict=False):
        ids = model.tokens(text)
        logs = [
            float(model.network(torch.tensor([ids[:n]])).logits[0, -1].log_softmax(0)[ids[n]])
            for n in range(1, len(ids))
        ]
        assert perplexity == pytest.approx(math.exp(-sum(logs) / len(logs)), rel=1e-4)
    assert model.tokens("")[0] == model.tokenizer.convert_tokens_to_ids(END)
    assert model.perplexities([]) == []
