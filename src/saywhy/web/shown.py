"""An explanation as a page draws it: plain values, boxes as shares of the picture, pictures as data URLs."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

from PIL import Image

from saywhy.answers.claims import WHOLE, chance, heading, said, unsaid
from saywhy.answers.claims import region as region_name
from saywhy.answers.counterfactual import in_concepts, why_this_one
from saywhy.answers.drawing import BOXES, heatmap_rgba
from saywhy.answers.explanation import Explanation, verdict_and_rest
from saywhy.answers.places import places
from saywhy.answers.summary import checked, why_no_region
from saywhy.answers.verdicts import ELSEWHERE, SURROUNDINGS, fall, marks, tally
from saywhy.checks.surroundings import MORE
from saywhy.types import Box as Pixels
from saywhy.types import Check, Claim, Contrast, Counterfactual, Finding, Geometry, Heatmap, Sentence
from saywhy.types import Prediction as Said
from saywhy.web import schema

ASK = "whoever started this server can name pictures that lend theirs, with --reference"
"""What to do where too few pictures lend their surroundings, to who asks a server: MORE is for who started it."""


def document(explanation: Explanation) -> dict[str, Any]:
    """The JSON document of an explanation, with what a page draws as "shown"."""
    return json.loads(explanation.to_json()) | {"shown": shown(explanation).model_dump()}


def shown(e: Explanation) -> schema.Shown:
    """What a page draws of an explanation; of several targets, of the first."""
    size = e.picture.width, e.picture.height
    where = places([region.box for region in e.regions], size)
    frame = frame_box(e.geometry)
    verdict, rest = verdict_and_rest(e)
    return schema.Shown(
        name=e.picture.name,
        width=e.picture.width,
        height=e.picture.height,
        picture=jpeg_url(e.picture.jpeg),
        map=map_url(e.heatmap),
        frame=frame,
        cropped=cut(e.geometry) is not None,
        model=e.settings["model"],
        vocabulary=e.settings["vocabulary"],
        space=e.settings["space"],
        target=_prediction(e.target),
        predictions=[_prediction(one) for one in e.predictions],
        summary=e.summary,
        verdict=verdict,
        told=rest,
        sentence="" if e.sentence is None else e.sentence.text,
        sentence_words=_sentence_words(e.sentence),
        silence=e.silence,
        tally=str(tally(e.checks)),
        regions=[
            schema.Region(
                number=n + 1,
                box=box_on(region.box, size),
                share=region.share,
                where=where[n],
                colour=BOXES[n % len(BOXES)],
                words=_words(e, region_name(n), e.findings[n]),
                test=_test(region.used),
            )
            for n, region in enumerate(e.regions)
        ],
        no_region="" if e.regions else why_no_region(e.heatmap),
        whole=_words(e, WHOLE, e.concepts),
        surroundings=_test(e.surroundings, *SURROUNDINGS),
        against=None if e.counterfactual is None else _against(e.counterfactual, e.target.name, size),
        contrast=_contrast(e.contrast),
        map_check=checked(e.heatmap) if e.heatmap.values.any() else "",
    )


def cut(geometry: Geometry) -> schema.Box | None:
    """Where the frame that the network saw lies on the picture, where that is less than the picture; else None."""
    frame = frame_box(geometry)
    return None if _covers(frame) else frame


def frame_box(geometry: Geometry) -> schema.Box:
    """Where the frame that the network saw lies on the picture."""
    (width, height), (left, top) = geometry.size, geometry.offset
    return schema.Box(
        left=left / width,
        top=top / height,
        width=geometry.frame[0] * geometry.scale[0] / width,
        height=geometry.frame[1] * geometry.scale[1] / height,
    )


def box_on(box: Pixels, size: tuple[int, int]) -> schema.Box:
    """A box in pixels as shares of a picture (width, height)."""
    left, top, right, bottom = box
    return schema.Box(
        left=left / size[0], top=top / size[1], width=(right - left) / size[0], height=(bottom - top) / size[1]
    )


def map_url(heatmap: Heatmap) -> str:
    """The map of one picture as a data URL: a PNG of its frame, transparent where nothing speaks for or against."""
    buffer = io.BytesIO()
    Image.fromarray(heatmap_rgba(heatmap.values[0].numpy())).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def jpeg_url(jpeg: bytes) -> str:
    """A JPEG as a data URL."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def finite(value: float | None) -> float | None:
    """A number as JSON has it: none for what is not one."""
    return None if value is None or not math.isfinite(value) else float(value)


def _covers(frame: schema.Box, slack: float = 0.01) -> bool:
    """Whether the frame has all of the picture in it, but for a pixel or two."""
    low, high = -slack, 1 - slack
    return (
        frame.left <= -low
        and frame.top <= -low
        and frame.left + frame.width >= high
        and frame.top + frame.height >= high
    )


def _prediction(said: Said) -> schema.Prediction:
    return schema.Prediction(
        index=said.index, name=said.name, probability=finite(said.probability), logit=finite(said.logit)
    )


def _test(check: Check | None, what: str = "without it", beside: str = ELSEWHERE) -> schema.Test | None:
    if check is None:
        return None
    return schema.Test(
        verdict=check.verdict,
        said=fall(check, what, beside).replace(MORE, ASK),
        change=check.change,
        effect=finite(check.effect),
        margin=finite(check.margin),
        control=finite(check.control),
        p=finite(check.p),
        q=finite(check.q),
    )


def _words(e: Explanation, about: str, finding: Finding) -> schema.Words:
    unusual = {label.text: f"{label.unusual:+.1f} sd" for label in finding.labels if math.isfinite(label.unusual)}
    near = unsaid(e.claims, about)

    def word(claim: Claim) -> schema.Word:
        return schema.Word(
            text=claim.text,
            about=claim.about,
            seen=claim.said,
            there=finite(claim.there),
            chance=chance(claim),
            used=None if claim.used is None else claim.used.verdict,
            marks=marks(claim),
            echo=claim.echo,
            unusual=unusual.get(claim.text, ""),
            basis=claim.basis,
            space=claim.space,
            test=_test(claim.used),
        )

    return schema.Words(
        seen=[word(claim) for claim in said(e.claims, about)],
        heading=heading(near),
        near=[word(claim) for claim in near],
    )


def _against(found: Counterfactual, name: str, size: tuple[int, int]) -> schema.Against:
    return schema.Against(
        other=_prediction(found.other),
        after=_prediction(found.after),
        turned=found.turned,
        said=why_this_one(found, name),
        in_concepts=in_concepts(found, name),
        picture=None if found.picture is None else jpeg_url(found.picture.jpeg),
        boxes=[box_on(region.box, size) for region in found.regions],
    )


def _contrast(found: Contrast | None) -> schema.Contrast | None:
    """None where no phrase speaks for either. Strengths are without a sign: which side they are on says it."""
    if found is None or not (found.speaks_for or found.speaks_against):
        return None

    def speaks(labels: Any) -> list[schema.Speaks]:
        return [schema.Speaks(text=label.text, strength=abs(finite(label.unusual) or 0.0)) for label in labels]

    return schema.Contrast(
        other=_prediction(found.other),
        speaks_for=speaks(found.speaks_for),
        speaks_against=speaks(found.speaks_against),
    )


def _sentence_words(sentence: Sentence | None) -> list[schema.SentenceWord]:
    words = () if sentence is None else sentence.words
    most = max((word.weight or 0.0 for word in words), default=0.0) or 1.0
    return [
        schema.SentenceWord(text=w.text, strength=None if w.weight is None else max(0.0, w.weight) / most)
        for w in words
    ]
