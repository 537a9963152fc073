"""``saywhy.audit``: what has a model learned, over a whole data set?"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from PIL import Image

from saywhy.audits.bars import seen_bar
from saywhy.audits.conclude import Bar, conclude, kept_findings, no_bar
from saywhy.audits.finding import AuditFinding
from saywhy.audits.inside import keep_inside
from saywhy.audits.options import AuditOptions
from saywhy.audits.run import pictures_left, run
from saywhy.audits.store import Store, View, as_before
from saywhy.audits.subject import ALIKE, Subject, classes_of, file_digest
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.collections import Collection, collection, labels_of
from saywhy.plumbing.names import shown, spelled_like
from saywhy.questions.names_and_defaults import (
    check_space,
    explaining_space,
    files_brought,
    resolve_seen,
    resolve_space,
    resolve_vocabulary,
)
from saywhy.questions.verify import NONE
from saywhy.seen.layer_statistics import eyes_of
from saywhy.seen.references import Reference, doubts_of, usual_light
from saywhy.types import Space, Vocabulary
from saywhy.words.class_names import plain

if TYPE_CHECKING:
    import pyarrow

MOST_OF_RUN = 10_000  # pictures of a run from which a few are drawn that say what is usual in it, about


SHOWN = 5  # labels that a warning names


class LabelWarning(UserWarning):
    """Labels of the data that the classifier has no class for."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """An audit that was made: its findings, tables and pictures. ``Audit.open`` gives one that is there.

    >>> found = Audit.open("audit")
    >>> found.findings[0].sentence  # what matters most; .effect, .p, .q, .examples
    >>> found.query("SELECT truth, avg(correct::int) FROM pictures GROUP BY truth")  # an Arrow table

    folder:   where it lies. findings: most important first; what decides stands before what goes with.
    """

    folder: Path
    findings: tuple[AuditFinding, ...]

    @staticmethod
    def open(folder: str | Path) -> Audit:
        """The audit in a folder. Raises SaywhyError where there is none, or it is not finished."""
        store = Store.open(folder)
        return Audit(store.folder, tuple(kept_findings(store)[0]))

    @property
    def view(self) -> View:
        """The tables as they are now, to be asked in Python: ``view.sql``, ``view.columns``, ``view.matrix``."""
        return Store.open(self.folder).view()

    def query(self, sql: str) -> pyarrow.Table:
        """What one SELECT over the tables gives, see ``audits.tables``. Raises SaywhyError where it is wrong."""
        return self.view.answer(sql)

    def picture(self, number: int) -> Image.Image | None:
        """The thumbnail of picture ``number``; None where none was kept."""
        return self._kept(number, "thumbnail")

    def heatmap(self, number: int) -> Image.Image | None:
        """Its map, as a picture; None where none was kept."""
        return self._kept(number, "map")

    def report(self, out: Path | None = None, compare: str | Path | None = None) -> Path:
        """Write the page about it, with what changed since an older audit, given its folder; gives the page's path."""
        from saywhy.audits.page import write_page

        return write_page(self.folder, out, compare)

    def _repr_html_(self) -> str:
        from saywhy.audits.page import short
        from saywhy.audits.told import told

        return short(told(self.folder))

    @cached_property
    def _shown(self) -> dict[int, dict[str, bytes]]:
        """All of them, which are as small as ``AuditOptions.pictures_mb`` says."""
        return {row["number"]: row for row in self.view.sql("SELECT * FROM shown").to_pylist()}

    def _kept(self, number: int, which: str) -> Image.Image | None:
        row = self._shown.get(number)
        return None if row is None else Image.open(io.BytesIO(row[which])).convert("RGB")

    def __repr__(self) -> str:
        page = "" if (self.folder / "report.html").is_file() else "; report() writes its page"
        return f"<Audit {self.folder}: {len(self.findings)} finding{'' if len(self.findings) == 1 else 's'}{page}>"


def audit(
    data: str | Path | Sequence[str | Path] | Collection,
    *,
    model: str | Classifier,
    out: str | Path,
    vocabulary: str | Path | Vocabulary | None = None,
    space: str | Space | None = None,
    calibration: str | Path | None = None,
    reference: Reference | None = None,
    options: AuditOptions | None = None,
    kinds: Sequence[str] = (),
    engine: str = "local",
    workers: int | None = None,
    ray_address: str | None = None,
    limit: int | None = None,
    bar: Bar = seen_bar,
    **how: Any,
) -> Audit:
    """What a classifier has learned over a data set: its shortcuts, slices, confusions, and the data's label errors.

    >>> found = audit("photos", model="timm:resnet50", out="audit")
    >>> found.findings[0].sentence
    >>> found.report()  # writes audit/report.html

    data:    whatever ``collection`` reads: a folder by class, a table, shards, a world; or a Collection.
    out:     a folder of the audit's own; where it has the same audit already, that one goes on.
    model, vocabulary, space, calibration, reference: as in ``saywhy.explain``.
    options: see ``AuditOptions``. how: its fields, instead. kinds: of findings; (): all. engine: "local" or "ray".
    workers: processes of "ray"; None: one for each GPU, or each CPU core. ray_address: of its cluster; None: here.
    limit:   so many pictures at most.
    bar:     shows progress: a bar on standard error, or lines; ``conclude.no_bar`` shows none.

    The page is written by ``Audit.report``: ``found.report()`` gives its path, OUT/report.html.

    Raises SaywhyError for data without pictures, and a folder that holds something else.
    """
    options = options or AuditOptions(**how)
    classifier = model if isinstance(model, Classifier) else Classifier.load(model)
    pictures = _collection(data, Path(out), limit, options.seed)
    subject = subject_of(pictures, classifier, options, vocabulary, space, calibration, reference, bar=bar)
    circumstances = {"arguments": sys.argv, "kinds": list(kinds), "engine": engine, "device": str(classifier.device)}
    with Store.writing(Path(out), subject.story(), circumstances) as store:
        keep_inside(store.folder, subject, space if isinstance(space, str) else None)
        ahead = pictures_left(subject, store)
        done = len(pictures) - ahead
        with bar(f"describing ({done:,} are done)" if done else "describing", ahead) as advance:
            run(subject, store, engine, advance, workers=workers, address=ray_address)
        found = conclude(store, subject, kinds, bar)
    return Audit(store.folder, tuple(found))


def _collection(
    data: str | Path | Sequence[str | Path] | Collection, out: Path, limit: int | None, seed: int
) -> Collection:
    if isinstance(data, Collection):
        return data
    named = [data] if isinstance(data, str | Path) else data
    return collection(as_before([str(one) for one in named], out), limit, seed)


def subject_of(
    pictures: Collection,
    classifier: Classifier,
    options: AuditOptions,
    vocabulary: str | Path | Vocabulary | None = None,
    space: str | Space | None = None,
    calibration: str | Path | None = None,
    reference: Reference | None = None,
    *,
    device: str | None = None,
    bar: Bar = no_bar,
) -> Subject:
    """Everything that an audit needs, from names. Raises SaywhyError for names that nothing has."""
    named = space or explaining_space(classifier, vocabulary)
    opinion = resolve_space(named, classifier, device) if isinstance(named, str) else named
    check_space(opinion, classifier)
    given = None if vocabulary is None else resolve_vocabulary(vocabulary, classifier)
    words = resolve_vocabulary(given, classifier, opinion)

    def as_bar(what: str, count: int) -> AbstractContextManager[Any]:
        return bar(what, count)

    step = max(1, len(pictures) // MOST_OF_RUN)
    run_of = [pictures[n] for n in range(0, len(pictures), step)] if reference is None else []
    brought = files_brought(named, calibration)
    doubts = doubts_of(
        eyes_of(opinion, classifier), reference, run_of, brought=brought,
        tell=warnings.warn, bar=as_bar, seed=options.seed,
    )  # fmt: skip
    seen = resolve_seen(opinion, words, calibration, doubts)
    if options.checks != NONE:
        seen = replace(seen, light=usual_light(reference, run_of, bar=as_bar, seed=options.seed))
    if not len(pictures):
        raise SaywhyError(f"{pictures.name}: has no pictures")
    counts = labels_of(pictures)
    classes = classes_of(classifier.labels, set(counts))
    _tell_strangers(counts, classes, classifier)
    if not counts:
        _tell_unlabelled(pictures, classifier)
    files = {str(path): file_digest(path) for path in [*brought, *_paths(named)]}
    return Subject(classifier, words, opinion, seen, pictures, options, classes, files)


def _tell_strangers(counts: Mapping[str, int], classes: Mapping[str, int], classifier: Classifier) -> None:
    """A LabelWarning that says which labels of the data the classifier does not have."""
    strange = sorted((label for label in counts if label not in classes), key=lambda label: (-counts[label], label))
    if strange:
        few = ", ".join(_stranger(label, classifier) for label in strange[:SHOWN])
        few += ", ..." if len(strange) > SHOWN else ""
        warnings.warn(
            f"{classifier.name} has no class for {len(strange)} of the {len(counts)} labels of the data ({few}); "
            f"pictures of these, {sum(counts[label] for label in strange):,}, count neither as right nor as wrong",
            LabelWarning,
        )


def _stranger(label: str, classifier: Classifier) -> str:
    """A label, and the class that it may mean."""
    near = spelled_like(label, classifier.labels, ALIKE, plain)
    return shown(label, 40) + (f": did you mean {shown(near[0], 40)}?" if near else "")


def _tell_unlabelled(pictures: Collection, classifier: Classifier) -> None:
    """A LabelWarning where no picture has a label; of a folder that is called as a class, the one above it."""
    folder = Path(pictures.name)
    hint = "give a folder that has a folder for each class, or a table of files and labels"
    if folder.is_dir() and classes_of(classifier.labels, {folder.resolve().name}):
        hint = f"this folder has the name of a class: give the one above it, {shown(folder.resolve().parent)}"
    warnings.warn(
        f"{shown(pictures.name)}: no picture has a known class, so the model's answers stand for it, and accuracy and "
        f"label errors cannot be told; {hint}",
        LabelWarning,
    )


def _paths(space: str | Space) -> list[Path]:
    """The file or folder in the name of a space: "tuned:DIR"."""
    path = Path(space.partition(":")[2]) if isinstance(space, str) else Path()
    return [path] if path != Path() and path.exists() else []
