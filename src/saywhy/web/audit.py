"""An audit to look around in: findings, their slices and pictures, and one explanation of any of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from PIL.Image import Image

from saywhy.answers.plain_names import without_folders
from saywhy.audits.changed import turned
from saywhy.audits.finding import AuditFinding
from saywhy.audits.kinds import badge_of, kind_of, names_are
from saywhy.audits.page import cost, setup, title
from saywhy.audits.told import in_words, told
from saywhy.errors import SaywhyError
from saywhy.pictures.collections import Collection, collection
from saywhy.plumbing.names import shown
from saywhy.web import schema
from saywhy.web.models import Model
from saywhy.web.shown import cut, finite, jpeg_url

SLICE = "slice"
FEW = 24  # pictures of a finding that are shown
LONGEST = 600  # characters of a sentence


@final
class Explorer:
    """What an audit's folder tells, and its pictures. Any thread may ask.

    models: those that may be asked; the audited one is known by its weights.

    Raises SaywhyError where the folder is no finished audit.
    """

    def __init__(self, folder: Path, models: Mapping[str, Model]) -> None:
        self._told = told(folder)
        self._lock = threading.RLock()  # the database and what is read of it are one thread's at a time
        manifest = self._told.store.manifest
        print_of = manifest["model"]["fingerprint"]
        self.model = next((one for one in models.values() if one.classifier.fingerprint == print_of), None)
        self._pictures: Collection | None = None
        self.why_not = ""
        if self.model is None:
            called = without_folders(shown(manifest["model"]["name"], 120))
            self.why_not = f"its model, {called}, is not among those that may be asked; name it with --model"
        else:
            try:
                self._pictures = _again(manifest)
            except SaywhyError as error:
                self.why_not = f"its pictures cannot be opened: {without_folders(str(error))}"

    def named(self) -> schema.AuditName:
        """What it is called, its folder without those above it, and its model."""
        name = self._told.store.folder.resolve().name
        return schema.AuditName(name=name, model=None if self.model is None else self.model.name)

    def overview(self) -> schema.AuditOverview:
        """What it is of, and all that it found."""
        with self._lock:
            return schema.AuditOverview(
                title=without_folders(title(self._told)),
                setup=[without_folders(line) for line in setup(self._told)],
                pictures=self._told.overview.all.pictures,
                findings=[self._finding(n) for n in range(len(self._told.findings))],
                model=None if self.model is None else self.model.name,
                why_not=self.why_not,
            )

    def finding(self, number: int) -> schema.FindingDetails:
        """A finding with its pictures. Raises KeyError for a number that none has."""
        with self._lock:
            if not 0 <= number < len(self._told.findings):
                raise KeyError(number)
            finding = self._told.findings[number]
            slices = [
                n
                for n, other in enumerate(self._told.findings)
                if other.kind == SLICE and n != number and set(other.about) & set(finding.about)
            ]
            return schema.FindingDetails(
                finding=self._finding(number),
                cost=cost(finding, self._told.overview),
                examples=self._some(finding.examples[:FEW]),
                examples_are=kind_of(finding.kind).examples,
                counters_are=kind_of(finding.kind).counters,
                words_are=names_are(finding, self._told.phrases) if finding.words else "",
                counters=self._some(finding.counters[:FEW]),
                changed=self._changed(finding),
                slices=[self._finding(n) for n in slices],
            )

    def picture(self, number: int) -> schema.AuditRow:
        """What is known of a picture. Raises KeyError for a number that none has."""
        with self._lock:
            row = self._row(number)
            files = self._told.thumbnails.files(number)
            named = [n for n, one in enumerate(self._told.findings) if number in (*one.examples, *one.counters)]
            return schema.AuditRow(
                **self._brief(row),
                width=row["width"],
                height=row["height"],
                runner_up=row["runner_up"] or "",
                runner_up_probability=finite(row["runner_up_probability"]),
                words=list(row["words"] or ()),
                concepts=list(row["concepts"] or ()),
                silence=row["silence"] or "",
                map=bool(files and files[1]),
                findings=[self._finding(n) for n in named],
                why_not=self.why_not,
            )

    def jpeg(self, number: int, of_map: bool = False) -> bytes:
        """The kept thumbnail of a picture, or of its map. Raises KeyError where none was kept."""
        with self._lock:
            files = self._told.thumbnails.files(number)
        if files is None or not files[of_map]:
            raise KeyError(number)
        return files[of_map]

    def open(self, number: int) -> tuple[str, Image]:
        """The name and the picture itself, by the audit's own collection.

        Raises KeyError for a number that no picture has, and SaywhyError where it cannot be opened.
        """
        if self._pictures is None:
            raise SaywhyError(self.why_not)
        with self._lock:
            row = self._row(number)
        entry = self._pictures[number]
        if entry.name != row["file"]:
            raise SaywhyError(f"picture {number} is another one now; make the audit again")
        return _own_name(entry.name), entry.open()

    def check(self, number: int) -> None:
        """Raises KeyError for a number that no picture has."""
        with self._lock:
            self._row(number)

    def _row(self, number: int) -> dict[str, Any]:
        if not 0 <= number < 1 << 62:
            raise KeyError(number)
        found = self._told.view.sql(
            "SELECT number, file, truths, prediction, probability, correct, width, height, runner_up, "
            "runner_up_probability, words, concepts, silence FROM pictures WHERE number = ?",
            [number],
        ).to_pylist()
        if not found:
            raise KeyError(number)
        return found[0]

    def _some(self, numbers: Sequence[int]) -> list[schema.AuditPicture]:
        rows = self._told.thumbnails.rows(list(dict.fromkeys(numbers)))
        return [schema.AuditPicture(**self._brief(row)) for row in rows]

    def _brief(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "number": row["number"],
            "file": _own_name(row["file"]),
            "truth": ", ".join(row["truths"] or ()),
            "prediction": row["prediction"],
            "probability": finite(row["probability"]),
            "correct": row["correct"],
            "picture": self._told.thumbnails.files(row["number"]) is not None,
            "frame": None if self.model is None else cut(self.model.classifier.geometry((row["width"], row["height"]))),
        }

    def _finding(self, number: int) -> schema.Finding:
        one = self._told.findings[number]
        effect = schema.Effect(
            value=finite(one.effect.value),
            low=finite(one.effect.low),
            high=finite(one.effect.high),
            text=in_words(one.effect),
        )
        return schema.Finding(
            number=number,
            kind=one.kind,
            title=kind_of(one.kind).title,
            badge=badge_of(one),
            about=list(one.about),
            sentence=shown(one.sentence, LONGEST),
            decides=one.decides,
            effect=effect,
            unit=one.unit,
            null=finite(one.null),
            p=finite(one.p),
            q=finite(one.q),
            words=list(one.words),
            place=one.place,
            verified=one.verified if one.verified and one.verified[1] else None,
            examples=len(one.examples),
        )

    def _changed(self, finding: AuditFinding) -> list[schema.Changed]:
        found = []
        for row in turned(self._told.view, finding):
            kept = self._told.view.sql(
                "SELECT * FROM changed WHERE family = ? AND part = ? AND about = ? AND number = ? AND variant = ?",
                [row["family"], row["part"], row["about"], row["number"], row["variant"]],
            ).to_pylist()
            beside = self._told.thumbnails.rows([row["number"]])
            if kept and beside:
                found.append(
                    schema.Changed(
                        number=row["number"],
                        file=_own_name(beside[0]["file"]),
                        before=jpeg_url(kept[0]["before"]),
                        after=jpeg_url(kept[0]["after"]),
                        was=beside[0]["prediction"],
                        said=kept[0]["said"],
                        probability=finite(kept[0]["probability"]),
                    )
                )
        return found


def _own_name(file: str) -> str:
    """Of a picture: without the folders that it lies in."""
    return shown(file.replace("\\", "/").rpartition("/")[2], 200)


def _again(manifest: Mapping[str, Any]) -> Collection:
    """The collection that was audited. Raises SaywhyError where it cannot be found, or is another one now."""
    data, seed = manifest["data"], manifest["options"].get("seed", 0)
    whole: str = data["name"]
    ways: list[list[str]] = [[whole], *([whole.split(", ")] if ", " in whole else [])]
    problem: SaywhyError | None = None
    for sources in ways:
        for limit in (None, data["pictures"]):
            try:
                found = collection(sources, limit, seed)
            except SaywhyError as error:
                problem = problem or error
                continue
            if len(found) == data["pictures"] and found.digest == data["digest"]:
                return found
    raise problem or SaywhyError(f"{shown(whole)} has other pictures now than when it was audited")
