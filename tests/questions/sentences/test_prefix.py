"""Prefix tuning: the prefix learns, the language model does not, and a seed says everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.questions.sentences import prefix as sentence_prefix
from saywhy.questions.sentences.prefix import PREFIX, _next_logits, _random_prefix, prefix_drafts
from saywhy.questions.sentences.scoring import Scorer
from tests.writers import WordSpace, vectors, word_tokenizer, writer

SMALL: dict[str, Any] = {"candidates": 8, "sentences": 3, "longest": 9, "shortest": 4, "prompts": ["a bird"]}
WORDS = ("a", "bird", "with", "red", "blue", "wings", "and", "sand", ".")
KINDS = pytest.mark.parametrize("kind", ["gpt2", "llama"])


def drafts(model: Any, **settings: Any) -> list[str]:
    return prefix_drafts(model, Scorer(WordSpace(), vectors(2)), 1, **SMALL | settings)


@KINDS
def test_it_writes_as_many_sentences_as_asked_and_none_too_long(kind: str) -> None:
    model = writer(kind, word_tokenizer((*WORDS, "42", "!")))
    texts = drafts(model, sentences=4, prompts=["a bird", "red"])
    assert len(texts) == 4
    usable = {model.strings[n] for n in torch.nonzero(model.usable)[:, 0].tolist()}
    for text in texts:
        words = [f" {word}" for word in text.split()]
        assert text.startswith(("a bird", "red"))
        assert 4 <= len(words) <= 9
        assert set(words) <= usable


def test_without_an_end_sentences_have_the_longest_length() -> None:
    model = writer(tokenizer=word_tokenizer(WORDS[:-1], end=None))
    assert {len(text.split()) for text in drafts(model)} == {9}


@KINDS
def test_a_seed_says_everything(kind: str) -> None:
    model = writer(kind)
    first = drafts(model, prompts=None, longest=16, seed=1)
    torch.rand(7)  # whatever the global state
    assert drafts(model, prompts=None, longest=16, seed=1) == first
    assert drafts(model, prompts=None, longest=16, seed=2) != first
    assert {text.startswith(model.prompts) for text in first} == {True}


@KINDS
def test_the_prefix_has_a_pair_for_every_block_as_spread_as_the_models_own(kind: str) -> None:
    model = writer(kind)
    prefix = _random_prefix(model, 0)
    assert len(prefix) == 2 * 2
    assert {tuple(part.shape) for part in prefix} == {(1, 2, PREFIX, 8)}
    cache = model.network(torch.tensor([model.tokens("a")])).past_key_values
    own = [part.std() for layer in cache.layers for part in (layer.keys, layer.values)]
    many = [torch.stack([_random_prefix(model, seed)[n] for seed in range(40)]).std() for n in range(4)]
    torch.testing.assert_close(torch.stack(many).detach(), torch.stack(own), rtol=0.15, atol=0)


@KINDS
def test_every_token_sees_the_whole_prefix(kind: str) -> None:
    model = writer(kind)
    prefix, ids = _random_prefix(model, 0), model.tokens("a bird with")
    _next_logits(model, ids, prefix).pow(2).sum().backward()
    for part in prefix:
        assert part.grad is not None
        assert (part.grad.abs().sum((0, 1, 3)) > 0).all()
    with torch.no_grad():
        assert not torch.allclose(_next_logits(model, ids, prefix), _next_logits(model, ids, None))


@KINDS
def test_the_prefix_learns_and_the_language_model_does_not(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = writer(kind), list[tuple[list[Tensor], list[Tensor]]]()

    def spied(*given: Any) -> list[Tensor]:
        prefix = _random_prefix(*given)
        made.append((prefix, [part.detach().clone() for part in prefix]))
        return prefix

    monkeypatch.setattr(sentence_prefix, "_random_prefix", spied)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    drafts(model)
    [(prefix, at_first)] = made
    assert all(not torch.equal(now, then) for now, then in zip(prefix, at_first, strict=True))
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None for p in model.network.parameters())


def test_it_learns_although_the_caller_wants_no_gradients() -> None:
    model = writer()
    with torch.no_grad():
        quiet = drafts(model)
    assert quiet == drafts(model)


class Likes(WordSpace):
    """Texts are near the picture the more of their words are "sand"."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        share = torch.tensor([text.split().count("sand") / len(text.split()) for text in texts]) * 1.5
        return torch.stack([share.cos() * 0 + share.sin(), share.cos()], 1)


def test_steps_make_what_fits_likelier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fluency, the token that the picture wants gains probability from the first sentence to the last."""
    model, prefixes = writer(tokenizer=word_tokenizer(WORDS)), list[list[Tensor]]()
    monkeypatch.setattr(
        sentence_prefix, "_random_prefix", lambda *given: prefixes.append(_random_prefix(*given)) or prefixes[-1]
    )
    scorer = Scorer(Likes(), torch.tensor([[1.0, 0.0]]))
    ids, sand = model.tokens("a bird"), model.strings.index(" sand")
    with torch.no_grad():
        before = _next_logits(model, ids, _random_prefix(model, 0)).softmax(0)[sand]
        prefix_drafts(model, scorer, 0, **SMALL | {"sentences": 12, "fluency": 0.0, "candidates": 20})
        after = _next_logits(model, ids, prefixes[0]).softmax(0)[sand]
    assert after > 1.1 * before


def test_it_reads_the_candidates_once_a_token() -> None:
    space = WordSpace()
    prefix_drafts(writer(), Scorer(space, vectors(1)), 0, **SMALL)
    assert max(space.calls) <= 8
    assert len(space.calls) <= 3 * (9 - 2)


def test_a_prompt_as_long_as_a_sentence_is_refused() -> None:
    with pytest.raises(SaywhyError, match="and a sentence has at most 2"):
        drafts(writer(), prompts=["a bird with red wings"], longest=2)
