"""How fast are the rows of an audit made, how large are they, and does memory stay flat?

The rate of the run, over pictures in files, against the sum of its parts: each part alone, on the same pictures in the
same batches, in turn with the whole, round after round, so that a busy machine slows all of them alike. Peak memory is
that of a fresh process which describes so many pictures: 20,000 should take no more than 2,000.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

from PIL import Image
from torch import Tensor

from saywhy.attribution import attribute
from saywhy.attribution.regions import find_regions
from saywhy.audits.audit import subject_of
from saywhy.audits.chunks import describe_chunk, room
from saywhy.audits.options import AuditOptions
from saywhy.audits.rows import rows_of
from saywhy.audits.run import run as run_over
from saywhy.audits.store import ROWS, Store
from saywhy.audits.subject import Subject
from saywhy.bench import Report
from saywhy.bench.speed.measuring import MB, forget_peak, in_fresh_process, in_turn, peak, timed
from saywhy.checks.objects import object_mask
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.pooling import look
from saywhy.errors import SaywhyError
from saywhy.pictures.collections import collection
from saywhy.pictures.properties import properties
from saywhy.pictures.reading import read_picture
from saywhy.plumbing.texts import whole_number
from saywhy.questions.labels import encode_looks, encode_pooled, encode_vocabulary, nearest, pieces
from saywhy.seen.evidence import gather
from saywhy.seen.gate import claims_of
from saywhy.spaces.traits import KnowsFeatures

DRAWN = 96  # scenes; more files are links to them
ROUNDS = 3
WHOLE = "the run"
MODEL, SPACE = "world:aviary", "own"


def run(
    limit: int | None = None,
    model: Annotated[str, "The classifier, as for audit."] = MODEL,
    space: Annotated[str, "The space, as for audit."] = SPACE,
    batch: Annotated[str, "Pictures at once."] = "16",
    sizes: Annotated[str, "Numbers of pictures whose peak memory is compared."] = "500,3000",
    data: Annotated[str, "A folder of pictures; without, scenes of the aviary as JPEG files."] = "",
) -> Report:
    """Rates over ROUNDS rounds of ``limit`` pictures (256), and memory at the sizes."""
    counts = [whole_number(text, "--sizes") for text in sizes.split(",") if text]
    options = AuditOptions(batch_size=whole_number(batch, "--batch"), checks="none")
    with TemporaryDirectory(prefix="saywhy-audit-") as scratch:
        folder = Path(data) if data else _files(Path(scratch) / "pictures", max([limit or 256, *counts]))
        subject = _subject(folder, limit or 256, model, space, options)
        times = in_turn(_contenders(subject, Path(scratch)), ROUNDS)
        rows, ratio = _rates(times, len(subject.pictures))
        sizes_of = _bytes(Path(scratch), len(subject.pictures))
        memory = [
            {"pictures": count, **in_fresh_process(_peak, folder, count, model, space, options)} for count in counts
        ]
    grown = memory[-1]["peak MB"] / memory[0]["peak MB"] if len(memory) > 1 else float("nan")
    return Report(
        "audit",
        f"rows of {len(subject.pictures)} pictures, {model}, space {space}, batches of {batch}, "
        f"{subject.classifier.device}: seconds a picture",
        ("what", "ms a picture", "of the run", "lowest", "highest"),
        rows,
        {"run over the sum of its parts": ratio, "memory grown": grown, "model": model, "space": space,
         "batch": options.batch_size, "rounds": ROUNDS},
        more=(
            ("bytes a picture on the disk", ("table", "bytes"), sizes_of),
            ("peak memory of a fresh process", ("pictures", "peak MB", "before MB", "pictures a second"), memory),
        ),
    )  # fmt: skip


def _files(folder: Path, count: int) -> Path:
    """So many JPEG files in folders by class."""
    scenes = collection(["world:aviary"], DRAWN)
    for n in range(min(DRAWN, count)):
        place = folder / scenes[n].labels[0]
        place.mkdir(parents=True, exist_ok=True)
        scenes[n].open().save(place / f"{n:06d}.jpg", quality=90)
    for n in range(DRAWN, count):
        place = folder / scenes[n % DRAWN].labels[0]
        os.link(place / f"{n % DRAWN:06d}.jpg", place / f"{n:06d}.jpg")
    return folder


def _subject(folder: Path, count: int, model: str, space: str, options: AuditOptions) -> Subject:
    pictures = collection([str(folder)], count)
    if not len(pictures):
        raise SaywhyError(f"{folder}: has no pictures")
    return subject_of(pictures, Classifier.load(model), options, space=space)


class _Batch(NamedTuple):
    """What the parts of the work on one batch are given, each by the parts before it."""

    names: list[str]
    images: list[Image.Image]
    pixels: Tensor
    logits: Tensor
    targets: list[int]
    values: Tensor
    regions: list[Any]


def _contenders(subject: Subject, scratch: Path) -> dict[str, Callable[[], float]]:
    """The run, and each part of it alone, on the same pictures."""
    batches = list(_batches(subject))
    seen, space, size = subject.seen, subject.space, len(subject.pictures)
    pools = isinstance(space, KnowsFeatures) and look(subject.classifier, batches[0].pixels).pools
    looks = [look(subject.classifier, one.pixels) for one in batches] if pools else []
    encoded = [_encoded(subject, one, looks[n] if pools else None) for n, one in enumerate(batches)]
    chunks = [describe_chunk(subject, n) for n in range(-(-size // subject.options.chunk))]
    texts = encode_vocabulary(subject.vocabulary, space)
    sought = [one.pixels[n] for one, numbers in zip(batches, _numbers(subject), strict=True)
              for n, number in enumerate(numbers) if subject.turns[number] < subject.options.objects]  # fmt: skip
    shown = subject.evenly(room(subject))
    made = [row for one in batches[:1] for row in rows_of(subject, list(zip(one.names, one.images, strict=True)))]
    ordinal = iter(range(10**6))

    def words() -> None:
        for vectors in encoded:
            for found in gather(vectors, texts, subject.vocabulary, space, None):
                regions = len(found.unusual) - 1
                near = nearest(found, space.name, regions=(None, *range(regions)), top=subject.options.top)
                claims_of(found, near, seen)

    def written() -> None:
        store = Store.create(scratch / f"written-{next(ordinal)}", {})
        for chunk in chunks:
            store.commit(ROWS, str(chunk.number), chunk.tables)

    def whole() -> None:
        run_over(subject, Store.create(scratch / f"whole-{next(ordinal)}", {}))

    work: dict[str, Callable[[], object]] = {
        WHOLE: whole,
        "opening and decoding": lambda: [read_picture(subject.pictures[n].name) for n in range(size)],
        "preprocessing": lambda: [subject.classifier.preprocess(one.images) for one in batches],
        "forward pass": lambda: [_forward(subject, one, pools) for one in batches],
        "relevance": lambda: [_relevance(subject, one) for one in batches],
        "regions": lambda: [_regions(subject, one) for one in batches],
        "encoding looks": lambda: [_encoded(subject, b, looks[n] if pools else None) for n, b in enumerate(batches)],
        "words": words,
        "familiarity": lambda: [seen.silences(one.images) for one in batches],
        "properties": lambda: [properties(image) for one in batches for image in one.images],
        f"objects ({len(sought)} pictures)": lambda: [object_mask(pixels) for pixels in sought],
        f"pictures to show ({len(shown)})": lambda: [made[n % len(made)].show() for n in range(len(shown))],
        "writing": written,
    }
    return {what: lambda one=one: timed(one) for what, one in work.items()}  # type: ignore[misc]


def _numbers(subject: Subject) -> list[range]:
    """Of the pictures in each batch."""
    size, count = subject.options.batch_size, len(subject.pictures)
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _batches(subject: Subject) -> Iterator[_Batch]:
    classifier = subject.classifier
    for numbers in _numbers(subject):
        names = [subject.pictures[n].name for n in numbers]
        images = [subject.pictures[n].open() for n in numbers]
        pixels = classifier.preprocess(images)
        logits = classifier.logits(pixels).float().cpu()
        one = _Batch(names, images, pixels, logits, logits.argmax(1).tolist(), logits, [])
        values = _relevance(subject, one).values
        yield one._replace(values=values, regions=_regions(subject, one._replace(values=values)))


def _forward(subject: Subject, one: _Batch, pools: bool) -> object:
    return look(subject.classifier, one.pixels) if pools else subject.classifier.logits(one.pixels)


def _relevance(subject: Subject, one: _Batch) -> Any:
    how = subject.options
    return attribute(
        subject.classifier, one.pixels, one.targets, how.method, how.composite, batch_size=len(one.images),
        plain=one.logits, names=one.names,
    )  # fmt: skip


def _regions(subject: Subject, one: _Batch) -> list[Any]:
    return [
        find_regions(one.values[n].numpy(), subject.classifier.frame_on(image), count=subject.options.regions)
        for n, image in enumerate(one.images)
    ]


def _encoded(subject: Subject, one: _Batch, seen_in: Any) -> Sequence[Tensor]:
    if seen_in is not None:
        return encode_pooled(seen_in, range(len(one.images)), one.regions, one.values, subject.space)  # type: ignore[arg-type]
    crops = [pieces(image, areas, subject.space) for image, areas in zip(one.images, one.regions, strict=True)]
    return encode_looks([[image, *cut] for image, cut in zip(one.images, crops, strict=True)], subject.space)


def _rates(times: dict[str, list[float]], count: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A row each, and how much longer all parts take together than the run: over 1 where the run overlaps them."""
    rows = []
    parts = [what for what in times if what != WHOLE]
    total = [sum(times[what][n] for what in parts) for n in range(len(times[WHOLE]))]
    for what, seconds in [*times.items(), ("all parts", total)]:
        shares = [s / base for s, base in zip(seconds, times[WHOLE], strict=True)]
        rows.append({"what": what, "ms a picture": 1000 * median(seconds) / count, "of the run": median(shares),
                     "lowest": min(shares), "highest": max(shares)})  # fmt: skip
    shares = [s / base for s, base in zip(total, times[WHOLE], strict=True)]
    return rows, {"median": median(shares), "lowest": min(shares), "highest": max(shares)}


def _bytes(scratch: Path, count: int) -> list[dict[str, Any]]:
    """Of the files of each table in one of the audits."""
    folder = min(scratch.glob("whole-*"))
    sizes: dict[str, int] = {}
    for file in folder.rglob("*.parquet"):
        sizes[file.stem] = sizes.get(file.stem, 0) + file.stat().st_size
    rows = [{"table": table, "bytes": size / count} for table, size in sorted(sizes.items())]
    return [*rows, {"table": "all", "bytes": sum(sizes.values()) / count}]


def _peak(folder: Path, count: int, model: str, space: str, options: AuditOptions) -> dict[str, float]:
    """Of describing so many pictures, in this process."""
    subject = _subject(folder, count, model, space, options)
    subject.story()
    forget_peak()
    before = peak()
    with TemporaryDirectory(prefix="saywhy-audit-") as scratch:
        seconds = timed(lambda: run_over(subject, Store.create(Path(scratch) / "out", {})))
    return {"peak MB": peak() / MB, "before MB": before / MB, "pictures a second": len(subject.pictures) / seconds}
