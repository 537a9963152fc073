"""What networks know, from references: shipped ones of the worlds, pictures that a user names, or those of a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Advance, Failure, Readable, Unopened, bounded
from saywhy.pictures.plain import levels as light_levels
from saywhy.pictures.plain import measured
from saywhy.pictures.sources import read_sources
from saywhy.plumbing.caches import cache_directory, keeping, versions
from saywhy.plumbing.tensors import reading_tensors
from saywhy.seen.doubts import Flat, Foreign, is_flat
from saywhy.seen.gate import Doubt
from saywhy.seen.layer_statistics import BATCH, Eye
from saywhy.seen.plain_facts import UsualLight
from saywhy.seen.typical import FEWEST, ROUGH, Typical, add_typical, typical_in
from saywhy.worlds import WEIGHTS

SHIPPED = "typical.tensors"
"""Beside the weights of a world's model: what that model knows. In safetensors' format, but not by that ending: of two
such files in a folder, timm may take the wrong one for the weights."""
MOST = 400  # pictures of a reference
OF_RUN = 200  # pictures of a run that stand for it
LARGE = 20_000_000  # parameters
ENOUGH = 100  # pictures from which a run says what is usual in it
Reference = str | Path | Sequence[str | Path]
"""Where its pictures are: files, folders, "world:NAME"; see ``pictures.sources``."""
Bar = Callable[[str, int], AbstractContextManager[Advance]]
"""What is done, and with how many pictures -> what is told how many more are done with."""


@contextmanager
def _no_bar(what: str, count: int) -> Iterator[Advance]:
    yield lambda more: None


def doubts_of(
    eyes: Sequence[Eye],
    reference: Reference | None = None,
    run: Sequence[Unopened] = (),
    *,
    brought: Sequence[Path] = (),
    tell: Callable[[str], object] = lambda note: None,
    bar: Bar = _no_bar,
    seed: int = 0,
) -> tuple[Doubt, ...]:
    """What may keep words from a picture: that it is flat, and for each network, that it does not know the like.

    eyes:      the networks that see the pictures.
    reference: pictures that they know; None: what the files brought along know of the network, else the shipped
               reference of a world's network, else the pictures of the run, from ENOUGH on; where there is none of
               these, nothing is known, and nothing is doubted.
    run:       the pictures that are asked about.
    brought:   files of probes or calibrations, which know the pictures that they were learned from.
    tell:      is told in a line what a user should know: how rough a reference is, what could not be read.

    Raises SaywhyError for a reference without pictures, and one of fewer than FEWEST that can be read.
    """
    doubts: list[Doubt] = [Flat()]
    found: list[Typical | None]
    if reference is not None:
        found = [*_of_reference(eyes, reference, tell, bar, seed)]
    else:
        known = [typical for path in brought for typical in typical_in(path)]
        ready = {n: typical for n, eye in enumerate(eyes) if (typical := _ready(eye, known)) is not None}
        missing = [n for n in range(len(eyes)) if n not in ready]
        ready |= dict(zip(missing, _of_run([eyes[n] for n in missing], run, tell, bar), strict=False))
        found = [ready.get(n) for n in range(len(eyes))]
    for eye, typical in zip(eyes, found, strict=True):
        if typical is not None:
            doubts.append(Foreign(replace(eye, layers=typical.layers), typical))
    return tuple(doubts)


def _ready(eye: Eye, known: Sequence[Typical]) -> Typical | None:
    """What is known or shipped of a network; large ones are none of the worlds', and need no fingerprint to know it."""
    if known and (found := next((one for one in known if one.fingerprint == eye.fingerprint), None)) is not None:
        return found
    size = sum(parameter.numel() for parameter in eye.network.parameters())
    return shipped(eye.fingerprint) if size < LARGE else None


def shipped(fingerprint: str) -> Typical | None:
    """What the network with these weights knows, where it is one of the worlds'."""
    path = _shipped().get(fingerprint)
    return None if path is None else Typical.load(path)


@cache
def _shipped() -> dict[str, Path]:
    """Fingerprint of a network -> file."""
    found = {}
    for path in sorted(WEIGHTS.glob(f"*/*/{SHIPPED}")):
        with reading_tensors(path, "is no record of what is typical") as stored:
            found[str(stored.story["fingerprint"])] = path
    return found


def learn(
    eyes: Sequence[Eye],
    pictures: Sequence[Unopened],
    what: str,
    tell: Callable[[Failure], object] = lambda failure: None,
    bar: Bar = _no_bar,
) -> list[Typical]:
    """What is typical of pictures, as each network sees them, from one pass over them.

    Pictures of one flat colour show nothing, and are left out; so are those that cannot be read, of which ``tell`` is
    told. what: "scenes of the aviary".

    Raises SaywhyError for fewer than FEWEST pictures, and as ``Typical.fit``.
    """
    found: list[list[Tensor]] = [[] for _ in eyes]
    eyes = list(eyes)
    with bar("looking at the reference", len(pictures)) as advance:
        for batch in bounded(Readable(tell)(pictures, advance), BATCH):
            images = [image for _, image in batch if not is_flat(image)]
            for n, eye in enumerate(eyes if images else ()):
                if eye.layers is None:
                    eye = eyes[n] = replace(eye, layers=eye.early(images))
                found[n].append(eye.statistics(images))
    count = sum(map(len, found[0]))
    if count < FEWEST:
        raise SaywhyError(
            f"a reference of {count} pictures does not say what is typical; give {FEWEST} or more, better {ROUGH}"
        )
    return [
        Typical.fit(torch.cat(rows), f"{count} {what}", eye.layers or (), eye.fingerprint)
        for eye, rows in zip(eyes, found, strict=True)
    ]


def keep_typical(
    path: Path,
    eyes: Sequence[Eye],
    pictures: Sequence[Unopened],
    what: str,
    bar: Bar = _no_bar,
    tell: Callable[[str], object] = lambda note: None,
) -> list[Typical]:
    """Add to a file of probes or of a calibration what the networks make of the pictures that it was learned from.

    Pictures of another kind then get no words by it. Where ``learn`` finds that these pictures do not say what is
    typical, nothing is added, and ``tell`` is told why.

    Raises SaywhyError where the file cannot be written.
    """
    step = max(1, len(pictures) // MOST)
    try:
        found = learn(eyes, pictures[::step][:MOST], what, bar=bar)
    except SaywhyError as error:
        tell(f"{path} will say words of pictures of any kind, unless --reference is given: {error}")
        return []
    add_typical(path, found)
    return found


def usual_light(
    reference: Reference | None = None, run: Sequence[Unopened] = (), *, bar: Bar = _no_bar, seed: int = 0
) -> UsualLight | None:
    """What brightness is usual in a reference, else in the pictures of a run; None where these are fewer than ENOUGH.

    What cannot be read is left out. Raises SaywhyError for a reference without pictures.
    """
    if reference is not None:
        named = [reference] if isinstance(reference, str | Path) else list(reference)
        pictures: Sequence[Unopened] = read_sources([str(one) for one in named], OF_RUN, seed)
    else:
        pictures = _spread(run)
    if len(pictures) < ENOUGH:
        return None
    with bar("measuring the light", len(pictures)) as advance:
        opened = bounded(Readable(lambda failure: None)(pictures, advance), BATCH)
        found = [light_levels(measured(image.convert("RGB"))) for batch in opened for _, image in batch]
    return UsualLight.of(np.stack(found)) if len(found) >= ENOUGH else None


def _spread(run: Sequence[Unopened]) -> list[Unopened]:
    """At most OF_RUN pictures, spread over a run."""
    return [run[n] for n in np.linspace(0, len(run) - 1, min(len(run), OF_RUN)).round().astype(int).tolist()]


def _of_reference(
    eyes: Sequence[Eye], reference: Reference, tell: Callable[[str], object], bar: Bar, seed: int
) -> list[Typical]:
    if not eyes:
        return []
    named = [reference] if isinstance(reference, str | Path) else list(reference)
    sources = [str(one) for one in named]
    where = f"pictures of {sources[0]}" + (" and others" if len(sources) > 1 else "")
    found = _kept(eyes, read_sources(sources, MOST, seed), where, tell, bar)
    if found[0].rough:
        tell(f"a reference of {found[0].count} pictures is rough; {ROUGH} or more are better")
    return found


def _of_run(eyes: Sequence[Eye], run: Sequence[Unopened], tell: Callable[[str], object], bar: Bar) -> list[Typical]:
    """From pictures spread over the run; [] where there are too few."""
    if len(run) < ENOUGH or not eyes:
        return []
    try:  # what cannot be read is told when it is asked about
        return learn(eyes, _spread(run), "pictures of this run", bar=bar)
    except SaywhyError as error:
        tell(f"the pictures of this run do not say of which pictures words can be said: {error}")
        return []


def _kept(
    eyes: Sequence[Eye], pictures: Sequence[Unopened], what: str, tell: Callable[[str], object], bar: Bar
) -> list[Typical]:
    """From the cache, where the same networks were shown the same files."""
    paths = _paths(eyes, pictures, what)
    if paths and all(path.is_file() for path in paths):
        with keeping():
            return [Typical.load(path) for path in paths]
    found = learn(eyes, pictures, what, lambda failure: tell(failure.reason), bar)
    with keeping():
        for path, typical in zip(paths, found, strict=False):
            typical.save(path)
    return found


def _paths(eyes: Sequence[Eye], pictures: Sequence[Unopened], what: str) -> list[Path]:
    """Where in the cache; [] where a preprocessing draws at random, or pictures have no files."""
    files = []
    for picture in pictures:
        if picture.name.startswith("world:"):
            files.append((picture.name, versions("saywhy")))
            continue
        try:
            status = os.stat(picture.name)
        except (OSError, ValueError):
            return []
        files.append((os.path.realpath(picture.name), f"{status.st_size} {status.st_mtime_ns}"))
    keys = [eye.key for eye in eyes]
    if None in keys:
        return []
    names = [hashlib.sha256(f"{key} {what} {files}".encode()).hexdigest()[:24] for key in keys]
    return [cache_directory() / "typical" / f"{name}.safetensors" for name in names]
