"""A causal text tower that reads a shared beginning once, and continues from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.spaces.clip import ClipSpace

Memory = list[tuple[Tensor, Tensor]]
"""Of each layer the keys and values of what was read so far, each (N, heads, tokens, width of a head)."""


@final
@dataclass(frozen=True, eq=False)
class CausalTower:
    """The parts of open_clip's causal text transformer that takes its answer from the end token."""

    embedding: nn.Embedding
    positions: Tensor  # (context, width)
    blocks: nn.ModuleList
    norm: nn.Module
    projection: Tensor | nn.Module | None

    @property
    def device(self) -> torch.device:
        return self.positions.device


def causal_tower(clip: ClipSpace) -> CausalTower | None:
    """The parts of the CLIP's text tower, or None for one of another kind (bidirectional, with a class token ...)."""
    from open_clip import CLIP, CustomTextCLIP
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

    model = getattr(clip.text_tower, "__self__", None)
    if isinstance(model, CLIP):
        text, pooled = model, model.text_pool_type
    elif isinstance(model, CustomTextCLIP) and isinstance(model.text, TextTransformer):
        text, pooled = model.text, model.text.pool_type
    else:
        return None
    blocks = text.transformer.resblocks
    odd = text.attn_mask is None or getattr(text, "cls_emb", None) is not None or pooled != "argmax"
    if odd or not all(type(block) is ResidualAttentionBlock for block in blocks):
        return None
    return CausalTower(text.token_embedding, text.positional_embedding, blocks, text.ln_final, text.text_projection)


def remembered(tower: CausalTower, ids: Tensor) -> Memory:
    """The keys and values of (N, L) heads, for the texts that follow them."""
    x = tower.embedding(ids)
    x = x + tower.positions[: ids.shape[1]].to(x.dtype)
    memory: Memory = []
    for block in tower.blocks:
        queries, keys, values = _projected(block, x)
        memory.append((keys, values))
        x = _finished(block, x, F.scaled_dot_product_attention(queries, keys, values, is_causal=True))
    return memory


def read_on(tower: CausalTower, ids: Tensor, ends: Tensor, memory: Memory | None = None) -> Tensor:
    """(P, N, d) answers of N texts' (N, L) tails behind each of P heads of one length.

    ends:   (N,) where each tail has its end token; what is behind it is padding.
    memory: of the heads; None where there are none (P is 1).
    """
    heads, taken = (memory[0][0].shape[0], memory[0][0].shape[2]) if memory else (1, 0)
    count, length = ids.shape
    x = tower.embedding(ids)
    x = (x + tower.positions[taken : taken + length].to(x.dtype)).repeat(heads, 1, 1)
    rows, ends = torch.arange(len(x), device=ids.device), ends.repeat(heads)
    seen = torch.ones(length, taken + length, dtype=torch.bool, device=ids.device).tril(taken)
    for n, block in enumerate(tower.blocks):
        queries, keys, values = _projected(block, x)
        if memory:
            keys, values = (_behind(old, new, count) for old, new in zip(memory[n], (keys, values), strict=True))
        if n == len(tower.blocks) - 1:  # of the last layer nothing but the end token is asked for
            x, queries, seen = x[rows, ends, None], queries[rows, :, ends, None], seen[ends][:, None, None]
        x = _finished(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen))
    return _answered(tower, x[:, 0]).unflatten(0, (heads, count))


def _projected(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (N, heads, L, width of a head), of (N, L, width)."""
    attention = block.attn
    all_three = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    queries, keys, values = all_three.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return queries, keys, values


def _behind(old: Tensor, new: Tensor, count: int) -> Tensor:
    """(P * N, heads, L' + L, e): N tails' keys or values behind each of P heads', in one copy."""
    new = new.unflatten(0, (-1, count))
    return torch.cat([old[:, None].expand(-1, count, -1, -1, -1), new], 3).flatten(0, 1)


def _finished(block: Any, x: Tensor, mixed: Tensor) -> Tensor:
    """The rest of a block, once attention has mixed the values."""
    x = x + block.ls_1(block.attn.out_proj(mixed.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _answered(tower: CausalTower, x: Tensor) -> Tensor:
    x = tower.norm(x)
    if tower.projection is None:
        return x
    return tower.projection(x) if isinstance(tower.projection, nn.Module) else x @ tower.projection
