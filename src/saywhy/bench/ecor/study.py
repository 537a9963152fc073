"""What ``saywhy bench ecor`` measures on: doubly-right data, and a CLIP tuned to each objective with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, final

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from saywhy.metrics.blind_controls import random_words
from saywhy.pictures.checking import check_pictures
from saywhy.pictures.rationale_data import read_rationale_data
from saywhy.pictures.rationale_folders import write_doubly_right
from saywhy.pictures.reading import read_picture
from saywhy.pictures.truth import Gold, RationaleData, evenly, gold_of
from saywhy.plumbing.caches import cache_directory, made_once
from saywhy.spaces.clip import ClipSpace, load_clip
from saywhy.spaces.objectives import OBJECTIVES
from saywhy.spaces.pairs.on_disk import PromptBank, build_bank
from saywhy.spaces.pairs.ranking import Ranked, rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.tuned import TunedSpace
from saywhy.training.prompts.batches import split_off
from saywhy.training.prompts.checkpoint import CHECKPOINT
from saywhy.training.prompts.settings import TuningSettings, runnable_on
from saywhy.training.prompts.tuning import tune
from saywhy.words.rationale_words import RationaleWords
from saywhy.worlds.aviary import SPECIES
from saywhy.worlds.closeups import Closeup, closeups, rationale_lists, rows

HELD_OUT = tuple(name for n, name in enumerate(SPECIES) if n % 10 in (2, 5, 8))
"""Twelve species whose pictures no prompt is trained on: the tuned towers are evaluated on them as new categories."""
KNOWN = tuple(name for name in SPECIES if name not in HELD_OUT)
PICTURES = {"train": 4, "validation": 1, "test": 2, "held out": 4}
"""Pictures for each species and each of its sixteen rationales."""
TOP = 5
BATCH = 64


@final
@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Pictures to evaluate on, with their truth and the words to choose from.

    gold:   what each was searched for, its only right rationale, as in the published sets.
    known:  all of the list that is in view; None where nobody knows.
    scenes: what they were drawn from; None for photographs.
    """

    name: str
    data: RationaleData
    gold: Gold
    known: Gold | None = None
    scenes: Sequence[Closeup] | None = None

    @property
    def words(self) -> RationaleWords:
        return self.data.words

    @staticmethod
    def of(name: str, data: RationaleData, known: RationaleData | None = None, scenes: Any = None) -> EvaluationSet:
        return EvaluationSet(name, data, gold_of(data.images), None if known is None else gold_of(known.images), scenes)


@final
@dataclass(frozen=True, eq=False)
class Study:
    """A CLIP, what it is tuned on, and what the tuned ones are evaluated on.

    test: pictures of the categories that were trained on; transfer: of others (None: none).
    """

    clip: ClipSpace
    train: RationaleData
    validation: RationaleData
    test: EvaluationSet
    transfer: EvaluationSet | None
    settings: TuningSettings
    seeds: int
    _banks: dict[Any, PromptBank] = field(default_factory=dict)
    _vectors: dict[Any, Tensor] = field(default_factory=dict)
    _spaces: dict[Any, Any] = field(default_factory=dict)
    _ranked: dict[Any, Ranked] = field(default_factory=dict)

    def runs(self, objective: str) -> range:
        """Seeds of an objective; CLIP as it is has one."""
        return range(self.seeds if OBJECTIVES[objective].trained else 1)

    def space(self, objective: str, seed: int) -> ClipSpace | TunedSpace:
        """CLIP tuned to the objective, from the cache where it was tuned before."""
        if not OBJECTIVES[objective].trained:
            return self.clip
        if (objective, seed) not in self._spaces:
            settings = replace(self.settings, objective=objective, seed=seed)
            told = [asdict(settings), self.clip.key, self._digest]
            out = cache_directory() / "ecor" / sha256(repr(told).encode()).hexdigest()[:20]
            resume = (out / CHECKPOINT).exists()  # one that is finished is ready at once
            self._spaces[objective, seed] = tune(
                self.train, self.clip, out, settings, resume=resume, validation=self.validation, workers=0
            )
        return self._spaces[objective, seed]

    @cached_property
    def _digest(self) -> str:
        digest = sha256(repr(self.train.words).encode())
        for image in (*self.train.images, *self.validation.images):
            digest.update(image.path.name.encode() + image.path.read_bytes())
        return digest.hexdigest()

    def vectors(self, objective: str, seed: int, data: RationaleData) -> Tensor:
        """(N, d) of the pictures, as that space sees them."""
        key = objective, seed, id(data)
        if key not in self._vectors:
            self._vectors[key] = encoded(self.space(objective, seed), data)
        return self._vectors[key]

    def bank(self, words: RationaleWords, inverse: bool = False, scrambled: int | None = None) -> PromptBank:
        """The bank of the words. scrambled: rationales become random words, by that seed; their indices stay."""
        key = id(words), inverse, scrambled
        if key not in self._banks:
            said = words
            if scrambled is not None:
                noise = random_words(len(words.rationales), words.rationales, scrambled)
                said = replace(words, rationales=tuple(noise), several=None)
            self._banks[key] = build_bank(self.clip, said, inverse=inverse)
        return self._banks[key]

    def ranked(
        self,
        objective: str,
        seed: int,
        asked: EvaluationSet,
        scoring: Scoring | None = None,
        scrambled: int | None = None,
    ) -> Ranked:
        """The first TOP pairs of each picture. scoring: None: the objective's own."""
        key = objective, seed, asked.name, scoring, scrambled
        if key not in self._ranked:
            images = self.vectors(objective, seed, asked.data)
            self._ranked[key] = self.rank(images, asked.words, scoring_of(objective, scoring), scrambled)
        return self._ranked[key]

    def rank(self, images: Tensor, words: RationaleWords, scoring: Scoring, scrambled: int | None = None) -> Ranked:
        return rank(images, self.scorer(words, scoring, scrambled), TOP)

    def scorer(self, words: RationaleWords, scoring: Scoring, scrambled: int | None = None) -> PairScorer[PromptBank]:
        """With the bank the other way round where the scoring asks for it. scrambled: as of ``bank``."""
        inverse = self.bank(words, True, scrambled) if "inverse" in scoring.terms else None
        bank = self.bank(words, scrambled=scrambled)
        return PairScorer(pairs=bank, inverse=inverse, scoring=scoring, scale=self.clip.scale)


def scoring_of(objective: str, scoring: Scoring | None = None) -> Scoring:
    return scoring or Scoring(OBJECTIVES[objective].scored)


def encoded(space: ClipSpace | TunedSpace, data: RationaleData) -> Tensor:
    """(N, d) vectors of the pictures, one batch in memory at a time."""
    paths = [image.path for image in data.images]
    starts = range(0, len(paths), BATCH)
    shown = track(starts, "looking at pictures", console=Console(stderr=True), disable=len(starts) < 20)
    return torch.cat([space.encode_images([read_picture(p) for p in paths[s : s + BATCH]]) for s in shown])


# -- data -------------------------------------------------------------------------------------------------------------


def aviary_study(settings: TuningSettings, seeds: int, limit: int | None = None) -> Study:
    """Close-ups of KNOWN species to train and evaluate on, and of HELD_OUT species to evaluate on only.

    limit: pictures for each species and rationale in the training part, at most; the other parts shrink with it.
    """
    settings = replace(settings, validation=0.0)  # it has pictures of its own
    clip = load_clip(settings.clip)
    share = 1.0 if limit is None else min(1.0, limit / PICTURES["train"])
    home, scenes = _aviary("known", KNOWN, ("train", "validation", "test"), share)
    away, others = _aviary("held-out", HELD_OUT, ("test",), share)
    test, transfer = (
        EvaluationSet.of(
            name,
            read_rationale_data(folder, "test"),
            read_rationale_data(folder, "test", gold="all"),
            drawn,
        )
        for name, folder, drawn in (("known species", home, scenes), ("held-out species", away, others))
    )
    train, validation = (read_rationale_data(home, split, gold=settings.gold) for split in ("train", "validation"))
    return Study(clip, train, validation, test, transfer, settings, seeds)


def folder_study(
    train_on: str, test_on: str | None, settings: TuningSettings, seeds: int, limit: int | None = None
) -> Study:
    """Folders in the doubly-right layout, or tables: tuned on the training half of one, evaluated on the test halves.

    limit: pictures of each half, at most, evenly spread.
    """
    tuned_on = _some(read_rationale_data(train_on, "train", gold=settings.gold), limit)
    train, validation = split_off(tuned_on, settings.validation or 0.1, seed=0)
    transfer = None
    here, elsewhere = Path(train_on), Path(test_on or train_on)
    if elsewhere != here:
        # What is measured is kept by name: two folders "data" must not be taken for one.
        name = elsewhere.name if elsewhere.name != here.name else str(elsewhere)
        transfer = EvaluationSet.of(name, _some(read_rationale_data(elsewhere, "test"), limit))
    settings = replace(settings, validation=0.0)
    test = EvaluationSet.of(here.name, _some(read_rationale_data(train_on, "test"), limit))
    clip = load_clip(settings.clip)
    return Study(clip, train, validation, test, transfer, runnable_on(settings, clip.device), seeds)


def _some(data: RationaleData, limit: int | None) -> RationaleData:
    """The data with the pictures that can be read, at most ``limit``."""
    readable = check_pictures(data)
    if limit is None:
        return readable
    return replace(readable, images=tuple(readable.images[n] for n in evenly(len(readable.images), limit)))


def _aviary(name: str, species: Sequence[str], splits: Sequence[str], share: float) -> tuple[Path, list[Closeup]]:
    """The folder, written once into the cache, and the scenes of its test half in the order they are read in."""
    each = {split: PICTURES["held out" if name == "held-out" else split] for split in splits}
    counts = {split: max(1, round(share * 16 * len(species) * n)) for split, n in each.items()}
    label = "-".join(map(str, counts.values()))
    test = closeups(species, counts["test"], "test")
    first = sum(counts.values()) - counts["test"]  # the test half is written last, and files are numbered

    def write(folder: Path) -> None:
        others = [rows(closeups(species, counts[split], split), split) for split in splits if split != "test"]
        write_doubly_right(folder, chain(*others, rows(test, "test")), rationale_lists(species))

    folder = made_once(f"drawn/doubly-right-{name}-{label}", write)
    read = read_rationale_data(folder, "test")
    return folder, [test[int(image.path.stem) - first] for image in read.images]
