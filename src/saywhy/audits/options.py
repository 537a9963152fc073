"""How a data set is audited: one frozen record of plain values, in the manifest as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.questions.options import BATCH, ExplainOptions, check_checks

ENGINES = ("local", "ray")


@final
@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How a data set is audited.

    method, composite, regions: of the maps; see ``ExplainOptions``. top: labels kept of each region.
    batch_size:    pictures at once. chunk: pictures that are written together; what is lost at most by a kill.
    sample:        pictures of each class that interventions across pictures use, at most.
    tries:         pictures of each class, and of each finding, whose claims are put to the test one by one, at most.
    checks:        how they are tested: "none", "fast" or "full"; see ``ExplainOptions``.
    objects:       pictures of each class in which the object is sought, at most: it takes longer than all else.
    pictures_mb:   of thumbnails and maps that are kept, at most.
    seed:          of every draw.

    Raises SaywhyError for numbers below one, and as ``ExplainOptions``.
    """

    method: str = ExplainOptions.method
    composite: str | None = ExplainOptions.composite
    regions: int = ExplainOptions.regions
    top: int = 5
    batch_size: int = BATCH
    chunk: int = 256
    sample: int = 20
    tries: int = 6
    checks: str = "fast"
    objects: int = 50
    pictures_mb: float = 50.0
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.explain
        check_checks(self.checks)
        if min(self.batch_size, self.chunk) < 1 or min(self.sample, self.tries, self.objects) < 0:
            raise SaywhyError("batch_size and chunk must be at least 1, sample, tries and objects at least 0")
        if not 0 <= self.pictures_mb < float("inf"):
            raise SaywhyError(f"pictures_mb must be a number, at least 0; it is {self.pictures_mb}")

    @property
    def explain(self) -> ExplainOptions:
        """How each picture is explained: without tests, which a sample gets later."""
        return ExplainOptions(
            method=self.method, composite=self.composite, regions=self.regions, top=self.top, checks="none"
        )


def check_engine(engine: str) -> None:
    """Raises SaywhyError for a name that is not of ENGINES."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
