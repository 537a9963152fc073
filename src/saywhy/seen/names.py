"""Do the names of a classifier's classes teach what words mean? Asked without a picture, in every answer of ``own``.

A mapper that is fitted on numbers, or on names in the wrong order, maps texts to somewhere all the same. Here two
classes at a time are left out, and their names have to tell their rows apart; see text_to_weights/held_out.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing.caches import cache_directory, keeping
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.records import typed
from saywhy.plumbing.texts import read_json
from saywhy.spaces.own import PHRASES, class_prompts
from saywhy.spaces.text_encoder import TextEncoder
from saywhy.spaces.text_to_weights import Mapper, centred
from saywhy.spaces.text_to_weights.closed_form import Blend, KernelRidge
from saywhy.spaces.text_to_weights.held_out import matched, residual_maker
from saywhy.words.class_names import are_words

FEWEST = 30  # classes; names of fewer teach too little. docs/spaces.md says how both were chosen
UNDERSTOOD = 0.7  # of pairs that are told apart by their names
CHANCE = 0.5
MOST = 400  # classes that are compared, drawn at random where there are more: then it takes a second or two
DRAWS = 20  # of permuted names
ELSEWHERE = "pictures can teach it words (docs/howto-few-classes.md)"
THAT_WORK = (
    "words that work: those that pictures teach (saywhy train concepts, docs/howto-few-classes.md), or a CLIP's "
    "(--space clip:DIR, or --space clip where a hub can be reached)"
)
INSTEAD = f"places and tests need no words; {THAT_WORK}"
_VERSION = 1  # of what is kept in the cache


@runtime_checkable
class LearnsFromNames(Protocol):
    """A space whose texts are mapped by what the names of a classifier's classes teach."""

    @property
    def encoder(self) -> TextEncoder: ...

    @property
    def mapper(self) -> Mapper: ...


@final
@dataclass(frozen=True)
class NamesCheck:
    """How often, of two classes that a mapper was not fitted on, the rows are matched rightly with the names.

    found:      the share of pairs. chance: what guessing reaches.
    permuted:   the same with names dealt to other classes, the mean of DRAWS; greatest: the greatest of them.
    numbers:    with the classes' numbers as names: sentence encoders place numerals near each other, and neighbouring
                classes are often related.
    understood: whether names teach what words mean. reason: why not, as a sentence without its full stop.

    It is a Doubt: where names are not understood, no picture gets words.
    """

    found: float
    chance: float
    permuted: float
    greatest: float
    numbers: float
    classes: int
    understood: bool
    reason: str

    def silences(self, images: Sequence[Image]) -> list[str]:
        return [self.reason] * len(images)

    def __str__(self) -> str:
        """What stands in the settings of every answer, without a full stop."""
        if self.classes < 4:
            return f"class names teach words: of {self.classes} classes that cannot be checked"
        return (
            f"class names teach words: of two classes that did not teach, their names tell which is which in "
            f"{self.found:.0%} of pairs (guessing {self.chance:.0%}, names dealt to other classes {self.permuted:.0%}, "
            f"class numbers as names {self.numbers:.0%})"
        )


def check_space_names(space: LearnsFromNames, classifier: Classifier) -> NamesCheck:
    """Whether the names of a classifier's classes teach its space what words mean; kept in the cache."""
    settings = _settings(space.mapper)
    rule = f"{_VERSION} {FEWEST} {UNDERSTOOD} {sorted(settings.items())}"
    key = f"{rule} {classifier.fingerprint} {space.encoder.fingerprint}"
    path = cache_directory() / "names" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    known = _kept(path)
    if known is not None:
        return replace(known, reason=_reason(known, classifier.labels))  # in today's words
    found = check_names(classifier.labels, classifier.head.weight, space.encoder, **settings)
    with keeping():
        write_whole(path, json.dumps(asdict(found)))
    return found


def _settings(mapper: Mapper) -> dict[str, Any]:
    """Of the kernel; of a mapper that has none, those for phrases."""
    kernel = mapper.first if isinstance(mapper, Blend) else mapper
    if isinstance(kernel, KernelRidge):
        return {"width": kernel.width, "ridge": kernel.ridge}
    return PHRASES


def _kept(path: Path) -> NamesCheck | None:
    if not path.exists():
        return None
    try:
        return typed(NamesCheck(**read_json(path)))
    except (SaywhyError, TypeError):
        return None  # damaged: checked again


def check_names(
    labels: Sequence[str], weights: Tensor, encoder: TextEncoder, *, width: float, ridge: float, seed: int = 0
) -> NamesCheck:
    """Whether C class names teach what words mean, by the rows (C, d) of a head. A second or two.

    width, ridge: of the kernel ridge regression; see ``fit_kernel_ridge``. seed: of the permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.arange(len(labels))
    if len(labels) > MOST:
        chosen = torch.randperm(len(labels), generator=generator)[:MOST].sort().values
    prompts = class_prompts([labels[n] for n in chosen.tolist()])
    check = NamesCheck(CHANCE, CHANCE, CHANCE, CHANCE, CHANCE, len(labels), False, "")
    if len(labels) >= 4:  # of three, one is left over: nothing to learn from
        targets = F.normalize(centred(weights.detach().cpu()).double(), dim=1)[chosen]
        gram = targets @ targets.T
        by_name = residual_maker(encoder.encode(prompts), width=width, ridge=ridge)
        numbers = encoder.encode(class_prompts([str(n) for n in chosen.tolist()]))
        orders = [torch.randperm(len(chosen), generator=generator) for _ in range(DRAWS)]
        dealt = [matched(by_name, gram[order][:, order]) for order in orders]
        check = replace(
            check,
            found=matched(by_name, gram),
            permuted=sum(dealt) / len(dealt),
            greatest=max(dealt),
            numbers=matched(residual_maker(numbers, width=width, ridge=ridge), gram),
        )
    reason = _reason(check, labels)
    return replace(check, understood=not reason, reason=reason)


def _reason(check: NamesCheck, labels: Sequence[str]) -> str:
    """Why the names are not understood; "" where they are."""
    if not are_words(labels):
        why = "its class names are numbers or codes, which teach nothing of what words mean"
    elif check.classes < FEWEST:
        why = f"the names of {check.classes} classes teach too little of what words mean"
    elif check.found < UNDERSTOOD or check.found <= check.greatest:
        why = (
            f"its class names are not understood: of two held-out ones they tell {check.found:.0%} apart, names dealt "
            f"to other classes {check.permuted:.0%}"
        )
    elif check.found <= check.numbers:
        why = (
            f"its class names teach no more than the order of its classes: of two held-out ones they tell "
            f"{check.found:.0%} apart, class numbers as names {check.numbers:.0%}"
        )
    else:
        return ""
    return f"{why}; {ELSEWHERE}"
