"""How a command is told which classifier to load: the same options everywhere, each said once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saywhy.cli.completion import TASKS, among, models

if TYPE_CHECKING:
    from saywhy.classifiers.classifier import Classifier

CLASSIFIER = "Classifier"

MODEL = "timm:NAME|DIR, torchvision:NAME, hf:NAME|DIR, imagenet or world:NAME"
_named = among(models)
Model = Annotated[str, typer.Option("--model", "-m", help=MODEL, autocompletion=_named, rich_help_panel=CLASSIFIER)]
MaybeModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help=f"The classifier: {MODEL}", autocompletion=_named, rich_help_panel=CLASSIFIER),
]
Labels = Annotated[
    str | None,
    typer.Option(help="Class names: a .txt, .json or .csv file, in order or with indices.", rich_help_panel=CLASSIFIER),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="Your own weights for the architecture: a state dict, timm's, Lightning's.", rich_help_panel=CLASSIFIER
    ),
]
NumClasses = Annotated[
    int | None,
    typer.Option(min=1, help="Classes of the architecture (with --checkpoint).", rich_help_panel=CLASSIFIER),
]
Ema = Annotated[bool, typer.Option("--ema", help="Take the checkpoint's averaged weights.", rich_help_panel=CLASSIFIER)]
Task = Annotated[
    str | None,
    typer.Option(
        help="single-label, multi-label or binary (default: what the network says).",
        autocompletion=among(lambda: TASKS),
        rich_help_panel=CLASSIFIER,
    ),
]
Threshold = Annotated[
    str | None,
    typer.Option(
        help="Probability from which a multi-label classifier says a label: one, or a .json of each label's.",
        rich_help_panel=CLASSIFIER,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        help="Which of several outputs holds the logits, by key, attribute or index.", rich_help_panel=CLASSIFIER
    ),
]
RandomWeights = Annotated[
    bool,
    typer.Option("--random-weights", help="Do not load the model's weights: a control.", rich_help_panel=CLASSIFIER),
]


def load_classifier(
    model: str,
    *,
    labels: str | None,
    checkpoint: Path | None,
    num_classes: int | None,
    ema: bool,
    task: str | None,
    threshold: str | None,
    output: str | None,
    random_weights: bool,
    device: str | None,
) -> Classifier:
    """The classifier of these options. Raises SaywhyError, and warns, as ``Classifier.load`` does."""
    from saywhy.classifiers.classifier import Classifier

    key = int(output) if output is not None and re.fullmatch("-?[0-9]+", output) else output
    return Classifier.load(
        model, labels=labels, pretrained=not random_weights, device=device, task=task, threshold=threshold,
        output=key, checkpoint=checkpoint, classes=num_classes, averaged=ema,
    )  # fmt: skip
