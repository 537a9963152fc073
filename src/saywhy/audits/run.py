"""The run over a collection: a chunk of pictures at a time, each written whole, so that it can stop and go on."""

from __future__ import annotations

from saywhy.audits.chunks import chunk_name, describe_chunks, numbers_of
from saywhy.audits.options import check_engine
from saywhy.audits.store import ROWS, Store
from saywhy.audits.subject import Subject
from saywhy.pictures.in_batches import Advance


def left(subject: Subject, store: Store) -> list[int]:
    """The chunks that have no rows yet."""
    done = {int(name) for name in store.parts(ROWS)}
    return [n for n in range(-(-len(subject.pictures) // subject.options.chunk)) if n not in done]


def pictures_left(subject: Subject, store: Store) -> int:
    """How many pictures have no rows yet."""
    return sum(len(numbers_of(subject, chunk)) for chunk in left(subject, store))


def run(
    subject: Subject,
    store: Store,
    engine: str = "local",
    advance: Advance = lambda count: None,
    *,
    workers: int | None = None,
    address: str | None = None,
) -> None:
    """Describe every picture that has no row yet.

    engine: of ENGINES. advance: is told how many more pictures are done with.
    workers, address: of "ray"; see ``on_ray.Cluster``.

    Raises SaywhyError where the rows cannot be written, those before are kept; and as ``on_ray``.
    """
    check_engine(engine)
    chunks = left(subject, store)
    if engine == "ray":
        from saywhy.audits.on_ray import Cluster, on_ray

        described = on_ray(subject, chunks, advance, Cluster(address, workers))
    else:
        described = describe_chunks(subject, chunks, advance)
    for chunk in described:
        store.commit(ROWS, chunk_name(chunk.number), chunk.tables)
