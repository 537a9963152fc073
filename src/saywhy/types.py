"""The records that travel along the path of one picture, and the protocols a plug-in can satisfy.

Records are frozen and final; those that hold arrays compare by identity (``eq=False``). They hold results, never
networks, so each of them can be stored, sent to another process, or written as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol, final, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the original picture; right and bottom are exclusive, as in Pillow."""


@final
@dataclass(frozen=True)
class Geometry:
    """How the preprocessed frame lies on the original picture: ``original = offset + scale * frame``, per axis.

    size:   (width, height) of the original picture, pixels.
    frame:  (width, height) of the preprocessed frame, pixels.
    scale:  (x, y) original pixels per frame pixel.
    offset: (x, y) of the frame's left upper corner, in original pixels; negative where the frame reaches outside.
    """

    size: tuple[int, int]
    frame: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_original(self, box: tuple[float, float, float, float]) -> Box:
        """The box of the original picture under a box of the frame, clipped, at least one pixel wide and high."""
        left, top, right, bottom = (self.offset[i % 2] + self.scale[i % 2] * edge for i, edge in enumerate(box))
        width, height = self.size
        x0 = min(max(round(left), 0), width - 1)
        y0 = min(max(round(top), 0), height - 1)
        return x0, y0, max(min(round(right), width), x0 + 1), max(min(round(bottom), height), y0 + 1)


@final
@dataclass(frozen=True)
class Picture:
    """A picture as the report shows it: its name, true size, and a JPEG copy no longer than ``DISPLAY_SIDE``."""

    name: str
    width: int
    height: int
    jpeg: bytes = field(repr=False)


@final
@dataclass(frozen=True)
class Prediction:
    """One class and what the classifier says of it.

    probability: the softmax over all classes; of a multi-label or binary classifier, the sigmoid of the logit.
    """

    index: int
    name: str
    probability: float
    logit: float


@final
@dataclass(frozen=True)
class MapCheck:
    """Whether the map of one picture adds up. All sums are signed, in units of the logit.

    explained:  what the map has to account for: the logit; of integrated gradients, how far it lies from the logit of
                their baseline; None where a map is in no unit (Grad-CAM).
    relevance:  what the map adds up to.
    constants:  what biases, class tokens, position embeddings and all else took that is added whatever the picture.
    held:       what went into parts of the network that see the picture but let no gradient back (detach, no_grad), or
                that the composite holds constant.
    softmax:    what the softmax of attention took, whose rule under AttnLRP does not conserve.
    scale:      the largest of the logit and of the sums, without signs, of the map and of what constants took: what
                rounding errors grow with, however near to 0 the logit is.
    allowed:    how much may be lost or held; None where the method does not promise to add up.
    difference: how far the explained pass is from the plain network's logits, over the largest; None: not compared.
    cancels:    whether the scale is so far above all logits of the picture that the map is noise.
    empty:      whether all of the map is zero, so that there is none.
    reason:     why that is so, or where the network hides what is missing; "" where that is not known, or nothing is.
    """

    explained: float | None
    relevance: float
    constants: float = 0.0
    held: float = 0.0
    softmax: float = 0.0
    scale: float = 0.0
    allowed: float | None = None
    difference: float | None = None
    cancels: bool = False
    empty: bool = False
    reason: str = ""

    @property
    def lost(self) -> float:
        """What nothing accounts for; 0 where nothing has to."""
        if self.explained is None or self.allowed is None:
            return 0.0
        return self.explained - self.relevance - self.constants - self.held - self.softmax

    @property
    def holds(self) -> bool:
        """Whether there is a map, which is no noise, and no more is lost or held than is allowed."""
        return not (self.empty or self.cancels) and (
            self.allowed is None or max(abs(self.lost), abs(self.held)) <= self.allowed
        )


@final
@dataclass(frozen=True, eq=False, repr=False)
class Heatmap:
    """Relevance of each pixel of the preprocessed frame for one class, for a batch of pictures.

    values:    (N, H, W) float32 on the CPU, signed, summed over colour channels. Positive relevance speaks for the
               class, negative against it.
    targets:   the N explained classes by index, or phrases.
    logits:    the N explained logits; of phrases what the space finds of them. Where a rule conserves,
               ``values[n].sum()`` equals ``logits[n]``.
    method:    "lrp", "gradient-x-input", "integrated-gradients", "grad-cam".
    composite: name of the rule set, for LRP only.
    checks:    whether each map adds up, N; () where nobody looked.
    channels:  (N, C) the share of each channel in the positive relevance; None for one channel, three, or none.
    """

    values: torch.Tensor
    targets: tuple[int | str, ...]
    logits: tuple[float, ...]
    method: str
    composite: str | None = None
    checks: tuple[MapCheck, ...] = ()
    channels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        by = self.method if self.composite is None else f"{self.method} ({self.composite})"
        return f"<Heatmap {tuple(self.values.shape)} by {by} for classes {self.targets[:5]}>"

    def __getitem__(self, n: int) -> Heatmap:
        """The heatmap of picture n, still with a leading axis of one."""
        n = range(len(self))[n]
        one = slice(n, n + 1)
        return replace(
            self,
            values=self.values[one],
            targets=self.targets[one],
            logits=self.logits[one],
            checks=self.checks[one],
            channels=None if self.channels is None else self.channels[one],
        )

    @property
    def positive(self) -> torch.Tensor:
        """(N, H, W) positive relevance: the signed values with the negative ones set to zero."""
        return self.values.clamp(min=0)


BORNE_OUT: Final = "borne out"
NOT_BORNE_OUT: Final = "not borne out"
NOT_TESTABLE: Final = "not testable"
Verdict = Literal["borne out", "not borne out", "not testable"]


@final
@dataclass(frozen=True, repr=False)
class Check:
    """What became of the explained class when a claim about the decision was put to the test.

    change:      what was done to the picture, in words: "its place filled with the colours around it".
    verdict:     of ``Verdict``: whether the decision rests on what is claimed.
    effect:      how far the explained logit falls; below 0 where it rises. NaN where nothing could be changed.
    interval:    95 %, of how much further it falls than under the controls; None where there are too few.
    control:     the mean fall under the controls, equal changes elsewhere; None where there were none.
    p:           how probable such a fall is for an equal change elsewhere; None where that was not measured.
    q:           p, corrected together with the other claims of the picture (Benjamini and Hochberg, 1995).
    margin:      what the effect is held against: the explained logit above the mean of all logits.
    probability: of the explained class: (before, after, under the controls: None where there were none).
    rank:        of the explained class among all: (before, after); 1 is the first.
    keeps:       the share of the margin that is left where all but this is changed: is it sufficient? None: not asked.
    passes:      forward passes spent.
    reason:      why it could not be tested, or what the verdict rests on beside the numbers.
    """

    change: str
    verdict: Verdict
    effect: float
    margin: float
    probability: tuple[float, float, float | None]
    rank: tuple[int, int]
    interval: tuple[float, float] | None = None
    control: float | None = None
    p: float | None = None
    q: float | None = None
    keeps: float | None = None
    passes: int = 0
    reason: str = ""

    def __repr__(self) -> str:
        return f"<Check {self.verdict}>"

    @property
    def share(self) -> float:
        """The share of the margin that the change takes; NaN where there is none."""
        return self.effect / self.margin if self.margin > 0 else float("nan")


@final
@dataclass(frozen=True)
class RationaleUse:
    """Whether an answer rests on a rationale: both of its tests, and what they say together.

    verdict: "borne out" where both are, corrected together with the other reasons of the picture.
    p:       the largest of the tests'; None where one could not be made. q: p, corrected.
    text:    with other rationales in its place: falls of log P(c | r, I), in nats, and of P(c | r, I).
    picture: with its place covered: likewise; its ``reason`` says what P(r | I) does.
    The margin of both is what P(c | r, I) lacks of certainty, -log P(c | r, I).
    """

    verdict: Verdict
    p: float | None
    q: float | None
    text: Check
    picture: Check


@final
@dataclass(frozen=True, eq=False)
class Region:
    """A part of the picture that the decision is said to rest on.

    box:   the crop, in pixels of the original picture.
    mask:  (H, W) bool, in the preprocessed frame: the pixels whose relevance is counted.
    share: relevance under the mask over all positive relevance of the heatmap, 0..1.
    used:  what became of the decision without it; None where that was not tested.
    """

    box: Box
    mask: np.ndarray = field(repr=False)
    share: float
    used: Check | None = None


@final
@dataclass(frozen=True)
class Vocabulary:
    """Texts to look for, each in a group, each said through the templates of its group.

    phrases:   unique, non-empty texts ("hooked bill").
    groups:    the group of each phrase ("part", "colour", "scene"); same length as ``phrases``.
    templates: group -> prompts with one ``{}``; a group that is absent uses the key "" (default: the bare phrase).
               The embeddings of several prompts are averaged.
    name:      what reports call it.
    exclusive: groups whose phrases exclude each other ("red wing", "blue wing").
    attributes: what each phrase gives a value of ("wing color"), "" for nothing; values of one attribute exclude each
               other. Empty: the attributes are the exclusive groups.
    """

    phrases: tuple[str, ...]
    groups: tuple[str, ...]
    templates: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"": ("{}",)})
    name: str = "vocabulary"
    exclusive: frozenset[str] = frozenset()
    attributes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.phrases)

    def attribute(self, n: int) -> str | None:
        """What phrase n gives a value of, which no other value of it is true beside; None: of nothing."""
        if self.attributes:
            return self.attributes[n] or None
        return self.groups[n] if self.groups[n] in self.exclusive else None

    def prompts(self, n: int) -> tuple[str, ...]:
        """The prompts of phrase n, filled in."""
        templates = self.templates.get(self.groups[n]) or self.templates.get("") or ("{}",)
        return tuple(t.replace("{}", self.phrases[n]) for t in templates)


@final
@dataclass(frozen=True)
class Label:
    """A phrase found in a picture or region.

    score:   cosine in the space that found it; not comparable between spaces.
    rank:    1 for the best of the vocabulary.
    unusual: how many standard deviations the score lies above what this phrase usually scores (see
             similarity.py); comparable between phrases.
    """

    text: str
    group: str
    score: float
    rank: int
    unusual: float


@final
@dataclass(frozen=True)
class Finding:
    """What one space finds nearest in one region, or in the whole picture: a ranking, which claims nothing by itself.

    region: index into ``Explanation.regions``; None for the whole picture.
    labels: best first; none where the space cannot speak of the picture.
    space:  whose opinion this is. A label from CLIP is CLIP's opinion of where the classifier looked; one from the
            classifier's own space is the classifier's.
    """

    region: int | None
    labels: tuple[Label, ...]
    space: str


@final
@dataclass(frozen=True)
class Claim:
    """A phrase, and whether it may be said of a picture: is it there?

    about: "picture", "region 1" (counted from 1) where it stands out most, or "sentence".
    space: whose opinion it is. score: its cosine there; not comparable between spaces.
    there: the probability, 0..1, that it is in the picture, as calibrated; None where it is not known.
    basis: what that rests on, or why it is not known.
    said:  whether it is sure enough to be said as a fact.
    echo:  whether the name of the class alone would have said it: it goes with the name.
    used:  whether the decision rests on it; None where that was not tested.
    """

    text: str
    about: str
    space: str
    score: float
    there: float | None
    basis: str
    said: bool
    echo: bool = False
    used: Check | None = None


@final
@dataclass(frozen=True, eq=False)
class PhraseMap:
    """Where in a picture a phrase is, as a space sees it.

    heatmap:  of one picture (1, H, W), by ``attribute``. geometry: where its frame lies on the picture.
    score:    cosine of phrase and picture in the space. unusual: how many standard deviations it lies above what is
              usual.
    fits:     False where the phrase does not stand out: then read the map as where it would be, were it there.
    space:    whose opinion it is.
    """

    text: str
    heatmap: Heatmap
    geometry: Geometry
    score: float
    unusual: float
    fits: bool
    space: str


@final
@dataclass(frozen=True)
class Contrast:
    """Why this class and not another: phrases that speak for the explained class, and for the other one."""

    other: Prediction
    speaks_for: tuple[Label, ...]
    speaks_against: tuple[Label, ...]


@final
@dataclass(frozen=True)
class ConceptChange:
    """How far a phrase would have to be otherwise in the classifier's own features for it to say another class.

    by:     in standard deviations of its score over the pictures that taught it; above 0: more of it.
    before, after: its score, likewise, above its mean.
    usual:  what 98 % of those pictures score lies between; a change that leaves it is not named.
    """

    text: str
    by: float
    before: float
    after: float
    usual: tuple[float, float]


@final
@dataclass(frozen=True, eq=False)
class Counterfactual:
    """What of a picture would have to be otherwise for the classifier to say another class: why this and not that?

    other:       the class that was asked about, as it is before.
    after:       the class that is said of the changed picture.
    explained:   the probability of the explained class: (before, after). probability: of the other one.
    turned:      whether the other class is said then. ahead: whether it lies above the explained one.
    regions:     what is changed, () where nothing that was tried puts the other class ahead. share: of all that speaks
                 for the explained class rather than for the other one, 0..1.
    area:        the share of the frame that is changed.
    change:      what was done, in words: "filled with the colours around".
    minimal:     whether it was seen that none of the regions can be left out. A smaller set of others may exist.
    elsewhere:   (how many of the equal areas elsewhere do the same, how many were tried).
    passes:      forward passes spent.
    picture:     the changed picture, where there is one.
    concepts:    changes of single phrases that would do it too, the least first; () in a space without such phrases, or
                 where none is within what is usual.
    """

    other: Prediction
    after: Prediction
    explained: tuple[float, float]
    probability: tuple[float, float]
    turned: bool
    ahead: bool
    regions: tuple[Region, ...]
    area: float
    change: str
    minimal: bool
    elsewhere: tuple[int, int]
    passes: int
    picture: Picture | None
    concepts: tuple[ConceptChange, ...] = ()


@final
@dataclass(frozen=True)
class Word:
    """A word of a sentence, with what stands around it ("bill,").

    weight: how much the sentence's score falls without the word; None for words without content of their own.
    idle:   a word of content without which the sentence fits as well or better: read nothing into it.
    """

    text: str
    weight: float | None
    idle: bool


@final
@dataclass(frozen=True)
class Draft:
    """A sentence that was considered. score: its cosine in the space. judged: what the judge gives it."""

    text: str
    score: float
    judged: float


@final
@dataclass(frozen=True)
class Sentence:
    """One sentence about a picture, written by a language model against a space.

    text:       "" where there is none; ``refusal`` then says why.
    score:      cosine of sentence and picture in the space; not comparable between spaces.
    unusual:    how many standard deviations the score lies above what the sentence usually scores; NaN where the space
                does not know what is usual.
    space:      whose opinion it is. judge: the name of the space that chose among the drafts; judged: its score.
    perplexity: per token, under the language model alone.
    words:      the sentence's words in order, weighed.
    drafts:     all that were considered, best judged first.
    encodings:  texts that were encoded to write it. Of pictures written together (guided) the mean; else a text that
                an earlier picture had already is not counted again.
    facts:      the phrases it states, all of which may be said; () where nobody asked for facts.
    written:    whether the writer found its words; False where facts are said by a template.
    """

    text: str
    score: float
    unusual: float
    space: str
    judge: str
    judged: float
    perplexity: float
    words: tuple[Word, ...]
    drafts: tuple[Draft, ...]
    method: str
    writer: str
    encodings: int
    refusal: str | None = None
    facts: tuple[str, ...] = ()
    written: bool = True


@runtime_checkable
class Space(Protocol):
    """A place where pictures and words meet."""

    @property
    def name(self) -> str:
        """Whose opinion it is, as a report says it: "CLIP ViT-B-32 (laion2b_s34b_b79k)", "the classifier itself"."""

    def encode_images(self, images: Sequence[Image]) -> torch.Tensor:
        """(N, d) unit vectors on the CPU, float32, of N RGB pictures or crops of any size."""

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(M, d) unit vectors on the CPU, float32."""
