"""How a command is told which classifier to load: the same options everywhere, each said once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final, get_type_hints

import typer

from saywhy.cli.completion import CROP_MODES, INTERPOLATIONS, TASKS, among, models
from saywhy.errors import SaywhyError

if TYPE_CHECKING:
    from saywhy.classifiers.classifier import Classifier

CLASSIFIER = "Classifier"

MODEL = (
    "timm:NAME|DIR, torchvision:NAME, hf:NAME|DIR, imagenet, world:NAME, or python:FILE.py:NAME, which runs your file"
)
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
ImgSize = Annotated[
    int | None,
    typer.Option(min=1, help="Preprocessing, named as in timm's train.py: pixels a side.", rich_help_panel=CLASSIFIER),
]
CropPct = Annotated[
    float | None,
    typer.Option(
        help="Preprocessing: --img-size over the size resized to before the crop, above 0 to 1.",
        rich_help_panel=CLASSIFIER,
    ),
]
CropMode = Annotated[
    str | None,
    typer.Option(
        help="Preprocessing: center (resize the shorter side), squash (both) or border (the longer, and fill).",
        autocompletion=among(lambda: CROP_MODES),
        rich_help_panel=CLASSIFIER,
    ),
]
Interpolation = Annotated[
    str | None,
    typer.Option(
        help="Preprocessing: bicubic, bilinear, nearest, box, hamming or lanczos.",
        autocompletion=among(lambda: INTERPOLATIONS),
        rich_help_panel=CLASSIFIER,
    ),
]
Mean = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        help="Preprocessing: three numbers, e.g. --mean 0.5 0.5 0.5 (default: what the checkpoint says, else as the "
        "architecture has it in its library).",
        metavar="R G B",
        rich_help_panel=CLASSIFIER,
    ),
]
Std = Annotated[
    tuple[float, float, float] | None,
    typer.Option(help="Preprocessing: three numbers, as --mean.", metavar="R G B", rich_help_panel=CLASSIFIER),
]
RandomWeights = Annotated[
    bool,
    typer.Option("--random-weights", help="Do not load the model's weights: a control.", rich_help_panel=CLASSIFIER),
]


@final
@dataclass(frozen=True, kw_only=True)
class Loading:
    """What a command line says of its classifier, beside its name."""

    labels: Labels = None
    checkpoint: Checkpoint = None
    num_classes: NumClasses = None
    ema: Ema = False
    img_size: ImgSize = None
    crop_pct: CropPct = None
    crop_mode: CropMode = None
    interpolation: Interpolation = None
    mean: Mean = None
    std: Std = None
    task: Task = None
    threshold: Threshold = None
    output: Output = None
    random_weights: RandomWeights = False


NOTHING_SAID = Loading()


def takes_a_classifier(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of ``Loading`` where its parameter ``loading`` stands."""
    signature = inspect.signature(command, eval_str=True)
    hints = get_type_hints(Loading, include_extras=True)
    options = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Loading)
    ]
    listed: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        listed += options if parameter.name == "loading" else [keyword]

    @wraps(command)
    def with_options(**given: Any) -> None:
        loading = Loading(**{one.name: given.pop(one.name) for one in options if one.name in given})
        command(**given, loading=loading)

    with_options.__signature__ = signature.replace(parameters=listed)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in listed}
    return with_options


def load_classifier(model: str, loading: Loading = NOTHING_SAID, device: str | None = None) -> Classifier:
    """The classifier of these options. Raises SaywhyError, and warns, as ``Classifier.load`` does."""
    from saywhy.classifiers.classifier import Classifier

    said, output = loading, loading.output
    key = int(output) if output is not None and re.fullmatch("-?[0-9]+", output) else output
    return Classifier.load(
        model, labels=said.labels, pretrained=not said.random_weights, device=device, task=said.task,
        threshold=said.threshold, output=key, checkpoint=said.checkpoint, classes=said.num_classes, averaged=said.ema,
        img_size=said.img_size, crop_pct=said.crop_pct, crop_mode=said.crop_mode, interpolation=said.interpolation,
        mean=said.mean, std=said.std,
    )  # fmt: skip


def named_by_audit(model: Mapping[str, Any], loading: Loading) -> str:
    """The classifier of an audit by the name that its folder keeps. model: what its manifest says of it.

    Raises SaywhyError for a name by which nothing can be loaded, and for code: a folder does not say what is run. So it
    does where the audit was of weights that ``loading`` does not name.
    """
    from saywhy.classifiers.sources import SHORT, SOURCES

    called = str(model["name"])
    if called.partition(":")[0] not in (*SOURCES, *SHORT):
        raise SaywhyError(f"the model of the audit, {called}, cannot be loaded by its name; give it with --model")
    if model.get("checkpoint") and loading.checkpoint is None:
        raise SaywhyError(
            f"the model of the audit, {called}, had weights of its own ({model['checkpoint']}); say as then "
            "--checkpoint, and what else was said of it"
        )
    return called
