"""What goes over the wire, as pydantic models: the source of /openapi.json, and of docs/serve.md.

Boxes and frames are shares of the picture's width and height, so that they fit a copy of any size.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

MOST_TEXT = 200
"""Characters of a phrase, a caption or a name of a class."""
MOST_CAPTIONS = 20


class Box(BaseModel):
    """A rectangle on the picture: 0 is its left or upper edge, 1 its right or lower one. A frame may reach beyond."""

    left: float = Field(description="of the left edge, 0..1 of the picture's width")
    top: float = Field(description="of the upper edge, 0..1 of the picture's height")
    width: float = Field(description="0..1 of the picture's width")
    height: float = Field(description="0..1 of the picture's height")


class Test(BaseModel):
    """What became of the decision when what is claimed was taken out of the picture."""

    verdict: Literal["borne out", "not borne out", "not testable"] = Field(
        description="what was found: borne out, the decision rests on it"
    )
    said: str = Field(description="in words: what became of the score, and of that under the controls")
    change: str = Field(description="what was done to the picture")
    effect: float | None = Field(description="how far the explained logit falls")
    margin: float | None = Field(description="what it is held against: the logit above the mean of all logits")
    control: float | None = Field(description="the mean fall under equal changes elsewhere")
    p: float | None = Field(description="how often chance alone gives as much, 0..1; null where it was not tested")
    q: float | None = Field(description="p, corrected for the other claims of the picture")


class Word(BaseModel):
    """A phrase: whether it is seen in the picture, and whether the decision rests on it."""

    text: str = Field(description="the phrase")
    about: str = Field(description='"picture", "region 1" ..., "sentence"')
    seen: bool = Field(description="whether it is sure enough to be said as a fact")
    there: float | None = Field(description="the probability that it is in the picture; null where it is not known")
    chance: str = Field(description='the same for people, "97 %"; "" where it is not known')
    used: Literal["borne out", "not borne out", "not testable"] | None = Field(
        description="whether the decision rests on it; null where that was not tested"
    )
    marks: str = Field(description='both in words: "seen and used", "seen, not used" ...')
    echo: bool = Field(description="whether the name of the class alone would have said it")
    unusual: str = Field(description='how far above its usual score it lies, "+2.1 sd"; "" where it is not known')
    basis: str = Field(description="what its probability rests on, or why there is none")
    space: str = Field(description="whose opinion it is")
    test: Test | None = Field(description="what became of the decision without it; null where that was not tested")


class Words(BaseModel):
    """What is found in a region, or in the whole picture."""

    seen: list[Word] = Field(description="said as facts")
    heading: str = Field(description="what is to stand above those that are near")
    near: list[Word] = Field(description="near, and not said: shown small, if at all")


class Region(BaseModel):
    """A part of the picture that the decision rests on, most relevant first."""

    number: int = Field(description="from 1")
    box: Box = Field(description="where it is")
    share: float = Field(description="of all relevance that speaks for the class, 0..1")
    where: str = Field(description='"upper left", "centre, further right"; no two are called alike')
    colour: str = Field(description="of its box, #rrggbb")
    words: Words = Field(description="what is found in it")
    test: Test | None = Field(description="what became of the decision without it; null where that was not tested")


class Prediction(BaseModel):
    """A class, and what the classifier says of it."""

    index: int = Field(description="the class, counted from 0")
    name: str = Field(description="of the class")
    probability: float | None = Field(description="0..1; null where the classifier gives none")
    logit: float | None = Field(description="the classifier's score, without a unit; null where it is not finite")


class Against(BaseModel):
    """Why this class and not another: the least change that was found to make the other one of it."""

    other: Prediction = Field(description="the class that was asked about, of the picture as it is")
    after: Prediction = Field(description="what is said of the changed picture")
    turned: bool = Field(description="whether the other class is said then")
    said: str = Field(description="one sentence")
    in_concepts: str = Field(description='the same in phrases of the classifier\'s own features; "" for none')
    picture: str | None = Field(description="data URL of the changed picture")
    boxes: list[Box] = Field(description="what was changed")


class Speaks(BaseModel):
    """A phrase that speaks for one class rather than another. strength: standard deviations, above 0."""

    text: str = Field(description="the phrase")
    strength: float = Field(description="standard deviations over the vocabulary, above 0")


class Contrast(BaseModel):
    """Phrases of the classifier's own space that speak for the explained class, and for the other one."""

    other: Prediction = Field(description="the class beside the explained one")
    speaks_for: list[Speaks] = Field(description="of the explained class, strongest first")
    speaks_against: list[Speaks] = Field(description="of the other class, strongest first")


class SentenceWord(BaseModel):
    """A word of the sentence. strength: 0..1, what it adds to how well the sentence fits; null for "a", "the" ..."""

    text: str = Field(description="the word, as it stands in the sentence")
    strength: float | None = Field(description="0..1 of the strongest word; null for words that say nothing")


class Shown(BaseModel):
    """What a page needs to draw an explanation."""

    name: str = Field(description="of the picture, without folders")
    width: int = Field(description="of the picture, pixels")
    height: int = Field(description="of the picture, pixels")
    picture: str = Field(description="data URL of a JPEG, its longer side at most 1024 pixels")
    map: str = Field(description="data URL of a PNG with alpha: red speaks for the class, blue against; lies on frame")
    frame: Box = Field(description="what the network saw, on the picture; it may reach beyond it")
    cropped: bool = Field(description="whether the network saw less than the picture")
    model: str = Field(description="its name")
    vocabulary: str = Field(description="which words were looked for")
    space: str = Field(description="whose opinion the words are")
    target: Prediction = Field(description="the class that is explained")
    predictions: list[Prediction] = Field(description="best first")
    summary: str = Field(description="one or more sentences; phrases between asterisks are facts")
    verdict: str = Field(description="what is said, the first sentence of the summary")
    told: dict[str, str] = Field(description="its rest, by what it is about")
    sentence: str = Field(description='of a language model, held against the space; "" where there is none')
    sentence_words: list[SentenceWord] = Field(description="of that sentence, in order; [] where there is none")
    silence: str = Field(description='why nothing is said of what is there; "" where words may be said')
    tally: str = Field(description='"4 claims put to the test: 2 borne out, ..."; "" where none was tested')
    regions: list[Region] = Field(description="most relevant first")
    no_region: str = Field(description='why there is no region; "" where there is one')
    whole: Words = Field(description="of the whole picture")
    surroundings: Test | None = Field(
        description="what became of the decision in other surroundings; null where that was not tested"
    )
    against: Against | None = Field(description="null where it was not asked")
    contrast: Contrast | None = Field(description="null where the space knows no classes")
    map_check: str = Field(description='whether the map adds up to the logit, in words; "" for an empty map')


class Explained(BaseModel):
    """The document that ``saywhy explain --json`` writes (format saywhy.explanation/2), and what a page draws."""

    model_config = {"extra": "allow"}
    format: str = Field(description="of this document, with its version")
    summary: str = Field(description="all that is said, in sentences")
    claims: list[dict[str, Any]] = Field(description="each word with what is known of it; docs/reference-formats.md")
    predictions: list[Prediction] = Field(description="best first")
    target: Prediction = Field(description="the class that is explained")
    settings: dict[str, Any] = Field(description="what it takes to repeat this")
    shown: Shown = Field(description="what a page draws; not part of the format")


class QueuedState(BaseModel):
    """A question that waits."""

    state: Literal["queued"]
    position: int = Field(description="1 is the next")


class RunningState(BaseModel):
    """A question that is worked on."""

    state: Literal["running"]
    what: str = Field(description="is done now, in words")
    done: int = Field(description="steps that are done")
    total: int = Field(description="steps in all")


class ExplanationState(BaseModel):
    """The last line of an answer to POST /api/explanations."""

    state: Literal["done"]
    explanation: Explained = Field(description="the answer")


class FailedState(BaseModel):
    """The last line where there is no answer."""

    state: Literal["failed"]
    error: str = Field(description="one line")


ExplanationLine = Annotated[QueuedState | RunningState | ExplanationState | FailedState, Field(discriminator="state")]
"""A line of an answer to POST /api/explanations."""


class Heatmap(BaseModel):
    """Where a phrase is in the picture, as a space sees it."""

    phrase: str = Field(description="what was looked for")
    heatmap: str = Field(description="data URL of a PNG with alpha; lies on frame")
    frame: Box = Field(description="what was looked at, on the picture; it may reach beyond it")
    cropped: bool = Field(description="whether less than the picture was looked at")
    picture: str = Field(description="data URL of the picture's JPEG")
    score: float = Field(description="cosine of phrase and picture")
    unusual: float | None = Field(description="standard deviations above what is usual")
    fits: bool = Field(description="false: it does not stand out; read the map as where it would be, were it there")
    said: str = Field(description="the same in words")
    space: str = Field(description="whose opinion it is")


class HeatmapState(BaseModel):
    """The last line of an answer to POST /api/heatmaps."""

    state: Literal["done"]
    heatmap: Heatmap = Field(description="the answer")


HeatmapLine = Annotated[QueuedState | RunningState | HeatmapState | FailedState, Field(discriminator="state")]


class Caption(BaseModel):
    """How well one caption fits."""

    text: str = Field(description="the caption")
    score: float = Field(description="cosine of caption and picture; compare it within this answer only")
    unusual: float | None = Field(description="standard deviations above what is usual")
    fits: bool = Field(description="whether it lies 2 standard deviations or more above what is usual")
    share: float = Field(description="softmax over the captions given, 0..1; not a probability that it is true")


class Captions(BaseModel):
    """Captions, in the order given."""

    captions: list[Caption] = Field(description="in the order given")
    best: str = Field(description="the one that fits best")
    meaning: str = Field(description="what share and unusual mean, in words")
    space: str = Field(description="whose opinion it is")


class CaptionsState(BaseModel):
    """The last line of an answer to POST /api/captions."""

    state: Literal["done"]
    captions: Captions = Field(description="the answer")


CaptionsLine = Annotated[QueuedState | RunningState | CaptionsState | FailedState, Field(discriminator="state")]


class Problem(BaseModel):
    """What every refusal says."""

    error: str = Field(description="one line: what was wrong, and what to do")


class OfferedModel(BaseModel):
    """A classifier that may be asked."""

    name: str = Field(description="what a question calls it")
    task: str = Field(description="single-label, multi-label or binary")
    classes: list[str] = Field(description="in the order of their indices")
    vocabularies: list[str] = Field(description="that it can be asked in; the first is its own")
    words: dict[str, str] = Field(description="of each vocabulary: how many words, and where they are from, in words")
    phrases: bool = Field(description="whether the heatmap of any phrase, and captions, can be asked for")
    why_no_phrases: str = Field(description='one line; "" where they can be asked for')


class GalleryPicture(BaseModel):
    """A picture that everybody has."""

    id: str = Field(description="what a question calls it")
    name: str = Field(description="what it shows")
    credit: str = Field(description="whose it is, and its licence")
    models: list[str] = Field(description="that know such pictures; [] for all that are not of a rendered world")


class AuditName(BaseModel):
    """The audit that may be looked around in."""

    name: str = Field(description="of its folder")
    model: str | None = Field(description="the offered model that was audited; null where it is not offered")


class Options(BaseModel):
    """What may be asked: no other name is taken from a request."""

    models: list[OfferedModel] = Field(description="the first is asked where a question names none")
    vocabularies: list[str] = Field(description="of all models")
    checks: list[str] = Field(description="how much may be put to the test, from nothing to most")
    max_bytes: int = Field(description="of a picture's file, bytes")
    max_pixels: int = Field(description="of a picture, pixels")
    gallery: list[GalleryPicture] = Field(description="pictures that everybody has")
    audit: AuditName | None = Field(description="null where none is served")
    token_needed: bool = Field(description="whether a question must carry the token")
    version: str = Field(description="of saywhy")


class Asked(BaseModel):
    """The fields of a question about a picture, beside the picture itself."""

    model: str = Field(
        "", max_length=MOST_TEXT, description="a name from /api/options; left out: the first, and of audited its own"
    )
    vocabulary: str = Field("", max_length=MOST_TEXT, description="a name from /api/options; the model's own else")
    example: str = Field("", max_length=MOST_TEXT, description="a picture of the gallery, by id, instead of a file")
    audited: int | None = Field(None, description="a picture of the audit, by number, instead of a file")
    target: str = Field("", max_length=MOST_TEXT, description="the class to explain; the one that is said else")
    against: str = Field("", max_length=MOST_TEXT, description="why that class and not this one?")
    checks: str = Field("", max_length=MOST_TEXT, description="how much is put to the test; fast where left out")
    phrase: str = Field("", max_length=MOST_TEXT, description="of /api/heatmaps: what to look for")
    captions: list[Annotated[str, Field(max_length=MOST_TEXT)]] = Field(
        default_factory=list, max_length=MOST_CAPTIONS, description="of /api/captions: repeated"
    )


class Effect(BaseModel):
    """A number with its 95 % interval."""

    value: float | None = Field(description="in the finding's unit")
    low: float | None = Field(description="lower end of the interval, in the same unit")
    high: float | None = Field(description="upper end of the interval, in the same unit")
    text: str = Field(description='the same for people, "0.85 (0.64 to 0.95)"')


class Finding(BaseModel):
    """One thing that an audit found."""

    number: int = Field(description="its place among all, from 0: of /api/audit/findings/{number}")
    kind: str = Field(description="by its short name")
    title: str = Field(description="of its kind, for people")
    badge: str = Field(description="decides, goes with, or to check")
    about: list[str] = Field(description="classes or values that it is of, the affected one first")
    sentence: str = Field(description="what was found")
    decides: bool = Field(description="whether pictures were changed and the classifier asked again; else it goes with")
    effect: Effect = Field(description="how much, in unit")
    unit: str = Field(description="what the effect counts")
    null: float | None = Field(description="the same effect by chance, or under controls")
    p: float | None = Field(description="0..1; null where it was not tested")
    q: float | None = Field(description="p, corrected for all that was tested")
    words: list[str] = Field(description="phrases that it names")
    place: str = Field(description='where in the picture; "" for nowhere')
    verified: tuple[int, int] | None = Field(description="borne out in so many of so many examples that were tested")
    examples: int = Field(description="how many pictures show it")


class AuditOverview(BaseModel):
    """What an audit is of, and what it found."""

    title: str = Field(description="its heading")
    setup: list[str] = Field(description="who was audited on what, in sentences")
    pictures: int = Field(description="how many were audited")
    findings: list[Finding] = Field(description="what decides first")
    model: str | None = Field(description="the offered model that was audited; null where it is not offered")
    why_not: str = Field(description='why its pictures cannot be explained here; "" where they can')


class AuditPicture(BaseModel):
    """A picture of an audit."""

    number: int = Field(description="of /api/audit/pictures/{number}")
    file: str = Field(description="its name, without folders")
    truth: str = Field(description='its true class, or several; "" where it is not known')
    prediction: str = Field(description="the class that is said")
    probability: float | None = Field(description="of that class, 0..1; null where there is none")
    correct: bool | None = Field(description="whether that is the true class; null where it is not known")
    picture: bool = Field(description="whether /api/audit/pictures/{number}.jpg has a thumbnail of it")
    frame: Box | None = Field(
        description="what the network saw of it; null where that is all of it, and where its model is not offered"
    )


class Changed(BaseModel):
    """A picture that was changed for a finding, beside what it was. before, after: data URLs."""

    number: int = Field(description="of /api/audit/pictures/{number}")
    file: str = Field(description="its name, without folders")
    before: str = Field(description="data URL of the JPEG before the change")
    after: str = Field(description="data URL of the JPEG after it")
    was: str = Field(description="the class that is said before")
    said: str = Field(description="the class that is said after")
    probability: float | None = Field(description="of the class that is said after, 0..1")


class FindingDetails(BaseModel):
    """A finding with its pictures."""

    finding: Finding = Field(description="itself")
    cost: str = Field(description='what it may cost in accuracy, in a sentence; "" where that is not known')
    examples: list[AuditPicture] = Field(description="pictures that show it, best first")
    counters: list[AuditPicture] = Field(description="pictures that do not, or least")
    examples_are: str = Field(description="what the examples are, as a heading")
    counters_are: str = Field(description="what the counters are, as a heading")
    words_are: str = Field(description='what its words are: the space\'s, measured, metadata; "" for none')
    changed: list[Changed] = Field(description="pictures before and after what was done")
    slices: list[Finding] = Field(description="slices that are of one of its classes")


class AuditRow(AuditPicture):
    """What an audit knows of one picture."""

    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    runner_up: str = Field(description="the second class")
    runner_up_probability: float | None = Field(description="of it, 0..1; null where there is none")
    words: list[str] = Field(description="said as facts")
    concepts: list[str] = Field(description="nearest phrases")
    silence: str = Field(description='why no words are said of it; "" where they may be')
    map: bool = Field(description="whether /api/audit/pictures/{number}/map.jpg has its map")
    findings: list[Finding] = Field(description="that name it")
    why_not: str = Field(description='why it cannot be explained here; "" where it can')
