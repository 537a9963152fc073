"""How many descriptions does an audit give where nothing is to be described? Beside those that it gives.

Of an audit that is there, classes, predictions and metadata are dealt to other pictures: whole, so that what is
confused with what stays as it is, and nothing of it goes with words, places, colours or properties any more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.progress import track

from saywhy.audits.finding import AuditFinding
from saywhy.audits.store import Store, View
from saywhy.bench import Report
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion

DEALS = 20
KINDS = ("recognised by", "confused classes", "wrong predictions", "groups differ")
DEALT = (
    "truth", "truths", "metadata", "prediction", "predicted", "runner_up", "true_class", "true_probability", "correct",
    "classes", "probabilities",
)  # fmt: skip
"""Columns of ``pictures`` that are dealt together."""


def run(
    limit: int | None = None,
    audit: Annotated[str, "the folder of an audit"] = "",
    seed: Annotated[str, "of the first deal"] = "0",
) -> Report:
    """A row a kind of finding. limit: deals. Raises SaywhyError without an audit."""
    if not audit:
        raise SaywhyError("--audit: give the folder of an audit, as saywhy audit --out made it")
    if not seed.isdigit():
        raise SaywhyError(f"--seed {seed}: expected a whole number")
    store = Store.open(audit)
    real = _found(store.view())
    dealt: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for n in track(range(limit or DEALS), "dealing", transient=True):
        with tempfile.TemporaryDirectory() as folder:
            for kind, count in _found(dealt_audit(store, Path(folder) / "dealt", int(seed) + n).view()).items():
                dealt[kind].append(count)
    rows = []
    for kind in KINDS:
        some = proportion(sum(count > 0 for count in dealt[kind]), len(dealt[kind]))
        rows.append({"kind": kind, "findings": real[kind], "where dealt, on average": float(np.mean(dealt[kind])),
                     "most": max(dealt[kind]), "deals with any": str(some)})  # fmt: skip
    words = _true_words(store.view())
    return Report(
        "audit-descriptions",
        f"descriptions of {store.view().count} pictures, and of {limit or DEALS} deals of their classes",
        ("kind", "findings", "where dealt, on average", "most", "deals with any"),
        rows,
        {"audit": str(audit), "deals": limit or DEALS},
        [("words of species that are true of them", tuple(words[0]), words)] if words else (),
    )


def _true_words(view: View) -> list[dict[str, Any]]:
    """Of the aviary's species: how many words of "recognised by" are true of the class, and of other species."""
    from saywhy.audits.findings import recognised
    from saywhy.worlds.aviary import SPECIES, phrases_of

    true = {name: set(phrases_of(has)) for name, has in SPECIES.items()}
    found = [one for one in recognised.find(view).findings if one.about[0] in true]

    def of_kind(finding: AuditFinding, kind: str) -> list[str]:
        return [row["trait"] for row in finding.details["traits"] if row["kind"] == kind and row["difference"] > 0]

    picks: dict[str, Callable[[AuditFinding], Sequence[str]]] = {
        "first three": lambda one: one.words[:3],
        "said as facts": lambda one: of_kind(one, "said"),
        "nearest only": lambda one: of_kind(one, "near"),
        "those that its name would say": lambda one: one.details["goes with the name"],
        "those that its name would not": lambda one: one.details["goes with the pictures"],
        "what its name alone says": lambda one: list(one.details["name alone"]),
    }
    rows = []
    for pick, words_of in picks.items():
        pairs = [(one.about[0], word) for one in found for word in words_of(one)]
        if pairs:
            others = [np.mean([word in true[one] for one in true if one != name]) for name, word in pairs]
            own = proportion(sum(word in true[name] for name, word in pairs), len(pairs))
            rows.append({"words": pick, "number": len(pairs), "true of the class": str(own),
                         "true of another species": float(np.mean(others))})  # fmt: skip
    return rows


def dealt_audit(store: Store, folder: Path, seed: int) -> Store:
    """A copy of an audit in which the columns DEALT are those of other pictures. Without vectors of the space."""
    from saywhy.audits.store import ROWS

    view = store.view()
    pictures = view.sql("SELECT * FROM pictures ORDER BY number")
    order = np.random.default_rng(seed).permutation(pictures.num_rows)
    for name in DEALT:
        place = pictures.schema.get_field_index(name)
        pictures = pictures.set_column(place, pictures.schema.field(place), pictures[name].take(order))
    copy = Store.create(folder, {key: value for key, value in store.manifest.items() if key != "format"})
    copy.commit(ROWS, "00000000", {"pictures": pictures, "regions": view.sql("SELECT * FROM regions")})
    return copy


def _found(view: View) -> dict[str, int]:
    """How many findings of each kind survive; of confused pairs, those that something distinguishes."""
    from saywhy.audits.finding import corrected
    from saywhy.audits.kinds import KINDS as MODULES
    from saywhy.audits.kinds import module_of

    found = corrected([module_of(MODULES[kind]).find(view) for kind in KINDS])
    told = [one for one in found if one.significant and one.details.get("distinguished", True)]
    return {kind: sum(one.kind == kind for one in told) for kind in KINDS}
