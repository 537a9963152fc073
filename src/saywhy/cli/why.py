"""The command ``saywhy why``: what a picture is, and because of which rationales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saywhy.cli.console import (
    Terminal,
    complain,
    errors,
    note,
    progress_bar,
    progress_bars,
    save_numbered,
    tell_each,
    writable,
)
from saywhy.cli.panels import show_why
from saywhy.errors import SaywhyError
from saywhy.questions.options import WhyOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.why import Why
    from saywhy.pictures.in_batches import Failure
    from saywhy.questions.why import Seeing
    from saywhy.spaces.clip import ClipSpace
    from saywhy.spaces.pairs.bank import Bank
    from saywhy.spaces.pairs.scoring import Scoring
    from saywhy.spaces.similarity import Usual
    from saywhy.types import Space
    from saywhy.words.rationale_words import RationaleWords

MANY = 50_000  # texts of a bank from which --shortlist is suggested
REFERENCES = 300  # pictures of the reference at most
SCORE, OUTPUT = "Score", "Output"


def why(
    photos: Annotated[
        list[str], typer.Argument(help="Files, photos:coffee, photos:all, world:NAME.", metavar="PHOTO...")
    ],
    space: Annotated[str, typer.Option(help="Whose opinion: tuned:DIR, clip, clip:ARCH/TAG, clip:DIR or world:NAME")],
    clip: Annotated[
        str | None, typer.Option(help="Where the CLIP of a tuned space is now (default: where it was when tuned).")
    ] = None,
    rationales: Annotated[
        Path | None,
        typer.Option(help="Categories with their rationales, JSON or CSV (default: those of the tuned space)."),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="Pictures to measure what a rationale usually scores: files, folders, world:NAME."),
    ] = None,
    visible_from: Annotated[
        float | None,
        typer.Option(
            help="Standard deviations above usual from which a rationale is visible (default: as tuned, or 2)."
        ),
    ] = None,
    shortlist: Annotated[
        bool, typer.Option("--shortlist", help="Pair only the likeliest rationales and categories: quick, not exact.")
    ] = False,
    objective: Annotated[
        str | None,
        typer.Option(
            help="How pairs are scored: ecor, dror, clip, ab1 ... (default: the space's).", rich_help_panel=SCORE
        ),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Best pairs that vote.", rich_help_panel=SCORE)] = WhyOptions.k,
    conditional: Annotated[
        str, typer.Option(help="all: as published; category: P(c | r) proper", rich_help_panel=SCORE)
    ] = "all",
    weight: Annotated[
        float, typer.Option(min=0, help="Weight of every term but the first.", rich_help_panel=SCORE)
    ] = 1.0,
    method: Annotated[
        str, typer.Option(help="Heatmaps: lrp, gscorecam, none", rich_help_panel=OUTPUT)
    ] = WhyOptions.method,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report: index.html, and a JSON and PNG each.", rich_help_panel=OUTPUT),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON document per line on standard output.", rich_help_panel=OUTPUT),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ... (default: a GPU where there is one)")
    ] = None,
) -> None:
    """Say what a picture is because of what is in it: "This is a {c} because there is {r1} and {r2}"."""
    from saywhy.answers.why import save_why_report
    from saywhy.pictures.in_batches import in_batches
    from saywhy.pictures.sources import unopened
    from saywhy.questions.why import why_pictures
    from saywhy.spaces.traits import usual_of

    with errors.status("loading the model", spinner="dots"):
        opinion, base, words = _load(space, clip, rationales, device)
        options = WhyOptions(
            scoring=_scoring(opinion, objective, conditional, weight), k=k, method=method, visible_from=visible_from
        )
        if out is not None:
            writable(out)
    bank, inverse = _banks(base, words, options.scoring, shortlist=shortlist)
    usual = usual_of(opinion) if rationales is None else None
    if reference:
        usual = _usual_on(reference, opinion, words)
    console = Terminal()

    def work(batch: Sequence[tuple[str, Image]]) -> Iterator[Why]:
        return why_pictures(batch, opinion, words, bank, options, inverse=inverse, usual=usual, track=looking)

    def tell(result: Why, number: int) -> None:
        if out is not None:
            save_numbered(result, out, number)
        if json:
            print(result.to_json(), flush=True)
        else:
            show_why(result, console)

    def save_page(done: list[Why], failures: list[Failure]) -> Path:
        assert out is not None
        return save_why_report(done, out / "index.html", failures=failures, title=f"Why? {opinion.name}")

    asked = unopened(photos)
    with progress_bars("asking", len(asked)) as (advance, looking):
        results = in_batches(asked, work, advance=advance)
        tell_each(results, len(asked), tell, save_page if out is not None else None)


def _usual_on(sources: Sequence[str], space: Seeing, words: RationaleWords) -> Usual:
    """What the rationales usually score, on pictures of a reference. Raises SaywhyError where they are too few."""
    import torch

    from saywhy.pictures.in_batches import Readable
    from saywhy.pictures.sources import read_sources
    from saywhy.spaces.similarity import usual_scores

    pictures = read_sources(sources, REFERENCES)
    read = Readable(lambda failure: complain(failure.reason))
    with progress_bar("reading the reference", len(pictures)) as advance:
        encoded = [space.encode_images([image]) for _, image in read(pictures, advance)]
    images = torch.cat(encoded) if encoded else torch.empty(0)
    return usual_scores(images, space.encode_texts(words.rationale_texts()))


def _load(
    name: str, base: str | None, rationales: Path | None, device: str | None
) -> tuple[Seeing, ClipSpace, RationaleWords]:
    """The space, the CLIP that encodes its texts, and the words; whatever can be wrong with a name is raised here.

    base: where the CLIP of a tuned space is; None: where it was.
    """
    from saywhy.pictures.rationale_data import read_rationales
    from saywhy.questions.names_and_defaults import resolve_space
    from saywhy.spaces.traits import clip_of, words_of
    from saywhy.spaces.tuned import load_tuned

    if base is not None and not name.startswith("tuned:"):
        raise SaywhyError(
            f"--clip says where the CLIP of a tuned:DIR is; to ask that CLIP, name it with --space instead of {name!r}"
        )
    space: Any = resolve_space(name, None, device) if base is None else load_tuned(name[len("tuned:") :], base, device)
    clip = clip_of(space)
    if clip is None:
        raise SaywhyError(f"--space {name}: rationales need a CLIP, as it is or tuned")
    words = words_of(space)
    if rationales is not None:
        words, oddities = read_rationales(rationales)
        for oddity in oddities:
            note(f"{oddity.where}: {oddity.says}")
    if words is None:
        raise SaywhyError(
            f"{space.name} knows no rationales; give them with --rationales FILE, as JSON: "
            '{"category": ["rationale", ...], ...}'
        )
    return space, clip, words


def _scoring(space: Space, objective: str | None, conditional: str, weight: float) -> Scoring:
    """How pairs are scored: the terms of the objective, with the space's temperatures."""
    from saywhy.spaces.objectives import objective_named
    from saywhy.spaces.pairs.scoring import Scoring
    from saywhy.spaces.traits import objective_of, temperatures_of

    terms = objective_named(objective or objective_of(space)).scored
    temperatures = temperatures_of(space)
    return Scoring(terms=terms, conditional=conditional, weight=weight, temperatures=temperatures)


def _banks(
    clip: ClipSpace, words: RationaleWords, scoring: Scoring, *, shortlist: bool
) -> tuple[Bank | None, Bank | None]:
    """The bank, and the inverse one where the scoring needs it; none for the shortlist."""
    from saywhy.spaces.pairs.on_disk import build_bank

    if shortlist:
        note("with --shortlist only the likeliest rationales and categories are paired; this is not exact")
        return None, None
    texts = len(words.categories) * len(words.rationales)
    if texts > MANY and clip.device.type == "cpu":
        note(f"{texts:,} texts are encoded once, and kept; --shortlist is quicker, but not exact")
    return build_bank(clip, words), build_bank(clip, words, inverse=True) if "inverse" in scoring.terms else None
