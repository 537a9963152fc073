"""Plain facts: is a square, a frame, a letter in the corner or a shift in brightness named where it decides?

Small classifiers are fine-tuned from the aviary's own on scenes into which the four marks are pasted, each of which
decides one of twelve classes (worlds/pasted.py); they are kept in the cache. Counted are fresh pictures of the affected
classes that the model gets right, in which the mark is named in words; and of the other classes, in which nothing is
pasted, those in which the same words are said all the same: by these models, and by world:aviary.

Some marks are learned badly, and their class is told by what is not there. So it is measured whether each decides: by
the same picture before it was pasted. Beside them: the same marks before world:aviary, which never saw one; and whether
filling an equal area elsewhere would have been taken for a cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track

from saywhy.attribution import attribute
from saywhy.attribution.regions import find_regions
from saywhy.bench import Report
from saywhy.checks.filling import ring
from saywhy.checks.outcomes import of_logits, outcomes
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion
from saywhy.pictures.plain import levels, measured
from saywhy.plumbing.caches import cache_directory
from saywhy.seen.plain_facts import FALL, UsualLight, plain_facts
from saywhy.training.worlds.networks import aviary_network, to_pixels, write_timm
from saywhy.types import Claim
from saywhy.worlds import CLASSIFIER_SIDE, TOWERS
from saywhy.worlds.pasted import CLASSES, KINDS, Marks, pasted_scene

PICTURES = 480  # of each aviary, a twelfth of each class
TRAINING = 1440
BATCH = 16
RATES = {"resnet": 3e-3, "vit": 1e-3}
EPOCHS = {"resnet": 12, "vit": 16}
CHOOSE = {
    9_000_000: Marks("yellow", 0.08, "black", 0.04, "A", "white", 0.13, "upper right", 60.0),
    9_010_000: Marks("red", 0.10, "white", 0.05, "X", "yellow", 0.14, "lower left", 0.55),
    9_020_000: Marks("blue", 0.07, "red", 0.03, "O", "black", 0.12, "upper left", 1.5),
}
"""First seed -> marks on which the thresholds were chosen."""
REPORT = {
    9_500_000: Marks("green", 0.09, "blue", 0.035, "R", "white", 0.14, "lower right", -50.0),
    9_510_000: Marks("orange", 0.065, "yellow", 0.045, "K", "red", 0.13, "upper left", 1.6),
    9_520_000: Marks("white", 0.08, "green", 0.03, "S", "black", 0.13, "lower left", 55.0),
    9_530_000: Marks("yellow", 0.075, "black", 0.05, "H", "yellow", 0.12, "upper right", 0.5),
}
"""First seed -> marks that are reported: other colours, sizes, corners and letters."""
PLAIN = len(CLASSES) - len(KINDS)  # classes in which nothing is pasted


def run(
    limit: int | None = None,
    model: Annotated[str | None, "resnet or vit (default: both)."] = None,
    marks: Annotated[str, "report, or choose: the marks on which the thresholds were chosen."] = "report",
) -> Report:
    """A row for each mark and tower, over all variants; and one for each variant.

    limit: pictures of each variant, at most PICTURES.

    Raises SaywhyError for an unknown tower or set of marks.
    """
    if model not in (None, *TOWERS):
        raise SaywhyError(f"--model here is {' or '.join(TOWERS)}: the aviary's classifiers are fine-tuned")
    if marks not in ("report", "choose"):
        raise SaywhyError(f"--marks is report or choose; it is {marks!r}")
    variants, count = REPORT if marks == "report" else CHOOSE, min(limit or PICTURES, PICTURES)
    rows: list[dict[str, Any]] = []
    each: list[dict[str, Any]] = []
    for tower in [model] if model else TOWERS:
        found: list[dict[str, Any]] = []
        for seed, variant in variants.items():
            one = looked_at(fine_tuned(seed, variant, tower), seed, variant, count, tower)
            each += [{"tower": tower, "seed": seed} | row for row in _table(one)]
            found += one
        rows += [{"tower": tower} | row for row in _table(found)]
    return Report(
        "plain-facts",
        "marks that decide a class: percent of pictures in which they are named in words [95 %, Wilson]",
        ("tower", "mark", "accuracy", "decides", "named", "named where it decides", "colour and place too",
         "in a region", "equal area elsewhere", "not pasted", "not pasted, world:aviary", "pasted, world:aviary"),
        rows,
        {"marks": marks, "first seeds": list(variants)},
        more=[
            ("by variant",
             ("tower", "seed", "mark", "accuracy", "decides", "named", "named where it decides", "not pasted"), each),
        ],
    )  # fmt: skip


def fine_tuned(seed: int, marks: Marks, tower: str, training: int = TRAINING, epochs: int | None = None) -> Classifier:
    """A classifier of pasted.CLASSES, from the cache or fine-tuned from world:aviary's on scenes from that seed on."""
    epochs = epochs or EPOCHS[tower]
    folder = cache_directory() / "trained" / f"pasted-{seed}-{tower}-{training}-{epochs}"
    if not (folder / "config.json").is_file():
        _fine_tune(folder, seed, marks, tower, training, epochs)
    return Classifier.load(f"timm:{folder}")


def _fine_tune(folder: Path, seed: int, marks: Marks, tower: str, training: int, epochs: int) -> None:
    drawn = [
        pasted_scene(n % len(CLASSES), seed + n, marks)[0]
        for n in track(range(training), "drawing scenes", transient=True)
    ]
    pixels = torch.cat([to_pixels(torch.tensor(one).permute(2, 0, 1)[None], CLASSIFIER_SIDE) for one in drawn])
    labels = torch.arange(training) % len(CLASSES)
    torch.manual_seed(seed)
    network, arguments = aviary_network(tower, len(CLASSES))
    known, own = Classifier.load(f"world:aviary/{tower}").network.state_dict(), network.state_dict()
    network.load_state_dict({k: v.float() for k, v in known.items() if v.shape == own[k].shape}, strict=False)
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), RATES[tower], weight_decay=0.05)
    batch = 2 * BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATES[tower], total_steps=epochs * (training // batch))
    for epoch in track(range(epochs), f"training {folder.name}", transient=True):
        network.train()
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(training))
        for rows in order[: training // batch * batch].split(batch):
            logits = network(pixels[rows].contiguous(memory_format=torch.channels_last))
            optimiser.zero_grad()
            F.cross_entropy(logits, labels[rows], label_smoothing=0.05).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    network = network.to(memory_format=torch.contiguous_format)  # which safetensors need
    write_timm(folder, network.eval(), arguments, CLASSES, CLASSIFIER_SIDE)


def looked_at(classifier: Classifier, seed: int, marks: Marks, count: int, tower: str) -> list[dict[str, Any]]:
    """What is said of ``count`` fresh pictures, a row each, by the classifier and by world:aviary."""
    first = seed + 5000 - (seed + 5000) % len(CLASSES)
    drawn = [
        pasted_scene(n % len(CLASSES), first + n, marks)
        for n in track(range(count), "drawing fresh scenes", transient=True)
    ]
    labels = [n % len(CLASSES) for n in range(count)]
    images, masks = [Image.fromarray(pixels) for pixels, _ in drawn], [mask for _, mask in drawn]
    plain = [image for image, label in zip(images, labels, strict=True) if label < PLAIN]
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = [{"label": label} for label in labels]
    for who, asked, run_of in (
        ("own", classifier, images),
        ("aviary", Classifier.load(f"world:aviary/{tower}"), plain),
    ):
        usual = UsualLight.of(
            np.stack([levels(measured(image)) for image in run_of])
        )  # of the pictures of the run, as in ``explain``
        for start in track(range(0, count, BATCH), f"explaining with {asked.name[-30:]}", transient=True):
            batch = images[start : start + BATCH]
            pixels = asked.preprocess(batch)
            logits = asked.logits(pixels).float()
            targets = logits.argmax(1).tolist()
            heat = attribute(asked, pixels, targets, batch_size=BATCH).values.numpy()
            for n, (image, target) in enumerate(zip(batch, targets, strict=True)):
                geometry, row = asked.frame_on(image), rows[start + n]
                regions = find_regions(heat[n], geometry)
                claims = plain_facts(asked, pixels[n], image, geometry, heat[n], target, logits[n], regions, usual)
                row[who] = {kind: _named(claims, kind, marks, masks[start + n]) for kind in KINDS}
                if who == "own":
                    row["right"] = target == row["label"]
                    row["decides"] = row["label"] >= PLAIN and _decides(
                        asked, logits[n], target, pasted_scene(row["label"], first + start + n, marks, bare=True)[0]
                    )
                    mask = _reduced(masks[start + n], pixels.shape[2:])
                    row["region"] = any((region.mask & mask.numpy()).any() for region in regions)
                    row["elsewhere"] = _elsewhere(asked, pixels[n], logits[n], target, mask, rng)
    return rows


def _decides(classifier: Classifier, logits: torch.Tensor, target: int, bare: np.ndarray) -> bool:
    """The truth: whether the class's logit falls by FALL of its margin where nothing was pasted into the picture."""
    before = of_logits(classifier, logits[None], [target])
    after = outcomes(classifier, classifier.preprocess([Image.fromarray(bare)]), [target])
    return float(before.logits - after.logits) >= FALL * float(before.margins)


def _named(claims: Sequence[Claim], kind: str, marks: Marks, mask: np.ndarray) -> tuple[bool, bool]:
    """Whether a mark of that kind is named; and with its own colour and place, or the direction of the light."""
    word = {"square": " square,", "frame": " frame ", "letter": "letter-like mark", "brightness": "than usual"}[kind]
    texts = [claim.text for claim in claims if word in claim.text]
    if kind == "brightness":
        right = "darker" if marks.light < 1 else "brighter"
    else:
        right = {"square": marks.square, "frame": marks.frame, "letter": marks.ink}[kind]
    place = {"square": _place(mask), "letter": marks.corner}.get(kind, "")
    return bool(texts), any(f"{right} " in text and place in text for text in texts)


def _place(mask: np.ndarray) -> str:
    from saywhy.answers.places import position

    rows, columns = np.nonzero(mask)
    if not len(rows):
        return ""
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return position(box, (mask.shape[1], mask.shape[0]))


def _reduced(mask: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    found = F.interpolate(torch.from_numpy(mask).float()[None, None], tuple(size), mode="area")
    return found[0, 0] > 0.25


def _elsewhere(
    classifier: Classifier, pixels: torch.Tensor, logits: torch.Tensor, target: int, mask: torch.Tensor,
    rng: np.random.Generator,
) -> bool:  # fmt: skip
    """Whether filling the mark's area, moved to a random place, would have been taken for a cause."""
    if not mask.any() or mask.float().mean() > 0.1:
        return False
    height, width = mask.shape
    moved = torch.roll(mask, (int(rng.integers(height // 4, 3 * height // 4)), int(rng.integers(0, width))), (0, 1))
    before, after = (
        of_logits(classifier, logits[None], [target]),
        outcomes(classifier, ring(pixels, moved[None]), [target]),
    )
    return float(before.logits - after.logits) >= FALL * float(before.margins)


def _table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each mark, from what was said of pictures."""
    table = []
    for n, kind in enumerate(KINDS):
        affected = [row for row in rows if row["label"] == PLAIN + n]
        right = [row for row in affected if row["right"]]
        none = [row for row in rows if row["label"] < PLAIN]
        small = kind in ("square", "letter")
        table.append(
            {
                "mark": kind,
                "accuracy": _share([row["right"] for row in affected]),
                "decides": _share([row["decides"] for row in right]),
                "named": _share([row["own"][kind][0] for row in right]),
                "named where it decides": _share([row["own"][kind][0] for row in right if row["decides"]]),
                "colour and place too": _share([row["own"][kind][1] for row in right]),
                "in a region": _share([row["region"] for row in right]) if small else "",
                "equal area elsewhere": _share([row["elsewhere"] for row in right]) if small else "",
                "not pasted": _share([row["own"][kind][0] for row in none if row["right"]]),
                "not pasted, world:aviary": _share([row["aviary"][kind][0] for row in none]),
                "pasted, world:aviary": _share([row["aviary"][kind][0] for row in affected]),
            }
        )
    none = [row for row in rows if row["label"] < PLAIN]
    table.append(
        {
            "mark": "any of them",
            "not pasted": _share([any(said for said, _ in row["own"].values()) for row in none if row["right"]]),
            "not pasted, world:aviary": _share([any(said for said, _ in row["aviary"].values()) for row in none]),
        }
    )
    return table


def _share(hits: Sequence[bool]) -> str:
    """In percent, with Wilson's interval, and of how many; "-" of none."""
    if not hits:
        return "-"
    found = proportion(sum(hits), len(hits))
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}] of {len(hits)}"
