"""A CLIP of a few thousand weights, pictures to tune it on, and a run of its own process: ``-m tests.tuning``."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from saywhy.pictures.rationale_data import read_rationale_data
from saywhy.pictures.rationale_folders import write_doubly_right
from saywhy.pictures.truth import RationaleData
from saywhy.spaces.clip import ClipSpace
from saywhy.training.prompts.settings import TuningSettings

SIDE = 16
LISTS = {"kite": ["red wings", "a long tail"], "owl": ["red wings", "round eyes"], "fog": []}
COLOURS = {"red wings": (200, 30, 30), "a long tail": (30, 200, 30), "round eyes": (30, 30, 200)}
SMALL = TuningSettings(
    clip="tiny", prompts=2, rate=1.0, warmup=3, epochs=3, batch_size=4, sampler="epoch", objective="ecor"
)


def tiny_clip() -> ClipSpace:
    """The same one in every process."""
    torch.manual_seed(7)
    model = CLIP(
        embed_dim=16,
        vision_cfg={"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        text_cfg={"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    ).eval().requires_grad_(False)  # fmt: skip
    transform: Any = image_transform_v2(PreprocessCfg(size=SIDE), is_train=False)
    tokenizer: Any = SimpleTokenizer(context_length=24)
    return ClipSpace(
        "a tiny CLIP", model.visual, model.encode_text, transform, tokenizer, torch.device("cpu"), "clip:tiny:0", 20.0
    )


def write_pictures(out: Path, count: int = 3) -> Path:
    """So many pictures of each pair, in the doubly-right layout."""

    def pictures() -> Any:
        for category, listed in LISTS.items():
            for rationale in listed:
                for n in range(count):
                    shade = (*COLOURS[rationale][:2], 40 * n + 10 * len(category))
                    yield "train", category, [rationale], Image.new("RGB", (24, 20), shade)

    write_doubly_right(out, pictures(), LISTS)
    return out


def read(folder: Path) -> RationaleData:
    return read_rationale_data(folder, "train")


def main(folder: str, out: str, changes: str, resume: str = "", kill_in: str = "") -> None:
    """Tunes as the test that started this asks; with ``kill_in`` dies in the middle of writing that checkpoint."""
    from saywhy.training.prompts.tuning import tune

    if kill_in:
        save, written = torch.save, [0]

        def save_or_die(state: Any, path: Path) -> None:
            written[0] += 1
            save(state, path)
            if written[0] == int(kill_in):
                path.write_bytes(path.read_bytes()[:1000])
                os.kill(os.getpid(), signal.SIGKILL)

        torch.save = save_or_die
    settings = replace(SMALL, **json.loads(changes))
    tune(read(Path(folder)), tiny_clip(), out, settings, resume=bool(resume), save_every=0, workers=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
