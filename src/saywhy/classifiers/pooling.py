"""What a classifier's features would be, were only a part of the picture pooled: features of regions, from one pass.

Most networks make a map, take its mean over positions, and read features from that. The mean over the positions of a
region, in its place, gives the region's features, and what comes after (a norm, a convolution of one pixel, nothing) is
done to it as it was done to the picture's. Which call takes the mean is found by watching the network run: it is the
last whose result is the mean of a tensor that lies on a grid. What comes after is a tape of the calls that followed,
played again. That the tape is all there is, is tested: fed with the mean of another picture, it must give that
picture's features. No architecture is special, and where the test fails, nothing is pooled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saywhy.classifiers.borrowing import borrowed, is_scripted
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.grids import Layout, Places, looking
from saywhy.classifiers.heads import HeadPlace, run_with_features
from saywhy.classifiers.layers import resized
from saywhy.errors import SaywhyError

CLOSE, CLOSE_HALF = 1e-3, 2e-2  # of the size of features and means: so far may two lie apart that should be one
TRIED = 4  # calls that take a mean, from the last: others stand inside blocks (squeeze and excitation)


@final
@dataclass(frozen=True)
class Pool:
    """The call that takes the mean over positions: the ``number``-th call of the torch function of that name.

    layout: how positions lie in the tensor that goes in.
    """

    name: str
    number: int
    layout: Layout


@final
@dataclass(frozen=True, eq=False)
class Look:
    """What a classifier makes of N pictures in one pass.

    logits: (N, C). features: (N, d), what goes into the head. Both on the network's device.
    """

    logits: Tensor
    features: Tensor
    _tape: _Tape | None = field(default=None, repr=False)

    @property
    def pools(self) -> bool:
        """Whether ``pooled`` can be asked."""
        return self._tape is not None

    @torch.no_grad()
    def pooled(self, weights: Tensor, which: Sequence[int]) -> Tensor:
        """(K, d) the features of K parts of pictures; those of equal weights everywhere are the picture's own.

        weights: (K, H, W) at least 0, how much each place of the preprocessed frame counts; a part that counts nowhere
                 is the whole picture.
        which:   of which picture each is a part.
        """
        assert self._tape is not None, "pools says whether this can be asked"
        if not len(which):
            return self.features[:0]
        return self._tape.play(weights, torch.tensor(which))


@torch.no_grad()
def look(classifier: Classifier, pixels: Tensor) -> Look:
    """Logits and features of pictures (N, 3, h, w), preprocessed, and the map behind them where it is pooled.

    Raises SaywhyError for a classifier without a linear head.
    """
    place = classifier.head_place
    pixels = pixels.to(classifier.device, classifier.dtype, copy=True)  # the network may work in place
    pool = pool_of(classifier, pixels)
    with borrowed(classifier.network) as shadow:
        if pool is None:
            features, logits = run_with_features(shadow, pixels, place)
            return Look(logits, features)
        tape, features, logits = _recorded(shadow, pixels, place, pool)
    return Look(logits, features, tape)


_pools: WeakKeyDictionary[nn.Module, dict[torch.Size, Pool | None]] = WeakKeyDictionary()


def pool_of(classifier: Classifier, pixels: Tensor) -> Pool | None:
    """Where the network takes the mean of pictures like these (N, 3, h, w), preprocessed; None where it takes none.

    Found once for a size, as ``find_pool``.
    """
    found = _pools.setdefault(classifier.network, {})
    size = pixels.shape[1:]
    if size not in found:
        found[size] = find_pool(classifier, size)
    return found[size]


@torch.no_grad()
def find_pool(classifier: Classifier, shape: Sequence[int]) -> Pool | None:
    """Where the network takes the mean that its features are made from; None where they are made otherwise.

    shape: of one picture that the network takes.
    """
    if is_scripted(classifier.network):
        return None  # its functions are not seen
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    noise[1] = noise[1].mean() + 3 * torch.nn.functional.avg_pool2d(noise[1:], 5, 1, 2)[0]
    noise = noise.to(classifier.device, classifier.dtype)
    place, token = classifier.head_place, looking.set(True)
    try:
        try:
            with borrowed(classifier.network) as shadow, _Pools(noise) as seen:
                run_with_features(shadow, seen.pixels, place)
        except (RuntimeError, ValueError, IndexError, SaywhyError):
            return None  # a network that cannot run on one picture alone
        for pool in reversed(seen.pools[-TRIED:]):
            with borrowed(classifier.network) as shadow:
                tape, features, _ = _recorded(shadow, noise, place, pool)
            if tape is not None and _same(tape.replayed(tape.means.flip(0)), features.flip(0)):
                return pool
    finally:
        looking.reset(token)
    return None


def _recorded(network: nn.Module, pixels: Tensor, place: HeadPlace, pool: Pool) -> tuple[_Tape | None, Tensor, Tensor]:
    """The tape, features and logits of one run; no tape where the run is not what it was when the pool was found."""
    with _Tape(pool) as tape:
        features, logits = run_with_features(network, pixels, place)
    whole = tape.ends_with(features)
    return (tape if whole else None), features, logits


def _same(one: Tensor, other: Tensor) -> bool:
    close = CLOSE if one.dtype in (torch.float32, torch.float64) else CLOSE_HALF
    return one.shape == other.shape and bool((one - other).norm() <= close * other.norm())


@final
class _Pools(Places):
    """Finds the calls whose result is the mean over the grid of what goes in."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__(pixels[:1])
        self.pools: list[Pool] = []
        self._calls: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(getattr(func, "__name__", ""))
        given = args[0] if args else (kwargs or {}).get("input")
        layout = self.layout(given)
        result = super().__torch_function__(func, types, args, kwargs)
        number = self._calls[name]
        self._calls[name] += 1
        if layout is None or not isinstance(result, Tensor) or self.layout(result) is not None:
            return result
        if isinstance(given, Tensor) and _same(result.reshape(1, -1), layout.view(given).mean((2, 3))):
            self.pools.append(Pool(name, number, layout))
        return result


@final
class _Tape(TorchFunctionMode):
    """Keeps what goes into a pool, and all calls after it, to be played again with other means.

    means: (N, C) what the pool gave. map: (N, C, h, w) what it was given.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool, self._calls = pool, 0
        self._steps: list[tuple[Any, Any, Any, Any]] = []
        self._start: Tensor | None = None
        self._end: Tensor | None = None
        self.map = self.means = torch.empty(0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", ""))
        result = func(*args, **kwargs)
        if self._start is not None:
            self._steps.append((func, args, kwargs, result))
        elif name == self._pool.name:
            if self._calls == self._pool.number:
                self._keep(args[0] if args else kwargs.get("input"), result)
            self._calls += 1
        return result

    def _keep(self, given: Any, result: Any) -> None:
        if not isinstance(given, Tensor) or given.shape[1:] != self._pool.layout.shape[1:]:
            return
        self.map = self._pool.layout.view(given).clone()
        self.means = self.map.mean((2, 3))
        if isinstance(result, Tensor) and _same(result.reshape(len(given), -1), self.means):
            self._start = result

    def ends_with(self, features: Tensor) -> bool:
        """Whether the features come from the pool; what comes after them is forgotten."""
        if self._start is None:
            return False
        self._end = features
        last = [n for n, (*_, result) in enumerate(self._steps) if any(x is features for x in _tensors(result))]
        del self._steps[last[-1] + 1 if last else 0 :]
        return bool(last) or features is self._start

    def play(self, weights: Tensor, which: Tensor) -> Tensor:
        """(K, d) features of parts; see ``Look.pooled``."""
        device, grid = self.map.device, (self.map.shape[2], self.map.shape[3])
        shares = resized(weights[:, None].to(device, torch.float32), grid)[:, 0]
        shares = torch.where(shares.sum((1, 2), keepdim=True) > 0, shares, torch.ones_like(shares))
        shares = shares / shares.sum((1, 2), keepdim=True)
        means = torch.einsum("khw,kchw->kc", shares.to(self.map.dtype), self.map[which.to(device)])
        rows = len(self.means)  # a network may have been told how many pictures there are: as many each time
        padded = torch.cat([means, means[-1:].expand(-len(means) % rows, -1)])
        return torch.cat([self.replayed(part) for part in padded.split(rows)])[: len(means)]

    def replayed(self, means: Tensor) -> Tensor:
        """(N, d) the features of as many means (N, C) as there were pictures."""
        assert self._start is not None
        assert self._end is not None
        known = {id(self._start): means.reshape(self._start.shape).clone()}
        for func, args, kwargs, result in self._steps:
            if any(id(x) in known for x in _tensors((args, kwargs))):
                again = func(*_replaced(args, known), **_replaced(kwargs, known))
                known |= {id(old): new for old, new in zip(_tensors(result), _tensors(again), strict=True)}
        return known.get(id(self._end), torch.empty(0))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _replaced(value: Any, known: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return known.get(id(value), value)
    if type(value) in (list, tuple):
        return type(value)(_replaced(one, known) for one in value)
    if type(value) is dict:
        return {key: _replaced(one, known) for key, one in value.items()}
    return value
