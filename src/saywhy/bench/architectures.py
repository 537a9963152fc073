"""Does the engine hold on every architecture? Some 130 of them at random weights, a row each.

Every family of timm, torchvision's, and transformers' own. Is the linear head found, that ``own`` needs? What is
accounted for, over the logit, by composite: what the pixels have, and what biases and other constants took (and
AttnLRP's softmax)? 1 where the rules conserve. Has a picture alone the map that it has in a batch of two? A failure is
a row too, with what was said.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from saywhy.attribution import attribute
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing.files import replacing
from saywhy.plumbing.names import unknown
from saywhy.types import Heatmap

SIDE = 128
"""Pixels a side where the architecture is free to take them, elsewhere its own."""
CONSERVING = ("epsilon", "epsilon-plus")
COLUMNS = ("architecture", "side", "head", *CONSERVING, "composite", "default", "1 = 2", "seconds")
TABLE = re.compile(r"(<!-- table: saywhy bench architectures -->\n).*?(<!-- end of table -->)", re.DOTALL)

TIMM = """
    botnet26t_256 cait_xxs24_224 caformer_s18 coat_lite_tiny coatnet_nano_rw_224 convit_tiny convmixer_768_32
    convnext_atto convnextv2_atto cpubone_nano crossvit_tiny_240 cs3darknet_focus_s cspnext_tiny csatv2 davit_tiny
    deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 densenet121 dla34 dm_nfnet_f0 eca_nfnet_l0 edgenext_xx_small
    efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnet_cc_b0_4e efficientvim_m1 efficientvit_b0
    efficientvit_m0 ese_vovnet19b_dw eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcresnet33ts
    gcvit_xxtiny ghostnet_100 ghostnetv2_100 ghostnetv3_100 gmlp_ti16_224 halonet26t hgnet_tiny hiera_tiny_224
    hrnet_w18_small iformer_t inception_next_atto inception_v3 lambda_resnet26t lcnetv2_small legacy_seresnet18
    legacy_xception levit_128s lowformer_b0 mambaout_femto maxvit_tiny_rw_224 mixer_s32_224 mixnet_s mobilenetv2_100
    mobilenetv3_small_100 mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mobilevitv2_050 mvitv2_tiny
    naflexvit_base_patch16_gap nextvit_small nf_resnet26 pit_ti_224 poolformer_s12 pvt_v2_b0 rdnet_tiny regnetx_002
    regnety_002 regnetz_b16 repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_14w_8s resmlp_12_224 resnest14d resnet18
    resnet50_clip resnetv2_50 rexnet_100 sam2_hiera_tiny sequencer2d_s shvit_s1 skresnet18 starnet_s1 swiftformer_xs
    swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 tiny_vit_5m_224 tnt_s_patch16_224 twins_pcpvt_small vgg11
    visformer_tiny vit_pe_core_tiny_patch16_384 vit_small_patch16_dinov3 vit_tiny_patch16_224 volo_d1_224 xception41
    xcit_nano_12_p16_224
"""
TORCHVISION = """
    alexnet efficientnet_b0 efficientnet_v2_s googlenet maxvit_t mnasnet0_5 mobilenet_v3_small regnet_y_400mf resnet50
    shufflenet_v2_x1_0 squeezenet1_1 swin_v2_t vit_b_32
"""
TRANSFORMERS = """
    bit convnextv2 cvt dinov2 dinov2_with_registers pvt regnet resnet swiftformer swin vit
"""
ARCHITECTURES = tuple(
    f"{source}:{name}"
    for source, names in (("timm", TIMM), ("torchvision", TORCHVISION), ("transformers", TRANSFORMERS))
    for name in names.split()
)


def run(
    limit: int | None = None,
    only: Annotated[str | None, "Which ones, with commas; a row that is there is made again."] = None,
    table: Annotated[str | None, "A Markdown file with the table: what stands there is kept, new rows go in."] = None,
) -> Report:
    """limit: architectures at most. only: some of ARCHITECTURES, by comma. table: a file as docs/models.md, whose
    table is read first and written after each architecture, so that a run may end at any time and go on later.

    Raises SaywhyError for an unknown name, and a file without the table's marks.
    """
    chosen = _chosen(only)
    path = None if table is None else Path(table)
    rows = {} if path is None else _rows_of(path)
    left = [name for name in chosen if only or name not in rows][:limit]
    for name in track(left, "explaining", transient=True):
        rows[name] = measure(name)
        if path is not None:
            _write(path, rows)
    return Report(
        "architectures",
        "accounted for over the logit, by composite; one picture alone against two; random weights",
        COLUMNS,
        [rows[name] for name in chosen if name in rows],
        {"side": SIDE},
    )


def _chosen(only: str | None) -> Sequence[str]:
    if only is None:
        return ARCHITECTURES
    several = [name.strip() for name in only.split(",")]
    for name in several:
        if name not in ARCHITECTURES:
            raise unknown("architecture", name, ARCHITECTURES)
    return several


def measure(architecture: str) -> dict[str, Any]:
    """One row. A refusal or an error of the architecture is written where its value would be."""
    row: dict[str, Any] = {"architecture": architecture}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of maps at random weights, which the row has in numbers
            classifier = _loaded(architecture)
            row["head"] = "yes" if classifier.has_head else _why_not(_said(lambda: str(classifier.head)))
            pixels = _pixels(classifier)
            row["side"] = pixels.shape[-1]
            start = time.perf_counter()
            together = attribute(classifier, pixels, target=1)
            seconds = time.perf_counter() - start
            row |= {"composite": together.composite, "default": _accounted(together), "seconds": seconds}
            alone = attribute(classifier, pixels[:1], target=1)
            row["1 = 2"] = _apart(alone.values[0], together.values[0])
            for name in CONSERVING:
                row[name] = _said(lambda c=name: _accounted(attribute(classifier, pixels, target=1, composite=c)))
    except Exception as error:
        row.setdefault("default", _first_line(error))
    return row


def _loaded(architecture: str) -> Classifier:
    source, _, name = architecture.partition(":")
    if source != "transformers":
        return Classifier.load(architecture, pretrained=False, classes=1000)
    from torchvision.transforms import Compose, Resize, ToTensor
    from transformers import AutoConfig, AutoModelForImageClassification

    config = AutoConfig.for_model(name, num_labels=1000)
    size = getattr(config, "image_size", 224)
    side = size if isinstance(size, int) else size[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AutoModelForImageClassification.from_config(config)
    return Classifier.from_module(network.eval(), transform=Compose([Resize((side, side)), ToTensor()]), name=name)


def _pixels(classifier: Classifier) -> Tensor:
    """(2, 3, side, side) of noise."""
    own = classifier.preprocess([Image.new("RGB", (640, 480))])
    pixels = torch.randn(2, *own.shape[1:], generator=torch.Generator().manual_seed(0))
    try:
        smaller = pixels[..., :SIDE, :SIDE].contiguous()
        classifier.logits(smaller)
    except Exception:  # each library has its own for a picture of another size
        return pixels
    return smaller


def _apart(alone: Tensor, together: Tensor) -> float | str:
    """How far a map is from the same picture's in a batch, over its size; constants may have taken all there is."""
    return float((alone - together).norm() / together.norm()) if together.any() else "no map"


def _accounted(heatmap: Heatmap) -> float:
    """What a map accounts for over the logit, of the picture where that is farther from 1."""
    shares = [1 - check.lost / check.explained for check in heatmap.checks if check.explained]
    return max(shares, key=lambda share: abs(share - 1), default=float("nan"))


def _said(work: Any) -> Any:
    try:
        return work()
    except SaywhyError as error:
        return _first_line(error)


def _why_not(said: str) -> str:
    """The reason in the sentence that a classifier without a linear head refuses its own space with."""
    return "no: " + said.partition(" no linear head: ")[2].partition(". Its own space")[0]


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return text if isinstance(error, SaywhyError) else f"{type(error).__name__}: {text}"


# -- the table in a page ----------------------------------------------------------------------------------------------


def _rows_of(path: Path) -> dict[str, dict[str, Any]]:
    lines = _table_in(path.read_text(encoding="utf-8"), path).group().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in cells]
    return {row["architecture"].strip("`"): {**row, "architecture": row["architecture"].strip("`")} for row in rows}


def _write(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    body = [
        "| " + " | ".join(_cell(column, rows[name].get(column, "-")) for column in COLUMNS) + " |"
        for name in ARCHITECTURES
        if name in rows
    ]
    text = path.read_text(encoding="utf-8")
    found = _table_in(text, path)
    lines = "\n".join([*head, *body])
    with replacing(path) as unfinished:
        unfinished.write_text(f"{text[: found.end(1)]}\n{lines}\n\n{text[found.start(2) :]}", encoding="utf-8")


def _table_in(text: str, path: Path) -> re.Match[str]:
    found = TABLE.search(text)
    if found is None:
        raise SaywhyError(
            f"{path}: no table to write; put <!-- table: saywhy bench architectures --> and <!-- end of table --> "
            "where it shall be"
        )
    return found


def _cell(column: str, value: Any) -> str:
    if column == "architecture":
        return f"`{value}`"
    if isinstance(value, float):
        return f"{value:.0e}" if column == "1 = 2" else f"{value:.1f}" if column == "seconds" else f"{value:.3f}"
    return str(value).replace("|", "/")
