"""The command ``saywhy why``: what a picture is, and because of which rationales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saywhy.cli import completion
from saywhy.cli.console import (
    Terminal,
    complain,
    errors,
    find_asked,
    note,
    progress_bar,
    progress_bars,
    save_numbered,
    tell_each,
    tell_older,
)
from saywhy.cli.options import OUTPUT, BatchSize, Device, Json, Limit, Quiet, Report, Seed, Sources
from saywhy.cli.panels import show_why
from saywhy.errors import SaywhyError
from saywhy.questions.options import BATCH, WhyOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.why import Why
    from saywhy.pictures.in_batches import Failure
    from saywhy.pictures.sources import LabelledImage
    from saywhy.questions.why import Seeing
    from saywhy.seen.gate import Seen
    from saywhy.spaces.clip import ClipSpace
    from saywhy.spaces.pairs.bank import Bank
    from saywhy.spaces.pairs.scoring import Scoring
    from saywhy.spaces.similarity import Usual
    from saywhy.types import Space
    from saywhy.words.rationale_words import RationaleWords

MANY = 50_000  # texts of a bank from which --shortlist is suggested
REFERENCES = 300  # pictures of the reference at most
SCORE = "Score"


def _no_classifier(model: str | None) -> None:
    """Raises SaywhyError where a classifier is named: it is what other commands are asked about."""
    if model is not None:
        raise SaywhyError(
            "--model: `saywhy why` asks a CLIP (--space), by categories and rationales in words, and no classifier; "
            f"why yours decides as it does: saywhy explain PICTURES --model {model}"
        )


def why(
    pictures: Sources,
    space: Annotated[
        str,
        typer.Option(
            "--space",
            "-s",
            help="Whose opinion: tuned:DIR, clip, clip:ARCH/TAG, clip:DIR or world:NAME",
            autocompletion=completion.among(completion.spaces),
        ),
    ],
    clip: Annotated[
        str | None, typer.Option(help="Where the CLIP of a tuned space is now (default: where it was when tuned).")
    ] = None,
    rationales: Annotated[
        Path | None,
        typer.Option(help="Categories with their rationales, JSON or CSV (default: those of the tuned space)."),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Pictures that it knows, 100 or more: what a rationale usually scores; of others nothing is said. "
            "Files, folders, world:NAME."
        ),
    ] = None,
    visible_from: Annotated[
        float | None,
        typer.Option(
            help="Standard deviations above usual from which a rationale is visible (default: as measured in tuning)."
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
    decide: Annotated[
        str,
        typer.Option(
            help="The category: probability (the likeliest), or vote of the best pairs, as published.",
            rich_help_panel=SCORE,
        ),
    ] = WhyOptions.decide,
    conditional: Annotated[
        str,
        typer.Option(
            help="How probable a category is, given a rationale: among all pairs, as published, or each category.",
            rich_help_panel=SCORE,
        ),
    ] = "all",
    weight: Annotated[
        float, typer.Option(min=0, help="Weight of every term but the first.", rich_help_panel=SCORE)
    ] = 1.0,
    method: Annotated[
        str, typer.Option(help="Heatmaps: lrp, gscorecam, none", rich_help_panel=OUTPUT)
    ] = WhyOptions.method,
    checks: Annotated[
        str,
        typer.Option(
            help="Tests of whether the answer rests on its reasons, in text and picture: none, fast or full.",
            autocompletion=completion.among(lambda: completion.CHECKS),
            rich_help_panel=OUTPUT,
        ),
    ] = WhyOptions.checks,
    out: Report = None,
    json: Json = False,
    quiet: Quiet = False,
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = BATCH,
    model: Annotated[
        str | None, typer.Option("--model", "-m", hidden=True, is_eager=True, callback=_no_classifier)
    ] = None,
) -> None:
    """Say what a picture is, and why, as a CLIP sees it, not your classifier (for that: saywhy explain).

    "This is a {c} because there is {r1} and {r2}": categories and rationales are words, and CLIP decides.
    """
    from saywhy.answers.growing_page import MANY
    from saywhy.answers.plain_names import plain_name
    from saywhy.answers.why import new_why_report
    from saywhy.pictures.in_batches import in_batches
    from saywhy.plumbing.devices import choose_device
    from saywhy.questions.names_and_defaults import check_space_name
    from saywhy.questions.why import why_pictures
    from saywhy.spaces.traits import chance_of, usual_of

    options = WhyOptions(
        scoring=_scoring(objective, conditional, weight), k=k, decide=decide, method=method, visible_from=visible_from,
        checks=checks,
    )  # fmt: skip
    check_space_name(space)
    given = None if rationales is None else _read_words(rationales)
    choose_device(device)
    found = find_asked(pictures, limit, seed, out)
    with errors.status("loading the model", spinner="dots"):
        opinion, base, words = _load(space, clip, given, device)
        options = replace(options, scoring=_of_space(options.scoring, objective, opinion))
    bank, inverse = _banks(base, words, options.scoring, shortlist=shortlist)
    usual, chance = (usual_of(opinion), chance_of(opinion)) if rationales is None else (None, None)
    if reference:
        usual, chance = _usual_on(reference, opinion, words, seed), None
    if not options.scoring.divides and conditional == "category":
        note("without a term of the rationale both conditionals rank alike")
    seen = _seen(opinion, reference, found.pictures, seed)
    console = Terminal(quiet=quiet)

    def work(batch: Sequence[tuple[str, Image]]) -> Iterator[Why]:
        return why_pictures(
            batch, opinion, words, bank, options, inverse=inverse, usual=usual, chance=chance, track=looking, seen=seen
        )

    count = len(found.pictures)
    page = None if out is None else new_why_report(out / "index.html", count, title=f"Why? {plain_name(opinion.name)}")

    written: set[str] = set()

    def save(failures: Sequence[Failure]) -> Path:
        assert out is not None  # else there is no page
        assert page is not None
        tell_older(out, written)
        return page.save(failures)

    def tell(picture: LabelledImage, result: Why, number: int) -> None:
        if out is not None and page is not None:
            files = save_numbered(result, out, number, figure=count < MANY)
            written.update(files)
            page.add(result, files)
        if json:
            print(result.to_json(), flush=True)
        else:
            show_why(result, console)

    with progress_bars("asking", len(found.pictures)) as (advance, looking):
        results = in_batches(found.pictures, work, batch_size=batch_size, advance=advance)
        tell_each(results, found, tell, save=None if page is None else save)


def _usual_on(sources: Sequence[str], space: Seeing, words: RationaleWords, seed: int) -> Usual:
    """What the rationales usually score, on pictures of a reference. Raises SaywhyError where they are too few."""
    import torch

    from saywhy.pictures.in_batches import Readable
    from saywhy.pictures.sources import read_sources
    from saywhy.spaces.similarity import usual_scores

    pictures = read_sources(sources, REFERENCES, seed)
    read = Readable(lambda failure: complain(failure.reason))
    with progress_bar("reading the reference", len(pictures)) as advance:
        encoded = [space.encode_images([image]) for _, image in read(pictures, advance)]
    images = torch.cat(encoded) if encoded else torch.empty(0)
    return usual_scores(images, space.encode_texts(words.rationale_texts()))


def _seen(space: Space, reference: Sequence[str] | None, run: Sequence[LabelledImage], seed: int) -> Seen:
    """What may keep words from a picture. A reference that only says what is usual may be smaller than this takes."""
    from saywhy.seen.gate import Seen
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.references import doubts_of

    eyes = eyes_of(space, None)
    try:
        return Seen(doubts=doubts_of(eyes, reference, run, tell=note, bar=progress_bar, seed=seed))
    except SaywhyError as error:
        note(error)
        return Seen(doubts=doubts_of(eyes, None, run, tell=note, bar=progress_bar, seed=seed))


def _load(
    name: str, base: str | None, words: RationaleWords | None, device: str | None
) -> tuple[Seeing, ClipSpace, RationaleWords]:
    """The space, the CLIP that encodes its texts, and the words: those that were given, else the space's.

    base: where the CLIP of a tuned space is; None: where it was.
    """
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
    words = words or words_of(space)
    if words is None:
        raise SaywhyError(
            f"{space.name} knows no rationales; give them with --rationales FILE, as JSON: "
            '{"category": ["rationale", ...], ...}'
        )
    return space, clip, words


def _read_words(rationales: Path) -> RationaleWords:
    from saywhy.pictures.rationale_data import read_rationales

    words, oddities = read_rationales(rationales)
    for oddity in oddities:
        note(f"{oddity.where}: {oddity.says}")
    return words


def _scoring(objective: str | None, conditional: str, weight: float) -> Scoring:
    """How pairs are scored, as far as it is known without the space."""
    from saywhy.spaces.objectives import objective_named
    from saywhy.spaces.pairs.scoring import Scoring

    terms = WhyOptions.scoring.terms if objective is None else objective_named(objective).scored
    return Scoring(terms=terms, conditional=conditional, weight=weight)


def _of_space(scoring: Scoring, objective: str | None, space: Space) -> Scoring:
    """The same with the space's temperatures, and its terms where no objective was named."""
    from saywhy.spaces.objectives import objective_named
    from saywhy.spaces.traits import objective_of, temperatures_of

    terms = scoring.terms if objective else objective_named(objective_of(space)).scored
    return replace(scoring, terms=terms, temperatures=temperatures_of(space))


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
