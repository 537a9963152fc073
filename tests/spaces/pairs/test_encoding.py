"""Shared prefixes, cut texts and composed tokens against what CLIP makes of whole strings."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import saywhy
from saywhy.errors import SaywhyError
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.pairs import encoding as bank_encoding
from saywhy.spaces.pairs.causal_tower import causal_tower
from saywhy.spaces.pairs.composing import padded, pair_texts, tokenised
from saywhy.spaces.pairs.encoding import BankWarning, PairEncoder, pair_encoder
from saywhy.words.rationale_words import RationaleWords, Templates
from tests.text_towers import tiny_clip

CATEGORIES = (
    "owl",
    "kit fox",
    "4x4",
    "st. john's wort",
    "gar, garfish, garpike, billfish, lepisosteus osseus",
    "robin",
)
RATIONALES = (
    "a tail", "2 wheels", "wings", "a very long tail that is black & white at its end and bent", "café-au-lait fur",
    "short legs", "an owner's mark", "a tail that is longer than the body", "whiskers",
)  # fmt: skip


def words(categories: tuple[str, ...] = CATEGORIES, rationales: tuple[str, ...] = RATIONALES, **templates: str) -> Any:
    return RationaleWords(categories, rationales, ((),) * len(categories), templates=Templates(**templates))


def plainly(clip: ClipSpace, some: RationaleWords, inverse: bool = False) -> Tensor:
    """(C, R, d): every text as a string, as long as the context."""
    return torch.stack([
        clip.encode_texts_once([some.pair_text(c, r, inverse) for r in range(len(some.rationales))])
        for c in range(len(some.categories))
    ])  # fmt: skip


def whole(encoder: PairEncoder) -> Tensor:
    texts = encoder.texts
    return encoder.block(range(len(texts.tails if texts.rationale_first else texts.heads)), torch.float32)


@pytest.fixture(autouse=True)
def _no_warnings(recwarn: pytest.WarningsRecorder) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", BankWarning)
        yield


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    ("custom", "options"),
    [
        (False, {"context_length": 77}),
        (True, {"context_length": 77}),
        (False, {}),  # some texts are cut in the middle of their tail
        (True, {"context_length": 9}),  # some in the middle of their head
        (False, {"context_length": 9, "quick_gelu": True}),
        (True, {"ls_init_value": 0.5, "proj_type": "linear", "proj_bias": True}),
        (True, {"proj_type": "none"}),
        (False, {"layers": 1}),
    ],
)
def test_shared_prefixes_give_what_clip_gives(custom: bool, options: dict[str, Any], inverse: bool) -> None:
    clip, some = tiny_clip(custom, **options), words()
    encoder = pair_encoder(clip, some, inverse)
    assert encoder.tower is not None
    expected = plainly(clip, some, inverse)
    torch.testing.assert_close(whole(encoder), expected, atol=1e-5, rtol=0)
    if options.get("context_length") == 77:
        assert torch.pdist(expected.flatten(0, 1)).min() > 1e-3, "texts look the same, so nothing was tested"


@pytest.mark.parametrize("inverse", [False, True])
def test_the_aviary_s_clip(inverse: bool) -> None:
    clip, some = saywhy.load_clip("world:aviary/vit"), words()
    encoder = pair_encoder(clip, some, inverse)
    assert encoder.tower is not None
    assert encoder.texts.tokens is not None
    assert encoder.texts.tokens.too_long
    torch.testing.assert_close(whole(encoder), plainly(clip, some, inverse), atol=1e-4, rtol=0)


@pytest.mark.parametrize("budget", [1, 7, 30, 10_000])
@pytest.mark.parametrize("inverse", [False, True])
def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, budget: int, inverse: bool) -> None:
    clip, some = tiny_clip(), words()
    monkeypatch.setitem(bank_encoding.TOKENS, "cpu", budget)
    encoder = pair_encoder(clip, some, inverse)
    expected = plainly(clip, some, inverse)
    told: list[int] = []
    parts = [encoder.block(part, torch.float32, told.append) for part in (range(2), range(2, 3), range(3, 6))]
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=0)
    assert sum(told) == len(CATEGORIES) * len(RATIONALES)


def test_what_clip_makes_of_single_texts() -> None:
    clip = tiny_clip()
    some = [*words().rationale_texts(), *words().category_texts(), "", "word " * 50]
    torch.testing.assert_close(pair_encoder(clip, words()).alone(some), clip.encode_texts_once(some), atol=1e-5, rtol=0)


@pytest.mark.parametrize("context", [2, 3, 5, 12, 18, 25, 77])
@pytest.mark.parametrize("inverse", [False, True])
def test_composed_tokens_are_those_of_whole_texts(context: int, inverse: bool) -> None:
    tokenizer, some = tiny_clip(context_length=context).tokenizer, words()
    texts = tokenised(pair_texts(some, inverse), tokenizer)
    assert texts.tokens is not None
    strings = [head + tail for head in texts.heads for tail in texts.tails]
    said = {some.pair_text(c, r, inverse) for c in range(len(CATEGORIES)) for r in range(len(RATIONALES))}
    assert set(strings) == said
    ids = [texts.tokens.whole(h, t) for h in range(len(texts.heads)) for t in range(len(texts.tails))]
    assert torch.equal(padded(ids, context), tokenizer(strings))
    lengths = [len(tokenizer.encode(text)) + 2 for text in strings]  # type: ignore[attr-defined]
    assert texts.tokens.too_long == sum(length > context for length in lengths)


def test_an_estimate_is_a_time() -> None:
    for inverse in (False, True):
        assert pair_encoder(tiny_clip(), words(), inverse).seconds() > 0
    assert pair_encoder(tiny_clip(), words(("owl",), ("a tail",))).seconds() > 0


def test_half_precision_is_near() -> None:
    clip, some = tiny_clip(), words()
    near = whole(pair_encoder(clip, some, dtype=torch.bfloat16))
    assert (near * plainly(clip, some)).sum(-1).min() > 0.99


# -- the slow way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"no_causal_mask": True},
        {"no_causal_mask": True, "use_pad_mask": True},
        {"pool_type": "last"},
        {"pool_type": "eos", "eos_id": 49407},
        {"embed_cls": True},
        {"block_type": "custom", "qk_norm": True},
    ],
)
def test_other_towers_are_given_whole_texts(options: dict[str, Any]) -> None:
    if "use_pad_mask" in options:
        options = {"no_causal_mask": True, "pool_type": "first"}
    clip, some = tiny_clip(custom=True, **options), words()
    assert causal_tower(clip) is None
    with pytest.warns(BankWarning, match="its text tower is not a causal transformer"):
        encoder = pair_encoder(clip, some)
    torch.testing.assert_close(whole(encoder), plainly(clip, some), atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.alone(["an owl"]), clip.encode_texts_once(["an owl"]))


def test_a_tower_that_does_something_else_is_given_whole_texts() -> None:
    """What looks like open_clip's, but is not run like it."""
    clip, some = tiny_clip(), words()
    model = clip.text_tower.__self__  # type: ignore[attr-defined]
    model.transformer.resblocks[1].register_forward_hook(lambda module, given, output: 2 * output)
    with pytest.warns(BankWarning, match="every text is encoded by itself"):
        encoder = pair_encoder(clip, some)
    torch.testing.assert_close(whole(encoder), plainly(clip, some), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (words(pair="{c}:{r}"), "tokenizer"),  # a colon and a letter are two tokens, but two letters were one
        (words(pair="a {c}{r}"), "tokenizer"),
        (words(("owl", "an <end_of_text> of it")), "causal"),
    ],
)
def test_texts_that_cannot_be_composed_are_given_whole(given: RationaleWords, why: str) -> None:
    clip = tiny_clip()
    with pytest.warns(BankWarning, match=why):
        encoder = pair_encoder(clip, given)
    torch.testing.assert_close(whole(encoder), plainly(clip, given), atol=1e-6, rtol=0)


def test_other_tokenizers_are_given_whole_strings() -> None:
    clip = tiny_clip()
    other = replace(clip, tokenizer=lambda texts: clip.tokenizer([text.upper() for text in texts]))
    with pytest.warns(BankWarning, match="its tokenizer needs whole texts"):
        encoder = pair_encoder(other, words(), inverse=True)
    torch.testing.assert_close(whole(encoder), plainly(other, words(), inverse=True), atol=1e-6, rtol=0)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["a {c}", "{r}", "{c} {r} {r}", ""])
def test_a_template_has_both_names_once(template: str) -> None:
    with pytest.raises(SaywhyError, match=r"must contain \{c\} and \{r\} once each"):
        pair_texts(words(pair=template))


def test_no_words_no_texts() -> None:
    with pytest.raises(SaywhyError, match="there are 0 and 9"):
        pair_texts(words(()))
    with pytest.raises(SaywhyError, match="there are 6 and 0"):
        pair_texts(words(rationales=()))


def test_weights_that_are_no_numbers_are_refused() -> None:
    clip = tiny_clip()
    encoder = pair_encoder(clip, words())
    clip.text_tower.__self__.ln_final.weight.fill_(torch.nan)  # type: ignore[attr-defined]
    with pytest.raises(SaywhyError, match="a tiny CLIP: its text tower gives values that are not numbers"):
        whole(encoder)
    with pytest.raises(SaywhyError, match="not numbers"):
        encoder.alone(["an owl"])
