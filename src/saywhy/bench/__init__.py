"""Benchmarks: each a module with ``run(limit, **options) -> Report``; ``saywhy bench NAME`` prints table and JSON.

The command line takes a benchmark's options from the signature of its ``run``: ``Annotated[str, "what it is"]``.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from math import isnan
from typing import Any, final, get_args, get_type_hints

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

BENCHMARKS = {
    "lrp-speed": (
        "speed.lrp",
        "time of LRP over one forward plus one backward pass, and over zennit and LXT where installed",
    ),
    "explain-speed": (
        "speed.explain",
        "time of an explanation in the classifier's own space over its heatmap, regions in the map or as crops",
    ),
    "architectures": (
        "architectures",
        "some 130 architectures at random weights: head, conservation by composite, one picture as in a batch of two",
    ),
    "surgery": (
        "surgery.study",
        "do captions say what a classifier goes by? classifiers of known bias, with controls (digits or MNIST)",
    ),
    "surgery-speed": (
        "speed.surgery",
        "time and memory of matching two networks' channels, and of surgery, over running both networks",
    ),
    "ecor": (
        "ecor.tables",
        "right for the right reasons? ECOR's tables II, III and IV with blind controls (world:aviary or your data)",
    ),
    "tuning-speed": (
        "speed.tuning",
        "time and memory of a step that tunes visual prompts, over a plain forward and backward pass",
    ),
    "bank-speed": (
        "speed.bank",
        "time of encoding a bank of category x rationale texts, and of ranking over ImageNet's",
    ),
    "lrp-clip": (
        "lrp_clip",
        "LRP-CLIP's tables 1 and 2: are body parts in the crops, are their labels right? (world:aviary or CUB)",
    ),
    "shortcuts": (
        "shortcuts",
        "planted shortcuts: is the known cause what the explanation names? (embedded worlds)",
    ),
    "audit-shortcuts": (
        "audit_shortcuts",
        "audits: is the planted shortcut the first finding? and is none found where none is? (world:aviary)",
    ),
    "faithfulness": (
        "faithfulness",
        "are maps faithful? methods and composites, with controls, against the network and the truth; sanity checks",
    ),
    "reliance": (
        "reliance",
        "which of twelve causes do words and checks name, of 86 classifiers whose reliance is measured? (rendered)",
    ),
    "phrases": (
        "phrases",
        "where does it see that? maps of true phrases against the parts they are about (world:aviary)",
    ),
    "seen": (
        "seen",
        "are the words true that are said as facts? precision, controls and reliability on fresh scenes (world:aviary)",
    ),
    "used": (
        "used",
        "is it used? regions that are borne out, against the truth of the worlds, and by method on photographs (pack)",
    ),
    "check-speed": (
        "speed.checks",
        "time of explanations with their checks over those without, and the forward passes that are spent",
    ),
    "audit": (
        "speed.audit",
        "rows of an audit: rate over the sum of its parts, bytes a picture by table, peak memory at two sizes",
    ),
    "plain-facts": (
        "plain_facts",
        "a square, a frame, a letter, a shift in brightness that decide: named? (tuned from world:aviary)",
    ),
    "used-surroundings": (
        "used_surroundings",
        "does the decision rest on the surroundings? the check held against the truth (world:aviary and planted ones)",
    ),
    "serve-load": (
        "serve_load",
        "saywhy serve under load: questions lost, answers wrong, memory, p50 and p95; a killed client's place (web)",
    ),
    "zsl": (
        "zsl",
        "classes known by name only: mappers compared, generalised and plain zero-shot (ZS-NLE, table 1 and others)",
    ),
    "sentences": (
        "sentences",
        "guided search against prefix tuning; sentences on the aviary held against the truth (--writer DIR)",
    ),
    "concepts": (
        "concepts",
        "do a class's descriptors rank high for its pictures, and do found concepts help? (needs shared/pack)",
    ),
    "foreign": (
        "foreign",
        "are words said of noise, flat and foreign pictures, and how many familiar ones are lost? (pack where there)",
    ),
    "own-space": (
        "own_space",
        "do attribute phrases in a bird model's own space find the birds that have them? (needs shared/pack)",
    ),
    "probes": (
        "probes",
        "concept probes: are their words true of classes that taught nothing? (--data birds needs shared/pack)",
    ),
    "own-words": (
        "own_words",
        "are words true that class names alone find? beside dealt, constant, row and name (needs shared/pack)",
    ),
    "own-names": (
        "own_names",
        "which class names are understood: real, dealt, shifted, numbers, ids, of few classes (needs shared/pack)",
    ),
    "captions": (
        "captions",
        "B@4, METEOR, CIDEr, ROUGE-L, SPICE of captions against people's (default: published ones; needs Java)",
    ),
    "counterfactual": (
        "counterfactual",
        "why this and not that: how often a change makes another class, how large, beside equal areas (worlds)",
    ),
    "reasons": (
        "reasons",
        "do answers of why rest on their rationales, beside random ones and other pictures' (world:aviary)",
    ),
    "audit-descriptions": (
        "audit_descriptions",
        "how much an audit describes where classes are dealt to other pictures, beside what it describes (--audit DIR)",
    ),
    "audit-ray": (
        "audit_ray",
        "pictures a second of an audit by two workers of one thread over one (needs ray)",
    ),
    "audit-scale": (
        "audit_scale",
        "an audit's cost of a picture by part, bytes by table, and what 1.2 million and a billion pictures would take",
    ),
    "audit-findings": (
        "audit_findings",
        "time and memory of all findings of an audit, over a million made-up rows",
    ),
    "audit-planted": (
        "audit_planted",
        "a square, a frame, a blur, a camera that decide a class: is that the audit's first finding? (drawn, trained)",
    ),
    "audit-inside": (
        "audit_inside",
        "names of channels, head rows and sparse latents against the truth of scenes, beside dealt names (rendered)",
    ),
    "nle": (
        "nle",
        "CLIP-S of sentences, and LPIPS and Cosine of paintings of them: table 2 of zero-shot explanations",
    ),
    "audit-labels": (
        "audit_labels",
        "are planted label errors found? scenes, photographs and birds (the pack where there), beside cleanlab",
    ),
    "audit-slices": (
        "audit_slices",
        "are planted slices found in words, and nothing where none is? (world:aviary)",
    ),
    "audit-clusters": (
        "audit_clusters",
        "are classes found whose maps are of two kinds, and none where maps are shuffled? (world:aviary)",
    ),
}
"""Name -> (module under saywhy.bench, what it measures)."""


@final
@dataclass(frozen=True)
class Report:
    """What a benchmark found: a table for people, and the same with its circumstances for programs.

    rows:    one dict a row, keyed by ``columns``.
    more:    further tables of the same benchmark: (title, columns, rows).
    figures: file name -> PNG, for --out.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[dict[str, Any]]
    summary: dict[str, Any] = field(default_factory=dict)
    more: Sequence[tuple[str, Sequence[str], Sequence[dict[str, Any]]]] = ()
    figures: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def document(self) -> dict[str, Any]:
        """Everything as plain values, with the machine it ran on; None for missing numbers (NaN)."""
        import torch

        machine = {
            "torch": torch.__version__, "threads": torch.get_num_threads(), "python": platform.python_version(),
            "machine": platform.machine(), "cores": os.cpu_count(), "cuda": torch.cuda.is_available(),
        }  # fmt: skip
        about = {
            "benchmark": self.name,
            "title": self.title,
            "rows": list(self.rows),
            **({"more": {title: list(rows) for title, _, rows in self.more}} if self.more else {}),
            **self.summary,
            "machine": machine,
        }
        return {key: _without_nan(value) for key, value in about.items()}


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value


def benchmark(name: str) -> Callable[..., Report]:
    """The ``run`` of that benchmark. Raises SaywhyError for an unknown name, with the nearest."""
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, BENCHMARKS, see="saywhy bench")
    return import_module(f"saywhy.bench.{BENCHMARKS[name][0]}").run


@final
@dataclass(frozen=True)
class Option:
    """An option of a benchmark, as its ``run`` has it. says: for the help. default: None where it has none to show."""

    name: str
    says: str
    default: str | None


def options_of(name: str) -> list[Option]:
    """What a benchmark takes beside ``limit``, read from the signature of its ``run``.

    Raises SaywhyError as ``benchmark``.
    """
    run = benchmark(name)
    hints = get_type_hints(run, include_extras=True)
    return [
        Option(parameter.name, " ".join(get_args(hints[parameter.name])[1:]), parameter.default)
        for parameter in signature(run).parameters.values()
        if parameter.name != "limit"
    ]


def run_benchmark(name: str, limit: int | None = None, **options: str | None) -> Report:
    """Options that are None are left out.

    Raises SaywhyError for an unknown name, an option that the benchmark does not have, or where something it needs is
    missing.
    """
    known = [option.name for option in options_of(name)]
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in known:
            takes = ", ".join(f"--{other}" for other in known) or "none"
            raise SaywhyError(f"the benchmark {name} has no option --{option}; it has {takes} (and --limit, --out)")
    return benchmark(name)(limit, **given)
