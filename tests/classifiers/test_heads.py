"""The linear head of any network: of modules and of functions, one or several, whatever linear thing comes after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision import transforms

from saywhy.attribution import attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.heads import run_with_features
from saywhy.errors import SaywhyError
from saywhy.spaces.own import ClassifierSpace
from tests.helpers import TRANSFORM, TinyNet, picture
from tests.spaces.test_own import FakeEncoder

PIXELS = torch.stack([TRANSFORM(picture(seed=n)) for n in range(3)])


def own(network: nn.Module) -> Classifier:
    return Classifier.from_module(network, transform=TRANSFORM)


class Ends(nn.Module):
    """TinyNet's features (16), and something made of them by the given function and modules."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.body, self.function, self.parts = TinyNet().body, function, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.body(x).mean((2, 3)), *self.parts)


class Weights(nn.Module):
    """Parameters without a layer."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(*shape))


class LowRank(nn.Module):
    """A linear layer with a low-rank update beside it, as adapters for fine-tuning have it (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base, self.dropout = base, nn.Dropout(0.1)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(self.dropout(x))) * 0.5


def linear(classes: int = 5, width: int = 16) -> nn.Linear:
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.bias)
    return layer


def statistics(classes: int = 5) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(classes)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 2)
    return norm


def identity(classifier: Classifier, pixels: Tensor = PIXELS, rtol: float = 1e-4) -> None:
    """``f @ W.T + b`` are the logits, and different pictures have different ones."""
    logits, features, head = classifier.logits(pixels), classifier.features(pixels), classifier.head
    assert features.shape == (len(pixels), head.weight.shape[1])
    assert logits.std(0).max() > 0
    torch.testing.assert_close(
        features.float() @ head.weight.T + head.bias, logits.float(), rtol=rtol, atol=rtol * float(logits.abs().max())
    )


class Tokens(nn.Module):
    """Classifies each position, and takes the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.head = linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(2).transpose(1, 2)).mean(1)


ONE_VECTOR = {
    "linear": lambda: Ends(lambda f, a: a(f), linear()),
    "two layers": lambda: Ends(lambda f, a, b: b(a(f)), linear(16), linear()),
    "functional": lambda: Ends(lambda f, p: F.linear(f, p.w), Weights(5, 16)),
    "keywords": lambda: Ends(lambda f, p: F.linear(input=f, weight=p.w), Weights(5, 16)),
    "matmul": lambda: Ends(lambda f, p: f @ p.w.T, Weights(5, 16)),
    "mm": lambda: Ends(lambda f, p: torch.mm(f, p.w) + 3, Weights(16, 5)),
    "addmm": lambda: Ends(lambda f, p, q: torch.addmm(q.w, f, p.w), Weights(16, 5), Weights(5)),
    "einsum": lambda: Ends(lambda f, p: torch.einsum("nd,cd->nc", f, p.w), Weights(5, 16)),
    "cosine": lambda: Ends(lambda f, p: 64 * F.linear(F.normalize(f), F.normalize(p.w)), Weights(5, 16)),
    "weight norm": lambda: Ends(lambda f, a: a(f), parametrizations.weight_norm(linear())),
    "spectral norm": lambda: Ends(lambda f, a: a(f), parametrizations.spectral_norm(linear())),
    "low rank": lambda: Ends(lambda f, a: a(f), LowRank(linear())),
    "batch norm after": lambda: Ends(lambda f, a, n: n(a(f)), linear(), statistics()),
    "batch and layer norm before": lambda: Ends(
        lambda f, n, m, a: a(m(n(f))), statistics(16), nn.LayerNorm(16), linear()
    ),
    "temperature": lambda: Ends(lambda f, a, p: a(f) / p.w.exp(), linear(), Weights(1)),
    "adjusted logits": lambda: Ends(lambda f, a, p: a(f) - p.w, linear(), Weights(5)),
    "a head each": lambda: Ends(lambda f, *a: torch.cat([one(f) for one in a], 1), *[linear(1) for _ in range(40)]),
    "sum of two of one": lambda: Ends(lambda f, a, b: a(f) + 2 * b(f), linear(), linear()),
    "one that is not used": lambda: Ends(lambda f, a, b: (b(f.relu() + 1), a(f))[1], linear(), linear()),
    "more classes than features": lambda: Ends(lambda f, a: a(f), linear(300)),
    "one logit": lambda: Ends(lambda f, a: a(f)[:, 0], linear(1)),
    "pooled after": lambda: nn.Sequential(TinyNet().body, nn.Conv2d(16, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "tokens pooled after": lambda: nn.Sequential(TinyNet().body, Tokens()),
}


@pytest.mark.parametrize("make", ONE_VECTOR.values(), ids=ONE_VECTOR)
def test_one_vector_makes_the_logits(make: Callable[[], nn.Module]) -> None:
    classifier = own(make().train())
    identity(classifier)
    assert classifier.head.weight.shape[1] == 16
    assert classifier.network.training
    space = ClassifierSpace(classifier, FakeEncoder())
    assert space.encode_images([picture()]).norm() == pytest.approx(1)


def test_the_weight_of_a_low_rank_update_is_the_merged_one() -> None:
    layer = LowRank(linear())
    head = own(Ends(lambda f, a: a(f), layer)).head
    torch.testing.assert_close(head.weight, (layer.base.weight + 0.5 * layer.up.weight @ layer.down.weight).detach())
    torch.testing.assert_close(head.bias, layer.base.bias.detach(), rtol=1e-4, atol=1e-5)


def test_a_plain_layers_weight_is_its_own_to_the_bit() -> None:
    network = TinyNet(300)
    assert torch.equal(own(network).head.weight, network.head.weight)
    assert torch.equal(own(network.bfloat16()).head.weight, network.head.weight.float())


class Several(nn.Module):
    """A head for each of several features, and what is made of their outputs."""

    def __init__(self, function: Callable[..., Tensor], *heads: nn.Module) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(TinyNet().body for _ in heads)
        self.heads, self.function = nn.ModuleList(heads), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(*[h(b(x).mean((2, 3))) for h, b in zip(self.heads, self.bodies, strict=True)])


SEVERAL = {
    "mean": (lambda a, b: (a + b) / 2, 2),
    "weighted sum": (lambda a, b, c: 0.2 * a + 0.7 * b - c, 3),
    "stacked": (lambda *all: torch.stack(all).mean(0), 5),
    "gathered": (lambda a, b: torch.cat([a[:, :2], b[:, 2:]], 1), 2),
}


@pytest.mark.parametrize(("function", "count"), SEVERAL.values(), ids=SEVERAL)
def test_several_heads_have_their_features_one_after_the_other(function: Callable[..., Tensor], count: int) -> None:
    classifier = own(Several(function, *[linear() for _ in range(count)]))
    identity(classifier)
    assert classifier.head.weight.shape == (5, 16 * count)
    assert ClassifierSpace(classifier, FakeEncoder()).encode_images([picture()]).shape == (1, 16 * count)


def relu_at_the_end() -> nn.Module:
    """With weights by which what is below 0 in one picture is not in another: by others it looks linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Ends(lambda f, a: (a(f) - a(f).mean(1, keepdim=True)).relu(), linear())


NOT_LINEAR = {
    "relu": relu_at_the_end(),
    "normalised logits": Ends(lambda f, a: F.normalize(a(f)), linear()),
    "product of heads": Ends(lambda f, a, b: a(f) * b(f), linear(), linear()),
    "distances": Ends(lambda f, p: -torch.cdist(f, p.w), Weights(5, 16)),
    "best position": nn.Sequential(TinyNet().body, nn.Conv2d(16, 5, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "relu before the pool": nn.Sequential(
        TinyNet().body, nn.Conv2d(16, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "something else beside it": Ends(lambda f, a: a(f) + f[:, :5] ** 2, linear()),
}


@pytest.mark.parametrize("network", NOT_LINEAR.values(), ids=NOT_LINEAR)
def test_what_is_not_linear_has_no_head_and_says_so(network: nn.Module) -> None:
    classifier = Classifier.from_module(network, transform=TRANSFORM, labels=["a", "b", "c", "d", "e"])
    assert not classifier.has_head
    assert len(classifier.predict([picture()])[0]) == 5
    for ask in (lambda: classifier.head, lambda: classifier.features(PIXELS)):
        with pytest.raises(SaywhyError, match=r"has no linear head: .*\. Its own space cannot be used"):
            ask()


def test_without_a_gradient_there_is_no_head() -> None:
    def cut(f: Tensor, layer: nn.Module) -> Tensor:
        with torch.no_grad():
            return layer(f)

    with pytest.raises(SaywhyError, match="no gradient leads from its last linear layer to its logits"):
        _ = own(Ends(cut, linear())).head


@pytest.mark.parametrize(
    "name",
    [
        "deit_tiny_distilled_patch16_224", "levit_128s", "efficientformer_l1", "efficientformerv2_s0", "repvit_m0_9",
        "swiftformer_xs", "crossvit_tiny_240", "test_vit", "test_resnet", "test_efficientnet",
    ],
)  # fmt: skip
def test_networks_of_timm_with_one_head_or_two(name: str) -> None:
    classifier = Classifier.load(f"timm:{name}", pretrained=False)
    identity(classifier, classifier.preprocess([picture(seed=n) for n in range(2)]), rtol=1e-3)


def test_half_precision() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        identity(own(Several(lambda a, b: (a + b) / 2, linear(), linear()).to(dtype)), rtol=3e-2)


def test_it_is_found_whatever_context_is_on() -> None:
    network = TinyNet()
    expected = own(network).head.weight
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        classifier = own(network)
        assert torch.equal(classifier.head.weight, expected)


def test_it_follows_the_weights_and_notices_another_network() -> None:
    network = TinyNet()
    classifier = own(network)
    before = classifier.head.weight
    with torch.no_grad():
        network.head.weight.mul_(2)
    torch.testing.assert_close(classifier.head.weight, 2 * before)
    network.head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 5))  # type: ignore[assignment]
    for ask in (lambda: classifier.head, lambda: classifier.features(PIXELS)):
        with pytest.raises(SaywhyError, match="load it again"):
            ask()
    network.head = nn.Sequential(linear(), nn.Tanh())  # type: ignore[assignment]
    with pytest.raises(SaywhyError, match="no longer a linear function of its features; load it again"):
        _ = classifier.head


def test_features_have_their_gradient() -> None:
    classifier = own(TinyNet())
    pixels = PIXELS.clone().requires_grad_()
    features, logits = run_with_features(classifier.network.eval(), pixels, classifier.head_place)
    assert torch.autograd.grad(features.sum(), pixels)[0].any()
    assert torch.equal(logits, classifier.logits(PIXELS))


def test_a_layer_that_starts_at_zero_is_given_weights_only_where_nothing_is_loaded() -> None:
    first, second = (Classifier.load("timm:levit_128s", pretrained=False) for _ in range(2))
    assert torch.equal(first.head.weight, second.head.weight)
    network = TinyNet()
    nn.init.zeros_(network.head.weight)
    assert not own(network).head.weight.any()


def test_a_head_of_positions_is_their_mean() -> None:
    body, head = TinyNet().body, nn.Conv2d(16, 5, 1)
    classifier = own(nn.Sequential(body, head, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    torch.testing.assert_close(classifier.head.weight, head.weight.flatten(1).detach())
    with torch.no_grad():
        torch.testing.assert_close(classifier.features(PIXELS), body.eval()(PIXELS).mean((2, 3)))


def test_size_and_kind_of_the_picture_do_not_matter() -> None:
    network = timm.create_model("test_vit", num_classes=3, img_size=(96, 128))
    nn.init.normal_(network.head.weight)
    transform = transforms.Compose([transforms.Resize((96, 128)), transforms.ToTensor()])
    classifier = Classifier.from_module(network, transform=transform, labels=["a", "b", "c"])
    identity(classifier, torch.randn(2, 3, 96, 128))


def test_other_rows_are_read_from_the_features_of_all_heads() -> None:
    classifier = own(Several(lambda a, b: (a + b) / 2, linear(), linear()))
    head = classifier.head
    asked = classifier.with_rows(head.weight[[2, 0]], ["two", "none"])
    torch.testing.assert_close(asked.logits(PIXELS), (classifier.logits(PIXELS) - head.bias)[:, [2, 0]])
    found = attribute(asked, PIXELS, target=0, composite="epsilon")
    expected = attribute(classifier, PIXELS, target=2, composite="epsilon")
    torch.testing.assert_close(found.values, expected.values, rtol=1e-3, atol=1e-5)
