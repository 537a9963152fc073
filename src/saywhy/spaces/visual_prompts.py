"""Visual prompts: tokens that are learned beside a picture's patches, while the image tower stays as it is.

Where they go is where "doubly right object recognition" (DROR, Mao et al. 2023) puts them, and ECOR after it: behind
the patches, without a position of their own, before the norm that precedes the blocks. ECOR's equations 7 and 8, read
literally, would append new ones at every layer; here they are replaced, as in DROR's code.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from saywhy.errors import SaywhyError


@final
class PromptedTower(nn.Module):
    """open_clip's vision transformer with prompts: (N, 3, H, W) pixels -> (N, d), as the tower itself gives them.

    visual:  the tower, or load_clip's image tower; it is shared, not copied, and its parameters are frozen.
    prompts: (D, K, width). D = 1 is shallow: K tokens enter with the patches and go through all layers. D = as many as
             there are layers is deep: before layer i > 0 the tokens are replaced by those of layer i, as they are.
             They are copied; the module's ``prompts`` is its only parameter that is trained.

    Without prompts (K = 0) the vectors are the tower's own, bit for bit. Prompts are dropped before pooling.

    Raises SaywhyError for another kind of tower, and for prompts that do not fit it.
    """

    def __init__(self, visual: Any, prompts: Tensor) -> None:
        super().__init__()
        tower: Any = vision_transformer(visual)
        width, layers = tower.conv1.out_channels, len(tower.transformer.resblocks)
        if prompts.ndim != 3 or prompts.shape[0] not in (1, layers) or prompts.shape[2] != width:
            raise SaywhyError(
                f"the tower takes prompts of (1 or {layers}, any number, {width}); these are {tuple(prompts.shape)}"
            )
        self.visual = tower.requires_grad_(False)
        self.prompts = nn.Parameter(prompts.detach().to(tower.conv1.weight.device, torch.float32, copy=True))

    def forward(self, pixels: Tensor) -> Tensor:
        tower: Any = self.visual
        patches = tower.conv1(pixels).flatten(2).transpose(1, 2)
        first = tower.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([first, patches], 1) + tower.positional_embedding.to(patches.dtype)
        return self._pooled(self._through_blocks(tower.patch_dropout(tokens)))

    def _through_blocks(self, tokens: Tensor) -> Tensor:
        """(N, L, width), not yet normed -> the same after all blocks, without the prompts."""
        tower: Any = self.visual
        own, axis = tokens.shape[1], 1
        tokens = tower.ln_pre(self._with_prompts(tokens, 0, axis))
        if not tower.transformer.batch_first:
            tokens, axis = tokens.transpose(0, 1).contiguous(), 0
        for layer, block in enumerate(tower.transformer.resblocks):
            if 0 < layer < len(self.prompts):
                tokens = self._with_prompts(tokens.narrow(axis, 0, own), layer, axis)
            tokens = block(tokens)
        tokens = tokens.narrow(axis, 0, own)
        return tokens if axis == 1 else tokens.transpose(0, 1)

    def _with_prompts(self, tokens: Tensor, layer: int, axis: int) -> Tensor:
        """Those of one layer behind the tokens, whose ``axis`` counts them."""
        if not self.prompts.shape[1]:
            return tokens
        prompts = self.prompts[layer].to(tokens.dtype).unsqueeze(1 - axis)
        shape = [-1, -1, -1]
        shape[1 - axis] = tokens.shape[1 - axis]
        return torch.cat([tokens, prompts.expand(shape)], axis)

    def _pooled(self, tokens: Tensor) -> Tensor:
        """What the end of open_clip's forward does (it has a method for it only from 2.31 on)."""
        tower: Any = self.visual
        if tower.attn_pool is not None and tower.attn_pool_contrastive is not None:
            tokens = tower.ln_post(tokens)
            pooled = tower.attn_pool_contrastive(
                tokens if tower.attn_pool_type == "parallel" else tower.attn_pool(tokens)
            )
        elif tower.attn_pool is None and tower.final_ln_after_pool:
            pooled = tower.ln_post(tower._global_pool(tokens)[0])
        else:
            tokens = tokens if tower.attn_pool is None else tower.attn_pool(tokens)
            pooled = tower._global_pool(tower.ln_post(tokens))[0]
        return pooled if tower.proj is None else pooled @ tower.proj


def vision_transformer(tower: Any) -> nn.Module:
    """open_clip's VisionTransformer of an image tower. Raises SaywhyError where it is something else."""
    from open_clip.transformer import VisionTransformer

    visual = getattr(getattr(tower, "model", None), "visual", tower)  # CoCa's stands one deeper, see load_clip
    if not isinstance(visual, VisionTransformer):
        raise SaywhyError(
            f"visual prompts need open_clip's own ViT (ViT-B-32, ViT-L-14, ...); this image tower is a "
            f"{type(getattr(visual, 'trunk', visual)).__name__}"
        )
    return visual


def draw_prompts(visual: Any, count: int, deep: bool, seed: int, std: float = 1.0) -> Tensor:
    """(1 or layers, count, width) from N(0, std^2), the same for the same seed.

    DROR draws from N(0, 1), far larger than the patches; as a norm follows, the gradients are small, and this is why
    its learning rate is 40.

    Raises SaywhyError for a tower that takes no prompts, and a count below 0.
    """
    tower: Any = vision_transformer(visual)
    if count < 0:
        raise SaywhyError(f"the number of visual prompts cannot be {count}; give 0 or more")
    shape = (len(tower.transformer.resblocks) if deep else 1, count, tower.conv1.out_channels)
    return std * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def activation(visual: Any) -> str:
    """The class of the activation function in the blocks: "GELU", "QuickGELU".

    The weights do not tell them apart, and the vectors differ (open_clip #441, #771).
    """
    tower: Any = vision_transformer(visual)
    return type(tower.transformer.resblocks[0].mlp.gelu).__name__


def parameter_report(visual: Any, prompts: Tensor) -> str:
    """ "3,072 trainable of 304 M": what is learned of an image tower."""
    millions = (sum(p.numel() for p in vision_transformer(visual).parameters()) + prompts.numel()) / 1e6
    return f"{prompts.numel():,} trainable of {millions:.{0 if millions >= 10 else 1}f} M"
