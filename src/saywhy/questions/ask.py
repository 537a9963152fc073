"""How well captions fit pictures, before surgery and after; the path of ``saywhy ask``.

Source: Caption-driven XAI (Koller et al. 2025). What the answers say is measured in ``answers.captions_measures``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.answers.captions import Answers
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.metrics.blind_controls import random_words
from saywhy.pictures.in_batches import Advance, Readable, bounded
from saywhy.pictures.sources import LabelledImage, named
from saywhy.questions.names_and_defaults import check_captions
from saywhy.questions.options import ASK_BATCH, AskOptions
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.operated import BATCH as MATCHED_AT_ONCE
from saywhy.spaces.operated import OperatedSpace, match_classifier
from saywhy.spaces.similarity import FEWEST, unusual_scores
from saywhy.spaces.surgery.matching import Matching
from saywhy.spaces.traits import reference_of, scale_of
from saywhy.types import Space


def read_groups(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of captions from what a user types: "red digit|green digit" is one; all without a bar are another.

    Raises SaywhyError where there is no caption, an empty one, or one that is in a group twice.
    """
    alone = tuple(text.strip() for text in texts if "|" not in text)
    groups: list[tuple[str, ...]] = []
    for text in texts:
        group = tuple(part.strip() for part in text.split("|")) if "|" in text else alone
        if group not in groups:
            groups.append(group)
    if not groups:
        raise SaywhyError(
            'no captions to ask; e.g. "a red digit|a green digit" "the digit 5|the digit 8" (what has a slash, or '
            "ends as a picture file does, is read as a picture's name)"
        )
    for group in groups:
        if not all(group) or len(set(group)) < len(group):
            raise SaywhyError(f"captions must not be empty, or twice in one group: {' | '.join(group)}")
    return tuple(groups)


def ask(
    images: Iterable[Image.Image],
    groups: Sequence[Sequence[str]],
    space: Space,
    operated: Space | None = None,
    *,
    pictures: Sequence[str] | None = None,
    classes: Sequence[str | None] | None = None,
    predicted: Sequence[str] | None = None,
    usual: Sequence[str] = (),
    batch_size: int = ASK_BATCH,
) -> Answers:
    """Ask every caption of every picture. Pictures are read once, a batch at a time.

    groups:   captions that compete with each other; see ``read_groups``.
    operated: the same space with a classifier's activations in it; see ``OperatedSpace``.
    usual:    phrases of which a caption must stand out, where the space does not know what is usual; none: then that
              is not told. Not of a space that is operated on.

    Raises SaywhyError where there are no pictures, the numbers of names or classes are not that of pictures, or the
    space says no words (``check_captions``).
    """
    check_captions(space)
    captions = [caption for group in groups for caption in group]
    spaces = [space] if operated is None else [space, operated]
    texts = [each.encode_texts(captions) for each in spaces]
    held = None if operated is not None else held_against(space, usual)
    unusual: list[Tensor] = []
    scores: list[list[Tensor]] = [[] for _ in spaces]
    total, products = torch.zeros(()), torch.zeros(())  # of the pictures' vectors in the space, for their covariance
    for batch in bounded(((None, image) for image in images), batch_size):
        for each, text, scored in zip(spaces, texts, scores, strict=True):
            vectors = each.encode_images([image for _, image in batch])
            scored.append(vectors @ text.T)
            if held is not None:
                unusual.append(standing_out(vectors, text, held))
            if each is space:
                wide = vectors.double()
                total, products = total + wide.sum(0), products + wide.T @ wide
    if not scores[0]:
        raise SaywhyError("there are no pictures to ask about")
    cosines = [torch.cat(batches) for batches in scores]
    count = len(cosines[0])
    for what, names in (("names", pictures), ("classes", classes), ("predictions", predicted)):
        if names is not None and len(names) != count:
            raise SaywhyError(f"{len(names)} {what} for {count} pictures")
    noise = None
    if operated is not None:
        covariance = products / count - torch.outer(total, total) / count**2
        noise = tuple(chance_contrast(group, space, covariance) for group in groups)
    return Answers(
        groups=tuple(tuple(group) for group in groups),
        before=cosines[0],
        after=cosines[1] if operated is not None else None,
        pictures=tuple(pictures or (str(n) for n in range(1, count + 1))),
        classes=None if classes is None else tuple(classes),
        predicted=None if predicted is None else tuple(predicted),
        scale=scale_of(space),
        spaces=tuple(each.name for each in spaces),
        noise=noise,
        unusual=torch.cat(unusual) if unusual else None,
    )


@final
@dataclass(frozen=True)
class Held:
    """What captions are held against. reference: (K, d) pictures, or None; texts: (M, d) phrases, (0, d) with it."""

    reference: Tensor | None
    texts: Tensor

    @property
    def usual(self) -> str:
        """What they are held against, in words."""
        return "what is usual for it" if self.reference is not None else "the other phrases for this picture"


def held_against(space: Space, phrases: Sequence[str]) -> Held | None:
    """What says how much is usual in a space: its reference, or, where it has too few or none, what phrases score."""
    reference = reference_of(space)
    if reference is not None and len(reference) >= FEWEST:
        return Held(reference, reference[:0])
    return Held(None, space.encode_texts(phrases)) if phrases else None


def standing_out(images: Tensor, captions: Tensor, held: Held) -> Tensor:
    """(N, M) how many standard deviations (M, d) captions lie above what is usual in (N, d) pictures."""
    return unusual_scores(images, torch.cat([held.texts, captions]), held.reference)[1][:, -len(captions) :]


DIRECTIONS, NONSENSE, LEVEL = 400, 40, 0.95  # draws of each kind of contrast that says nothing; their quantile


def chance_contrast(captions: Sequence[str], space: Space, covariance: Tensor) -> float:
    """How far contrasts that say nothing spread over pictures: what ``captions_measures.contrast`` must exceed.

    Two kinds: captions of the same lengths and angles in random directions of the space (what any direction catches
    of how these pictures differ), and the same captions with random letters for the words in which they differ (what
    any words catch). Of each the 95 % quantile; of both the larger.

    covariance: (d, d) float64, of the pictures' vectors in the space.
    """
    if len(captions) < 2:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    texts = space.encode_texts(list(captions)).double()
    sizes = torch.linalg.svdvals(texts - texts.mean(0))[: len(captions) - 1]
    directions = torch.randn(DIRECTIONS, len(sizes), len(covariance), generator=generator, dtype=torch.float64)
    directions = sizes[:, None] * F.normalize(directions, dim=2)
    found = [_spread(directions, covariance).quantile(LEVEL)]
    if nonsense := _nonsense(captions):
        vectors = space.encode_texts([text for group in nonsense for text in group]).double()
        vectors = vectors.reshape(len(nonsense), len(captions), -1)
        found.append(_spread(vectors - vectors.mean(1, keepdim=True), covariance).quantile(LEVEL))
    return float(torch.stack(found).max())


def _spread(captions: Tensor, covariance: Tensor) -> Tensor:
    """(S,) deviations over pictures of what (S, m, d) captions, centred, are to them."""
    return ((captions @ covariance) * captions).sum((1, 2)).clamp(min=0).sqrt()


def _nonsense(captions: Sequence[str]) -> list[list[str]]:
    """NONSENSE times the captions, with other letters in the words that not all of them have; or none at all."""
    words = [caption.split() for caption in captions]
    common = set.intersection(*map(set, words))
    if any(set(some) <= common for some in words):  # "a watermark", "no a watermark": one has no word of its own
        common = set()
    own = [word for some in words for word in some if word not in common and any(map(str.isalnum, word))]
    if not own:
        return []
    letters = iter(random_words(NONSENSE * len(own), own, seed=0))
    return [
        [" ".join(next(letters) if word in own else word for word in some) for some in words] for _ in range(NONSENSE)
    ]


ENOUGH = 50  # pictures, below which correlations and intervals are rough


def find_matching(
    clip: ClipSpace,
    classifier: Classifier,
    pictures: Sequence[LabelledImage],
    options: AskOptions | None = None,
    read: Readable | None = None,
    advance: Advance = lambda count: None,
    seed: int = 0,
    batch_size: int = MATCHED_AT_ONCE,
) -> Matching:
    """``match_classifier`` on pictures in a random order, as its null needs, that is the same for the same seed.

    options: None: the defaults. read: opens the pictures, and knows which cannot be read.

    Raises SaywhyError for fewer than two pictures that can be read, and as ``match_classifier``.
    """
    order = np.random.default_rng(seed).permutation(len(pictures))
    images = (image for _, image in (read or Readable())([pictures[n] for n in order], advance))
    at_once = min(batch_size, MATCHED_AT_ONCE)
    return match_classifier(clip, classifier, images, **vars((options or AskOptions()).matching), batch_size=at_once)


def operate(clip: ClipSpace, classifier: Classifier, matching: Matching, options: AskOptions) -> OperatedSpace:
    """CLIP with the classifier's matched channels in it, all of them or the share that the options ask for."""
    chosen = matching if options.share is None else matching.strongest(options.share)
    return OperatedSpace(clip, classifier, chosen, options.surgery)


def ask_pictures(
    pictures: Sequence[LabelledImage],
    groups: Sequence[Sequence[str]],
    space: Space,
    operated: OperatedSpace | None = None,
    classifier: Classifier | None = None,
    read: Readable | None = None,
    advance: Advance = lambda count: None,
    batch_size: int = ASK_BATCH,
    usual: Sequence[str] = (),
) -> tuple[Answers, list[str]]:
    """The answers, and the classes of the pictures that the classifier does not have.

    Where there are such classes, right and wrong predictions are not distinguished. Pictures are read once. Of a
    multi-label classifier a picture's own class counts as predicted where it is among the labels that are said.

    read: opens the pictures, and knows which cannot be read. usual: as of ``ask``.

    Raises SaywhyError where no picture can be read, and where the space says no words.
    """
    read = read or Readable()
    pictures, strangers = (pictures, []) if classifier is None else named(pictures, classifier.labels)
    done: list[LabelledImage] = []
    predicted: list[str] = []

    def images() -> Iterator[Image.Image]:
        for batch in bounded(read(pictures, advance), batch_size):
            done.extend(picture for picture, _ in batch)
            if classifier is not None:
                logits = classifier.logits(classifier.preprocess([image for _, image in batch])).float().cpu()
                for (picture, _), row in zip(batch, logits, strict=True):
                    said = [classifier.labels[c] for c in classifier.said(row)]
                    best = classifier.predictions(row[None], 1)[0][0].name
                    predicted.append(str(picture.label) if picture.label in said else (said or [best])[0])
            yield from (image for _, image in batch)

    answers = ask(images(), groups, space, operated, usual=usual, batch_size=batch_size)
    classes = tuple(None if picture.label is None else str(picture.label) for picture in done)
    answers = replace(
        answers,
        pictures=tuple(picture.name for picture in done),
        classes=classes if any(name is not None for name in classes) else None,
        predicted=None if classifier is None else tuple(predicted),
        judged=not strangers,
        model=None if classifier is None else classifier.name,
        model_record={} if classifier is None else classifier.record,
        surgery=None if operated is None else asdict(operated.surgery),
        matching=None if operated is None else matching_summary(operated.matching),
        failures=read.failures,
    )
    return answers, strangers


def matching_summary(matching: Matching) -> dict[str, Any]:
    """How channels were matched, and how well, as plain values."""
    return {
        "how": matching.how, "images": matching.images, "decisive": matching.decisive, "chance": matching.chance,
        "shuffles": matching.shuffles, "layers": matching.quality(),
    }  # fmt: skip
