"""LRP on networks: conservation, invariances, agreement with zennit and LXT, and the network left as it was found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from saywhy.attribution import attribute
from saywhy.attribution.composites import COMPOSITES, Composite
from saywhy.attribution.functions import TABLE
from saywhy.attribution.gradcam import grad_cam
from saywhy.attribution.lrp import default_composite, lrp
from saywhy.errors import SaywhyError
from tests.helpers import TinyNet, picture, silence_biases, tiny_classifier

CONSERVING = [name for name, c in COMPOSITES.items() if c.attention == "cp"]
RANGE = (torch.full((3,), -4.0), torch.full((3,), 4.0))


def predicted(output: Tensor) -> Tensor:
    return output.max(1).values


class Attends(nn.Module):
    """A transformer of one layer on patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu", norm_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.layer(tokens).mean(1))


class SplitAttention(TinyNet):
    """Two branches weighed by a softmax (SKNet, ResNeSt): nothing attends to positions."""

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.stack([self.body(x), self.body(x.flip(-1))], 1)
        weights = branches.sum(1).mean((2, 3))[:, None, :, None, None].expand(-1, 2, -1, -1, -1).softmax(1)
        return self.head((branches * weights).sum(1).flatten(2).matmul(torch.ones(64)))


@pytest.mark.parametrize("network", [TinyNet, Attends])
@pytest.mark.parametrize("composite", CONSERVING)
def test_relevance_sums_to_the_logit(network: Callable[[], nn.Module], composite: str) -> None:
    net, x = silence_biases(network()).double(), torch.rand(3, 3, 32, 32).double() * 6 - 3
    relevance, logits = lrp(net, x, predicted, COMPOSITES[composite], RANGE)
    torch.testing.assert_close(relevance.sum((1, 2, 3)), logits, rtol=0.01, atol=1e-6)


def test_a_linear_model_is_explained_by_weight_times_input() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.randn(2, 3, 2, 2)
    relevance, _ = lrp(net, x, lambda y: y[:, 1], Composite())
    torch.testing.assert_close(relevance.flatten(1), x.flatten(1) * net[1].weight[1])


def test_two_layers_by_hand() -> None:
    """x = (1, 2), hidden = relu((1 + 2, 1 - 2)) = (3, 0), out = 2 * 3: all relevance takes the first unit, 1 to 2."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        net[3].weight.copy_(torch.tensor([[2.0, 5.0]]))
    relevance, logits = lrp(net, torch.tensor([[[[1.0, 2.0]]]]), lambda y: y[:, 0], Composite())
    assert relevance.flatten().tolist() == [2.0, 4.0]
    assert logits.tolist() == [6.0]


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "alpha2-beta1", "cp-lrp-gamma"])
def test_scaling_a_picture_scales_the_relevance_of_a_network_without_biases(composite: str) -> None:
    net, x = silence_biases(TinyNet()).double(), torch.randn(2, 3, 32, 32).double()
    once, _ = lrp(net, x, predicted, COMPOSITES[composite])
    thrice, _ = lrp(net, 3 * x, predicted, COMPOSITES[composite])
    torch.testing.assert_close(thrice, 3 * once)


@pytest.mark.parametrize("network", [TinyNet, Attends])
@pytest.mark.parametrize("composite", ["epsilon-plus", "attnlrp", "epsilon-gamma-box"])
def test_a_batch_is_its_pictures_one_by_one(network: Callable[[], nn.Module], composite: str) -> None:
    net, x = network().double(), torch.randn(3, 3, 32, 32).double()
    together, _ = lrp(net, x, predicted, COMPOSITES[composite], RANGE)
    apart = [lrp(net, x[n : n + 1], predicted, COMPOSITES[composite], RANGE)[0] for n in range(3)]
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "cp-lrp-gamma"])
def test_memory_format_and_inference_mode_change_nothing(composite: str) -> None:
    net, x = TinyNet().double(), torch.randn(2, 3, 32, 32).double()
    plain, _ = lrp(net, x, predicted, COMPOSITES[composite])
    last, _ = lrp(
        net.to(memory_format=torch.channels_last),
        x.to(memory_format=torch.channels_last),
        predicted,
        COMPOSITES[composite],
    )
    torch.testing.assert_close(last, plain)
    with torch.inference_mode():
        inferred, _ = lrp(net, x.clone(), predicted, COMPOSITES[composite])
    torch.testing.assert_close(inferred, plain)


def test_the_network_is_left_as_it_was_found() -> None:
    net = TinyNet().train()
    net.body[0].eval()
    net.head.bias.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    for composite in COMPOSITES.values():
        lrp(net, torch.randn(2, 3, 32, 32), predicted, composite, RANGE)
    assert ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]) == flags
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())


def test_the_network_is_left_as_it_was_found_when_it_fails() -> None:
    class Fails(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise RuntimeError("on purpose")

    net = Fails().train()
    with pytest.raises(RuntimeError, match="on purpose"):
        lrp(net, torch.randn(1, 3, 32, 32), predicted, Composite())
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_the_default_composite_goes_by_what_the_network_does() -> None:
    x = torch.randn(1, 3, 32, 32)
    assert default_composite(TinyNet(), x) == "epsilon-plus"
    assert default_composite(Attends(), x) == "attnlrp"
    assert default_composite(SplitAttention(), x) == "epsilon-plus"


def test_every_name_in_the_table_is_a_torch_function() -> None:
    places = (torch, torch.nn.functional, torch.Tensor, torch.linalg)
    unknown = [n for n in TABLE if not any(hasattr(p, n) for p in places)]
    assert unknown in ([], ["linalg_vector_norm"])


# -- attribute --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lrp", "gradient-x-input", "integrated-gradients", "grad-cam"])
def test_attribute_explains_the_predicted_class_of_each_picture(method: str) -> None:
    classifier = tiny_classifier()
    images = [picture(seed=n) for n in range(3)]
    heatmap = attribute(classifier, images, method=method)
    logits = classifier.logits(classifier.preprocess(images))
    assert heatmap.values.shape == (3, 32, 32)
    assert heatmap.targets == tuple(logits.argmax(1).tolist())
    torch.testing.assert_close(torch.tensor(heatmap.logits), logits.max(1).values)
    assert (heatmap.positive >= 0).all()
    assert heatmap[1].targets == heatmap.targets[1:2]


def test_small_batches_give_what_one_batch_gives() -> None:
    classifier, images = tiny_classifier(), [picture(seed=n) for n in range(5)]
    whole, parts = (attribute(classifier, images, target=2, batch_size=size) for size in (5, 2))
    torch.testing.assert_close(whole.values, parts.values)
    assert whole.targets == parts.targets == (2,) * 5


def test_integrated_gradients_are_complete() -> None:
    classifier, x = tiny_classifier(), torch.randn(2, 3, 32, 32)
    heatmap = attribute(classifier, x, target=1, method="integrated-gradients", steps=128)
    gain = (classifier.logits(x) - classifier.logits(torch.zeros_like(x)))[:, 1]
    torch.testing.assert_close(heatmap.values.sum((1, 2)), gain, rtol=0.02, atol=1e-3)


def test_grad_cam_is_that_of_pytorch_grad_cam() -> None:
    reference = pytest.importorskip("pytorch_grad_cam", reason="needs grad-cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    net, x = TinyNet(), torch.randn(2, 3, 32, 32)
    for module in net.body:
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)  # no resizing: theirs drops negative values before it, ours keeps them
    ours, _ = grad_cam(net.eval(), x, lambda y: y[:, 3])
    with reference.GradCAM(net, [net.body[-1]]) as cam:
        theirs = torch.as_tensor(cam(x, [targets.ClassifierOutputTarget(3)] * 2))
    for a, b in zip(ours.clamp(min=0).flatten(1), theirs.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.999


def test_grad_cam_of_a_class_token_is_not_empty() -> None:
    """Behind the last attention the patches have no gradient: the map before it is the last that speaks."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=5, class_token=True, global_pool="token", img_size=64).eval()
    cam, _ = grad_cam(net, torch.randn(2, 3, 64, 64), lambda y: y[:, 1])
    assert cam.shape == (2, 1, 64, 64)
    assert all(image.abs().max() > 0 for image in cam)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "lrpp"}, "lrp"),
        ({"composite": "epsilon-pluss"}, "epsilon-plus"),
        ({"composite": "epsilon", "method": "grad-cam"}, "grad-cam"),
        ({"target": 99}, "0 to 4"),
        ({"target": [1, 2]}, "2 targets for 1"),
    ],
)
def test_wrong_names_and_numbers_are_said_plainly(arguments: dict, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        attribute(tiny_classifier(), [picture()], **arguments)


def test_logits_that_are_not_finite_are_refused() -> None:
    classifier = tiny_classifier()
    with torch.no_grad():
        classifier.network.head.weight[0, 0] = float("nan")
    with pytest.raises(SaywhyError, match="not finite"):
        attribute(classifier, [picture()])


# -- agreement with the reference implementations ---------------------------------------------------------------------


def _correlation(a: Tensor, b: Tensor) -> float:
    return min(float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]) for x, y in zip(a, b, strict=True))


def _lively(network: nn.Module) -> nn.Module:
    """Statistics and biases that a trained network could have: at their initial values merging them tests nothing."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16_bn", "resnet50"])
@pytest.mark.parametrize("composite", ["epsilon-plus", "epsilon-plus-flat", "epsilon-gamma-box", "alpha2-beta1"])
def test_zennit_sees_the_same(name: str, composite: str) -> None:
    pytest.importorskip("zennit", reason="needs zennit")
    import torchvision
    from zennit import composites
    from zennit.attribution import Gradient
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer

    net = _lively(getattr(torchvision.models, name)())
    x = torch.randn(2, 3, 224, 224).clamp(-2, 2)
    canonizers = [VGGCanonizer() if name.startswith("vgg") else ResNetCanonizer()]
    low, high = torch.full((1, 3, 1, 1), -4.0), torch.full((1, 3, 1, 1), 4.0)
    theirs = {
        "epsilon-plus": lambda: composites.EpsilonPlus(canonizers=canonizers),
        "epsilon-plus-flat": lambda: composites.EpsilonPlusFlat(canonizers=canonizers),
        "epsilon-gamma-box": lambda: composites.EpsilonGammaBox(low, high, canonizers=canonizers),
        "alpha2-beta1": lambda: composites.EpsilonAlpha2Beta1(canonizers=canonizers),
    }[composite]()
    target = torch.nn.functional.one_hot(net(x).argmax(1), 1000).float()
    with Gradient(net, theirs) as attributor:
        _, expected = attributor(x, lambda output: output * target)
    relevance, _ = lrp(net, x, predicted, COMPOSITES[composite], RANGE)
    assert _correlation(relevance, expected) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["cp", "attnlrp"])
def test_lxt_sees_the_same(attention: str) -> None:
    """LXT's own functions, put where its patch of torchvision puts them: that patch needs transformers 4."""
    try:
        from lxt.efficient.patches import cp_multi_head_attention_forward, layer_norm_forward, non_linear_forward
        from lxt.efficient.rules import divide_gradient
    except ImportError:
        pytest.skip("needs lxt with a transformers it imports (4.57)")
    import types

    import torchvision
    from torch.nn import functional as F

    net = torchvision.models.vit_b_16().eval().requires_grad_(False)
    nn.init.normal_(net.heads.head.weight, std=0.02)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.02)
    x = torch.randn(2, 3, 224, 224)
    composite = Composite(attention=attention)
    relevance, _ = lrp(net, x, predicted, composite)

    def attnlrp_forward(self: nn.MultiheadAttention, query: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        n, length, width = query.shape
        q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        heads = [t.view(n, length, self.num_heads, -1).transpose(1, 2) for t in (q, k, v)]
        q, k, v = divide_gradient(heads[0], 4), divide_gradient(heads[1], 4), divide_gradient(heads[2], 2)
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width)
        return F.linear(out, self.out_proj.weight, self.out_proj.bias), None

    for module in net.modules():
        if isinstance(module, nn.GELU):
            module.original_forward = module.forward
            module.forward = types.MethodType(non_linear_forward, module)
        elif isinstance(module, nn.LayerNorm):
            module.forward = types.MethodType(layer_norm_forward, module)
        elif isinstance(module, nn.MultiheadAttention):
            module.original_forward = module.forward
            patched = cp_multi_head_attention_forward if attention == "cp" else attnlrp_forward
            module.forward = types.MethodType(patched, module)
    leaf = x.clone().requires_grad_()
    predicted(net(leaf)).sum().backward()
    assert _correlation(relevance, leaf.detach() * leaf.grad) > 0.99
