"""Guided search: the optimum is right, the search finds it, and nothing is written that may not be."""

from __future__ import annotations

import math

import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.questions.sentences import guided as sentence_guided
from saywhy.questions.sentences.guided import guided_drafts
from saywhy.questions.sentences.language_model import LanguageModel
from saywhy.questions.sentences.scoring import Scorer, edited, target
from tests.writers import WordSpace, vectors, word_tokenizer, writer

SMALL = {"prompts": ["a bird"], "beams": 3, "candidates": 8, "read": 4, "longest": 9, "shortest": 4}
WORDS = ("a", "bird", "with", "red", "blue", "wings", "and", "sand", ".")


@pytest.mark.parametrize("fluency", [0.0, 0.8, 5.0])
def test_the_optimum_of_a_step_is_a_mixture(fluency: float) -> None:
    """What sentence_prefix descends, min over q of CE(t, q) + f CE(p, q), descended to the end."""
    t, p = torch.randn(2, 12).mul(2).softmax(1)
    free = torch.zeros(12, requires_grad=True)
    optimiser = torch.optim.LBFGS([free], max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logs = free.log_softmax(0)
        value = -(t * logs).sum() - fluency * (p * logs).sum()
        value.backward()
        return value

    optimiser.step(loss)
    torch.testing.assert_close(free.detach().softmax(0), (t + fluency * p) / (1 + fluency), rtol=1e-2, atol=1e-4)


def sum_of_logs(model: LanguageModel, scorer: Scorer, text: str, prompt: str, **settings: int) -> float:
    """log q of a draft, a token after the other, by the definition alone; every candidate read."""
    ids = model.tokens(prompt)
    rest = [model.strings.index(f" {word}") for word in text.removeprefix(prompt).split()]
    begin, said, value = len(model.start), prompt, 0.0
    ends = len(ids) - begin + len(rest) < settings["longest"]
    for token in [*rest, *([model.stops[0]] if ends else [])]:
        logits = model.network(torch.tensor([ids])).logits[0, -1]
        p = edited(logits, ids[begin:], model.usable, model.stops, len(ids) - begin >= settings["shortest"]).softmax(0)
        able = torch.nonzero(p >= settings.get("floor", 0) * p.max())[:, 0]
        able = able[p[able] > 0]
        texts = [said if n in model.stops else said + model.strings[n] for n in able.tolist()]
        t = target(scorer(texts, [0] * len(texts)))
        q = (t + 0.8 * p[able]) / 1.8
        value += math.log(float(q[able.tolist().index(token)]))
        ids, said = [*ids, token], said if token in model.stops else said + model.strings[token]
    return value / (len(rest) + ends)


def values(model: LanguageModel, scorer: Scorer, **settings: object) -> list[tuple[float, str]]:
    """(log q a token, text) of the drafts of the first picture, best first."""
    given = {"fluency": 0.8, "floor": 0.0, "sharpness": 3.0, **settings}
    search = sentence_guided.GuidedSettings(**given)  # type: ignore[arg-type]
    [found] = sentence_guided._search(model, scorer, "a bird", search)
    return sorted(found, reverse=True)


def test_values_are_those_of_the_objective() -> None:
    model, scorer = writer(tokenizer=word_tokenizer(WORDS)), Scorer(WordSpace(), vectors(1))
    lengths = {"longest": 7, "shortest": 3}
    found = values(model, scorer, beams=4, candidates=20, read=20, **lengths)
    assert len(found) > 4
    for value, text in found[:6]:
        assert value == pytest.approx(sum_of_logs(model, scorer, text, "a bird", **lengths), abs=1e-4)
    floored = values(model, scorer, beams=4, candidates=20, read=20, floor=0.9, **lengths)
    for value, text in floored[:6]:
        assert value == pytest.approx(sum_of_logs(model, scorer, text, "a bird", floor=0.9, **lengths), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_many_beams_find_what_one_finds_or_better(seed: int) -> None:
    model = writer(tokenizer=word_tokenizer(WORDS[:-1], end=None))  # no end: all drafts are of one length
    scorer = Scorer(WordSpace(seed), vectors(1, seed))
    same = {"candidates": 8, "read": 8, "longest": 6, "shortest": 2}
    [greedy] = values(model, scorer, beams=1, **same)
    everything = values(model, scorer, beams=5000, **same)
    assert len(everything) > 500
    assert everything[0][0] >= greedy[0] - 1e-6
    assert greedy[1] in {text for _, text in everything}


def test_it_is_deterministic_and_a_batch_changes_nothing() -> None:
    model, pictures = writer(), vectors(4)
    together = guided_drafts(model, Scorer(WordSpace(), pictures), **SMALL)
    assert together == guided_drafts(model, Scorer(WordSpace(), pictures), **SMALL)
    alone = [guided_drafts(model, Scorer(WordSpace(), pictures[n : n + 1]), **SMALL)[0] for n in range(4)]
    assert together == alone
    assert len({drafts[0] for drafts in together}) > 1, "pictures make no difference"


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_drafts_are_of_usable_tokens_and_no_longer_than_allowed(kind: str) -> None:
    """Also with every token a candidate, however unlikely."""
    model = writer(kind, word_tokenizer((*WORDS, "42", "!", "?")))
    settings = SMALL | {"candidates": 999, "read": 999, "floor": 0.0, "prompts": ["a bird", "red"]}
    usable = {model.strings[n] for n in torch.nonzero(model.usable)[:, 0].tolist()}
    for drafts in guided_drafts(model, Scorer(WordSpace(), vectors(2)), **settings):
        assert {d.startswith("a bird") for d in drafts} == {True, False}
        for draft in drafts:
            words = [f" {word}" for word in draft.split()]
            assert set(words) <= usable
            assert 4 <= len(words) <= 9
            threes = [*zip(words, words[1:], words[2:], strict=False)]
            assert len(set(threes)) == len(threes)


def test_without_an_end_drafts_have_the_longest_length() -> None:
    model = writer(tokenizer=word_tokenizer(WORDS[:-1], end=None))
    [drafts] = guided_drafts(model, Scorer(WordSpace(), vectors(1)), **SMALL)
    assert len(drafts) == SMALL["beams"]
    assert {len(draft.split()) for draft in drafts} == {9}


def test_the_end_of_a_text_is_not_read() -> None:
    model, space = writer(tokenizer=word_tokenizer(WORDS[:-1])), WordSpace()
    read: list[str] = []
    encode = space.encode_texts
    space.encode_texts = lambda texts: (read.extend(texts), encode(texts))[1]  # type: ignore[method-assign]
    [drafts] = guided_drafts(model, Scorer(space, vectors(1)), **SMALL | {"floor": 0.0})
    assert any(len(draft.split()) < 9 for draft in drafts)
    assert not [text for text in read if "<" in text]


def test_what_is_far_less_likely_than_the_likeliest_is_not_considered() -> None:
    """With a floor of one only the language model's own choice is left, whatever the picture."""
    model = writer()
    drafts = guided_drafts(model, Scorer(WordSpace(), vectors(3)), **SMALL | {"floor": 1.0})
    assert len({tuple(some) for some in drafts}) == 1
    ids, begin = model.tokens("a bird"), len(model.start)
    while len(ids) - begin < 9:
        logits = model.network(torch.tensor([ids])).logits[0, -1]
        token = int(edited(logits, ids[begin:], model.usable, model.stops, len(ids) - begin >= 4).argmax())
        if token in model.stops:
            break
        ids.append(token)
    assert drafts[0] == ["a bird" + "".join(model.strings[n] for n in ids[len(model.tokens("a bird")) :])]


def test_without_fluency_drafts_fit_better() -> None:
    model, space, pictures = writer(tokenizer=word_tokenizer(WORDS)), WordSpace(), vectors(12)
    means = []
    for fluency in (0.0, 50.0):
        scorer = Scorer(space, pictures)
        settings = SMALL | {"fluency": fluency, "floor": 0.0, "candidates": 20, "read": 20}
        drafts = guided_drafts(model, scorer, **settings)
        means.append(float(scorer([some[0] for some in drafts], range(12)).mean()))
    assert means[0] > means[1] + 0.05


def test_a_prompt_as_long_as_a_sentence_is_refused() -> None:
    with pytest.raises(SaywhyError, match="tokens of tiny gpt2, and a sentence has at most 2"):
        guided_drafts(writer(), Scorer(WordSpace(), vectors(1)), prompts=["a bird with red wings"], longest=2)
