"""The command ``saywhy inside``: what the model of an audit holds, searched by text and compared with another's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from saywhy.cli.audit import Folder
from saywhy.cli.console import Terminal, as_text, errors, note
from saywhy.cli.loading import (
    NOTHING_SAID,
    Loading,
    MaybeModel,
    load_classifier,
    named_by_audit,
    takes_a_classifier,
)
from saywhy.cli.options import Device, Json, Quiet
from saywhy.errors import SaywhyError

if TYPE_CHECKING:
    from saywhy.audits.inside import Component, Inside
    from saywhy.audits.knowledge import Comparison, Counterpart
    from saywhy.audits.store import View
    from saywhy.classifiers.classifier import Classifier
    from saywhy.classifiers.sae import SparseAutoencoder
    from saywhy.types import Space

POOR = 0.5  # of R2, below which a sparse autoencoder is not of these features


@takes_a_classifier
def inside(
    folder: Folder,
    search: Annotated[str | None, typer.Option(help="Which components go with this text?")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Another audit: what does this model hold that the other does not?")
    ] = None,
    sae: Annotated[
        Path | None, typer.Option(help="A sparse autoencoder, of `saywhy train sae` or others: its latents too.")
    ] = None,
    other_sae: Annotated[Path | None, typer.Option(help="With --compare: the other model's.")] = None,
    space: Annotated[
        str | None, typer.Option("--space", "-s", help="Whose words: own, clip:DIR, ... (default: the audit's)")
    ] = None,
    model: MaybeModel = None,
    loading: Loading = NOTHING_SAID,
    top: Annotated[int, typer.Option("--top", "-t", min=1, help="Components shown, at most.")] = 20,
    device: Device = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List what the model of an audit holds inside: channels, rows of its head, sparse latents, with their names."""
    from saywhy.audits.inside import components, look_inside
    from saywhy.audits.knowledge import compare as compared
    from saywhy.audits.knowledge import search as searched
    from saywhy.audits.store import Store

    if search is not None and compare is not None:
        raise SaywhyError("--search and --compare are two questions; ask one of them")
    if other_sae is not None and compare is None:
        raise SaywhyError("--other-sae is for --compare")
    console = Terminal(quiet=quiet)
    view = Store.open(folder).view()
    opinion = _space(view, space, model, loading, device) if space else None
    with errors.status("looking inside", spinner="dots"):
        seen = look_inside(view, opinion)
        encoder = _sae(sae, view, seen)
        if compare is not None:
            other = Store.open(compare).view()
            theirs = look_inside(other, _space(other, space, None, NOTHING_SAID, device) if space else None)
            same = view.manifest["data"]["digest"] == other.manifest["data"]["digest"]
            if not space and view.manifest["space"] != other.manifest["space"]:
                raise SaywhyError(
                    f"the audits speak of {view.manifest['space']} and {other.manifest['space']}; give one --space"
                )
            answer = compared(seen, theirs, same=same, saes=(encoder, _sae(other_sae, other, theirs)))
        else:
            found = components(None, inside=seen, sae=encoder)
    if compare is not None:
        _show_comparison(console, answer, top, as_json)
        return
    if search is None:
        _show(console, found, seen, top, as_json)
        return
    if opinion is None and search not in seen.phrases:
        opinion = _space(view, None, model, loading, device)
    hits = searched(seen, found, search, opinion, encoder)
    if as_json:
        rows = [{**hit.component.document(), "search": search, "search fit": asdict(hit.fit)} for hit in hits[:top]]
        print(json.dumps(rows))
        return
    table = _table("component", "goes with the text", "its own name", "speaks for", "share")
    for hit in hits[:top]:
        one = hit.component
        table.add_row(as_text(one.called), f"{hit.fit:.2f}", as_text(one.name), _classes(one), _share(one))
    console.print(table)


def _sae(path: Path | None, view: View, seen: Inside) -> SparseAutoencoder | None:
    """The sparse autoencoder of a file; a note where it does not give these features back."""
    if path is None:
        return None
    import torch

    from saywhy.classifiers.sae import load_sae

    found = load_sae(path, view.manifest["model"]["fingerprint"])
    explained = found.explained(torch.from_numpy(seen.features))
    if explained < POOR:
        note(f"{path} gives back {max(0.0, explained):.0%} of these features' variance: is it of this model and layer?")
    return found


def _space(view: View, name: str | None, model: str | None, loading: Loading, device: str | None) -> Space:
    """The space of that name, or the audit's. Raises SaywhyError where it cannot be had again."""
    from saywhy.audits.inside import space_named
    from saywhy.questions.names_and_defaults import check_space_name, default_space, resolve_space

    named = name or space_named(view)
    if named is not None and not named.startswith(("own", "operated:", "concepts:")):
        check_space_name(named)
        found = resolve_space(named, None, device)
    else:
        classifier = _classifier(view, model, loading, device)
        found = resolve_space(named or default_space(classifier), classifier, device)
    if name is None and found.name != view.manifest["space"]:
        raise SaywhyError(f"the audit's space was {view.manifest['space']}; name it with --space")
    return found


def _classifier(view: View, model: str | None, loading: Loading, device: str | None) -> Classifier:
    known = view.manifest["model"]
    found = load_classifier(model or named_by_audit(known, loading), loading, device)
    if found.fingerprint != known["fingerprint"]:
        raise SaywhyError(
            f"{found.name} is not the classifier of the audit, {known['name']}; give it with --model and what else was "
            "said of it, such as --checkpoint"
        )
    return found


def _show(console: Terminal, found: Sequence[Component], seen: Inside, top: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.document() for one in found]))
        return
    for kind in dict.fromkeys(one.kind for one in found):
        of_kind = [one for one in found if one.kind == kind]
        named = sum(one.said for one in of_kind)
        pictures = f"{len(seen.numbers):,}" + (f" of {seen.of:,}" if len(seen.numbers) < seen.of else "")
        console.print(f"{kind}s: {len(of_kind):,}, of which {named:,} have a name ({pictures} pictures)")
        table = _table("", "goes with", "correlation", "by chance", "speaks for", "share")
        for one in of_kind[:top]:
            style = "" if one.said else "dim"
            name = as_text(one.name if one.said else f"no name (nearest: {one.words[0]})", style)
            table.add_row(as_text(one.called), name, f"{one.fit:.2f}", f"{one.control:.2f}", _classes(one), _share(one))
        console.print(table)
        if len(of_kind) > top:
            console.print(f"... and {len(of_kind) - top:,} more; --top shows them", style="dim")


def _show_comparison(console: Terminal, found: Comparison, top: int, as_json: bool) -> None:
    from saywhy.audits.finding import LEVEL

    if as_json:
        print(json.dumps(found.document()))
        return
    many = " and ".join(f"{count:,}" for count in dict.fromkeys(found.pictures))
    console.print(f"{'the same' if found.same else 'other'} pictures: {many}")
    told = [one for one in found.phrases if one.q <= LEVEL]
    console.print(f"phrases that one model holds more of: {len(told)} of {len(found.phrases)}")
    table = _table("phrase", "this model", "the other", "difference", "by")
    for one in told[:top]:
        by = " / ".join(one.components)
        table.add_row(as_text(one.phrase), f"{one.first:.2f}", f"{one.second:.2f}", f"{one.more:+.2f}", by)
    if told:
        console.print(table)
    for title, alone in (("only this model has", found.lost), ("only the other has", found.gained)):
        _show_alone(console, title, alone, top)


def _show_alone(console: Terminal, title: str, alone: Sequence[Counterpart], top: int) -> None:
    named = [one for one in alone if one.component.said]
    console.print(f"{title}: {len(alone)} components, {len(named)} of them with a name")
    table = _table("", "goes with", "most like it", "likeness", "speaks for", "share")
    for one in named[:top]:
        part = one.component
        likeness = f"{one.likeness:.2f}" if one.likeness.low == one.likeness.low else f"{one.likeness.value:.2f}"
        table.add_row(
            as_text(part.called), as_text(part.name), as_text(one.other.called), likeness, _classes(part), _share(part)
        )
    if named:
        console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column in ("correlation", "goes with the text", "likeness", "share"))
    return table


def _classes(one: Component) -> str:
    return as_text("".join(f"{label} {added:+.1f}" for label, added in one.speaks_for[:1])).plain


def _share(one: Component) -> str:
    return f"{one.contribution.value:.1%}"
