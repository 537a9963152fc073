"""Matching channels: the streamed sums agree with stored activations, and what is the same is found to be the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from saywhy.classifiers.layers import recorded, resized, stages
from saywhy.errors import SaywhyError
from saywhy.spaces.surgery.correlation import Correlation, _Finer, correlate
from saywhy.spaces.surgery.matching import HOW, Matching, match
from tests.networks import SIZE, batches, clip_resnet, clip_vit, pixels, resnet, two_convolutions, vit

CLOSE = {"rtol": 0, "atol": 1e-5}


def stored(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    """(N, C, h, w)"""
    with torch.no_grad(), recorded(network, [layer]) as maps:
        network(x)
    return maps[layer]


def of_stored(source: Tensor, target: Tensor) -> Tensor:
    """(C_s, C_t) by NumPy in float64, of maps (N, C, h, w) on one grid; 0 where a map is constant."""
    x, y = (maps.double().transpose(0, 1).flatten(1).numpy() for maps in (source, target))
    with np.errstate(all="ignore"):
        return torch.as_tensor(np.nan_to_num(np.corrcoef(x, y)[: len(x), len(x) :])).float()


def rolled(maps: Tensor, batch: int) -> Tensor:
    """Every picture's maps in the place of its neighbour in the batch; batches of one are left out."""
    return torch.cat([part.roll(1, 0) for part in maps.split(batch) if len(part) > 1])


# -- correlations -----------------------------------------------------------------------------------------------------

CASES = {
    "same grid": (resnet, "layer2", clip_resnet, "layer2", SIZE),
    "finer source": (resnet, "layer1", clip_resnet, "layer4", SIZE),
    "coarser source": (resnet, "layer4", clip_resnet, "layer1", SIZE),
    "another input size": (resnet, "layer2", clip_resnet, "layer3", 48),
    "tokens to tokens": (vit, "blocks.3", clip_vit, "transformer.resblocks.1", SIZE),
    "tokens to maps": (vit, "blocks.1", clip_resnet, "layer3", SIZE),
    "class token to class token": (vit, "blocks.2:class", clip_vit, "transformer.resblocks.2:class", SIZE),
    "maps to class token": (resnet, "layer3", clip_vit, "transformer.resblocks.3:class", SIZE),
}


@pytest.mark.parametrize("case", CASES)
def test_streamed_correlations_agree_with_stored_activations(case: str) -> None:
    source_of, source_layer, target_of, layer, size = CASES[case]
    source, target, count = source_of(), target_of(), 9
    x, y = stored(source, source_layer, pixels(count, size)), stored(target, layer, pixels(count))
    x = resized(x, tuple(y.shape[-2:]))  # type: ignore[arg-type]
    expected = of_stored(x, y)
    assert expected.abs().max() > 0.1
    for batch in (2, 4, 9):  # 9 is 2 + 2 + 2 + 2 + 1, 4 + 4 + 1
        (one,) = correlate(source, target, batches(count, batch, (size, SIZE)), [((source_layer,), layer)])
        assert one.sources == ((source_layer, x.shape[1]),)
        assert one.images == count
        torch.testing.assert_close(one.values, expected, **CLOSE)
        for values, mean, std in ((x, one.source_mean, one.source_std), (y, one.target_mean, one.target_std)):
            torch.testing.assert_close(mean, values.double().mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
            torch.testing.assert_close(std, values.double().std((0, 2, 3), correction=0), rtol=1e-5, atol=1e-7)
        assert one.null is not None


@pytest.mark.parametrize("coarse", [(7, 7), (1, 1), (4, 14), (14, 5), (13, 2)])
def test_sums_on_a_finer_grid_are_had_without_going_there(coarse: tuple[int, int]) -> None:
    x, y, fine = torch.randn(3, 2, *coarse), torch.randn(3, 2, 14, 14), (14, 14)
    there, finer = resized(x, fine), _Finer(coarse, fine, x.device)
    for expected, found in (
        ((there * y).sum((2, 3)), (x * finer.back(y)).sum((2, 3))),
        (there.square().sum((2, 3)), (x * finer.squared(x)).sum((2, 3))),
        (there.sum((2, 3)), (x * finer.weights).sum((2, 3))),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch", [2, 3, 6])
def test_the_null_is_that_of_pictures_rolled_within_the_batch(batch: int) -> None:
    source, target, x = resnet(), clip_resnet(), pixels(6)
    ours, theirs = resized(stored(source, "layer2", x), (4, 4)), stored(target, "layer3", x)
    (one,) = correlate(source, target, batches(6, batch), [(("layer2",), "layer3")])
    assert one.null is not None
    torch.testing.assert_close(one.null[0], of_stored(rolled(ours, batch), theirs), **CLOSE)
    (without,) = correlate(source, target, batches(6, batch), [(("layer2",), "layer3")], shuffles=0)
    assert without.null is None
    torch.testing.assert_close(without.values, one.values, rtol=0, atol=1e-6)


def test_each_shuffle_hands_pictures_to_others() -> None:
    """By 1, 2, 3 places; a last batch of two has one way only, and takes part in every shuffle with it."""
    source, target, x = resnet(), clip_resnet(), pixels(6)
    ours, theirs = resized(stored(source, "layer2", x), (4, 4)), stored(target, "layer3", x)
    (one,) = correlate(source, target, batches(6, 4), [(("layer2",), "layer3")], shuffles=3)
    assert one.null is not None
    for order, found in zip(([3, 0, 1, 2], [2, 3, 0, 1], [1, 2, 3, 0]), one.null, strict=True):
        torch.testing.assert_close(found, of_stored(ours[[*order, 5, 4]], theirs), **CLOSE)


def test_no_more_shuffles_are_counted_than_differ() -> None:
    for batch in (2, 3, 6):
        (one,) = correlate(resnet(), clip_resnet(), batches(6, batch), [(("layer2",), "layer3")], shuffles=9)
        assert one.null is not None
        assert len(one.null) == match([one]).shuffles == batch - 1


def test_a_last_batch_of_one_has_no_part_in_the_null() -> None:
    source, target, x = resnet(), clip_resnet(), pixels(21)
    ours, theirs = resized(stored(source, "layer1", x), (8, 8)), stored(target, "layer2", x)
    (one,) = correlate(source, target, batches(21, 4), [(("layer1",), "layer2")])
    assert one.null is not None
    # The means are those of all pictures, so that it agrees as far as one picture in 21 goes.
    torch.testing.assert_close(one.null[0], of_stored(rolled(ours, 4), theirs[:20]), rtol=0, atol=0.05)


class Offset(nn.Module):
    """Channels of the given means and deviations, of noise that the picture decides."""

    def __init__(self, means: list[float], stds: list[float]) -> None:
        super().__init__()
        self.means, self.stds = (torch.tensor(v)[:, None, None] for v in (means, stds))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1] * self.stds + x[:, 1:2] * self.stds.flip(0) * 0.2 + self.means


def test_a_large_mean_does_not_hide_a_small_deviation() -> None:
    source = nn.Sequential(Offset([0.0, 1000.0, -300.0, 5.0], [1.0, 0.05, 0.01, 2.0]))
    target = nn.Sequential(Offset([50.0, 0.1, 2000.0], [0.001, 30.0, 0.2]))
    x = pixels(12) + torch.linspace(-2, 2, 12)[:, None, None, None]  # the first batch is not like the last
    (one,) = correlate(source, target, ((part, part) for part in x.split(3)), [(("0",), "0")])
    expected = of_stored(stored(source, "0", x), stored(target, "0", x))
    assert expected.abs().min() > 0.05
    torch.testing.assert_close(one.values, expected, **CLOSE)


def test_several_layers_come_in_the_order_they_are_named_in() -> None:
    """Pairs with different layers, two of the target's on one grid, and one layer of the target in two pairs."""
    source, target = vit(), clip_vit()
    names = ["blocks.1", "blocks.4", "blocks.2"]
    pairs = [
        (names, "transformer.resblocks.2"),
        (names[1:], "transformer.resblocks.0"),
        (names[:1], "transformer.resblocks.0"),
        (names, "transformer.resblocks.0:class"),
    ]
    found = correlate(source, target, batches(6, 3), pairs)
    assert [one.layer for one in found] == [layer for _, layer in pairs]
    for (layers, layer), one in zip(pairs, found, strict=True):
        assert one.sources == tuple((name, 64) for name in layers)
        theirs = stored(target, layer, pixels(6))
        maps = [resized(stored(source, name, pixels(6)), tuple(theirs.shape[-2:])) for name in layers]  # type: ignore[arg-type]
        torch.testing.assert_close(one.values, of_stored(torch.cat(maps, 1), theirs), **CLOSE)


def test_a_layer_that_is_named_twice_counts_once() -> None:
    source, target = resnet(), clip_resnet()
    twice, once = correlate(source, target, batches(4, 2), [(("layer2",) * 2, "layer1"), (("layer2",), "layer1")])
    assert twice.sources == once.sources
    assert torch.equal(twice.values, once.values)


def test_more_pictures_need_no_more_memory() -> None:
    """What is kept after a batch has the size that the docstring says, however many batches came before."""
    from saywhy.spaces.surgery.correlation import _Sums

    sizes = []
    sums = _Sums([(("a",), "b")], shuffles=1)
    for seed in range(5):
        x = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(seed))
        sums.add({"a": x}, {"b": x[:, :5]})
        sizes.append(sum(product.nbytes for product in sums.products.values()))
    assert sizes == [2 * 8 * 6 * 5] * 5


# -- matches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (resnet, ["layer1", "layer2", "layer3", "layer4"]),
        (clip_resnet, ["layer1", "layer4"]),
        (vit, ["blocks.1", "blocks.5", "blocks.5:class"]),
        (clip_vit, ["transformer.resblocks.3", "transformer.resblocks.3:class"]),
    ],
)
def test_a_network_finds_itself(make, layers: list[str], how: str) -> None:  # type: ignore[no-untyped-def]
    network = make()
    correlations = correlate(network, network, batches(24, 8), [((name,), name) for name in layers])
    for one, layer in zip(correlations, match(correlations, how).layers, strict=True):
        alive = layer.target_std > 0
        assert layer.matched.tolist() == alive.tolist()
        assert layer.dead == int((~alive).sum())
        torch.testing.assert_close(layer.scores[alive], torch.ones(int(alive.sum())), rtol=0, atol=2e-6)
        # Two channels that are alive in the same single position of the data are one to a correlation.
        single = alive & ((one.values > 1 - 1e-5).sum(0) == 1)
        assert single.sum() > 0.9 * alive.sum()
        assert torch.equal(layer.channels[single], torch.arange(len(alive))[single])
        assert torch.equal(layer.source_mean[single], layer.target_mean[single])
        assert torch.equal(layer.source_std[single], layer.target_std[single])


def permuted(network: nn.Sequential, order: Tensor) -> nn.Sequential:
    """The same function, its first layer's channels in another order."""
    copy = deepcopy(network)
    with torch.no_grad():
        for module in copy[:2]:
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.dim():
                    tensor.copy_(tensor[order])
        copy[3].weight.copy_(copy[3].weight[:, order])
    return copy


@pytest.mark.parametrize("how", HOW)
def test_a_permutation_is_found(how: str) -> None:
    network, order = two_convolutions(), torch.randperm(8)
    network[1].running_mean.normal_()
    copy, x = permuted(network, order), pixels(4)
    torch.testing.assert_close(copy(x), network(x), rtol=1e-4, atol=1e-5)
    for layer in ("0", "1"):
        (found,) = match(correlate(network, copy, batches(8, 4), [((layer,), layer)]), how).layers
        assert torch.equal(found.channels, order)
    (there, back) = (
        match(correlate(a, b, batches(8, 4), [(("0", "3"), "0")]), how) for a, b in ((network, copy), (copy, network))
    )
    assert torch.equal(there.layers[0].channels[back.layers[0].channels], torch.arange(8))


def silenced(network: nn.Sequential, channel: int, constant: float) -> nn.Sequential:
    copy = deepcopy(network)
    with torch.no_grad():
        copy[0].weight[channel] = 0
        copy[0].bias[channel] = constant
    return copy


@pytest.mark.parametrize("constant", [0.0, 7.3])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("how", HOW)
def test_constant_channels_are_never_matched(how: str, signed: bool, constant: float) -> None:
    network = two_convolutions()
    source, target = silenced(network, 5, constant), silenced(network, 3, constant)
    for shuffles in (0, 1, 3):
        (one,) = correlate(source, target, batches(8, 4), [(("0",), "0")], shuffles)
        assert one.source_std[5] == one.target_std[3] == 0
        assert not one.values[5].any()
        assert not one.values[:, 3].any()
        (found,) = match([one], how, signed=signed).layers
        assert found.dead == 1
        assert found.channels[3] == -1
        assert not (found.channels == 5).any()


def test_a_channel_that_runs_the_other_way_is_found_where_signs_count() -> None:
    network = two_convolutions()
    negated = deepcopy(network)
    with torch.no_grad():
        for tensor in negated[0].parameters():
            tensor[::2] *= -1
    correlations = correlate(network, negated, batches(8, 4), [(("0",), "0")])
    (found,) = match(correlations, signed=True).layers
    assert torch.equal(found.channels, torch.arange(8))
    torch.testing.assert_close(found.scores, torch.tensor([-1.0, 1.0] * 4), rtol=0, atol=1e-6)
    (unsigned,) = match(correlations).layers
    assert torch.equal(unsigned.channels[1::2], torch.arange(8)[1::2])
    assert not (unsigned.channels[::2] == torch.arange(8)[::2]).any()
    assert (unsigned.scores >= 0).all()


def made_up(values: list[list[float]], null: list[list[float]] | None = None) -> Correlation:
    strengths = torch.tensor(values)
    ours, theirs = strengths.shape
    ones = torch.ones(ours, dtype=torch.float64), torch.ones(theirs, dtype=torch.float64)
    return Correlation(
        "t", (("s", ours),), strengths, None if null is None else torch.tensor(null)[None],
        ones[0] * 0, ones[0], ones[1] * 0, ones[1], 10,
    )  # fmt: skip


def test_one_to_one_serves_once_and_best_may_serve_several() -> None:
    one = made_up([[0.9, 0.8], [0.7, 0.1]])
    assert match([one], "best").layers[0].channels.tolist() == [0, 0]
    assert match([one], "one-to-one").layers[0].channels.tolist() == [1, 0]


def test_what_is_no_match_costs_nobody_a_match() -> None:
    """The pair that is left over is anti-correlated: no reason to give the best pair up."""
    one = made_up([[0.9, 0.85], [0.0, -0.9]])
    assert match([one], "one-to-one").layers[0].channels.tolist() == [0, -1]


def test_one_to_one_where_there_are_too_few() -> None:
    (found,) = match([made_up([[0.2, 0.9, 0.3]])], "one-to-one").layers
    assert found.channels.tolist() == [-1, 0, -1]
    torch.testing.assert_close(found.scores, torch.tensor([0, 0.9, 0]))


def test_the_threshold_is_a_quantile_of_the_best_by_chance() -> None:
    values = [[0.5] * 5, [0.1] * 5]
    null = [[0.1, 0.2, 0.3, 0.4, 0.6], [0.0, -0.9, 0.0, 0.0, 0.0]]
    for chance, signed, threshold, matched in (
        (0, False, 0.6, 0), (0.25, False, 0.4, 5), (1, False, 0.0, 5), (0, True, 0.9, 0), (0.25, True, 0.6, 0),
    ):  # fmt: skip
        (found,) = match([made_up(values, null)], chance=chance, signed=signed).layers
        assert found.threshold == pytest.approx(threshold)
        assert int(found.matched.sum()) == matched


def test_channels_that_are_no_candidates_do_not_raise_the_threshold() -> None:
    one = made_up([[0.5, 0.1], [0.9, 0.9]], [[0.2, 0.1], [0.95, 0.95]])
    (found,) = match([one], candidates={"s": torch.tensor([True, False])}).layers
    assert found.threshold == pytest.approx(0.2)
    assert found.channels.tolist() == [0, -1]


def test_of_unrelated_networks_one_in_twenty_has_a_match() -> None:
    """Where values and null are of one kind; with one shuffle it is every second."""
    some = []
    for shuffles in (1, 19):
        with_match = 0
        for _ in range(200):
            values, null = torch.randn(3, 16) / 9, torch.randn(shuffles, 3, 16) / 9
            (found,) = match([replace(made_up(values.tolist()), null=null)]).layers
            with_match += bool(found.matched.any())
        some.append(with_match / 200)
    assert some[0] == pytest.approx(0.5, abs=0.12)
    assert some[1] == pytest.approx(0.05, abs=0.04)


def test_what_chance_was_taken_is_kept(tmp_path: Path) -> None:
    correlations = correlate(resnet(), clip_resnet(), batches(8, 4), [(("layer1",), "layer1")], shuffles=2)
    for chance, shuffles in ((0.0, 2), (0.2, 2), (1.0, 0)):
        found = Matching.load(match(correlations, chance=chance).save(tmp_path / f"{chance}.safetensors"))
        assert (found.chance, found.shuffles) == (chance, shuffles)


def test_noise_matches_nothing() -> None:
    """Pictures that have nothing to do with each other: hardly a channel passes its null."""
    source, target = resnet(), clip_resnet()
    unrelated = zip(pixels(48, seed=1).split(12), pixels(48, seed=7).split(12), strict=True)
    matching = match(correlate(source, target, unrelated, [(("layer2",), "layer2")]))
    assert matching.layers[0].matched.float().mean() < 0.1


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("signed", [False, True])
def test_only_candidates_are_matched(how: str, signed: bool) -> None:
    source, target = resnet(), clip_resnet()
    correlations = correlate(
        source, target, batches(12, 6), [(("layer2", "layer3"), name) for name in ("layer2", "layer3")]
    )
    masks = {name: torch.rand(count) < 0.3 for name, count in correlations[0].sources}
    allowed = torch.cat(list(masks.values()))
    everything = {name: torch.ones_like(mask) for name, mask in masks.items()}
    for one, layer in zip(correlations, match(correlations, how, 0.5, signed, masks).layers, strict=True):
        assert layer.matched.any()
        assert allowed[layer.channels[layer.matched]].all()
        if how == "best":
            strength = one.values.abs() if signed else one.values
            best = strength[allowed].max(0).values
            assert torch.equal(layer.matched, best > layer.threshold)
            torch.testing.assert_close(
                strength[layer.channels, torch.arange(len(best))][layer.matched], best[layer.matched]
            )
    for found, free in zip(
        match(correlations, how, 0.5, signed, everything).layers,
        match(correlations, how, 0.5, signed).layers,
        strict=True,
    ):
        assert torch.equal(found.channels, free.channels)
        assert found.threshold == free.threshold


@pytest.mark.parametrize("how", HOW)
def test_without_candidates_nothing_is_matched(how: str) -> None:
    one = made_up([[0.9, 0.8], [0.7, -0.1]])
    (layer,) = match([one], how, candidates={"s": torch.tensor([False, False])}).layers
    assert layer.channels.tolist() == [-1, -1]
    assert layer.scores.tolist() == [0, 0]
    (layer,) = match([one], how, candidates={"s": torch.tensor([False, True])}).layers
    assert layer.channels.tolist() == [1, -1]


# -- what is done with matchings --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matching() -> Matching:
    torch.manual_seed(0)
    source, target = resnet(), clip_resnet()
    layers = stages(source, pixels(1))
    correlations = correlate(source, target, batches(12, 4), [(layers, name) for name in stages(target, pixels(1))])
    found = match(correlations, chance=0.5, signed=True)
    return replace(found, source="ours", target="theirs", fingerprints={"source": "s1", "target": "t1"})


def test_a_shuffle_deals_the_same_channels_anew(matching: Matching) -> None:
    for before, after in zip(matching.layers, matching.shuffled(1).layers, strict=True):
        assert torch.equal(before.matched, after.matched)
        assert not torch.equal(before.channels, after.channels)
        for name in ("channels", "scores", "source_mean", "source_std"):
            pairs = [
                sorted(zip(layer.channels.tolist(), getattr(layer, name).tolist(), strict=True))
                for layer in (before, after)
            ]
            assert [pair for pair in pairs[0] if pair[0] >= 0] == [pair for pair in pairs[1] if pair[0] >= 0]
        assert torch.equal(before.target_mean, after.target_mean)
    again = matching.shuffled(1)
    assert all(
        torch.equal(a.channels, b.channels) for a, b in zip(again.layers, matching.shuffled(1).layers, strict=True)
    )
    assert not torch.equal(again.layers[-1].channels, matching.shuffled(2).layers[-1].channels)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 1])
def test_the_strongest_are_the_strongest(matching: Matching, share: float) -> None:
    for before, after in zip(matching.layers, matching.strongest(share).layers, strict=True):
        count = min(round(share * len(before.channels)), int(before.matched.sum()))
        assert int(after.matched.sum()) == count
        assert torch.equal(after.channels[after.matched], before.channels[after.matched])
        dropped = before.matched & ~after.matched
        if count and dropped.any():
            assert after.scores[after.matched].abs().min() >= before.scores[dropped].abs().max()


def test_only_some_layers(matching: Matching) -> None:
    assert [layer.layer for layer in matching.only(["layer3", "layer1"]).layers] == ["layer3", "layer1"]
    with pytest.raises(SaywhyError, match="no matches for layer 'layer9'; did you mean layer4, layer3, layer2"):
        matching.only(["layer9"])
    with pytest.raises(SaywhyError, match="at least one layer"):
        matching.only([])


def test_quality_counts(matching: Matching) -> None:
    for row, layer in zip(matching.quality(), matching.layers, strict=True):
        assert row["layer"] == layer.layer
        assert row["matched"] == int(layer.matched.sum()) == sum(row["from"].values())
        assert row["10%"] <= row["median"] <= row["90%"]
        assert row["dead"] <= row["channels"] - row["matched"]
        last = layer.channels[layer.matched] >= sum(count for _, count in layer.sources[:-1])
        assert row["from"].get("layer4", 0) == int(last.sum())
    empty = matching.strongest(0).quality()[0]
    assert (empty["matched"], empty["median"], empty["from"]) == (0, None, {})


def test_a_matching_is_kept_and_comes_back(matching: Matching, tmp_path: Path) -> None:
    path = matching.save(tmp_path / "matching.safetensors")
    again = Matching.load(path, {"source": "s1", "target": "t1"})
    for name in ("how", "images", "source", "target", "fingerprints"):
        assert getattr(again, name) == getattr(matching, name)
    for before, after in zip(matching.layers, again.layers, strict=True):
        for name, value in vars(before).items():
            kept = getattr(after, name)
            assert torch.equal(kept, value) if isinstance(value, Tensor) else kept == value
    shown = json.loads((tmp_path / "matching.json").read_text())
    assert shown["source"] == "ours"
    assert shown["images"] == 12
    assert [row["layer"] for row in shown["quality"]] == [layer.layer for layer in matching.layers]
    assert shown["layers"][0]["sources"][0][0] == "layer1"


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_matching_of_others_is_refused(matching: Matching, tmp_path: Path, role: str) -> None:
    path = matching.save(tmp_path / "matching.safetensors")
    with pytest.raises(SaywhyError, match=f"another {role} \\({'ours' if role == 'source' else 'theirs'}\\)"):
        Matching.load(path, {role: "other"})


def test_a_damaged_file_is_refused(matching: Matching, tmp_path: Path) -> None:
    whole = matching.save(tmp_path / "matching.safetensors").read_bytes()
    for n, content in enumerate([b"", b"\x00" * 40, whole[:50], whole[: len(whole) // 2], b"no matching"]):
        path = tmp_path / f"damaged{n}"
        path.write_bytes(content)
        with pytest.raises(SaywhyError, match=f"damaged{n}: holds no matching"):
            Matching.load(path)
    tensors = {"0.channels": torch.zeros(1)}
    layer = {"layer": "a", "sources": [["b", 1]], "threshold": 0.0, "dead": 0}
    for metadata in (
        None, {"saywhy": "{"}, {"saywhy": "[]"}, {"saywhy": "{}"}, {"other": "x"}, {"saywhy": '{"layers": []}'},
        {"saywhy": json.dumps({"layers": [layer], "how": "best", "images": 2})},
    ):  # fmt: skip
        save_file(tensors, tmp_path / "foreign", metadata=metadata)
        with pytest.raises(SaywhyError, match="foreign: holds no matching"):
            Matching.load(tmp_path / "foreign")
    with pytest.raises(SaywhyError, match="absent: holds no matching"):
        Matching.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("channels", lambda tensor: tensor + 10_000), ("channels", lambda tensor: tensor - 10_000),
        ("channels", lambda tensor: tensor.float()), ("scores", lambda tensor: tensor[:-1]),
        ("scores", lambda tensor: tensor * float("nan")), ("source_std", lambda tensor: tensor * 0),
    ],
)  # fmt: skip
def test_channels_that_are_not_there_are_refused(
    matching: Matching, tmp_path: Path, name: str, change: Callable[[Tensor], Tensor]
) -> None:
    path = matching.save(tmp_path / "matching.safetensors")
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors | {f"0.{name}": change(tensors[f"0.{name}"]).contiguous()}, path, metadata)
    with pytest.raises(SaywhyError, match="holds no matching"):
        Matching.load(path)


@pytest.mark.parametrize(
    ("count", "batch", "pairs", "message"),
    [
        (0, 1, [(("layer1",), "layer1")], "at least two pictures; there are none"),
        (1, 1, [(("layer1",), "layer1")], "at least two pictures; there is one"),
        (3, 1, [(("layer1",), "layer1")], "batches of at least two"),
        (4, 2, [(("layer9",), "layer1")], "ResNet has no layer 'layer9'; did you mean layer"),
        (4, 2, [(("layer1",), "layr1")], "ModifiedResNet has no layer 'layr1'; did you mean layer1"),
        (4, 2, [(("fc",), "layer1")], "fc: its output of shape .* is not a map"),
        (4, 2, [(("layer1:class",), "layer1")], "has no class token"),
        (4, 2, [(("layer1",), "attnpool.q_proj")], "attnpool.q_proj is not called"),
        (4, 2, [], "at least one layer of each"),
        (4, 2, [((), "layer1")], "at least one layer of each"),
    ],
)  # fmt: skip
def test_what_cannot_be_correlated_is_refused(
    count: int, batch: int, pairs: list[tuple[tuple[str, ...], str]], message: str
) -> None:
    networks = resnet(), clip_resnet()
    networks[1].train()
    with pytest.raises(SaywhyError, match=message):
        correlate(*networks, batches(count, batch) if count else iter(()), pairs)
    assert networks[1].training
    assert all(parameter.requires_grad for network in networks for parameter in network.parameters())
    assert not any(module._forward_hooks for network in networks for module in network.modules())


def test_pictures_one_at_a_time_will_do_without_a_null() -> None:
    (one,) = correlate(resnet(), clip_resnet(), batches(3, 1), [(("layer1",), "layer1")], shuffles=0)
    assert one.images == 3
    ours, theirs = (stored(network, "layer1", pixels(3)) for network in (resnet(), clip_resnet()))
    assert one.values.shape == (ours.shape[1], theirs.shape[1])


def test_pictures_of_several_sizes_are_refused() -> None:
    parts = [(pixels(2, size), pixels(2, size)) for size in (64, 96)]
    network = two_convolutions()
    with pytest.raises(SaywhyError, match="use one size"):
        correlate(network, network, parts, [(("0",), "0")])


def test_maps_of_windows_are_refused() -> None:
    """Inside of Swin's attention there are more maps than pictures."""
    from tests.networks import swin

    with pytest.raises(
        SaywhyError, match=r"layer layers.0.blocks.0.attn: its output of shape \(32, 16, 16\) is not a map"
    ):
        correlate(swin(), clip_resnet(), batches(4, 2), [(("layers.0.blocks.0.attn",), "layer1")])


def test_unknown_ways_of_matching_are_refused() -> None:
    one = made_up([[0.5]])
    with pytest.raises(SaywhyError, match="no matching 'worst'; there are best, one-to-one"):
        match([one], "worst")
    for chance in (-0.1, 1.1):
        with pytest.raises(SaywhyError, match=r"must lie in 0\.\.1"):
            match([one], chance=chance)
    with pytest.raises(SaywhyError, match="at least one layer"):
        match([])
    for share in (-0.1, 1.1):
        with pytest.raises(SaywhyError, match=r"must lie in 0\.\.1"):
            match([one]).strongest(share)
