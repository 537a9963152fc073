"""What would an audit of millions of pictures take? Costs of a picture, measured here, and what follows from them.

Measured on one thread, in CPU time, which a busy machine changes little: each part of the work on a picture, the bytes
of its rows, what a part of the store costs a query, what listing costs. Computed from these: hours, machines, money,
bytes and files of 1.2 million and a billion pictures. Assumed, and no measurement of ours: prices, and the time of the
network on a GPU, which options change.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import Image

from saywhy.attribution import attribute
from saywhy.audits.audit import subject_of
from saywhy.audits.chunks import chunk_name
from saywhy.audits.options import AuditOptions
from saywhy.audits.rows import Rows, placed, rows_of
from saywhy.audits.store import ROWS, Store
from saywhy.audits.subject import Subject, files_digest
from saywhy.audits.tables import as_table
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.collections import collection
from saywhy.pictures.photos import PHOTOS
from saywhy.plumbing.names import shown
from saywhy.plumbing.texts import finite_number

PICTURES, SIDE = 96, (500, 375)  # of a data set of photographs, as ImageNet's are on average
PARTS = 2000  # of a store, in which queries are timed
LISTED = 20_000  # pictures of a folder that is listed
SIZES = (1_200_000, 1_000_000_000)
DAY = 24.0
CORES = 32  # of a machine
QUERIES = (
    "SELECT truth, count(*), avg(probability) FROM pictures GROUP BY truth",
    "SELECT w, count(*) FROM (SELECT unnest(words) AS w FROM pictures) GROUP BY w",
)
"""Such as findings ask."""


def run(
    limit: int | None = None,
    model: Annotated[str, "The classifier, as for audit."] = "world:aviary",
    space: Annotated[str, "Whose words, as for audit."] = "own",
    chunk: Annotated[str, "Pictures that are written together, in what is computed."] = str(AuditOptions.chunk),
    gpu_ms: Annotated[str, "Assumed: ms of the network a picture, on a GPU."] = "10",
    gpu_price: Annotated[str, "Assumed: of a GPU an hour."] = "3",
    core_price: Annotated[str, "Assumed: of a CPU core an hour."] = "0.04",
    gigabyte_price: Annotated[str, "Assumed: of a gigabyte a month."] = "0.023",
) -> Report:
    """Parts of the work on a picture, and what two sizes of data would take. limit: pictures to measure, at most.

    Raises SaywhyError for options that are no numbers.
    """
    given = {"chunk": chunk, "gpu-ms": gpu_ms, "gpu-price": gpu_price, "core-price": core_price,
             "gigabyte-price": gigabyte_price}  # fmt: skip
    assumed = {name: finite_number(value, f"--{name}") for name, value in given.items()}
    if min(assumed.values()) <= 0:
        raise SaywhyError(f"{shown(given)}: all must be above 0")
    with tempfile.TemporaryDirectory(prefix="saywhy-scale-") as folder, _one_thread():
        _photographs(Path(folder) / "data", limit or PICTURES)
        pictures = collection([str(Path(folder) / "data")])
        options = AuditOptions(checks="none", batch_size=16)
        subject = subject_of(pictures, Classifier.load(model, device="cpu"), options, space=space)
        costs, sizes = _measured(subject, Path(folder) / "out")
        store = _of_store(subject, Path(folder) / "out")
    rows = [{"what": what, "CPU ms a picture": ms} for what, ms in costs.items()]
    simulated = [_simulated(size, costs, sizes, store, assumed) for size in SIZES]
    columns = ("what", *(f"{size:,}" for size in SIZES))
    transposed = [{"what": what, **{f"{size:,}": one[what] for size, one in zip(SIZES, simulated, strict=True)}}
                  for what in simulated[0]]  # fmt: skip
    return Report(
        "audit-scale",
        f"an audit's cost of a picture, {subject.classifier.name}, {space}, photographs of {SIDE[0]} x {SIDE[1]}, one "
        "thread",
        ("what", "CPU ms a picture"),
        rows,
        {"costs": costs, "bytes": sizes, "store": store, "assumed": assumed, "load": os.getloadavg()[0]},
        [
            ("bytes a picture (measured)", ("table", "bytes"), [{"table": t, "bytes": b} for t, b in sizes.items()]),
            ("of the store (measured)", ("what", "value"), [{"what": w, "value": v} for w, v in store.items()]),
            (f"computed, at {', '.join(f'{k} {v:g}' for k, v in assumed.items())}", columns, transposed),
        ],
    )


def _photographs(folder: Path, count: int) -> None:
    """Photographs of the package in SIDE, cut differently, as JPEGs in two folders."""
    photos = [Image.open(photo.path).convert("RGB") for photo in PHOTOS.values()]
    for number in range(count):
        photo = photos[number % len(photos)]
        width, height = photo.size
        edge = (number // len(photos)) % 20
        place = folder / f"class {number % 2}" / f"{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        photo.crop((edge, edge, width - edge, height - edge)).resize(SIDE).save(place, quality=90)


def _measured(subject: Subject, out: Path) -> tuple[dict[str, float], dict[str, float]]:
    """CPU milliseconds a picture of each part of the work, and bytes a picture of each table."""
    count, batch = len(subject.pictures), subject.options.batch_size
    spent = dict.fromkeys(
        ("open it", "network: map and words", "rest of its rows", "thumbnail and map", "seek the object",
         "rows as columns", "write the part"), 0.0,
    )  # fmt: skip
    rows: list[Rows] = []

    def of(what: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = work()
        spent[what] += time.process_time() - start
        return found

    opened: list[Image.Image] = []
    for start in range(-batch, count, batch):  # the first batch warms up
        numbers = range(max(0, start), min(max(0, start) + batch, count))
        opened = of("open it", partial(_opened, subject, numbers))
        named = [(str(n), image) for n, image in zip(numbers, opened, strict=True)]
        found = of("rest of its rows", partial(rows_of, subject, named))
        of("network: map and words", partial(_network, subject, opened))
        if start < 0:
            spent = dict.fromkeys(spent, 0.0)
        else:
            rows += found
    spent["rest of its rows"] -= spent["network: map and words"]
    shows = of("thumbnail and map", lambda: [row.show() for row in rows])
    of("seek the object", lambda: [row.seek() for row in rows])
    pairs = [placed(row, subject, n, subject.pictures[n]) for n, row in enumerate(rows)]
    plain = {
        "pictures": [picture for picture, _ in pairs],
        "regions": [region for _, regions in pairs for region in regions],
        "shown": [{"number": n, **show} for n, show in enumerate(shows)],
    }
    tables = of("rows as columns", lambda: {name: as_table(name, some) for name, some in plain.items()})
    store = Store.create(out, subject.story())
    of("write the part", lambda: store.commit(ROWS, chunk_name(0), tables))
    part = out / ROWS / chunk_name(0)
    sizes = {name: (part / f"{name}.parquet").stat().st_size / count for name in plain}
    return {what: 1000 * seconds / count for what, seconds in spent.items()}, sizes


def _opened(subject: Subject, numbers: Sequence[int]) -> list[Image.Image]:
    return [subject.pictures[n].open() for n in numbers]


def _network(subject: Subject, images: Sequence[Image.Image]) -> None:
    """What a GPU would do: logits, a map, and the vectors of the whole picture."""
    classifier = subject.classifier
    pixels = classifier.preprocess(images)
    plain = classifier.logits(pixels).float().cpu()
    attribute(
        classifier, pixels, plain.argmax(1).tolist(), subject.options.method, subject.options.composite,
        batch_size=len(images), plain=plain,
    )  # fmt: skip
    subject.space.encode_images(images)


def _of_store(subject: Subject, out: Path) -> dict[str, float]:
    """What each part costs who lists and asks, and what each picture costs who lists the data."""
    store = Store.open(out)
    first = out / ROWS / chunk_name(0)
    one = _query_ms(store)
    for number in range(1, PARTS):
        part = out / ROWS / chunk_name(number)
        part.mkdir()
        for file in first.iterdir():
            os.link(file, part / file.name)
    start = time.process_time()
    store.view()
    view = time.process_time() - start
    asked = _query_ms(store)
    photo = Path(subject.pictures[0].name)
    for number in range(LISTED):
        place = out.parent / "many" / f"class {number % 100}" / f"{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(photo, place)
    times = [time.process_time()]
    pictures = collection([str(out.parent / "many")])
    times.append(time.process_time())
    files_digest(pictures)
    times.append(time.process_time())
    _ = pictures.digest
    times.append(time.process_time())
    listed, known, digested = (1e6 * (after - before) / LISTED for before, after in pairwise(times))
    return {
        "open the tables, ms a part": 1000 * view / PARTS,
        "a query, ms a part": max(0.0, asked - one) / PARTS,
        "list a folder, us a picture": listed,
        "size and time of files, us a picture": known,
        "digest of names and labels, us a picture": digested,
    }


def _query_ms(store: Store) -> float:
    view = store.view()
    start = time.process_time()
    for query in QUERIES:
        view.sql(query)
    return 1000 * (time.process_time() - start) / len(QUERIES)


def _simulated(
    size: int, costs: dict[str, float], sizes: dict[str, float], store: dict[str, float], assumed: dict[str, float]
) -> dict[str, float]:
    """What so many pictures take, from what was measured and assumed."""
    every = [costs[what] for what in ("open it", "network: map and words", "rest of its rows", "rows as columns")]
    kept = sizes["pictures"] + sizes["regions"]  # the pictures to show have a budget of their own
    hours = size / 3.6e6
    on_cpu = sum(every) * hours
    # A worker with a GPU opens pictures in a thread of its own beside the rest.
    with_gpu = max(every[0], assumed["gpu-ms"] + every[2] + every[3]) * hours
    parts = ceil(size / assumed["chunk"])
    return {
        "CPU core hours": on_cpu,
        f"machines of {CORES} cores, for a day": ceil(on_cpu / CORES / DAY),
        "money, on CPUs": on_cpu * assumed["core-price"],
        "GPU hours": with_gpu,
        "GPUs, for a day": ceil(with_gpu / DAY),
        "money, on GPUs": with_gpu * assumed["gpu-price"],
        "driver: hours to write": costs["write the part"] * hours,
        "driver: hours to list the data": sum(v for w, v in store.items() if w.endswith("us a picture")) * size / 3.6e9,
        "driver: GB of names and labels": 60 * size / 1e9,
        "tables, GB": kept * size / 1e9,
        "tables, money a month": kept * size / 1e9 * assumed["gigabyte-price"],
        "parts": parts,
        "files": 2 * parts,
        "a query: s for the parts alone": store["a query, ms a part"] * parts / 1000,
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
