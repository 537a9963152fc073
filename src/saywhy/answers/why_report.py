"""Answers with their rationales as one self-contained HTML page, as ``report`` writes explanations."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saywhy.answers.drawing import overlay
from saywhy.answers.pages import data_uri, save_page
from saywhy.answers.why_figure import why_picture
from saywhy.questions.why import Why


def save_why_report(
    answers: Sequence[Why], path: Path, *, failures: Sequence[tuple[str, str]] = (), title: str = "Why?"
) -> Path:
    """One page about many pictures. failures: (name, reason) of those without an answer.

    Raises SaywhyError where it cannot be written.
    """
    cards = [_card(answer) for answer in answers]
    return save_page(path, "why.html", title=title, cards=cards, failures=list(failures))


def _card(why: Why) -> dict[str, Any]:
    """What the template shows of one answer: plain values and data URIs."""
    picture = why_picture(why)
    reasons = [
        {
            "reason": reason,
            "maps": []
            if reason.heat is None
            else [data_uri(overlay(picture, values.numpy(), why.geometry)) for values in reason.heat],
        }
        for reason in why.reasons
    ]
    return {
        "why": why,
        "picture": "data:image/jpeg;base64," + base64.b64encode(why.picture.jpeg).decode(),
        "reasons": reasons,
    }
