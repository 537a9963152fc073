"""Words that are said of pictures, put to the test where the space that says them sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL.Image import Image
from torch import Tensor

from saywhy.attribution import LooksForTexts
from saywhy.checks.words import NO_MAP, Word, check_words, reframed, untold
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.types import Claim, Space

FAST_WORDS = 4  # of a picture that fast checks look for: each takes a map, and at most one forward pass
AT_ONCE = 4  # maps; memory grows with them
NO_SPACE = "it takes a map of the phrase: give verify the space="
TOO_MANY = f"fast checks look for {FAST_WORDS} words in a picture: the others are for full checks"


def words_tested(
    classifier: Classifier,
    images: Sequence[Image],
    pixels: Tensor,
    targets: Sequence[int],
    logits: Tensor,
    claims: Sequence[Sequence[Claim]],
    space: Space | None,
    most: int | None = FAST_WORDS,
) -> list[tuple[Claim, ...]]:
    """The claims of N explanations; those that the space says as facts with what became of each phrase.

    images:  N as RGB. pixels: (N, C, h, w), preprocessed. targets: N class indices. logits: (N, classes).
    space:   whose words they are; None: nobody knows where it sees them. most: words looked for in each picture.
    """
    texts = [list(dict.fromkeys(claim.text for claim in each if _said_by(claim, space))) for each in claims]
    words = [
        _located(said, image, classifier, space, len(said) if most is None else most)
        for said, image in zip(texts, images, strict=True)
    ]
    found = check_words(classifier, pixels, targets, words, logits=logits)
    used = [dict(zip(said, of, strict=True)) for said, of in zip(texts, found, strict=True)]
    return [
        tuple(replace(claim, used=of[claim.text]) if _said_by(claim, space) else claim for claim in each)
        for each, of in zip(claims, used, strict=True)
    ]


def _said_by(claim: Claim, space: Space | None) -> bool:
    return claim.said and (space is None or claim.space == space.name)


def _located(said: Sequence[str], image: Image, classifier: Classifier, space: Space | None, most: int) -> list[Word]:
    """The words that are said of a picture, each with its map; none is made where none can be tested."""
    if not isinstance(space, LooksForTexts):
        return [Word(text, None, NO_SPACE if space is None else NO_MAP) for text in said]
    asked = sorted(said, key=lambda text: untold(text) != "")[:most]  # what can be tested first, then its rivals
    if not asked or untold(asked[0]) or classifier.takes_tensors:
        return [Word(text) for text in said]
    try:
        maps = space.text_maps([image] * len(asked), asked, method="lrp", composite=None, batch_size=AT_ONCE)
    except SaywhyError as error:  # a tower that cannot be traced: an answer is there without this check
        return [Word(text, None, str(error)) for text in said]
    frame, onto = space.text_frame(image), classifier.frame_on(image)
    where = {text: reframed(heat.numpy(), frame, onto) for text, heat in zip(asked, maps.values, strict=True)}
    return [Word(text, where.get(text), TOO_MANY) for text in said]
