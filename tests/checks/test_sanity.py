"""Sanity checks of methods: on a linear model, on networks of several layers, and that the network stays as it is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saywhy.checks import sanity as s
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError

SIDE = 16


def classifier_of(network: nn.Module) -> Classifier:
    return Classifier.from_module(network.eval(), shape=(3, SIDE, SIDE), name="mine")


def linear() -> Classifier:
    torch.manual_seed(0)
    return classifier_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4)))


def convolutional() -> Classifier:
    torch.manual_seed(0)
    return classifier_of(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5),
        )
    )  # fmt: skip


def pictures(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def edges(classifier: Classifier, pixels: Tensor, targets: Tensor) -> Tensor:
    """A "method" that does not ask the network."""
    return (pixels - pixels.roll(1, -1)).abs().sum(1)


def test_maps_are_as_themselves() -> None:
    maps = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(0))
    same, opposite = s.alike(maps, 3 * maps), s.alike(maps, -maps)
    for likeness in (same.signed, same.absolute, same.ssim, -opposite.signed, opposite.absolute, opposite.ssim):
        torch.testing.assert_close(likeness, torch.ones(2).double())
    assert s.alike(torch.zeros_like(maps), maps).signed.isnan().all()


def test_a_map_of_a_linear_model_forgets_with_its_weights_and_an_edge_detector_does_not() -> None:
    """Gradient x input of a linear model is w x; drawn again, w has nothing to do with it."""
    classifier, pixels = linear(), pictures()
    targets = classifier.logits(pixels).argmax(1)
    found = s.parameter_randomisation(classifier, pixels, targets, s.by("gradient-x-input"))
    assert found.layers == ("1",)
    assert found.steps[-1].signed.abs().max() < 0.3  # of 256 pixels: five standard deviations
    blind = s.parameter_randomisation(classifier, pixels, targets, edges)
    torch.testing.assert_close(blind.steps[-1].signed, torch.ones(3).double())
    torch.testing.assert_close(blind.complexity, torch.zeros(3).double())


def test_layers_forget_from_the_head_down_and_the_network_is_left_as_it_is() -> None:
    classifier, pixels = convolutional(), pictures()
    before = deepcopy(classifier.network.state_dict())
    names, kept = [], []
    for name, twin in s.forgetting(classifier.network, pixels[:1], 8, seed=0):
        names.append(name)
        after = twin.state_dict()
        kept.append([key for key in ("0.weight", "2.weight", "6.weight") if torch.equal(after[key], before[key])])
    assert names == ["6", "2", "0"]
    assert kept == [["0.weight", "2.weight"], ["0.weight"], []]
    report = s.sanity(classifier, pixels, composite="epsilon", draws=2)
    assert all(torch.equal(value, before[key]) for key, value in classifier.network.state_dict().items())
    assert not classifier.network.training
    assert all(not parameter.grad_fn for parameter in classifier.network.parameters())
    assert "Spearman" in str(report)


def test_few_steps_reach_all_layers() -> None:
    network = nn.Sequential(*(nn.Linear(6, 6) for _ in range(7)))
    names = [name for name, _ in s.forgetting(network, torch.zeros(1, 6), 3, seed=0)]
    assert names == ["6", "3", "0"]


class _Odd(nn.Module):
    """Layers that run in another order than they are listed in, and a parameter of the network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(6, 6), nn.Linear(6, 6)
        self.token = nn.Parameter(torch.arange(6.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) + self.token)


def test_the_order_is_that_in_which_layers_run() -> None:
    network = _Odd()
    assert s.layers_of(network, torch.zeros(1, 6)) == ["", "first", "last"]
    *_, (name, twin) = s.forgetting(network, torch.zeros(1, 6), 8, seed=0)
    assert name == ""
    assert not torch.equal(twin.token, network.token)  # shuffled, as no layer initialises it
    assert sorted(twin.token.tolist()) == network.token.tolist()


def test_small_noise_moves_a_linear_map_as_far_as_it_moves_the_picture() -> None:
    """The map is w x, so it moves by w n."""
    classifier, pixels = linear(), pictures()
    targets = classifier.logits(pixels).argmax(1)
    found = s.noise_stability(classifier, pixels, targets, s.by("gradient-x-input"), noise=0.001, draws=3)
    assert found.kept.min() == 1
    assert found.alike.min() > 0.99
    size = 0.001 * float(pixels.max() - pixels.min())
    assert found.moved.max() < 2 * size  # pixels have a deviation of 1
    assert found.moved.min() > 0.5 * size
    still = s.noise_stability(classifier, pixels, targets, lambda *given: torch.ones(3, SIDE, SIDE), draws=2)
    assert still.moved.max() == 0


def test_noise_that_changes_the_prediction_does_not_count() -> None:
    classifier, pixels = linear(), 1e-4 * pictures(2)
    pixels[0, 0, 0, 0] = 1  # gives the noise its size
    found = s.noise_stability(classifier, pixels, torch.tensor([0, 0]), s.by("gradient-x-input"), noise=1.0, draws=8)
    assert found.kept.max() < 1


def test_a_map_without_biases_adds_up_to_the_logit() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4, bias=False))
    found = s.sanity(classifier_of(network), pictures(), composite="epsilon", draws=1)
    torch.testing.assert_close(found.completeness, torch.ones(3).double(), atol=1e-4, rtol=0)
    cam = s.sanity(convolutional(), pictures(), "grad-cam", draws=1)
    assert cam.completeness.isnan().all()  # in no unit


@pytest.mark.parametrize(
    ("network", "said"), [(nn.Flatten(), "no layer"), (torch.jit.script(nn.Linear(2, 2)), "compiled by torch.jit")]
)
def test_what_cannot_be_randomised_says_so(network: Any, said: str) -> None:
    with pytest.raises(SaywhyError, match=said):
        next(s.forgetting(network, torch.zeros(1, 2), 3, 0))


def test_no_picture() -> None:
    with pytest.raises(SaywhyError, match="no picture"):
        s.sanity(linear(), pictures(0))
