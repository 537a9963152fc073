"""What networks return: one tensor of several, softmaxes after the head, no head at all."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision import transforms

from saywhy.attribution import COMPOSITES, METHODS, attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from tests.helpers import TRANSFORM, Then, TinyNet, picture

NAMES = ["toucan", "king snake", "ambulance"]
PIXELS = torch.stack([TRANSFORM(picture(seed=n)) for n in range(3)])


class Named(NamedTuple):
    features: Tensor
    class_logits: Tensor


class Returns(nn.Module):
    """TinyNet with its features, its logits and its map in something else than a tensor."""

    def __init__(self, wrap: Callable[[Tensor, Tensor, Tensor], Any], classes: int = 3) -> None:
        super().__init__()
        self.net, self.wrap = TinyNet(classes), wrap

    def forward(self, x: Tensor) -> Any:
        maps = self.net.body(x)
        features = maps.mean((2, 3))
        return self.wrap(features, self.net.head(features), maps)


def own(network: nn.Module, **options: Any) -> Classifier:
    return Classifier.from_module(network, transform=TRANSFORM, **options)


def as_tuple(f: Tensor, y: Tensor, m: Tensor) -> Any:
    return f, y


def as_dict(f: Tensor, y: Tensor, m: Tensor) -> Any:
    return {"maps": m, "features": f, "class_logits": y}


def as_object(f: Tensor, y: Tensor, m: Tensor) -> Any:
    return SimpleNamespace(features=f, class_logits=y, note="none")


def as_named(f: Tensor, y: Tensor, m: Tensor) -> Any:
    return Named(f, y)


RETURNS = [(as_tuple, 1), (as_dict, "class_logits"), (as_object, "class_logits"), (as_named, "class_logits")]


@pytest.mark.parametrize(("wrap", "key"), RETURNS)
def test_the_tensor_that_fits_the_labels_is_taken_or_the_one_that_is_named(wrap: Callable, key: str | int) -> None:
    network = Returns(wrap)
    expected = own(network.net, labels=NAMES)
    for classifier in (own(network, labels=NAMES), own(network, output=key), own(network, labels=NAMES, output=key)):
        assert len(classifier.labels) == 3
        assert torch.equal(classifier.logits(PIXELS), expected.logits(PIXELS))
        features, head = classifier.features(PIXELS), classifier.head
        torch.testing.assert_close(features @ head.weight.T + head.bias, classifier.logits(PIXELS))
        for method in METHODS:
            found, right = (attribute(c, PIXELS, target=1, method=method) for c in (classifier, expected))
            torch.testing.assert_close(found.values, right.values)


@pytest.mark.parametrize(("wrap", "key"), RETURNS)
def test_several_tensors_that_may_be_logits_are_asked_about(wrap: Callable, key: str | int) -> None:
    first = 0 if wrap is as_tuple else "features"
    with pytest.raises(SaywhyError, match=rf"Say output=, one of {first!r} \(N, 16\), {key!r} \(N, 3\)") as caught:
        own(Returns(wrap))
    assert "\n" not in str(caught.value)
    with pytest.raises(SaywhyError, match="no tensor in it has 4 columns, one per class name"):
        own(Returns(wrap), labels=["a", "b", "c", "d"])
    with pytest.raises(SaywhyError, match="returns no tensor 'logit'"):
        own(Returns(wrap), output="logit")


def test_an_output_that_is_no_logits_is_refused() -> None:
    with pytest.raises(SaywhyError, match=r"returns \(N, 16, 8, 8\) as 'maps'; expected"):
        own(Returns(as_dict), output="maps")
    with pytest.raises(SaywhyError, match=r"returns one tensor, \(N, 3\); leave output= out"):
        own(TinyNet(3), output="logits")
    with pytest.raises(SaywhyError, match=r"no \(N, classes\) logits in it: 'maps' \(N, 16, 8, 8\)"):
        own(Returns(lambda f, y, m: {"maps": m}))
    with pytest.raises(SaywhyError, match="returns str"):
        own(Returns(lambda f, y, m: "hello"))


def test_a_network_that_cannot_take_its_pictures_says_so_in_a_line() -> None:
    for network in (timm.create_model("vit_tiny_patch16_224"), torchvision.models.vit_b_32(), nn.Linear(7, 3)):
        with pytest.raises(SaywhyError, match="cannot run on what its transform returns") as caught:
            own(network)
        assert "\n" not in str(caught.value)


def test_the_last_of_a_tuple_is_minus_one() -> None:
    assert len(own(Returns(as_tuple), output=-1).labels) == len(own(Returns(as_named), output=1).labels) == 3
    with pytest.raises(SaywhyError, match="returns no tensor '2'"):
        own(Returns(as_tuple), output=2)


class Computed:
    """An object whose logits are a property."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    @property
    def logits(self) -> Tensor:
        return self._logits


def test_an_attribute_may_be_a_property() -> None:
    network = Returns(lambda f, y, m: Computed(y))
    expected = own(network.net).logits(PIXELS)
    assert torch.equal(own(network).logits(PIXELS), expected)
    assert torch.equal(own(network, output="logits").logits(PIXELS), expected)


def test_logits_beside_one_number_each_are_told_by_two_names() -> None:
    network = Returns(lambda f, y, m: (f.mean(1, keepdim=True), y), classes=2)
    assert own(network, labels=["no", "yes"]).task == "single-label"
    one = Returns(lambda f, y, m: (f, y), classes=1)
    assert own(one, labels=["no", "yes"]).task == own(one, labels=["yes"]).task == "binary"


@pytest.mark.parametrize("classes", [1, 3])
def test_a_squeeze_does_not_lose_the_only_picture(classes: int) -> None:
    """``squeeze()`` leaves (C,) of one picture, and of one logit of one picture a number."""
    network = Returns(lambda f, y, m: y.squeeze(), classes)
    expected = own(network.net)
    for pixels in (PIXELS, PIXELS[:1]):
        torch.testing.assert_close(own(network).logits(pixels), expected.logits(pixels))
        found, right = (attribute(c, pixels) for c in (own(network), expected))
        torch.testing.assert_close(found.values, right.values)
    assert own(network).predict([picture()]) == expected.predict([picture()])


def test_compiled_and_scripted_networks_are_read() -> None:
    network = TinyNet(3).eval()
    expected = own(network, labels=NAMES).logits(PIXELS)
    compiled = torch.compile(nn.Sequential(network, nn.Softmax(1)), backend="eager")
    traced = torch.jit.trace(nn.Sequential(network, nn.Softmax(1)), PIXELS)
    for ended in (compiled, traced):
        classifier = own(ended, labels=NAMES)
        torch.testing.assert_close(classifier.probabilities(classifier.logits(PIXELS)), expected.softmax(1))


def test_features_beside_maps_are_not_taken_for_logits() -> None:
    network = Returns(lambda f, y, m: {"last_hidden_state": m, "pooler_output": f})
    with pytest.raises(SaywhyError, match="'pooler_output', which no linear layer makes"):
        own(network)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_backbones_without_a_head_are_refused(name: str) -> None:
    at_224 = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor()])
    with pytest.raises(SaywhyError, match=r"has no head: it returns \(N, \d+\) features, not logits"):
        Classifier.from_module(timm.create_model(name, num_classes=0), transform=at_224)


def test_a_head_that_was_taken_off_is_noticed() -> None:
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(SaywhyError, match=r"ResNet has no head: it returns \(N, 512\) features"):
        own(network)


# -- what comes after the head ----------------------------------------------------------------------------------------


ENDS: list[tuple[Callable, float]] = [
    *[(end, 1) for end in (
        nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid(), lambda z: torch.softmax(z, -1), lambda z: z.softmax(dim=1),
        lambda z: z.sigmoid(), lambda z: z.clone().sigmoid_(), lambda z: z.softmax(1)[:, :, None].flatten(1),
        lambda z: (z.sigmoid(), z.mul(2).sigmoid())[0], lambda z: (z.softmax(1), (z + 1).softmax(0))[0],
    )],
    (lambda z: z / 3, 1 / 3), (lambda z: z * 2, 2), (lambda z: (z / 3).softmax(1), 1 / 3),
    (lambda z: torch.sigmoid(z / 2), 1 / 2), (lambda z: torch.log_softmax(z / torch.tensor(0.5), 1), 2),
]  # fmt: skip
"""What comes after a network, and by what its logits are multiplied in it."""


@pytest.mark.parametrize(("end", "factor"), ENDS)
def test_what_goes_into_the_end_is_explained_and_the_networks_own_probabilities_are_given(
    end: Callable, factor: float
) -> None:
    network = TinyNet(3)
    plain, ended = own(network, labels=NAMES), own(Then(network, end), labels=NAMES)
    torch.testing.assert_close(ended.logits(PIXELS), factor * plain.logits(PIXELS), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        said = Then(network, end).eval()(PIXELS)
    sums_to_one = (said.sum(1) - 1).abs().max() < 1e-3
    if ended.task == "single-label" and ((said < 0).any() or not sums_to_one):  # logits still, or log-probabilities
        said = said.softmax(1)
    torch.testing.assert_close(ended.probabilities(ended.logits(PIXELS)), said, rtol=1e-4, atol=1e-5)
    features, head = ended.features(PIXELS), ended.head
    torch.testing.assert_close(features @ head.weight.T + head.bias, ended.logits(PIXELS), rtol=1e-4, atol=1e-5)
    for composite in COMPOSITES:
        found, right = (attribute(c, PIXELS, target=2, composite=composite) for c in (ended, plain))
        torch.testing.assert_close(found.values, factor * right.values, rtol=1e-3, atol=1e-5)
    for method in METHODS:
        found, right = (attribute(c, PIXELS, method=method) for c in (ended, plain))
        torch.testing.assert_close(found.values, factor * right.values, rtol=1e-3, atol=1e-5)


def test_a_softmax_after_attention_is_the_last_one() -> None:
    vit = timm.create_model("test_vit", num_classes=3, img_size=160)
    at_160 = transforms.Compose([transforms.Resize((160, 160)), transforms.ToTensor()])
    nn.init.normal_(vit.head.weight, std=0.1)
    for module in vit.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    pixels = torch.stack([at_160(picture())])
    plain, ended = (
        Classifier.from_module(n, transform=at_160, labels=NAMES) for n in (vit, nn.Sequential(vit, nn.Softmax(1)))
    )
    assert torch.equal(ended.logits(pixels), plain.logits(pixels))
    for method in METHODS:
        found, right = (attribute(c, pixels, method=method) for c in (ended, plain))
        torch.testing.assert_close(found.values, right.values, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ended.head.weight, vit.head.weight.detach())


class Mixed(nn.Module):
    """What is made of the logits of two networks."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], classes: int = 3) -> None:
        super().__init__()
        self.first, self.second, self.function = TinyNet(classes), TinyNet(classes), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.first(x), self.second(x))


def hierarchy(coarse: Tensor, fine: Tensor) -> Tensor:
    """P(class) = P(group) P(class | group), for two groups of two and of one class."""
    groups, first = coarse[:, :2].softmax(1), fine[:, :2].softmax(1)
    return torch.cat([groups[:, :1] * first, groups[:, 1:]], 1)


MIXTURES = {
    "mean of softmaxes": (lambda a, b: (a.softmax(1) + b.softmax(1)) / 2, "single-label"),
    "hierarchy": (hierarchy, "single-label"),
    "mean of sigmoids": (lambda a, b: (a.sigmoid() + b.sigmoid()) / 2, "multi-label"),
    "noisy or": (lambda a, b: 1 - (1 - a.sigmoid()) * (1 - b.sigmoid()), "multi-label"),
}


@pytest.mark.parametrize(("function", "task"), MIXTURES.values(), ids=MIXTURES)
def test_mixed_probabilities_stay_what_they_are(function: Callable, task: str) -> None:
    network = Mixed(function)
    classifier = own(network, labels=NAMES)
    assert classifier.task == task
    assert not classifier.has_head
    said = classifier.probabilities(classifier.logits(PIXELS))
    torch.testing.assert_close(said, network.eval()(PIXELS).detach())
    for method in METHODS:
        assert attribute(classifier, PIXELS, method=method).values.any()
    if task == "single-label":
        with pytest.raises(SaywhyError, match="holds so much of Mixed constant that no relevance reaches the pixels"):
            attribute(classifier, PIXELS, composite="epsilon-plus")


def test_a_mean_of_two_chances_of_one_class_is_that() -> None:
    network = Mixed(lambda a, b: (a[:, 0].sigmoid() + b[:, 0].sigmoid()) / 2, 1)
    classifier = own(network, labels=["pneumonia"])
    said = classifier.probabilities(classifier.logits(PIXELS))
    torch.testing.assert_close(said[:, 0], network.eval()(PIXELS).detach())
    torch.testing.assert_close(said.sum(1), torch.ones(3))


def test_a_mean_of_log_softmaxes_gives_the_normalised_geometric_mean() -> None:
    network = Mixed(lambda a, b: (a.log_softmax(1) + b.log_softmax(1)) / 2)
    classifier = own(network, labels=NAMES)
    said = classifier.probabilities(classifier.logits(PIXELS))
    with torch.no_grad():
        network.eval()
        logits = (network.first(PIXELS) + network.second(PIXELS)) / 2
    torch.testing.assert_close(said, logits.softmax(1))
    for method in METHODS:
        assert attribute(classifier, PIXELS, method=method).values.any()


def test_scripted_sigmoids_are_noticed_where_the_task_says_so() -> None:
    for classes, options in ((3, {"task": "multi-label"}), (1, {})):
        network = nn.Sequential(TinyNet(classes), nn.Sigmoid()).eval()
        classifier = own(torch.jit.trace(network, PIXELS), **options)
        said = classifier.probabilities(classifier.logits(PIXELS))[:, :classes]
        torch.testing.assert_close(said, network(PIXELS).detach())


def test_ends_that_cannot_be_are_refused() -> None:
    with pytest.raises(SaywhyError, match="softmax over one logit, which is always the same"):
        own(nn.Sequential(TinyNet(1), nn.Softmax(1)))
    with pytest.raises(SaywhyError, match="softmax that is not over its classes"):
        own(nn.Sequential(TinyNet(3), nn.Softmax(0)))
    with pytest.raises(SaywhyError, match="ends with softmax, which is task='single-label', not 'multi-label'"):
        own(nn.Sequential(TinyNet(3), nn.Softmax(1)), task="multi-label")


def test_a_network_with_an_end_survives_pickling() -> None:
    classifier = own(nn.Sequential(TinyNet(3), nn.Softmax(1)), labels=NAMES)
    again = pickle.loads(pickle.dumps(classifier.network))
    assert torch.equal(again.eval()(PIXELS), classifier.logits(PIXELS))
