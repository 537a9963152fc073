"""Visual prompts: where they go, what they leave alone, and what takes none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import Transformer, VisionTransformer
from torch import Tensor, nn

from saywhy.attribution.composites import COMPOSITES
from saywhy.attribution.lrp import lrp
from saywhy.errors import SaywhyError
from saywhy.spaces.clip import load_clip
from saywhy.spaces.visual_prompts import PromptedTower, activation, draw_prompts, parameter_report, vision_transformer
from tests.networks import clip_resnet, clip_vit, pixels

KINDS: dict[str, dict[str, object]] = {
    "class token": {},
    "mean of patches": {"pool_type": "avg"},
    "norm after pooling": {"pool_type": "avg", "final_ln_after_pool": True},
    "no norm before": {"no_ln_pre": True},
    "attention pooling": {"attentional_pool": True, "attn_pooler_queries": 3, "attn_pooler_heads": 2},
    **{  # these take no other output_dim than the width
        f"{way} pooling": {"attentional_pool": way, "attn_pooler_queries": 3, "attn_pooler_heads": 2, "output_dim": 24}
        for way in ("parallel", "cascade")
    },
    "patch dropout": {"patch_dropout": 0.5},
    "layer scale": {"ls_init_value": 0.3},
    "both": {"output_tokens": True},
}


def vit(batch_first: bool = True, **options: object) -> VisionTransformer:
    torch.manual_seed(0)
    sizes = {
        "image_size": 32,
        "patch_size": 8,
        "width": 24,
        "layers": 3,
        "heads": 2,
        "mlp_ratio": 2.0,
        "output_dim": 16,
    }
    tower = VisionTransformer(**sizes | options)  # type: ignore[arg-type]
    if not batch_first:
        blocks = Transformer(24, 3, 2, 2.0, batch_first=False)
        blocks.load_state_dict(tower.transformer.state_dict())
        tower.transformer = blocks
    nn.init.normal_(tower.positional_embedding, std=0.2)
    return tower.eval()


def slow(tower: VisionTransformer, prompts: Tensor, images: Tensor) -> Tensor:
    """DROR's insertion, token by token, of a plain tower that takes the class token: one picture at a time."""
    vectors = []
    for image in images:
        patches = [
            (tower.conv1.weight * image[:, y : y + 8, x : x + 8]).sum((1, 2, 3))
            for y in range(0, 32, 8)
            for x in range(0, 32, 8)
        ]
        tokens = torch.stack([tower.class_embedding, *patches]) + tower.positional_embedding
        tokens = tower.ln_pre(torch.cat([tokens, prompts[0]]))
        for layer, block in enumerate(tower.transformer.resblocks):
            if layer and len(prompts) > 1:
                tokens = torch.cat([tokens[: 1 + len(patches)], prompts[layer]])
            normed, attention = block.ln_1(tokens), block.attn
            q, k, v = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=1)
            mixed = [
                (a @ b.T / a.shape[1] ** 0.5).softmax(1) @ c
                for a, b, c in zip(q.chunk(2, 1), k.chunk(2, 1), v.chunk(2, 1), strict=True)
            ]
            tokens = tokens + attention.out_proj(torch.cat(mixed, 1))
            tokens = tokens + block.mlp(block.ln_2(tokens))
        vectors.append(tower.ln_post(tokens[0]) @ tower.proj)
    return torch.stack(vectors)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("deep", [False, True])
def test_prompts_go_where_dror_puts_them(deep: bool, batch_first: bool) -> None:
    tower, images = vit(batch_first), pixels(2, 32)
    prompts = draw_prompts(tower, 5, deep, seed=1)
    torch.testing.assert_close(
        PromptedTower(tower, prompts)(images), slow(tower, prompts, images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_without_prompts_the_tower_is_itself(kind: str, batch_first: bool) -> None:
    if kind == "layer scale" and not batch_first:
        pytest.skip("its blocks are made anew without it")
    tower, images = vit(batch_first, **KINDS[kind]).requires_grad_(False), pixels(3, 32)  # as load_clip gives it
    plain = tower(images)
    plain = plain[0] if isinstance(plain, tuple) else plain
    for deep in (False, True):
        assert torch.equal(PromptedTower(tower, draw_prompts(tower, 0, deep, seed=0))(images), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_does_not_see_the_prompts(kind: str) -> None:
    """With attention switched off no token sees another: prompts can only show where pooling looks at them."""
    tower, images = vit(**KINDS[kind]), pixels(3, 32)
    for block in tower.transformer.resblocks:
        nn.init.zeros_(block.attn.out_proj.weight)
    plain = PromptedTower(tower, draw_prompts(tower, 0, False, seed=0))(images)
    for deep in (False, True):
        found = PromptedTower(tower, draw_prompts(tower, 4, deep, seed=0))(images)
        torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-5)


def test_patch_dropout_leaves_the_prompts() -> None:
    tower = vit(patch_dropout=0.5)
    prompted = PromptedTower(tower, draw_prompts(tower, 4, False, seed=0))
    lengths: list[int] = []
    tower.ln_pre.register_forward_hook(lambda module, given, out: lengths.append(out.shape[1]))
    prompted.train()(pixels(2, 32))
    prompted.eval()(pixels(2, 32))
    assert lengths == [1 + 8 + 4, 1 + 16 + 4]


@pytest.mark.parametrize("deep", [False, True])
def test_only_the_prompts_learn(deep: bool) -> None:
    tower, images = vit().requires_grad_(True), pixels(2, 32)
    drawn = draw_prompts(tower, 2, deep, seed=3)
    prompted = PromptedTower(tower, drawn)
    assert [name for name, p in prompted.named_parameters() if p.requires_grad] == ["prompts"]
    assert torch.equal(drawn, prompted.prompts)
    prompted(images).square().sum().backward()
    assert prompted.prompts.grad is not None
    assert (prompted.prompts.grad.abs().amax((1, 2)) > 0).all()  # those of every layer
    with torch.no_grad():
        prompted.prompts += 1
    assert torch.equal(drawn, draw_prompts(tower, 2, deep, seed=3))  # they were copied


def test_the_gradient_is_the_slow_reference_s() -> None:
    tower, images = vit().double(), pixels(2, 32).double()
    prompted = PromptedTower(tower, draw_prompts(tower, 2, True, seed=3))
    prompted.prompts.data = prompted.prompts.double()
    prompts = prompted.prompts.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(slow(tower, prompts, images).square().sum(), prompts)
    (found,) = torch.autograd.grad(prompted(images).square().sum(), prompted.prompts)
    torch.testing.assert_close(found, expected)


def test_under_autocast_it_stays_near() -> None:
    tower, images = vit(), pixels(2, 32)
    prompted = PromptedTower(tower, draw_prompts(tower, 3, True, seed=0, std=0.3))
    with torch.autocast("cpu", torch.bfloat16):
        low = prompted(images)
    assert F.cosine_similarity(low.float(), prompted(images)).min() > 0.99


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("composite", ["epsilon-plus", "attnlrp"])
def test_relevance_reaches_the_picture(deep: bool, composite: str) -> None:
    tower, images = clip_vit(), pixels(2)
    prompted = PromptedTower(tower, draw_prompts(tower, 3, deep, seed=0))
    text = F.normalize(torch.randn(16), dim=0)
    values, scores = lrp(prompted, images, lambda out: out @ text, COMPOSITES[composite])
    assert values.isfinite().all()
    assert (values.abs().sum((1, 2, 3)) > 0).all()
    torch.testing.assert_close(scores, prompted(images).detach() @ text)
    assert prompted.prompts.requires_grad


def test_drawing_is_repeatable_and_scaled() -> None:
    tower = vit()
    prompts = draw_prompts(tower, 200, True, seed=5)
    assert prompts.shape == (3, 200, 24)
    assert abs(float(prompts.std()) - 1) < 0.05
    torch.testing.assert_close(draw_prompts(tower, 200, True, seed=5, std=0.02), 0.02 * prompts)
    assert not torch.equal(draw_prompts(tower, 200, True, seed=6), prompts)


def test_what_is_said_of_a_tower() -> None:
    tower = vit()
    count = sum(p.numel() for p in tower.parameters()) + 48
    assert parameter_report(tower, draw_prompts(tower, 2, False, 0)) == f"48 trainable of {count / 1e6:.1f} M"
    assert activation(tower) == "GELU"


def test_coca_s_tower_is_found_within() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Module()
            self.model.visual = vit()

    outer = Outer()
    assert vision_transformer(outer) is outer.model.visual


def test_other_towers_and_prompts_that_do_not_fit_are_refused() -> None:
    import timm

    tower = vit()
    others = [clip_resnet(), timm.create_model("test_vit"), load_clip("world:aviary/resnet").image_tower, len]
    for other in others:
        with pytest.raises(SaywhyError, match="open_clip's own ViT"):
            PromptedTower(other, torch.zeros(1, 2, 24))
    for shape in ((1, 2, 23), (2, 2, 24), (2, 24)):
        with pytest.raises(SaywhyError, match="the tower takes prompts of"):
            PromptedTower(tower, torch.zeros(shape))
    with pytest.raises(SaywhyError, match="-1"):
        draw_prompts(tower, -1, False, 0)
