"""The sentence encoder that ships with the package's dependencies."""

from __future__ import annotations

import torch

from saywhy.spaces.text_encoder import load_encoder


def test_the_sentence_encoder_needs_no_hub_and_knows_some_english() -> None:
    vectors = load_encoder().encode(["a red bird", "a crimson bird", "an income tax form"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
