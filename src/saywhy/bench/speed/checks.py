"""How much longer does an explanation take with its checks, and how many forward passes do they spend?

Both ways in turn, round after round, each over the explanations without checks of its own round.
"""

from __future__ import annotations

from statistics import mean, median
from typing import Annotated, Any

from rich.progress import track

from saywhy.bench import Report
from saywhy.bench.speed.measuring import in_turn, timed
from saywhy.classifiers.classifier import Classifier
from saywhy.questions.explain import explain_pictures
from saywhy.questions.names_and_defaults import explaining_space, resolve_space, resolve_vocabulary
from saywhy.questions.options import CHECKS, ExplainOptions
from saywhy.worlds.scenes import draw

BATCH, ROUNDS, SIDE = 8, 5, 384
MODELS = ("world:aviary", "imagenet", "torchvision:resnet50", "torchvision:vit_b_16")


def run(
    limit: int | None = None,
    model: Annotated[str | None, "One classifier instead of four; random weights where it is a library's."] = None,
) -> Report:
    """Median ratios over ROUNDS rounds (or ``limit`` rounds), of BATCH pictures of SIDE pixels square."""
    rows: list[dict[str, Any]] = []
    pictures = [(f"scene {seed}", draw("species", seed, SIDE)[0].image) for seed in range(BATCH)]
    for name in track([model] if model else MODELS, "timing checks", transient=True):
        classifier = Classifier.load(name, pretrained=name.partition(":")[0] in ("world", "imagenet"))
        space = resolve_space(explaining_space(classifier, None, ()), classifier)
        vocabulary = resolve_vocabulary(None, classifier, space)

        def explained(checks: str) -> list[Any]:
            return explain_pictures(pictures, classifier, vocabulary, space, ExplainOptions(checks=checks))  # noqa: B023

        times = in_turn({how: lambda how=how: timed(lambda: explained(how)) for how in CHECKS}, limit or ROUNDS)  # type: ignore[misc]
        for how, seconds in times.items():
            ratios = [s / base for s, base in zip(seconds, times[CHECKS[0]], strict=True)]
            passes = [
                sum(check.passes for check in (*e.checks, e.surroundings) if check is not None) for e in explained(how)
            ]
            rows.append({
                "classifier": name, "checks": how, "over none": median(ratios), "lowest": min(ratios),
                "highest": max(ratios), "passes": mean(passes), "most passes": max(passes),
                "seconds a picture": median(seconds) / BATCH,
            })  # fmt: skip
    return Report(
        "check-speed",
        f"time of explanations over those without checks, batch {BATCH}, {classifier.device}",
        ("classifier", "checks", "over none", "lowest", "highest", "passes", "most passes", "seconds a picture"),
        rows,
        {"batch": BATCH, "rounds": limit or ROUNDS},
    )
