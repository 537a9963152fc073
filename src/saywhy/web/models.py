"""What may be asked: classifiers, each with the words it can be asked in, loaded before the first request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

from saywhy.answers.plain_names import plain_name
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import shown, unknown
from saywhy.questions.names_and_defaults import (
    VOCABULARIES,
    check_writer,
    default_space,
    default_writer,
    explaining_space,
    files_brought,
    resolve_seen,
    resolve_space,
    resolve_vocabulary,
    resolve_writer,
)
from saywhy.questions.options import ExplainOptions
from saywhy.questions.phrases import check_phrases
from saywhy.questions.verify import Others, lending
from saywhy.seen.gate import Seen
from saywhy.seen.layer_statistics import eyes_of
from saywhy.seen.references import doubts_of, usual_light
from saywhy.spaces.traits import vocabulary_of
from saywhy.types import Space, Vocabulary
from saywhy.web.gallery import lenders

if TYPE_CHECKING:
    from saywhy.questions.sentences.language_model import LanguageModel

Tell = Callable[[str], object]


@final
@dataclass(frozen=True, eq=False)
class Voice:
    """A space and the words that are looked for in it. light: filled in where a reference says what is usual."""

    space: Space
    words: Vocabulary
    seen: Seen

    def said(self) -> str:
        """Which words these are: "140 words: the parts, colours and backgrounds of the embedded aviary"."""
        name, count = self.words.name, f"{len(self.words):,} word{'s' * (len(self.words) != 1)}"
        if vocabulary_of(self.space) is not None:  # words that pictures have taught say so themselves
            return name
        return f"{count}: {VOCABULARIES[name]}" if name in VOCABULARIES else f"{count} of {name}"


@final
@dataclass(frozen=True, eq=False)
class Model:
    """A classifier that may be asked.

    name:      what it is called over the wire: without folders.
    voices:    by the name of the vocabulary; the first is the one it has where nobody names one.
    open:      a space that takes any phrase; None: ``why_closed`` says why there is none.
    others:    pictures of the reference, else of the gallery, which lend their surroundings to every picture alike;
               None where there are none that the model is known to know.
    """

    name: str
    classifier: Classifier
    voices: Mapping[str, Voice]
    open: Space | None
    why_closed: str
    writer: LanguageModel | None
    others: Others | None

    def voice(self, vocabulary: str) -> Voice:
        """The one of that name; "": the first. Raises SaywhyError for another."""
        if not vocabulary:
            return next(iter(self.voices.values()))
        if vocabulary not in self.voices:
            raise unknown("vocabulary", vocabulary, self.voices, also=f" for {self.name}")
        return self.voices[vocabulary]

    def space_for(self, phrases: Sequence[str]) -> Space:
        """The first of its spaces that knows these phrases and says where they are.

        Raises SaywhyError where none does.
        """
        spaces = [voice.space for voice in self.voices.values()]
        for space in spaces:
            if vocabulary_of(space) is None:
                continue  # it takes any; one that was taught these phrases goes first
            try:
                check_phrases(phrases, space)
            except SaywhyError:
                continue
            return space
        return self.open_space()

    def open_space(self) -> Space:
        """The space that takes any phrase. Raises SaywhyError where there is none."""
        if self.open is None:
            raise SaywhyError(self.why_closed)
        return self.open


@final
@dataclass(frozen=True)
class Named:
    """A model of the command line. source: what ``Classifier.load`` was given."""

    source: str
    classifier: Classifier = field(repr=False)


def prepared(
    named: Named,
    vocabularies: Sequence[str] = (),
    space: str | None = None,
    *,
    writer: str | None = None,
    reference: Sequence[str] = (),
    device: str | None = None,
    tell: Tell = lambda note: None,
) -> Model:
    """A model with all that answers need.

    vocabularies: (): its own, and general concepts where its space takes any words. space: None: its own.
    tell:         is told of each vocabulary that it cannot be asked in.

    Raises SaywhyError where none of the vocabularies goes with it, and for a space that cannot be loaded.
    """
    classifier = named.classifier
    spaces: dict[str, Space] = {}

    def opened(name: str) -> Space:
        if name not in spaces:
            spaces[name] = resolve_space(name, classifier, device)
        return spaces[name]

    light = usual_light(list(reference)) if reference else None
    voices: dict[str, Voice] = {}
    wanted: list[str | None] = [*vocabularies] or [None]
    problems = []
    for vocabulary in wanted:
        try:
            asked_of = space or explaining_space(classifier, vocabulary)
            opinion = opened(asked_of)
            given = None if vocabulary is None else resolve_vocabulary(vocabulary, classifier)
            words = resolve_vocabulary(given, classifier, opinion)
            doubts = doubts_of(
                eyes_of(opinion, classifier), list(reference) or None, brought=files_brought(asked_of, None), tell=tell
            )
            voices[words.name] = Voice(
                opinion, words, replace(resolve_seen(opinion, words, doubts=doubts), light=light)
            )
        except SaywhyError as error:
            problems.append(error)
            if vocabulary is not None:
                tell(f"{named.source} is not asked in {shown(vocabulary)}: {error}")
    if not voices:
        raise problems[0]
    narrowest = min((voice.space for voice in voices.values()), key=lambda one: vocabulary_of(one) is None)
    language = resolve_writer(default_writer(classifier, narrowest) if writer is None else writer)
    check_writer(language, narrowest)
    takes_any = next((voice.space for voice in voices.values() if vocabulary_of(voice.space) is None), None)
    why = ""
    if takes_any is None:
        try:
            takes_any = opened(default_space(classifier))
            check_phrases(["a thing"], takes_any)
        except SaywhyError as error:
            takes_any, why = None, f"{plain_name(named.source)} cannot be asked for any phrase: {error}"
    called = plain_name(named.source)
    if classifier.name == named.source != called:
        classifier = replace(classifier, name=called)
    return Model(called, classifier, voices, takes_any, why, language, _others(called, classifier, reference))


def _others(called: str, classifier: Classifier, reference: Sequence[str]) -> Others | None:
    """What lends surroundings: the same to each picture, whatever was explained before it."""
    if reference:
        return lending(classifier, list(reference), ExplainOptions.checks, none_else=True)
    pictures = lenders(called, classifier.labels)
    return Others(pictures, classifier, none_else=True) if pictures else None
