"""How far a classifier's decision depends on each channel of a layer, in logits.

Any network's channels see colours and edges, one with random weights too, and what a channel carries is not yet what
the classifier goes by. What it goes by moves its logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, final

import torch
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.feature_maps import find_layer, layer_view
from saywhy.modules import frozen, untrained


@final
class InfluenceMeter:
    """The influence of the channels of some layers, gathered batch by batch.

    It is the root mean square, over pictures, of what a channel's departure from its mean does to the decision, to
    first order: sum over positions of (A - mean A) * dM / dA. M is the logit of the predicted class less the mean of
    all logits.
    Raises SaywhyError for layers that do not run or are no maps, and networks that run without gradients.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self.network, self.layers = network, tuple(layers)
        self.images = 0
        self._means: dict[str, Tensor] = {}  # of the first batch
        self._squares: dict[str, Tensor] = {}

    def add(self, pixels: Tensor) -> None:
        """Take (N, 3, h, w) pictures in."""
        for name, (maps, gradient) in self._maps_and_gradients(pixels).items():
            mean = self._means.setdefault(name, maps.mean((0, 2, 3), keepdim=True))
            effect = ((maps - mean) * gradient).sum((2, 3))
            self._squares[name] = self._squares.get(name, 0) + effect.double().square().sum(0).cpu()
        self.images += len(pixels)

    def influence(self) -> dict[str, Tensor]:
        """Layer -> (C,) float64, logits."""
        return {name: (squares / self.images).sqrt() for name, squares in self._squares.items()}

    def _maps_and_gradients(self, pixels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        outputs: dict[str, Any] = {}

        def keeper(path: str) -> Callable[..., Any]:
            def hook(module: nn.Module, args: Any, output: Any) -> Any:
                first = output[0] if isinstance(output, list | tuple) and output else output
                outputs[path] = first
                if not isinstance(first, Tensor):
                    return output
                passed = first.clone()  # the next layer may work in place
                return passed if first is output else type(output)([passed, *output[1:]])

            return hook

        paths = {name: name.partition(":")[0] for name in self.layers}
        with ExitStack() as stack, frozen(self.network), torch.enable_grad():
            for path in dict.fromkeys(paths.values()):
                stack.callback(find_layer(self.network, path).register_forward_hook(keeper(path)).remove)
            logits = self.network(pixels.detach().requires_grad_()).float()
            margin = logits.max(1).values - logits.mean(1)
            if not margin.requires_grad:
                raise SaywhyError(
                    f"{type(self.network).__name__} runs without gradients, which tell what its logits go by"
                )
            live = [path for path, one in outputs.items() if isinstance(one, Tensor) and one.requires_grad]
            inputs = [outputs[path] for path in live]
            gradients = torch.autograd.grad(margin.sum(), inputs, allow_unused=True) if live else ()
        found = dict(zip(live, gradients, strict=True))
        views = {}
        for name, path in paths.items():
            if path not in outputs:
                raise SaywhyError(f"layer {name} does not run when the network does")
            maps = layer_view(outputs[path], name).detach().float()
            gradient = found.get(path)  # None where no logit depends on it
            views[name] = maps, torch.zeros_like(maps) if gradient is None else layer_view(gradient, name).float()
        return views


@final
class DecisiveChannels:
    """Which channels the decision depends on more than any channel of a copy with random weights does.

    copies: how many such copies set the floor, layer by layer.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], copies: int, seed: int = 0) -> None:
        networks = [network, *(untrained(network, seed + n) for n in range(copies))]
        self._meters = [InfluenceMeter(one, layers) for one in networks]

    @property
    def images(self) -> int:
        return self._meters[0].images

    def add(self, pixels: Tensor) -> None:
        """Take (N, 3, h, w) pictures in."""
        for meter in self._meters:
            meter.add(pixels)

    def masks(self) -> dict[str, Tensor]:
        """Layer -> (C,) bool."""
        own, *others = (meter.influence() for meter in self._meters)
        return {name: values > max(other[name].max() for other in others) for name, values in own.items()}
