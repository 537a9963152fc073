"""The commands ``saywhy data check`` and ``saywhy world write``: data with rationales, and the worlds' own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from saywhy.cli.console import OK, SOME_FAILED, Terminal, as_text, errors, told_when_interrupted, writable
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

if TYPE_CHECKING:
    from saywhy.pictures.truth import RationaleData
    from saywhy.words.rationale_words import RationaleWords

data = typer.Typer(help="Data with rationales.", no_args_is_help=True)
worlds = typer.Typer(help="The embedded worlds' data.", no_args_is_help=True)
DIMENSIONS = (512, 768)  # of ViT-B's and ViT-L's texts
EXAMPLES = 3  # of each kind of oddity


@data.callback()
@worlds.callback()
def _group() -> None:
    """Keeps the only command under its own name: Typer would run it under the group's."""


@data.command("check")
def check(
    directory: Annotated[
        Path, typer.Argument(help="A folder {train,test}/CATEGORY/RATIONALE/..., or a .csv.", metavar="DIR")
    ],
    rationales: Annotated[
        Path | None, typer.Option(help="The lists: a .json or .csv (default: the one in the folder).")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help='Only this split; "" for data without splits (default: all).')
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Report what data with rationales contains, what is odd, and what is left out (exit code 1 if pictures are)."""
    from saywhy.pictures.checking import check_pictures
    from saywhy.pictures.rationale_data import read_rationale_data
    from saywhy.pictures.rationale_folders import split_names

    with told_when_interrupted("nothing was checked"):
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
            read = {
                name: read_rationale_data(directory, name, rationales)
                for name in (split_names(directory) if split is None else (split,))
            }
            splits = {
                name: check_pictures(data, progress.track(data.images, description=f"opening {name or 'pictures'}"))
                for name, data in read.items()
            }
        with errors.status("comparing the splits", spinner="dots"):
            document = summary(splits) | {"data": str(directory)}
    if as_json:
        print(json.dumps(document, allow_nan=False))
    else:
        _show(document, Terminal())
    raise typer.Exit(SOME_FAILED if document["skipped"] else OK)


def summary(splits: Mapping[str, RationaleData]) -> dict[str, Any]:
    """What ``saywhy data check --json`` prints, for splits with the same words."""
    from saywhy.pictures.checking import same_pictures

    parts = list(splits.values())
    oddities = list(dict.fromkeys(oddity for data in parts for oddity in data.oddities))  # lists are read every time
    return {
        "data": str(parts[0].root),
        **_words(parts[0].words),
        "splits": {name: _split(data) for name, data in splits.items()},
        "in both": {
            f"{one} and {other}": len(same_pictures(splits[one], splits[other]))
            for one, other in combinations(splits, 2)
        },
        "oddities": [asdict(oddity) for oddity in oddities],
        "skipped": sum(oddity.skipped for oddity in oddities),
    }


def _words(words: RationaleWords) -> dict[str, Any]:
    counts = [0] * len(words.rationales)
    for listed in words.lists:
        for rationale in listed:
            counts[rationale] += 1
    most = max(range(len(counts)), key=lambda r: counts[r])
    longest = max(words.rationales, key=lambda name: len(name.split()))
    texts = len(words.categories) * len(words.rationales)
    return {
        "categories": len(words.categories),
        "without rationales": sum(not listed for listed in words.lists),
        "rationales": len(words.rationales),
        "pairs": sum(counts),
        "shared rationales": sum(count > 1 for count in counts),
        "most shared": {"rationale": words.rationales[most], "categories": counts[most]},
        "longest": {"rationale": longest, "words": len(longest.split())},
        "bank": {"texts": texts, "bytes": {str(d): texts * d * 2 for d in DIMENSIONS}},
    }


def _split(data: RationaleData) -> dict[str, int]:
    return {
        "pictures": len(data.images),
        "categories": len({image.category for image in data.images}),
        "rationales": len({rationale for image in data.images for rationale in image.rationales}),
        "pairs": len({(image.category, rationale) for image in data.images for rationale in image.rationales}),
        "several": sum(len(image.rationales) > 1 for image in data.images),
        "skipped": sum(oddity.skipped for oddity in data.oddities),
    }


def _show(document: Mapping[str, Any], console: Console) -> None:
    console.print(_lists_table(document))
    console.print()
    console.print(_splits_table(document["splits"]))
    console.print()
    for names, count in document["in both"].items():
        if count:
            shared = "1 picture is" if count == 1 else f"{count:,} pictures are"
            console.print(Text(f"{shared}, byte for byte, in {names}: what is tested was seen.", "bold red"))
            console.print()
    if document["oddities"]:
        console.print(_oddities_table(document["oddities"]))
        console.print()
    pictures, skipped = sum(part["pictures"] for part in document["splits"].values()), document["skipped"]
    usable = "1 picture" if pictures == 1 else f"{pictures:,} pictures"
    console.print(Text(f"{usable} can be used" + (f"; {skipped:,} will be left out." if skipped else "."), "bold"))


def _lists_table(document: Mapping[str, Any]) -> Table:
    table = Table(title=as_text(document["data"]), title_justify="left", box=None, show_header=False, pad_edge=False)
    empty, most, longest = document["without rationales"], document["most shared"], document["longest"]
    said = f"{document['categories']:,}" + (f" ({empty:,} without rationales: only wrong answers)" if empty else "")
    sizes = ", ".join(f"{_size(size)} at {d}" for d, size in document["bank"]["bytes"].items())
    shared = f", {document['shared rationales']:,} of several categories"
    if document["shared rationales"]:
        shared += f" ({most['rationale']!r} of {most['categories']:,})"
    for name, value in (
        ("categories", said),
        ("rationales", f"{document['rationales']:,}{shared}"),
        ("pairs", f"{document['pairs']:,}"),
        ("longest rationale", f"{longest['words']} words: {longest['rationale']!r}"),
        ("prompt bank", f"{document['bank']['texts']:,} texts; as float16 {sizes} dimensions"),
    ):
        table.add_row(Text(name, style="cyan"), as_text(value))
    return table


def _splits_table(splits: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("split")
    columns = ("pictures", "categories", "rationales", "pairs", "several", "skipped")
    for column in columns:
        table.add_column({"several": "with several", "skipped": "left out"}.get(column, column), justify="right")
    for name, counts in splits.items():
        table.add_row(as_text(name or "all"), *(f"{counts[column]:,}" for column in columns))
    return table


def _oddities_table(oddities: Sequence[Mapping[str, Any]]) -> Table:
    """The first few of each kind, those that cost the most pictures first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("odd", "where", "what it is"):
        table.add_column(column)
    by_kind = [list(alike) for _, alike in groupby(sorted(oddities, key=_kind), _kind)]
    for alike in sorted(by_kind, key=lambda alike: -_skipped(alike)):
        kind, first = alike[0]["kind"], sorted(alike, key=lambda oddity: -oddity["skipped"])[:EXAMPLES]
        for n, oddity in enumerate(first):
            table.add_row(Text("" if n else kind, style="cyan"), as_text(oddity["where"]), as_text(oddity["says"]))
        if len(alike) > len(first):
            rest = len(alike) - len(first)
            lost = _skipped(alike) - _skipped(first)
            table.add_row("", "", Text(f"... and {rest:,} more" + (f", {lost:,} pictures" if lost else ""), "dim"))
    return table


def _kind(oddity: Mapping[str, Any]) -> str:
    return str(oddity["kind"])


def _skipped(oddities: Sequence[Mapping[str, Any]]) -> int:
    return sum(oddity["skipped"] for oddity in oddities)


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


@worlds.command("write")
def world_write(
    name: Annotated[str, typer.Argument(help="aviary, or one with a planted shortcut: aviary-background, ...")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    train_pictures: Annotated[int, typer.Option("--train", min=0, help="Pictures of the training half.")] = 0,
    test_pictures: Annotated[int, typer.Option("--test", min=0, help="Pictures of the test half.")] = 200,
    size: Annotated[int, typer.Option(min=32, help="Side of a picture in pixels (cub only).")] = 384,
    layout: Annotated[str, typer.Option(help="cub, or doubly-right: close-ups with their rationales.")] = "cub",
) -> None:
    """Write an aviary in CUB-200-2011's layout, with part masks and what decides each class, or as close-ups."""
    from saywhy.worlds.cub_layout import write_cub
    from saywhy.worlds.planted import PLANTS

    unfinished = told_when_interrupted(f"{out} is incomplete; remove it before you write there again")
    if layout == "doubly-right":
        with unfinished:
            _write_closeups(name, out, {"train": train_pictures, "test": test_pictures})
        return
    if layout != "cub":
        raise unknown("layout", layout, ("cub", "doubly-right"))
    kinds = {"aviary": "species", **{f"aviary-{kind}": f"planted-{kind}" for kind in PLANTS}}
    if name.removeprefix("world:") not in kinds:
        raise unknown("aviary", name, kinds)
    writable(out)
    with unfinished:
        write_cub(out, kinds[name.removeprefix("world:")], train=train_pictures, test=test_pictures, size=size)
    errors.print(f"{train_pictures + test_pictures} pictures in {out}")


def _write_closeups(name: str, out: Path, counts: dict[str, int]) -> None:
    from itertools import chain

    from saywhy.pictures.rationale_folders import write_doubly_right
    from saywhy.worlds.aviary import SPECIES
    from saywhy.worlds.closeups import closeups, rationale_lists, rows

    if name.removeprefix("world:") != "aviary":
        raise SaywhyError(f"only the aviary has rationales, not {name!r}")
    parts = (rows(closeups(tuple(SPECIES), count, split), split) for split, count in counts.items() if count)
    write_doubly_right(out, chain.from_iterable(parts), rationale_lists())
    errors.print(f"{sum(counts.values())} pictures in {out}")
