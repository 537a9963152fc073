"""A paragraph for a model card in Markdown: limitations and biases that were found, with numbers, and how."""

from __future__ import annotations

import re
from pathlib import Path

from saywhy.audits.finding import AuditFinding
from saywhy.audits.kinds import KINDS
from saywhy.audits.told import Told, in_words, percent, probable
from saywhy.errors import one_line
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import shown

DECIDING, EACH = 10, 3  # findings that decide, and of each other kind


def write(told: Told, out: Path | None) -> str:
    """The text, or the file that it was written to."""
    text = model_card(told)
    if out is None:
        return text
    return f"written: {write_whole(out, text)}"


def model_card(told: Told) -> str:
    """Markdown, to be put under "Bias, Risks, and Limitations" of a card, as Hugging Face's template has it."""
    manifest = told.store.manifest
    deciding = [one for one in told.findings if one.decides]
    others = [one for one in told.findings if not one.decides]
    lines = ["### Limitations and biases that were found", "", _setup(told), ""]
    if deciding:
        lines += [
            "Pictures were changed and the model was asked again. These decide, whether they should or not:", "",
            *map(_bullet, deciding[:DECIDING]),
        ]  # fmt: skip
        if len(deciding) > DECIDING:
            lines.append(f"- and {len(deciding) - DECIDING} more")
    else:
        tried = [name for name, one in told.tests.items() if name in KINDS and KINDS[name].trials and one["tests"]]
        lines.append(
            f"No shortcut was found where pictures were changed ({', '.join(tried)}). There may be one all the same."
            if tried
            else "Whether shortcuts decide was not tested."
        )
    if others:
        lines += ["", "Seen together in these pictures, which does not show what the decision rests on:", ""]
        for kind in dict.fromkeys(one.kind for one in others):
            lines += map(_bullet, [one for one in others if one.kind == kind][:EACH])
    worst = [one for one in told.overview.classes.values() if one.labelled]
    if len(worst) > 1:
        lowest = min(worst, key=lambda one: one.accuracy.value)
        if lowest.accuracy.value < told.overview.all.accuracy.value:
            lines += ["", f"The least accurate class is {_plain(lowest.name)}: {percent(lowest.accuracy)} of "
                      f"{lowest.labelled:,} pictures."]  # fmt: skip
    lines += [
        "",
        "Intervals hold 95 %. Findings are corrected for all tests that were made (Benjamini and Hochberg, q up to "
        f".05). Words are those of {_plain(manifest['space'])}; what no word of the vocabulary names is not found by "
        "name. The findings are of this data set; what is in none of its pictures was not looked at.",
        "",
        f"Made by saywhy {_plain(manifest['versions'].get('saywhy', ''))}; model "
        f"{_plain(manifest['model']['fingerprint'])}, data {_plain(manifest['data']['digest'])}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _setup(told: Told) -> str:
    everything, manifest = told.overview.all, told.store.manifest
    right = f", of which {percent(everything.accuracy)} are right" if everything.labelled else ""
    tests = sum(int(one["tests"]) for one in told.tests.values())
    return (
        f"The model was audited on {everything.pictures:,} pictures of {_plain(manifest['data']['name'])}{right}; "
        f"{tests:,} tests were made."
    )


def _bullet(finding: AuditFinding) -> str:
    parts = [f"{in_words(finding.effect)} {finding.unit}"]
    if finding.q is not None:
        parts.append(f"q {probable(finding.q)}")
    if finding.verified:
        parts.append(f"borne out in {finding.verified[0]} of {finding.verified[1]} examples that were tested")
    return f"- {_plain(finding.sentence)} ({_plain('; '.join(parts))})"


def _plain(text: str) -> str:
    """A text of which nothing is Markdown or HTML."""
    safe = one_line(shown(text, 600)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]#|~])", r"\\\1", safe)
