"""Surgery: a network's own activations change nothing, another's do, and both networks are given back as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from saywhy.classifiers.layers import recorded, resized, stages
from saywhy.errors import SaywhyError
from saywhy.spaces.surgery.correlation import correlate
from saywhy.spaces.surgery.matching import Matching, match
from saywhy.spaces.surgery.operating import operated, run_operated, source_layers
from saywhy.spaces.surgery.options import Surgery
from tests.networks import SIZE, batches, clip_resnet, clip_vit, pixels, resnet, swin, two_convolutions, vit


def matched(
    source: nn.Module, target: nn.Module, pairs: list[tuple[tuple[str, ...], str]] | None = None,
    sizes: tuple[int, int] = (SIZE, SIZE), signed: bool = False,
) -> Matching:  # fmt: skip
    """Without a null, so that all live channels are matched; by default every stage with all of the source's."""
    if pairs is None:
        theirs = stages(target, pixels(1, sizes[1]), class_tokens=True)
        pairs = [(stages(source, pixels(1, sizes[0]), class_tokens=True), layer) for layer in theirs]
    return match(correlate(source, target, batches(12, 6, sizes), pairs, shuffles=0), signed=signed)


def plain(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network(x)


# -- what changes nothing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [resnet, clip_resnet, swin, vit, clip_vit])
def test_a_network_operated_with_itself_is_as_before(make: Callable[[], nn.Module]) -> None:
    """Every stage with itself, of a ViT the class tokens too; on pictures that the matching has not seen."""
    network = make()
    layers = stages(network, pixels(1), class_tokens=True)
    matching = matched(network, network, [((name,), name) for name in layers])
    assert all(layer.matched.sum() == len(layer.matched) - layer.dead for layer in matching.layers)
    x = pixels(4, seed=9)
    torch.testing.assert_close(run_operated(network, network, matching, x, x), plain(network, x), rtol=1e-5, atol=1e-5)


def test_an_affine_copy_operated_in_is_as_before() -> None:
    """Other scales, offsets and signs of the same channels, and a large mean: undone, as far as float32 goes."""
    network, x = two_convolutions(), pixels(4, seed=9)
    copy = deepcopy(network)
    gain, shift = torch.tensor([0.01, 100, 1, -1, -30, 2, -0.5, 7.0]), torch.tensor([0, 5e3, -300, 0, 1, 2e3, 0, 1.0])
    with torch.no_grad():
        copy[0].weight *= gain[:, None, None, None]
        copy[0].bias.mul_(gain).add_(shift)
    matching = matched(copy, network, [(("0",), "0")], signed=True)
    assert torch.equal(matching.layers[0].scores.sign(), gain.sign())
    torch.testing.assert_close(run_operated(copy, network, matching, x, x), plain(network, x), rtol=0, atol=1e-3)


def test_no_strength_no_change() -> None:
    source, target, x = resnet(), clip_resnet(), pixels(3)
    before = plain(target, x)
    matching = matched(source, target)
    assert torch.equal(run_operated(source, target, matching, x, x, Surgery(strength=0)), before)
    assert torch.equal(run_operated(source, target, matching.strongest(0), x, x), before)
    assert torch.equal(plain(target, x), before)


# -- what changes what ------------------------------------------------------------------------------------------------


def test_what_is_put_in_is_the_formula() -> None:
    """A = (source - mu_s) / sigma_s * sigma_t + mu_t on the target's grid; with a strength, so much of the way."""
    source, target, x = resnet(), clip_resnet(), pixels(3)
    matching = matched(source, target, [(("layer1", "layer3"), "layer2")])
    (layer,) = matching.layers
    with torch.no_grad(), recorded(source, ["layer1", "layer3"]) as maps, recorded(target, ["layer2"]) as own:
        source(x), target(x)
    both = torch.cat([resized(maps["layer1"], (8, 8)), resized(maps["layer3"], (8, 8))], 1)
    theirs = both[:, layer.channels].double()
    ours = own["layer2"].double()
    mean, std, own_mean, own_std = (
        v.double()[:, None, None] for v in (layer.source_mean, layer.source_std, layer.target_mean, layer.target_std)
    )
    put = torch.where(layer.matched[:, None, None], (theirs - mean) / std * own_std + own_mean, ours)
    for strength in (1.0, 0.25):
        with (
            torch.no_grad(),
            operated(target, matching, maps, Surgery(strength)),
            recorded(target, ["layer2"]) as changed,
        ):
            target(x)
        expected = ours + strength * (put - ours)
        torch.testing.assert_close(changed["layer2"], expected.float(), rtol=1e-4, atol=1e-5)


def test_channels_without_a_match_keep_their_own() -> None:
    source, target, x = resnet(), clip_resnet(), pixels(3)
    matching = matched(source, target, [(("layer2",), "layer2")]).strongest(0.25)
    (layer,) = matching.layers
    with torch.no_grad(), recorded(target, ["layer2"]) as own:
        target(x)
    with torch.no_grad(), recorded(source, source_layers(matching)) as maps:
        source(x)
    with torch.no_grad(), operated(target, matching, maps), recorded(target, ["layer2"]) as changed:
        target(x)
    same = (own["layer2"] == changed["layer2"]).transpose(0, 1).flatten(1).all(1)
    assert torch.equal(same, ~layer.matched)


def test_strength_is_continuous_and_monotone_along_the_line() -> None:
    source, target, x = resnet(), clip_resnet(), pixels(2)
    matching = matched(source, target)
    steps = [k / 8 for k in range(9)]
    outputs = [run_operated(source, target, matching, x, x, Surgery(strength)) for strength in steps]
    jumps = torch.stack([(b - a).norm() for a, b in pairwise(outputs)])
    assert (jumps > 0).all()
    assert jumps.max() < 0.5 * jumps.sum()
    tiny = run_operated(source, target, matching, x, x, Surgery(1e-4))
    assert (tiny - outputs[0]).norm() < 1e-2 * (outputs[-1] - outputs[0]).norm()
    # In the layer itself the way is a straight line.
    only = matching.only(["layer4"])
    replaced = only.layers[0].matched
    with torch.no_grad(), recorded(source, source_layers(only)) as maps:
        source(x)
    values = []
    for strength in steps:
        with torch.no_grad(), operated(target, only, maps, Surgery(strength)), recorded(target, ["layer4"]) as changed:
            target(x)
        values.append(changed["layer4"][:, replaced])
    shares = torch.stack([(v - values[0]).flatten() @ (values[-1] - values[0]).flatten() for v in values])
    torch.testing.assert_close(shares / shares[-1], torch.tensor(steps), rtol=1e-4, atol=1e-5)


def test_some_channels_are_enough_to_change_the_output() -> None:
    source, target, x = resnet(), clip_resnet(), pixels(4)
    before, matching = plain(target, x), matched(source, target)
    changes = [
        float((run_operated(source, target, some, x, x) - before).norm())
        for some in (matching.strongest(0), matching.strongest(0.1), matching.only(["layer4"]), matching)
    ]
    assert changes[0] == 0
    assert all(change > 0.01 * before.norm() for change in changes[1:])


def test_a_shuffle_is_another_surgery() -> None:
    source, target, x = resnet(), clip_resnet(), pixels(3)
    matching = matched(source, target)
    outputs = [
        run_operated(source, target, some, x, x) for some in (matching, matching.shuffled(1), matching.shuffled(2))
    ]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])
    assert set(source_layers(matching)) == set(source_layers(matching.shuffled(1)))


def test_only_layers_that_are_used_are_recorded() -> None:
    source, target = resnet(), clip_resnet()
    matching = matched(source, target)
    (layer,) = matching.only(["layer2"]).layers
    first = replace(layer, channels=torch.where(layer.channels < layer.sources[0][1], layer.channels, -1))
    assert source_layers(replace(matching, layers=(first,))) == ["layer1"]
    assert source_layers(matching.strongest(0)) == []


PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, int]]] = {
    "ResNet to ResNet tower": (resnet, clip_resnet, (SIZE, SIZE)),
    "other input sizes": (resnet, clip_resnet, (96, SIZE)),
    "Swin to ResNet tower": (swin, clip_resnet, (SIZE, SIZE)),
    "ViT to ResNet tower": (vit, clip_resnet, (SIZE, SIZE)),
    "ViT to ViT tower": (vit, clip_vit, (SIZE, SIZE)),
    "ViT of another size to ViT tower": (lambda: vit(img_size=48, patch_size=16), clip_vit, (48, SIZE)),
    "ResNet to ViT tower": (resnet, clip_vit, (SIZE, SIZE)),
    "ViT tower to ViT": (clip_vit, vit, (SIZE, SIZE)),
}


@pytest.mark.parametrize("case", PAIRS)
def test_any_network_goes_into_any_other(case: str) -> None:
    make_source, make_target, sizes = PAIRS[case]
    source, target = make_source(), make_target()
    matching = matched(source, target, sizes=sizes)
    assert all(layer.matched.any() for layer in matching.layers)
    (x, y), *_ = batches(3, 3, sizes)
    before, after = plain(target, y), run_operated(source, target, matching, x, y)
    assert after.shape == before.shape
    assert torch.isfinite(after).all()
    assert not torch.allclose(before, after, rtol=1e-3, atol=1e-4)
    # The target sees its own picture no more where all of its last layer is replaced: only the source's picture counts.
    torch.testing.assert_close(run_operated(source, target, matching, x[:1], y[:1]), after[:1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_targets_type_is_kept(dtype: torch.dtype) -> None:
    source, target = resnet(), clip_resnet()
    matching = matched(source, target)
    x = pixels(2)
    expected = run_operated(source, target, matching, x, x)
    after = run_operated(source, target.to(dtype), matching, x, x.to(dtype))
    assert after.dtype == dtype
    assert torch.cosine_similarity(after.float(), expected).min() > 0.95


def test_blocks_that_return_tuples() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            return self.inner(x), None

    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.ModuleList([Block(), Block()])

        def forward(self, x: Tensor) -> Tensor:
            for block in self.layer:
                x, _ = block(x)
            return x

    network, x = Blocks(), pixels(4, 16)
    assert stages(network, x) == ("layer.0", "layer.1")
    matching = match(correlate(network, network, [(x, x)], [((n,), n) for n in ("layer.0", "layer.1")], shuffles=0))
    torch.testing.assert_close(run_operated(network, network, matching, x, x), plain(network, x), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(run_operated(network, network, matching.shuffled(3), x, x), plain(network, x))


# -- what is given back -----------------------------------------------------------------------------------------------


@contextmanager
def unchanged(*networks: nn.Module) -> Iterator[None]:
    """Mode of every module, requires_grad, weights and hooks are those of before."""

    def state(network: nn.Module) -> tuple[list[bool], list[bool], list[Tensor], int]:
        return (
            [module.training for module in network.modules()],
            [parameter.requires_grad for parameter in network.parameters()],
            [tensor.clone() for tensor in network.state_dict().values()],
            sum(len(module._forward_hooks) for module in network.modules()),
        )

    before = [state(network) for network in networks]
    try:
        yield
    finally:
        for network, (modes, requires, weights, hooks) in zip(networks, before, strict=True):
            found = state(network)
            assert (found[0], found[1], found[3]) == (modes, requires, hooks)
            assert all(torch.equal(a, b) for a, b in zip(found[2], weights, strict=True))


def borrowed() -> tuple[nn.Module, nn.Module]:
    """Networks in a mixed state: batch norms in training, some parameters that require gradients and some not."""
    source, target = resnet(), clip_resnet()
    source.train()
    source.get_submodule("layer1").eval()
    target.get_submodule("layer2").train()
    for parameter in target.get_submodule("layer3").parameters():
        parameter.requires_grad_(False)
    return source, target


def test_networks_are_given_back_as_they_were() -> None:
    source, target = borrowed()
    with unchanged(source, target):
        matching = matched(source, target)
    with unchanged(source, target):
        output = run_operated(source, target, matching, pixels(2), pixels(2))
    assert not output.requires_grad


def test_networks_are_given_back_after_an_error() -> None:
    source, target = borrowed()
    matching = matched(source, target)

    def damaged() -> Iterator[tuple[Tensor, Tensor]]:
        yield pixels(2), pixels(2)
        raise OSError("a picture cannot be read")

    with unchanged(source, target), pytest.raises(OSError, match="cannot be read"):
        correlate(source, target, damaged(), [(("layer1",), "layer1")])
    with unchanged(source, target), pytest.raises(RuntimeError):
        run_operated(source, target, matching, pixels(2), torch.zeros(2, 7, SIZE, SIZE))
    with unchanged(source, target), pytest.raises(KeyError), operated(target, matching, {}):
        plain(target, pixels(1))


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    network = two_convolutions()
    matching = matched(network, network, [(("0",), "0")])
    with pytest.raises(SaywhyError, match=r"strength of surgery must lie in 0\.\.1"):
        run_operated(network, network, matching, pixels(2), pixels(2), Surgery(strength))


def test_a_matching_of_other_networks_is_refused() -> None:
    source, target = resnet(), clip_resnet()
    matching = matched(source, target)
    with pytest.raises(SaywhyError, match="VisionTransformer has no layer 'layer"):
        run_operated(source, clip_vit(), matching, pixels(2), pixels(2))
    with pytest.raises(SaywhyError, match="VisionTransformer has no layer 'layer"):
        run_operated(vit(), target, matching, pixels(2), pixels(2))


# -- nothing passes but what the source passes ------------------------------------------------------------------------


def test_unmatched_channels_are_at_their_means() -> None:
    """At full strength everywhere and always; in between so much of the way; and the matched ones as without."""
    source, target, x = resnet(), clip_resnet(), pixels(3)
    matching = matched(source, target, [(("layer2",), "layer2")]).strongest(0.25)
    (layer,) = matching.layers
    with torch.no_grad(), recorded(target, ["layer2"]) as own, recorded(source, source_layers(matching)) as maps:
        source(x), target(x)

    def changed(how: Surgery) -> Tensor:
        with torch.no_grad(), operated(target, matching, maps, how), recorded(target, ["layer2"]) as found:
            target(x)
        return found["layer2"]

    silent = ~layer.matched
    mean = layer.target_mean[silent][:, None, None]
    for strength in (1.0, 0.3):
        found = changed(Surgery(strength, unmatched="mean"))
        expected = own["layer2"][:, silent] + strength * (mean - own["layer2"][:, silent])
        torch.testing.assert_close(found[:, silent], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[:, layer.matched], changed(Surgery(strength))[:, layer.matched])
    assert changed(Surgery(unmatched="mean"))[:, silent].transpose(0, 1).flatten(1).std(1).max() < 1e-5


@pytest.mark.parametrize(("source_of", "target_of"), [(resnet, clip_resnet), (resnet, clip_vit), (vit, clip_vit)])
def test_with_nothing_matched_all_pictures_are_one(
    source_of: Callable[[], nn.Module], target_of: Callable[[], nn.Module]
) -> None:
    source, target, x = source_of(), target_of(), pixels(4)
    layers = stages(target, x[:1], class_tokens=True)
    last = [name for name in layers if name.partition(":")[0] == layers[-1].partition(":")[0]]
    nothing = matched(source, target).only(last).strongest(0)
    found = run_operated(source, target, nothing, x, x, Surgery(unmatched="mean"))
    torch.testing.assert_close(found, found[:1].expand_as(found), rtol=1e-4, atol=1e-5)
    halfway = run_operated(source, target, nothing, x, x, Surgery(0.5, unmatched="mean"))
    assert 1e-3 < halfway.std(0).max() < plain(target, x).std(0).max()
    assert torch.equal(run_operated(source, target, nothing, x, x, Surgery(0, unmatched="mean")), plain(target, x))
    torch.testing.assert_close(run_operated(source, target, nothing, x, x), plain(target, x))


@pytest.mark.parametrize("make", [resnet, clip_resnet, vit, clip_vit])
def test_with_itself_it_is_as_before_though_the_unmatched_are_silenced(make: Callable[[], nn.Module]) -> None:
    """On pictures that were matched on: a channel that is constant on them is unmatched, and at its mean anyway."""
    network, x = make(), pixels(12)
    matching = matched(network, network, [((name,), name) for name in stages(network, x[:1], class_tokens=True)])
    found = run_operated(network, network, matching, x, x, Surgery(unmatched="mean"))
    torch.testing.assert_close(found, plain(network, x), rtol=1e-4, atol=1e-5)
