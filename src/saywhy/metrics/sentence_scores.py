"""How well a sentence fits a picture, without references: CLIP-S, and LPIPS and Cosine of a painting of it.

The metrics of Sammani and Deligiannis (ICLR 2025), section 4.2: the sentence is painted by a text-to-image model, and
the painting compared with the picture, by a perceptual metric (LPIPS, lower is better) and by the features of the
classifier whose explanation the sentence is (Cosine, higher is better). Painting is random: use several seeds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, final

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.metrics.caption_scores import MetricWarning
from saywhy.plumbing.devices import choose_device, device_of
from saywhy.plumbing.extras import need
from saywhy.plumbing.hub import HUBS, patience, reachable
from saywhy.plumbing.names import unknown

if TYPE_CHECKING:
    from saywhy.classifiers.classifier import Classifier
    from saywhy.types import Space

SEEDS = (0, 1, 2)
PROMPT = "a realistic image showing {}"  # the paper's appendix I
SIDE = 256  # pixels, square: both pictures of an LPIPS; the paper does not say
BATCH = 16
LPIPS_NETS = {"alex": "alexnet-owt-7be5be79.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}
"""Backbone -> its weights' file in torchvision's cache; the linear heads on top are in torchmetrics."""

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Two (N, 3, h, w) in [-1, 1] -> N distances, of any shape."""


# -- without painting -------------------------------------------------------------------------------------------------


def clip_scores(images: Sequence[Image.Image], texts: Sequence[str], space: Space) -> list[float]:
    """max(100 cos, 0) of each picture and its text in a Space, as the paper and torchmetrics have it.

    Hessel et al. (2021), who named it, multiply the cosine by 2.5 and put "A photo depicts " before the text; published
    numbers around 30 are without either. Scores of different CLIPs cannot be compared.
    """
    _check_pairs(images, texts, "texts")
    if not images:
        return []
    cosines = (space.encode_images(images) * space.encode_texts(list(texts))).sum(1)
    return [max(100 * value, 0.0) for value in cosines.tolist()]


# -- painting ---------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Painter:
    """A text-to-image model. pipeline: called as diffusers' are: (prompts, generator=...) -> something with images."""

    name: str
    pipeline: Callable[..., Any] = field(repr=False)


def load_painter(source: str, device: str | None = None) -> Painter:
    """The diffusers pipeline of that name on a hub, or in that folder; half precision on a GPU.

    Raises SaywhyError where diffusers is missing, the weights cannot be loaded (they must be safetensors), the
    pipeline is not one that paints from text, or there is no such device.
    """
    need("painting sentences", "diffusers")
    from diffusers import AutoPipelineForText2Image, DiffusionPipeline
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    chosen = choose_device(device)
    if Path(source).is_dir() and not (Path(source) / "model_index.json").exists():
        raise SaywhyError(f"{source}: not a folder that diffusers' save_pretrained wrote (no model_index.json)")
    options = {
        "use_safetensors": True,  # others hold pickles, which can run code
        "local_files_only": Path(source).is_dir(),
    }
    try:
        with patience():
            try:
                pipeline = AutoPipelineForText2Image.from_pretrained(source, trust_remote_code=False, **options)
            except ValueError:  # a pipeline that the automatic choice does not know
                pipeline = DiffusionPipeline.from_pretrained(source, trust_remote_code=False, **options)
        pipeline = pipeline.to(chosen, torch.float16 if chosen.type == "cuda" else torch.float32)
    except Exception as error:
        raise SaywhyError(
            f"the painter {source} cannot be loaded ({_why_not(source, error)}). Give a diffusers text-to-image "
            "pipeline, e.g. stable-diffusion-v1-5/stable-diffusion-v1-5, or a folder of one"
        ) from None
    pipeline.set_progress_bar_config(disable=True)
    return Painter(source, pipeline)


def _why_not(source: str, error: Exception) -> str:
    """In one line: what diffusers says is misleading where the truth is that there is no network."""
    from huggingface_hub import constants

    if not Path(source).is_dir() and not reachable(constants.ENDPOINT):
        return f"it is neither a folder nor in the local cache, and {constants.ENDPOINT} cannot be reached"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def paint(
    painter: Painter, sentences: Sequence[str], seed: int, *, batch_size: int = 4, **settings: Any
) -> list[Image.Image]:
    """One painting per sentence, RGB, the pipeline's own size; the same seed gives the same paintings.

    The noise of sentence n depends on the seed and on n alone: not on the batch size or the device, and two methods
    that explain the same pictures in the same order get the same noise. settings: further ones of the pipeline, e.g.
    num_inference_steps. Where the pipeline's safety filter blackened paintings, a MetricWarning says how many.
    """
    from rich.console import Console
    from rich.progress import track

    paintings: list[Image.Image] = []
    blackened = 0
    starts = range(0, len(sentences), batch_size)
    console = Console(stderr=True)
    quiet = len(starts) < 2 or not console.is_terminal
    for start in track(starts, "painting", console=console, transient=True, disable=quiet):
        prompts = [PROMPT.format(text) for text in sentences[start : start + batch_size]]
        noise = [torch.Generator().manual_seed(_noise_seed(seed, start + n)) for n in range(len(prompts))]
        try:
            output = painter.pipeline(prompt=prompts, generator=noise, **settings)
        except (TypeError, RuntimeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise SaywhyError(f"the painter {painter.name} cannot paint {prompts[0]!r} ({first})") from None
        blackened += sum(map(bool, getattr(output, "nsfw_content_detected", None) or ()))
        paintings += [image.convert("RGB") for image in output.images]
    if blackened:
        warnings.warn(
            f"{painter.name}'s safety filter blackened {blackened} of {len(sentences)} paintings; scores count them",
            MetricWarning,
            stacklevel=2,
        )
    return paintings


def _noise_seed(seed: int, n: int) -> int:
    """A different one for every sentence: with the same noise for all, its luck would not average out over pictures."""
    return seed * 1_000_003 + n


# -- comparing a painting with the picture ----------------------------------------------------------------------------


@lru_cache(maxsize=4)
def load_lpips(net: str = "alex", *, random: bool = False) -> nn.Module:
    """LPIPS with an AlexNet or SqueezeNet backbone: two (N, 3, h, w) in [-1, 1] -> (N, 1, 1, 1). On a GPU if there is.

    random: a backbone without weights, for tests; its distances mean little. Raises SaywhyError for an unknown
    backbone, where torchmetrics is missing, or where torchvision's weights are neither cached nor reachable.
    """
    if net not in LPIPS_NETS:
        raise unknown("LPIPS by", net, LPIPS_NETS)
    need("LPIPS", "torchmetrics")
    from torchmetrics.functional.image.lpips import _NoTrainLpips
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    named: Any = net  # torchmetrics types it as a literal
    if random:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _NoTrainLpips(net=named, pnet_rand=True)
    weights = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_NETS[net]
    if not weights.exists() and not reachable(HUBS["torchvision"]):
        raise SaywhyError(
            f"LPIPS by {net}: its backbone's weights are not at {weights}, and {HUBS['torchvision']} cannot be reached"
        )
    try:
        network = LearnedPerceptualImagePatchSimilarity(net_type=named).net
    except Exception as error:
        raise SaywhyError(f"LPIPS by {net}: its backbone's weights cannot be loaded ({error})") from None
    return network.to(choose_device(None))


def lpips(
    a: Sequence[Image.Image], b: Sequence[Image.Image], net: str = "alex", *, network: nn.Module | None = None
) -> list[float]:
    """Perceptual distance (Zhang et al. 2018) of each a to its b; 0 for equal pictures, lower is nearer.

    Both are cut to their central square and resized to SIDE; the paper says nothing of size, and LPIPS depends on it.
    network: what to use in place of ``load_lpips(net)``.
    """
    _check_pairs(a, b, "pictures to compare with")
    network = network or load_lpips(net)
    device = device_of(network)
    distances: list[float] = []
    with torch.no_grad():
        for start in range(0, len(a), BATCH):
            left, right = (_squares(pictures[start : start + BATCH]).to(device) for pictures in (a, b))
            distances += network(left, right).flatten().tolist()
    return distances


def _squares(images: Sequence[Image.Image]) -> Tensor:
    """(N, 3, SIDE, SIDE) in [-1, 1], as LPIPS wants it: with [0, 1] it would run too, and be wrong."""
    from torchvision.transforms.functional import pil_to_tensor

    squares = [ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC) for image in images]
    return torch.stack([pil_to_tensor(square).float() / 127.5 - 1 for square in squares])


def feature_cosines(
    classifier: Classifier, originals: Sequence[Image.Image], painted: Sequence[Image.Image]
) -> list[float]:
    """cos(M_V(x), M_V(x_g)): what the classifier sees in each picture against what it sees in its painting.

    Features after a ReLU have no negative part, so even unrelated pictures score far above 0: compare with a shuffle.
    Raises SaywhyError for a classifier without a linear head.
    """
    _check_pairs(originals, painted, "paintings")
    cosines: list[float] = []
    for start in range(0, len(originals), BATCH):
        first, second = (
            classifier.features(classifier.preprocess(pictures[start : start + BATCH])).float()
            for pictures in (originals, painted)
        )
        cosines += F.cosine_similarity(first, second, dim=1).tolist()
    return cosines


def over_seeds(scores: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    """The mean over everything, and the standard deviation of the seeds' means, of one list of scores per seed.

    The latter says how much of a difference may be the painter's luck; None for one seed.
    """
    means = [fmean(of_seed) for of_seed in scores]
    return fmean(means), stdev(means) if len(means) > 1 else None


def _check_pairs(first: Sequence[Any], second: Sequence[Any], what: str) -> None:
    if len(first) != len(second):
        raise SaywhyError(f"{len(first)} pictures and {len(second)} {what} do not make pairs")
