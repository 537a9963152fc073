"""What do matching the channels of two networks, and surgery, cost beside running both networks?

Every contender runs in turn, round after round in one process, on the same batch, and the time of the plain passes of
its own round is divided by its time: a machine that is busy slows all of them alike. Memory is what the peak grows by
over plain passes, each time in a fresh process. Weights are random: neither time nor memory depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from saywhy.bench import Report
from saywhy.bench.speed.measuring import MB, forget_peak, in_fresh_process, in_turn, now, peak, timed
from saywhy.classifiers.borrowing import frozen
from saywhy.classifiers.layers import convolutions, recorded, stages
from saywhy.plumbing.devices import choose_device
from saywhy.spaces.surgery.correlation import correlate
from saywhy.spaces.surgery.matching import LayerMatch, Matching
from saywhy.spaces.surgery.operating import run_operated

Make = Callable[[], nn.Module]
Pairs = list[tuple[tuple[str, ...], str]]
SIZE, ROUNDS = 224, 5
BATCHES = {"cpu": 8, "cuda": 64}  # pictures in a batch
FEW, MANY = 2, 8  # batches: what is kept must not grow with them
PLAIN = "plain passes"


def _torchvision(name: str) -> nn.Module:
    from torchvision.models import get_model

    return get_model(name, weights=None)


def _clip_tower(name: str) -> nn.Module:
    import open_clip

    return open_clip.CLIP(**open_clip.get_model_config(name)).visual


NETWORKS: dict[str, tuple[Make, Make]] = {
    "ResNet-50 into RN50": (partial(_torchvision, "resnet50"), partial(_clip_tower, "RN50")),
    "ViT-B/16 into RN50": (partial(_torchvision, "vit_b_16"), partial(_clip_tower, "RN50")),
    "ViT-B/16 into ViT-B-32": (partial(_torchvision, "vit_b_16"), partial(_clip_tower, "ViT-B-32")),
}
"""What goes into which of CLIP's image towers. The first is what Caption-driven XAI used."""


def run(limit: int | None = None) -> Report:
    """Medians over ROUNDS rounds (or ``limit`` rounds). GPU where there is one."""
    device = choose_device(None).type
    rounds, batch = limit or ROUNDS, BATCHES[device]
    rows: list[dict[str, Any]] = []
    memory: list[dict[str, Any]] = []
    for n, (name, makes) in enumerate(NETWORKS.items()):
        rows += [{"networks": name, **row} for row in _speed(*makes, batch, rounds, device)]
        for what in ("stages", "convolutions") if n == 0 else ("stages",):
            memory += [
                {"networks": name, **row} for row in in_fresh_process(_memory, *makes, what, batch, SIZE, device)
            ]
    return Report(
        "surgery-speed",
        f"throughput over that of plain passes through both networks, batch {batch}, {device}",
        ("networks", "what", "throughput", "lowest", "highest", "seconds"),
        rows,
        {"batch": batch, "rounds": rounds, "device": device},
        more=[
            (
                "memory in MB: what the formula says of sums and of one batch's maps, and by how much the peak grew",
                ("networks", "layers", "channels", "batches", "sums", "maps", "measured", "seconds a batch"),
                memory,
            )
        ],
    )


# -- what is matched --------------------------------------------------------------------------------------------------


def _stage_by_stage(source: nn.Module, target: nn.Module, pixels: Tensor) -> Pairs:
    ours, theirs = stages(source, pixels), stages(target, pixels)
    return [((name,), layer) for name, layer in zip(ours, theirs, strict=True)]


def _all_with_each(source: nn.Module, target: nn.Module, pixels: Tensor, what: str = "stages") -> Pairs:
    """ "convolutions": the paper's, all of the source but those on the way around a block."""
    names = stages(source, pixels)
    if what == "convolutions":
        names = tuple(name for name in convolutions(source, pixels) if "downsample" not in name)
    return [(names, layer) for layer in stages(target, pixels)]


@torch.no_grad()
def _maps(network: nn.Module, layers: Sequence[str], pixels: Tensor) -> dict[str, Tensor]:
    with frozen(network), recorded(network, layers) as maps:
        network(pixels)
    return maps


def _every_channel(source: nn.Module, target: nn.Module, pairs: Pairs, pixels: Tensor) -> Matching:
    """A matching that replaces all there is, from all layers of the source: the most that surgery may have to do."""
    ours = {name: maps.shape[1] for name, maps in _maps(source, pairs[0][0], pixels).items()}
    theirs = {name: maps.shape[1] for name, maps in _maps(target, [layer for _, layer in pairs], pixels).items()}

    def replaced(layer: str) -> LayerMatch:
        ones = torch.ones(theirs[layer])
        channels = torch.linspace(0, sum(ours.values()) - 1, theirs[layer]).long()
        return LayerMatch(layer, tuple(ours.items()), channels, ones, 0.0, 0, 0 * ones, ones, 0 * ones, ones)

    return Matching(tuple(replaced(layer) for _, layer in pairs), "best", 2)


# -- speed ------------------------------------------------------------------------------------------------------------


def _speed(make_source: Make, make_target: Make, batch: int, rounds: int, device: str) -> list[dict[str, Any]]:
    source, target, x = _ready(make_source, device), _ready(make_target, device), _pixels(batch, SIZE, device)
    one, all_stages = _stage_by_stage(source, target, x[:1]), _all_with_each(source, target, x[:1])
    matching = _every_channel(source, target, all_stages, x[:1])
    contenders: dict[str, Callable[[], float]] = {
        PLAIN: lambda: timed(lambda: _plain(source, target, x)),
        "matching, stage with stage": lambda: _matching_seconds(source, target, x, one, shuffles=0),
        "matching, stage with stage, and null": lambda: _matching_seconds(source, target, x, one),
        "matching, all stages with each, and null": lambda: _matching_seconds(source, target, x, all_stages),
        "surgery on every channel": lambda: timed(lambda: run_operated(source, target, matching, x, x)),
    }
    times = in_turn(contenders, rounds)
    rows = []
    for what, spent in times.items():
        shares = [base / seconds for base, seconds in zip(times[PLAIN], spent, strict=True)]
        spread = {"throughput": median(shares), "lowest": min(shares), "highest": max(shares)}
        rows.append({"what": what, **spread, "seconds": median(spent)})
    return rows


def _ready(make: Make, device: str) -> nn.Module:
    torch.manual_seed(0)
    return make().eval().requires_grad_(False).to(device)


def _pixels(batch: int, size: int, device: str, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)).to(device)


@torch.no_grad()
def _plain(source: nn.Module, target: nn.Module, pixels: Tensor) -> None:
    with frozen(source), frozen(target):
        source(pixels)
        target(pixels)


def _matching_seconds(source: nn.Module, target: nn.Module, x: Tensor, pairs: Pairs, shuffles: int = 1) -> float:
    """Of a batch after the first, passes and sums; without what is done once for all data, at the beginning and end."""
    spent: list[float] = []
    correlate(source, target, _watched([x, x], spent), pairs, shuffles)
    return spent[1]


def _watched(batches: Sequence[Tensor] | Iterator[Tensor], spent: list[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same pixels for both networks; notes how long it takes until the next are asked for."""
    for pixels in batches:
        start = now()
        yield pixels, pixels
        spent.append(now() - start)


# -- memory -----------------------------------------------------------------------------------------------------------


def _memory(
    make_source: Make, make_target: Make, what: str, batch: int, size: int, device: str
) -> list[dict[str, Any]]:
    """Rows for few and for many batches; of the convolutions, for one."""
    source, target, x = _ready(make_source, device), _ready(make_target, device), _pixels(batch, size, device)
    pairs = _all_with_each(source, target, x[:1], what)
    ours, theirs = _maps(source, pairs[0][0], x[:1]), _maps(target, [layer for _, layer in pairs], x[:1])
    rows, start = list[dict[str, Any]](), 0.0
    for count in (0, 1) if what == "convolutions" else (0, FEW, MANY):
        forget_peak()
        spent: list[float] = []
        if count:
            stream = (_pixels(batch, size, device, seed) for seed in range(count))
            correlate(source, target, _watched(stream, spent), pairs)
        else:
            _plain(source, target, x)
            start = peak()
            continue
        channels = [sum(maps.shape[1] for maps in side.values()) for side in (ours, theirs)]
        rows.append({
            "layers": what,
            "channels": f"{channels[0]} x {channels[1]}",
            "batches": count,
            "sums": 2 * 8 * channels[0] * channels[1] / MB,
            "maps": batch * sum(maps[0].nbytes for side in (ours, theirs) for maps in side.values()) / MB,
            "measured": (peak() - start) / MB,
            "seconds a batch": median(spent),
        })  # fmt: skip
    return rows
