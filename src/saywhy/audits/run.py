"""The run over a collection: a chunk of pictures at a time, each written whole, so that it can stop and go on."""

from __future__ import annotations

from collections.abc import Iterable

from saywhy.audits.chunks import Chunk, chunk_name, describe_chunk
from saywhy.audits.options import check_engine
from saywhy.audits.store import ROWS, Store
from saywhy.audits.subject import Subject
from saywhy.pictures.in_batches import Advance


def run(subject: Subject, store: Store, engine: str = "local", advance: Advance = lambda count: None) -> None:
    """Describe every picture that has no row yet.

    engine: of ENGINES. advance: is told how many more pictures are done with, those of an earlier run at once.
    """
    check_engine(engine)
    size, count = subject.options.chunk, len(subject.pictures)
    done = {int(name) for name in store.parts(ROWS)}
    left = [n for n in range(-(-count // size)) if n not in done]
    advance(sum(min(size, count - n * size) for n in done))
    chunks: Iterable[Chunk] = (describe_chunk(subject, number, advance) for number in left)
    if engine == "ray":
        from saywhy.audits.on_ray import on_ray

        chunks = on_ray(subject, left, advance)
    for chunk in chunks:
        store.commit(ROWS, chunk_name(chunk.number), chunk.tables, chunk.files)
