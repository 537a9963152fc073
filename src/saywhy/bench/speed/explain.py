"""How much longer does an explanation take than its heatmap, in the classifier's own space?

Regions are seen in the last map of the pass that gives the logits, or, as by other spaces, as crops that are run
through the network again. Both beside ``attribute`` of the same pictures, in turn, round after round, each over the
heatmaps of its own round: a machine that is busy slows all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Annotated

from saywhy.attribution import attribute
from saywhy.bench import Report
from saywhy.bench.speed.measuring import in_turn, timed
from saywhy.classifiers.classifier import Classifier
from saywhy.questions.explain import explain_pictures
from saywhy.questions.names_and_defaults import resolve_space, resolve_vocabulary
from saywhy.questions.options import ExplainOptions
from saywhy.types import Space
from saywhy.worlds.scenes import draw

BATCH, ROUNDS, SIDE = 8, 5, 384
UNTESTED = ExplainOptions(checks="none")  # what tests add is in the benchmark check-speed
HEATMAPS, POOLED, CROPPED = "heatmaps alone", "explain, regions in the last map", "explain, regions as crops"


def run(
    limit: int | None = None,
    model: Annotated[str, "The classifier, as for explain; at random weights where it is timm's or torchvision's."] = (
        "torchvision:resnet50"
    ),
) -> Report:
    """Median ratios over ROUNDS rounds (or ``limit`` rounds), of BATCH pictures of SIDE pixels square."""
    classifier = Classifier.load(model, pretrained=model.startswith("world:"))
    space, vocabulary = resolve_space("own", classifier), resolve_vocabulary(None, classifier)
    pictures = [(f"scene {seed}", draw("species", seed, SIDE)[0].image) for seed in range(BATCH)]
    pixels = classifier.preprocess([image for _, image in pictures])
    contenders: dict[str, Callable[[], object]] = {
        HEATMAPS: lambda: attribute(classifier, pixels, batch_size=BATCH),
        POOLED: lambda: explain_pictures(pictures, classifier, vocabulary, space, UNTESTED),
        CROPPED: lambda: explain_pictures(pictures, classifier, vocabulary, _without_features(space), UNTESTED),
    }
    times = in_turn({what: lambda work=work: timed(work) for what, work in contenders.items()}, limit or ROUNDS)  # type: ignore[misc]
    rows = []
    for what, seconds in times.items():
        ratios = [s / base for s, base in zip(seconds, times[HEATMAPS], strict=True)]
        spread = {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        rows.append({"what": what, **spread, "seconds": median(seconds)})
    regions = sum(len(e.regions) for e in explain_pictures(pictures, classifier, vocabulary, space, UNTESTED)) / BATCH
    return Report(
        "explain-speed",
        f"time over the heatmaps alone, {classifier.name}, its own space, batch {BATCH}, {classifier.device}",
        ("what", "ratio", "lowest", "highest", "seconds"),
        rows,
        {"model": model, "batch": BATCH, "rounds": limit or ROUNDS, "regions a picture": regions},
    )


def _without_features(space: Space) -> Space:
    """The same space, which does not say that it knows features: its regions are seen as crops."""
    names = ("name", "encode_images", "encode_texts", "reference", "context", "alternatives", "class_direction")
    return SimpleNamespace(**{name: getattr(space, name) for name in names})
