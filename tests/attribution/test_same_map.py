"""A map is the same alone and in a batch, in any mode, context and thread; and the network is not touched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import transforms

from saywhy.attribution import METHODS, attribute
from saywhy.classifiers.classifier import Classifier
from tests.helpers import TRANSFORM, TinyNet


def classifier(network: nn.Module, side: int = 32) -> Classifier:
    transform = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor()])
    return Classifier.from_module(network, transform=transform, name="net")


class Transposed(nn.Module):
    """A BatchNorm in evaluation mode whose gradient arrives transposed, as in LeViT, CvT and NextViT."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.mix, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm.running_var.uniform_(0.2, 3.0)
        self.norm.running_mean.normal_()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.convolution(x)).flatten(2).transpose(1, 2)
        return self.head(self.mix(tokens).relu().mean(1))


@pytest.mark.parametrize("method", METHODS)
def test_one_picture_alone_has_the_map_that_it_has_in_a_batch(method: str) -> None:
    asked, pixels = classifier(Transposed()), torch.randn(2, 3, 32, 32)
    alone, together = (attribute(asked, x, target=1, method=method).values[0] for x in (pixels[:1], pixels))
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-5 * float(together.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["levit_128s", "nextvit_small", "efficientformer_l1", "resnet18", "vit_tiny_patch16_224"]
)
@pytest.mark.parametrize(("method", "composite"), [("lrp", "cp-lrp"), ("lrp", None), ("gradient-x-input", None)])
def test_whole_architectures_explain_one_picture_as_two(name: str, method: str, composite: str | None) -> None:
    asked = classifier(timm.create_model(name, pretrained=False), 224)
    pixels = torch.randn(2, 3, 224, 224)
    alone, together = (
        attribute(asked, x, target=0, method=method, composite=composite).values[0] for x in (pixels[:1], pixels)
    )
    assert float(torch.corrcoef(torch.stack([alone.flatten(), together.flatten()]))[0, 1]) > 0.999


def frozen_parameters(network: nn.Module) -> nn.Module:
    return network.requires_grad_(False)


def in_train_mode(network: nn.Module) -> nn.Module:
    return network.train()


def compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="eager")  # type: ignore[return-value]


@pytest.mark.parametrize("change", [frozen_parameters, in_train_mode, compiled])
@pytest.mark.parametrize("method", METHODS)
def test_modes_and_wrappers_change_nothing(change: Callable[[nn.Module], nn.Module], method: str) -> None:
    pixels = torch.randn(2, 3, 32, 32)
    network = TinyNet(5).eval()
    plain = attribute(classifier(network), pixels, target=2, method=method).values
    changed = attribute(classifier(change(network)), pixels, target=2, method=method).values
    torch.testing.assert_close(changed, plain, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_built_under_inference_mode_has_the_same_map(method: str) -> None:
    plain = TinyNet(5).eval()
    with torch.inference_mode():
        built = TinyNet(5).eval()
        built.load_state_dict(plain.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    maps = [attribute(classifier(network), pixels, target=2, method=method).values for network in (plain, built)]
    assert torch.equal(*maps)


@pytest.mark.parametrize("method", METHODS)
def test_an_autocast_context_changes_nothing(method: str) -> None:
    asked, pixels = classifier(TinyNet(5)), torch.randn(2, 3, 32, 32)
    plain = attribute(asked, pixels, target=2, method=method).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = attribute(asked, pixels, target=2, method=method).values
    assert torch.equal(inside, plain)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    network: Any = timm.create_model(name, pretrained=False, num_classes=3)
    asked, pixels = classifier(network, 160), torch.randn(1, 3, 160, 160)
    plain = attribute(asked, pixels, target=1).values
    network.set_grad_checkpointing(True)
    assert torch.equal(attribute(asked, pixels, target=1).values, plain)
    flags = [m.grad_checkpointing for m in network.modules() if hasattr(m, "grad_checkpointing")]
    assert any(flags)  # and is on again


def in_threads(work: Callable[[], Any], threads: int, times: int) -> list[Any]:
    """What each of so many calls gives, made at once by several threads; the first error is raised."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(times):
                results.append(work())
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]
    return results


def many_threads_give_the_serial_maps(threads: int, times: int, mode: str) -> None:
    network = TinyNet(5).train(mode == "train")
    asked = Classifier.from_module(network, transform=TRANSFORM, name="shared")
    pixels = torch.randn(4, 3, 32, 32)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for method in METHODS:
        plain = attribute(asked, pixels, target=2, method=method).values
        maps = in_threads(lambda m=method: attribute(asked, pixels, target=2, method=m).values, threads, times)
        assert len(maps) == threads * times
        assert all(torch.equal(one, plain) for one in maps)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training == (mode == "train")
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_threads_share_a_classifier(mode: str) -> None:
    many_threads_give_the_serial_maps(4, 5, mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_eight_threads_explain_a_hundred_pictures_each(mode: str) -> None:
    many_threads_give_the_serial_maps(8, 100, mode)
