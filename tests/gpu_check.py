"""What saywhy does on a GPU, in at most five minutes: ``make gpu-check``, or ``python -m tests.gpu_check FOLDER``.

One table, and FOLDER/gpu-check.json for docs/benchmarks.md, written after each section. A section that fails is a row
that says so, and the others go on; the exit code is 1 where a row is not as it should be, and 0 without a GPU, with
the reason. ``--device cpu --quick`` tries the script itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from saywhy.plumbing.files import write_whole

LIMIT = 300.0  # seconds
TESTED = ("tests/attribution", "tests/classifiers/test_borrowing.py", "tests/questions", "tests/spaces/surgery")
"""Fast tests whose networks go to the GPU where there is one."""
AGREES = {torch.float32: 0.999, torch.float16: 0.95, torch.bfloat16: 0.9}  # correlation with the CPU's float32


@dataclass(frozen=True)
class Row:
    """section, what: as the table has them. value: measured. good: as it should be; None: only told."""

    section: str
    what: str
    value: float | str
    good: bool | None = None


@dataclass(frozen=True)
class Run:
    """device: where it runs. quick: as little of everything as shows that the script works. left: seconds."""

    device: torch.device
    quick: bool
    ends: float

    @property
    def left(self) -> float:
        return self.ends - time.monotonic()

    def done(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def relevance(run: Run) -> Iterator[Row]:
    """LRP in three precisions against the CPU in float32: correlation of maps, and relevance over logit."""
    import saywhy

    names = ("world:aviary", "world:aviary/vit") if run.quick else ("timm:resnet50", "timm:vit_base_patch16_224")
    pictures = _pictures(2 if run.quick else 4)
    for name in names:
        classifier = saywhy.Classifier.load(name, pretrained=name.startswith("world:"), device="cpu")
        expected = saywhy.attribute(classifier, pictures)
        yield Row("relevance", f"{name}, CPU, float32: relevance over logit", _over_logit(expected))
        for dtype, least in AGREES.items():
            network = deepcopy(classifier.network).to(run.device, dtype)
            other = replace(classifier, network=network)
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # else rounded to TF32's 10 bits
                found = saywhy.attribute(other, pictures, target=list(expected.targets))
            agreement = _correlation(found.values, expected.values)
            told = f"{name}, {run.device.type}, {str(dtype).removeprefix('torch.')}"
            yield Row("relevance", f"{told}: correlation with the CPU", agreement, agreement >= least)
            yield Row("relevance", f"{told}: relevance over logit", _over_logit(found))


def matching(run: Run) -> Iterator[Row]:
    """Channels of a classifier matched with a CLIP's, here and on the CPU."""
    import saywhy
    from saywhy.pictures.sources import read_sources

    pictures = [one.open() for one in read_sources(["world:digits"], 32 if run.quick else 512)]
    found = {}
    for device in dict.fromkeys(("cpu", str(run.device))):
        clip = saywhy.load_clip("world:digits", device)
        classifier = saywhy.Classifier.load("world:digits-coloured", device=device)
        start = time.perf_counter()
        found[device] = saywhy.match_classifier(clip, classifier, pictures)
        run.done()
        yield Row("matching", f"{len(pictures)} pictures, {device}: seconds", time.perf_counter() - start)
    both = (found["cpu"], found[str(run.device)])
    here, there = (torch.cat([layer.channels for layer in one.layers]) for one in both)
    same = float((here == there).float().mean())
    yield Row("matching", "share of channels with the CPU's match", same, same >= 0.95)
    space = saywhy.OperatedSpace(clip, classifier, found[str(run.device)])
    vectors = space.encode_images(pictures[:4])
    yield Row("matching", "operated vectors are finite", str(vectors.shape), bool(vectors.isfinite().all()))


def tuning(run: Run) -> Iterator[Row]:
    """Visual prompts, in float16 with scaled gradients where there is a GPU."""
    import saywhy
    from saywhy.pictures.rationale_data import read_rationale_data
    from saywhy.training.prompts.settings import TuningSettings
    from saywhy.training.prompts.tuning import tune
    from tests.tuning import write_pictures

    precisions = ("fp32", "bf16", "fp16") if run.device.type == "cuda" else ("fp32",)
    clip = saywhy.load_clip("world:aviary/vit", str(run.device))
    with TemporaryDirectory() as folder:
        data = read_rationale_data(write_pictures(Path(folder) / "data"), "train")
        for precision in precisions:
            settings = TuningSettings(
                clip="world:aviary/vit", steps=3 if run.quick else 60, batch_size=4, warmup=2, rate=1.0,
                precision=precision,
            )  # fmt: skip
            out = Path(folder) / precision
            start = time.perf_counter()
            space = tune(data, clip, out, settings, workers=0)
            run.done()
            seconds = time.perf_counter() - start
            losses = [sum(row["loss"].values()) for row in json.loads((out / "history.json").read_text())["history"]]
            good = bool(space.prompts.isfinite().all()) and all(map(math.isfinite, losses))
            yield Row("tuning", f"{precision}, {settings.steps} steps: last loss", losses[-1], good)
            yield Row("tuning", f"{precision}, {settings.steps} steps: seconds", seconds)


def sentences(run: Run) -> Iterator[Row]:
    """The guided writer, here and on the CPU."""
    import saywhy
    from saywhy.questions.narrate import narrate
    from saywhy.questions.sentences.language_model import load_language_model

    pictures = _pictures(1 if run.quick else 4)
    texts = {}
    for device in dict.fromkeys(("cpu", str(run.device))):
        space, writer = saywhy.load_clip("world:aviary/captioned", device), load_language_model("world:aviary", device)
        start = time.perf_counter()
        texts[device] = [sentence.text for sentence in narrate(pictures, space, writer)]
        run.done()
        yield Row("sentences", f"{len(pictures)} pictures, {device}: seconds", time.perf_counter() - start)
    said = texts[str(run.device)]
    yield Row("sentences", f"the first: {said[0]}", "", all(map(bool, said)))
    yield Row("sentences", "the same as on the CPU", sum(a == b for a, b in zip(texts["cpu"], said, strict=True)))


def memory(run: Run) -> Iterator[Row]:
    """Explanations one after the other leave no memory taken."""
    import saywhy

    classifier = saywhy.Classifier.load("world:aviary", device=str(run.device))
    (picture,) = _pictures(1)
    count, before = 5 if run.quick else 100, 0
    for n in range(count + 3):
        if n == 3:  # the first ones load what stays
            before = _allocated(run)
        saywhy.explain(picture, model=classifier)
    grown = _allocated(run) - before
    yield Row("memory", f"bytes more after {count} explanations", grown, grown < 2**20)
    if run.device.type == "cuda":
        yield Row("memory", "bytes at most", torch.cuda.max_memory_allocated(run.device))


def speed(run: Run) -> Iterator[Row]:
    """``saywhy bench lrp-speed``: ratios to one forward and one backward pass of the same run."""
    from saywhy.bench import run_benchmark

    for row in run_benchmark("lrp-speed", 1 if run.quick else 5).rows:
        yield Row("speed", f"{row['network']}, {row['what']}: ratio", row["ratio"])


def tests(run: Run) -> Iterator[Row]:
    """The fast suite where it uses a GPU, in the time that is left."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *TESTED]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=max(run.left, 1))
    except subprocess.TimeoutExpired:
        yield Row("tests", " ".join(TESTED), "no time left", None)
        return
    lines = [line for line in ended.stdout.splitlines() if line.startswith("FAILED") or " in " in line]
    for line in lines[-20:]:
        yield Row("tests", line[:150], "", ended.returncode == 0)
    yield Row("tests", "exit code of pytest", ended.returncode, ended.returncode == 0)


SECTIONS: dict[str, Callable[[Run], Iterator[Row]]] = {
    section.__name__: section for section in (relevance, matching, tuning, sentences, memory, speed, tests)
}


def check(run: Run, sections: Sequence[str], folder: Path) -> list[Row]:
    """The rows of the sections, which are in the folder too."""
    rows: list[Row] = []
    for name in sections:
        start = time.monotonic()
        if run.left < 10:
            rows.append(Row(name, "left out", "no time left"))
            continue
        try:
            for row in SECTIONS[name](run):
                rows.append(row)
        except Exception as error:
            rows.append(Row(name, f"{type(error).__name__}: {str(error)[:300]}", _where(error), False))
        rows.append(Row(name, "seconds of the section", time.monotonic() - start))
        write_whole(folder / "gpu-check.json", json.dumps(_document(run, rows), indent=1))
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """0: all is as it should be, or there is no such device; 1: a row is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where gpu-check.json is written")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="as little as shows that the script works")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, joined by commas")
    options = parser.parse_args(words)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("gpu-check: skipped, as torch sees no GPU here")
        return 0
    warnings.filterwarnings("ignore")
    run = Run(torch.device(options.device), options.quick, time.monotonic() + LIMIT)
    rows = check(run, options.only.split(","), options.folder)
    table = Table(title=f"gpu-check on {_name(run.device)}", title_justify="left")
    for column in ("section", "what", "value", "good"):
        table.add_column(column, overflow="fold")
    for row in rows:
        value = f"{row.value:.4g}" if isinstance(row.value, float) else str(row.value)
        table.add_row(row.section, row.what, value, {None: "", True: "yes", False: "NO"}[row.good])
    Console(width=150).print(table)
    return int(any(row.good is False for row in rows))


def _pictures(count: int) -> list[Image.Image]:
    from saywhy.worlds import SAMPLES

    return [Image.open(path).convert("RGB") for path in sorted((SAMPLES / "aviary").glob("*.jpg"))[:count]]


def _correlation(a: Tensor, b: Tensor) -> float:
    """The least of the pictures."""
    pairs = (torch.stack([x.flatten(), y.flatten()]).double() for x, y in zip(a, b, strict=True))
    return min(float(torch.corrcoef(pair)[0, 1]) for pair in pairs)


def _over_logit(heatmap: Any) -> float:
    """Of the picture where it is furthest from 1."""
    ratios = [float(v.double().sum()) / logit for v, logit in zip(heatmap.values, heatmap.logits, strict=True)]
    return max(ratios, key=lambda ratio: abs(ratio - 1))


def _allocated(run: Run) -> int:
    """Bytes of the GPU's memory that are taken; of a CPU, which does not say, 0."""
    gc.collect()
    run.done()
    return torch.cuda.memory_allocated(run.device) if run.device.type == "cuda" else 0


def _where(error: Exception) -> str:
    """The last line of ours in the error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "saywhy" in frame.filename), frames[-1])
    return f"{Path(last.filename).name}:{last.lineno}"


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"


def _document(run: Run, rows: Sequence[Row]) -> dict[str, Any]:
    about = {"device": _name(run.device), "torch": torch.__version__, "cuda": torch.version.cuda, "quick": run.quick}
    return about | {"rows": [asdict(row) for row in rows]}


if __name__ == "__main__":
    sys.exit(main())
