"""CLIP as a space: pictures and words embedded by an open_clip model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.attribution.composites import Composite
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import probe_geometry
from saywhy.plumbing.caches import versions, weights_digest
from saywhy.plumbing.devices import choose_device
from saywhy.plumbing.hub import check_settings, patience, why_absent
from saywhy.plumbing.names import in_utf8, unknown
from saywhy.spaces.text_cache import cached_encode
from saywhy.spaces.text_heat import text_maps
from saywhy.types import Geometry, Heatmap

DEFAULT_CLIP = "ViT-B-32/laion2b_s34b_b79k"
BATCH = 64  # crops, or texts, at once
PROBE = "Don't say: a Café-au-lait, 12 (naïve) words_of &amp; <b>"  # told apart by any way of cleaning and splitting
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".npz"}  # endings


@final
@dataclass(frozen=True, eq=False)
class ClipSpace:
    """A CLIP model as a Space. Put another image tower in with ``dataclasses.replace(space, image_tower=...)``.

    image_tower: (N, 3, h, w) -> (N, d); a module where it comes from load_clip.
    text_tower:  (M, context) tokens -> (M, d).
    scale:       what CLIP multiplies cosines by before a softmax over texts (its learned inverse temperature).
    """

    name: str
    image_tower: Callable[[Tensor], Tensor]
    text_tower: Callable[[Tensor], Tensor]
    transform: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    device: torch.device
    key: str  # name and digest of the weights, for the text cache
    scale: float = 100.0

    @property
    def source(self) -> str:
        """What ``load_clip`` was given."""
        return self.key.removeprefix("clip:").rpartition(":")[0]

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        batches = []
        for start in range(0, len(images), BATCH):
            pixels = self._pixels(images[start : start + BATCH])
            batches.append(F.normalize(self.image_tower(pixels).float(), dim=1).cpu())
        return torch.cat(batches)

    def _pixels(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.transform(image) for image in images]).to(self.device)

    @cached_property
    def text_key(self) -> str:
        """What its embeddings of texts are kept under: the weights, how the tokenizer reads, and the library."""
        tokens = self.tokenizer([PROBE]).tolist()
        return f"{self.key} {type(self.tokenizer).__name__} {tokens} {versions('open_clip_torch')}"

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(M, d) unit vectors; kept on disk, see ``text_cache``."""
        return cached_encode(self.text_key, texts, self._encode_with_progress)

    @torch.no_grad()
    def encode_texts_once(self, texts: Sequence[str]) -> Tensor:
        """As ``encode_texts``, without keeping them on disk: for the many drafts of a sentence."""
        starts = range(0, len(texts), BATCH)
        batches = [
            self.text_tower(self.tokenizer([in_utf8(text) for text in texts[s : s + BATCH]]).to(self.device))
            for s in starts
        ]
        return F.normalize(torch.cat(batches).float(), dim=1).cpu()

    def text_maps(
        self, images: Sequence[Image.Image], texts: Sequence[str], *, method: str = "lrp",
        composite: str | Composite | None = None, batch_size: int = BATCH,
    ) -> Heatmap:  # fmt: skip
        """A Heatmap of N RGB pictures in CLIP's own frame, each for its text: relevance for their cosine.

        method: of ``text_heat.METHODS``. batch_size: pictures preprocessed at once.

        Raises SaywhyError for pictures that are preprocessed, a tower that is a bare function, and as ``text_heat``.
        """
        if isinstance(images, Tensor):
            raise SaywhyError(
                f"{self.name} has its own preprocessing: to look for a phrase, give pictures, not a tensor"
            )
        if not isinstance(self.image_tower, torch.nn.Module):
            raise SaywhyError(f"{self.name}: its image tower is a bare function, through which no relevance flows")
        starts = range(0, len(images), batch_size)
        batches = (self._pixels(images[start : start + batch_size]) for start in starts)
        return text_maps(self.image_tower, batches, texts, self.encode_texts(texts), self.scale, method, composite)

    def text_frame(self, image: Image.Image) -> Geometry:
        """Where these maps lie on a picture."""
        return probe_geometry(self.transform, image.size)

    def _encode_with_progress(self, texts: Sequence[str]) -> Tensor:
        from rich.console import Console
        from rich.progress import track

        block = 10 * BATCH
        starts = range(0, len(texts), block)
        shown = track(starts, "reading the vocabulary", console=Console(stderr=True), disable=len(starts) < 3)
        return torch.cat([self.encode_texts_once(texts[s : s + block]) for s in shown])


@lru_cache(maxsize=2)
def load_clip(source: str = DEFAULT_CLIP, device: str | None = None) -> ClipSpace:
    """The CLIP that ``source`` names: "ARCHITECTURE/TAG" of open_clip, an open_clip local directory, or "world:NAME".

    "clip:" may stand before any of them, and "clip" alone is DEFAULT_CLIP, as where a user names a space.

    Raises SaywhyError where the name or the device is unknown, or the weights do not load.
    """
    import open_clip

    source, where = check_clip(source)
    name = f"CLIP {source}"
    if source.startswith("world:"):
        name = f"the {source.removeprefix('world:')}'s CLIP".replace("s's", "s'")
    chosen = choose_device(device)
    try:
        with patience(), _unheard():
            if os.path.isdir(where):
                model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{where}", device=chosen)
                tokenizer = open_clip.get_tokenizer(f"local-dir:{where}")
            else:
                architecture, _, tag = where.partition("/")
                model, _, transform = open_clip.create_model_and_transforms(architecture, tag, device=chosen)
                tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:
        raise SaywhyError(
            f"{name}: its weights cannot be loaded ({why_absent(error)}). Without a hub: a folder that open_clip wrote "
            "(--space clip:DIR), world:aviary, or, to explain a classifier, no --space at all: pictures can teach it "
            "words (saywhy train concepts, docs/howto-few-classes.md)"
        ) from None
    model = model.eval().requires_grad_(False)
    key = f"clip:{source}:{weights_digest(model.state_dict().values())}"
    # CoCa's visual tower gives more than a vector; the others' layers are best reached without the text tower's.
    tower = model.visual if not hasattr(model, "text_decoder") else _ImageTower(model)
    scale = float(model.logit_scale.exp())
    return ClipSpace(name, tower, model.encode_text, transform, tokenizer, chosen, key, scale)


@contextmanager
def _unheard() -> Iterator[None]:
    """Leaves out what open_clip says to the root logger: what goes wrong it raises as well, and is said once."""

    def of_others(record: logging.LogRecord) -> bool:
        return f"{os.sep}open_clip{os.sep}" not in record.pathname

    root = logging.getLogger()
    root.addFilter(of_others)
    try:
        yield
    finally:
        root.removeFilter(of_others)


def check_clip(source: str) -> tuple[str, str]:
    """(what ``source`` names without "clip:", where it is: a folder, or ARCHITECTURE/TAG), before anything is loaded.

    Weights that were trained with QuickGELU (OpenAI's, MetaCLIP's, DFN's) are named by the architecture that has it,
    "ViT-B-32-quickgelu/openai": with another activation function they load all the same, and give other vectors.

    Raises SaywhyError where that can be seen to be wrong.
    """
    source = where = DEFAULT_CLIP if source == "clip" else source.removeprefix("clip:")
    if source.startswith("world:"):
        from saywhy.worlds import clip_directory

        where = str(clip_directory(source.removeprefix("world:")))
    if os.path.isdir(where):
        check_settings(where)
        _check_weights(Path(where))
    else:
        _check_known(*where.partition("/")[::2])
        source = where = _as_trained(*where.partition("/")[::2])
    return source, where


class _ImageTower(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)


def _check_weights(folder: Path) -> None:
    """Raises SaywhyError for a folder without weights: open_clip would go on with random ones."""
    if not any(path.suffix in WEIGHTS for path in folder.iterdir()):
        raise SaywhyError(f"{folder}: there are no weights in this CLIP folder (open_clip_model.safetensors)")


def _as_trained(architecture: str, tag: str) -> str:
    """ARCHITECTURE/TAG with the activation function that the weights were trained with: open_clip #441, #771."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    own = f"{architecture}-quickgelu"
    trained = (get_pretrained_cfg(architecture, tag) or {}).get("quick_gelu", False)
    return f"{own if trained and own in open_clip.list_models() else architecture}/{tag}"


def _check_known(architecture: str, tag: str) -> None:
    import open_clip

    if not architecture or "/" in tag:
        raise SaywhyError(f"{f'{architecture}/{tag}'!r} is neither a folder nor an open_clip name (ARCHITECTURE/TAG)")

    known = open_clip.list_models()
    if architecture not in known:
        also, see = " (nor is there such a folder)", "open_clip.list_models()"
        raise unknown("architecture", architecture, known, lead="open_clip has no", also=also, see=see)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in tags:
        raise unknown("weights", tag, tags, lead="open_clip has no", also=f" for {architecture}")
