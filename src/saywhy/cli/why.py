"""The command ``saywhy why``: what a picture is, and the rationales it is that for. An edge, as ``cli`` is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer
from rich.console import Console
from rich.progress import Progress

from saywhy.cli.console import complain, errors, note, tell_each, writable
from saywhy.cli.panels import show_why
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.why import Why
    from saywhy.attribution.gscorecam import Track
    from saywhy.pictures.in_batches import Failure
    from saywhy.questions.why import Seeing
    from saywhy.spaces.clip import ClipSpace
    from saywhy.spaces.pairs.bank import Bank
    from saywhy.spaces.pairs.scoring import Scoring
    from saywhy.spaces.similarity import Usual
    from saywhy.types import Space
    from saywhy.words.rationale_words import RationaleWords

MANY = 50_000  # texts of a bank from which the shortlist is worth a word
BATCH = 16  # pictures ranked at once
REFERENCES = 300  # pictures of the reference at most
OPTIONS = ("scoring", "k", "method", "visible_from", "inverse", "usual")  # of why_pictures
SCORE, OUTPUT = "Score", "Output"


def why(
    photos: Annotated[list[str], typer.Argument(help="Pictures to ask about.", metavar="PHOTO...")],
    space: Annotated[str, typer.Option(help="Who is asked: tuned:DIR, clip, clip:ARCH/TAG, clip:DIR or world:NAME")],
    clip: Annotated[
        str | None, typer.Option(help="Where the CLIP of a tuned space is now (default: where it was).")
    ] = None,
    rationales: Annotated[
        Path | None,
        typer.Option(help="Categories with their rationales, JSON or CSV (default: those of the tuned space)."),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="Pictures that say what a rationale usually scores: files, folders, world:NAME."),
    ] = None,
    visible_from: Annotated[
        float | None,
        typer.Option(help="Deviations above usual from which a rationale is visible (default: as tuned, or 2)."),
    ] = None,
    shortlist: Annotated[
        bool, typer.Option("--shortlist", help="Pair only the likeliest rationales and categories: quick, not exact.")
    ] = False,
    objective: Annotated[
        str | None,
        typer.Option(help="What is asked: ecor, dror, clip, ab1 ... (default: the space's).", rich_help_panel=SCORE),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Best pairs that vote.", rich_help_panel=SCORE)] = 5,
    conditional: Annotated[
        str, typer.Option(help="all: as published; category: P(c | r) proper", rich_help_panel=SCORE)
    ] = "all",
    weight: Annotated[float, typer.Option(min=0, help="Of every term but the first.", rich_help_panel=SCORE)] = 1.0,
    method: Annotated[str, typer.Option(help="Heatmaps: lrp, gscorecam, none", rich_help_panel=OUTPUT)] = "lrp",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report: index.html, and a JSON and PNG each.", rich_help_panel=OUTPUT),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON document a line on standard output.", rich_help_panel=OUTPUT),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ... (default: a GPU where there is one)")
    ] = None,
) -> None:
    """Say what a picture is because of what is in it: "This is a {c} because there is {r1} and {r2}"."""
    from saywhy.spaces.traits import usual_of

    with errors.status("loading the model", spinner="dots"):
        place, base, words = _load(space, clip, rationales, device)
        scoring = _scoring(place, objective, conditional, weight)
        _check_method(method)
        if visible_from is not None and not isfinite(visible_from):
            raise SaywhyError(f"--visible-from is a number of standard deviations; it is {visible_from}")
        if out is not None:
            writable(out)
    banks = _banks(base, words, scoring, shortlist=shortlist)
    usual = usual_of(place) if rationales is None else None
    asked = Asked(place, words, scoring, k, method, visible_from, *banks, usual).against(reference or [])
    console = Console(highlight=False)

    def tell(result: Why, number: int) -> None:
        if out is not None:
            _save_one(result, out, number)
        if json:
            print(result.to_json(), flush=True)
        else:
            show_why(result, console)

    def save_page(done: list[Why], failures: list[Failure]) -> Path:
        from saywhy.answers.why import save_why_report

        assert out is not None
        title = f"Why? {place.name}"
        return save_why_report(done, out / "index.html", failures=failures, title=title)

    tell_each(asked.answers(photos), len(photos), tell, save_page if out is not None else None)


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """Who is asked what. bank: None for the shortlist. usual: what the rationales score on pictures in general."""

    space: Seeing
    words: RationaleWords
    scoring: Scoring
    k: int
    method: str
    visible_from: float | None
    bank: Bank | None = None
    inverse: Bank | None = None
    usual: Usual | None = None

    def against(self, sources: Sequence[str]) -> Asked:
        """With what is usual taken from those pictures, if there are any. Raises SaywhyError where they are too few."""
        import torch

        from saywhy.pictures.sources import read_sources
        from saywhy.spaces.similarity import usual_scores

        if not sources:
            return self
        encoded = []
        with _progress() as progress:
            for one in progress.track(read_sources(sources, REFERENCES), description="reading the reference"):
                try:
                    encoded.append(self.space.encode_images([one.open()]))
                except SaywhyError as error:
                    complain(error)
        images = torch.cat(encoded) if encoded else torch.empty(0)
        return replace(self, usual=usual_scores(images, self.space.encode_texts(self.words.rationale_texts())))

    def answers(self, photos: Sequence[str]) -> Iterator[Why | Failure]:
        """An answer for each photo in turn, or a Failure. Reads a batch at a time."""
        from saywhy.pictures.in_batches import Failure
        from saywhy.pictures.reading import read_picture

        with _progress() as progress:
            bar = progress.add_task("asking", total=len(photos), visible=len(photos) > 2)

            def track(steps: Sequence[int]) -> Iterator[int]:
                task = progress.add_task("looking where it is", total=len(steps))
                for step in steps:
                    yield step
                    progress.advance(task)
                progress.remove_task(task)

            for start in range(0, len(photos), BATCH):
                batch = []
                for photo in photos[start : start + BATCH]:
                    try:
                        batch.append((Path(photo).name, read_picture(photo)))
                    except SaywhyError as error:
                        yield Failure(photo, str(error))
                for result in self._batch(batch, track) if batch else ():
                    yield result
                    progress.advance(bar)

    def _batch(self, batch: Sequence[tuple[str, Image]], track: Track) -> Iterator[Why | Failure]:
        """Together; where one of them is to blame for an error, those that are left one by one."""
        from saywhy.pictures.in_batches import Failure

        done = 0
        try:
            for answer in self._why(batch, track):
                yield answer
                done += 1
        except SaywhyError:
            for name, picture in batch[done:]:
                try:
                    yield from self._why([(name, picture)], track)
                except SaywhyError as error:
                    yield Failure(name, f"{name}: {error}")

    def _why(self, pictures: Sequence[tuple[str, Image]], track: Track) -> Iterator[Why]:
        from saywhy.questions.why import why_pictures

        options = {name: getattr(self, name) for name in OPTIONS}
        return (
            why_pictures(pictures, self.space, self.words, self.bank, track=track, **options) if pictures else iter(())
        )


def _progress() -> Progress:
    return Progress(console=errors, transient=True, disable=not errors.is_terminal)


def _load(
    name: str, base: str | None, rationales: Path | None, device: str | None
) -> tuple[Seeing, ClipSpace, RationaleWords]:
    """Who is asked, the CLIP whose texts they are, and the words; all that can be wrong with a name is said here.

    base: where the CLIP of a tuned space is; None: where it was.
    """
    from saywhy.pictures.rationale_data import read_rationales
    from saywhy.questions.choices import resolve_space
    from saywhy.spaces.traits import clip_of, words_of
    from saywhy.spaces.tuned import load_tuned

    if base is not None and not name.startswith("tuned:"):
        raise SaywhyError(f"--clip says where the CLIP of a tuned:DIR is; name this one as the --space, not {name!r}")
    space: Any = resolve_space(name, None, device) if base is None else load_tuned(name[len("tuned:") :], base, device)
    clip = clip_of(space)
    if clip is None:
        raise SaywhyError(f"--space {name}: rationales are asked of a CLIP, as it is or tuned")
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
    """What is asked: the terms of the objective, with the space's temperatures."""
    from saywhy.spaces.objectives import objective_named
    from saywhy.spaces.pairs.scoring import Scoring
    from saywhy.spaces.traits import objective_of, temperatures_of

    terms = objective_named(objective or objective_of(space)).scored
    temperatures = temperatures_of(space)
    return Scoring(terms=terms, conditional=conditional, weight=weight, temperatures=temperatures)


def _banks(
    clip: ClipSpace, words: RationaleWords, scoring: Scoring, *, shortlist: bool
) -> tuple[Bank | None, Bank | None]:
    """The bank, and the one the other way round where it is asked for; none for the shortlist."""
    from saywhy.spaces.pairs.on_disk import build_bank

    if shortlist:
        note("with --shortlist only the likeliest rationales and categories are paired; this is not exact")
        return None, None
    texts = len(words.categories) * len(words.rationales)
    if texts > MANY and clip.device.type == "cpu":
        note(f"{texts:,} texts are encoded once, and kept; --shortlist is quicker, and not exact")
    return build_bank(clip, words), build_bank(clip, words, inverse=True) if "inverse" in scoring.terms else None


def _check_method(method: str) -> None:
    from saywhy.questions.why import METHODS

    if method not in METHODS:
        raise unknown("method", method, METHODS)


def _save_one(why: Why, out: Path, number: int) -> None:
    stem = f"{number:03d}-{Path(why.picture.name).stem}"
    try:
        (out / f"{stem}.json").write_text(why.to_json(), encoding="utf-8")
        why.figure().savefig(out / f"{stem}.png", dpi=110)
    except OSError as error:
        raise SaywhyError(f"--out {out}: cannot be written to ({error.strerror or error})") from None
