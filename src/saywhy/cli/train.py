"""The commands ``saywhy train concepts | sae | classifier | language | prompts``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from saywhy.cli.console import as_text, complain, errors, note, progress_bar, writable
from saywhy.cli.loading import (
    NOTHING_SAID,
    Loading,
    MaybeModel,
    Model,
    load_classifier,
    takes_a_classifier,
)
from saywhy.cli.options import Device, Quiet
from saywhy.cli.stopping import exit_code
from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import parse_toml

if TYPE_CHECKING:
    from torch import Tensor

    from saywhy.audits.store import Store
    from saywhy.classifiers.classifier import Classifier
    from saywhy.pictures.phrase_tables import PhraseData
    from saywhy.spaces.concepts import Probes

NOTED = 12  # notes about pictures or phrases
SHOWN = 40  # phrases in the terminal's table
MOST_PICTURES = 100_000  # of an audit, whose features are learned from
LEAST_EXPLAINED = 0.8  # R2 below which a sparse autoencoder is told to be poor

train = typer.Typer(
    help="Learn concepts from pictures; train a classifier, or a language model to word explanations.",
    no_args_is_help=True,
)
LEARNING, PICTURES = "Learning (as the recipe says, unless given)", "Pictures and texts"


@train.command("prompts")
def train_prompts(
    data: Annotated[
        Path, typer.Option(help="Pictures with rationales: a folder in the doubly-right layout, or a .csv.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the prompts (loads as tuned:OUT).")],
    recipe: Annotated[
        str | None, typer.Option(help="A published run (ecor-cifar10, dror-sun, ...), aviary, or a TOML file.")
    ] = None,
    clip: Annotated[str | None, typer.Option(help="ARCH/TAG of open_clip, a folder, or world:NAME")] = None,
    objective: Annotated[str | None, typer.Option(help="ecor, dror, ab1 ... ab6")] = None,
    prompts: Annotated[int | None, typer.Option(help="Tokens to learn.", rich_help_panel=LEARNING)] = None,
    deep: Annotated[
        bool | None,
        typer.Option("--deep/--shallow", help="Learn prompts before every layer.", rich_help_panel=LEARNING),
    ] = None,
    optimiser: Annotated[str | None, typer.Option(help="sgd, adam or adamw", rich_help_panel=LEARNING)] = None,
    rate: Annotated[float | None, typer.Option(help="Highest learning rate.", rich_help_panel=LEARNING)] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Steps until that rate is reached.", rich_help_panel=LEARNING)
    ] = None,
    epochs: Annotated[int | None, typer.Option(rich_help_panel=LEARNING)] = None,
    steps: Annotated[int | None, typer.Option(help="Instead of epochs.", rich_help_panel=LEARNING)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures per step, over all processes.", rich_help_panel=LEARNING)
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Parts that a batch is split into.", rich_help_panel=LEARNING)
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16", rich_help_panel=LEARNING)] = None,
    seed: Annotated[int | None, typer.Option(rich_help_panel=LEARNING)] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, as in a recipe: --set lambda_r=0.5", rich_help_panel=LEARNING),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data to train on.", rich_help_panel=PICTURES)] = "train",
    rationales: Annotated[
        Path | None, typer.Option(help="Lists of rationales (default: beside the data).", rich_help_panel=PICTURES)
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the pictures to hold out for validation.", rich_help_panel=PICTURES)
    ] = None,
    validate_on: Annotated[
        str | None, typer.Option(help="A split of the data to validate on instead.", rich_help_panel=PICTURES)
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures.", rich_help_panel=PICTURES)] = 2,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ... (default: a GPU where there is one)")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT, with the same command.")] = False,
) -> None:
    """Learn visual prompts that make a CLIP name the rationales it sees, and from them the category.

    Several processes share each batch: torchrun --nproc-per-node 2 -m saywhy train prompts ...; with GPUs also
    accelerate launch -m saywhy train prompts ...
    """
    from saywhy.pictures.rationale_data import read_rationale_data
    from saywhy.spaces.clip import load_clip
    from saywhy.training.prompts.checkpoint import CHECKPOINT, HISTORY, kept_row
    from saywhy.training.prompts.settings import TuningSettings, read_recipe, with_settings
    from saywhy.training.prompts.tuning import tune

    given = {
        "clip": clip, "objective": objective, "prompts": prompts, "deep": deep, "optimiser": optimiser, "rate": rate,
        "warmup": warmup, "epochs": epochs, "steps": steps, "batch_size": batch_size, "accumulate": accumulate,
        "precision": precision, "seed": seed, "validation": validation,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None} | _parsed(setting or [])
    settings = with_settings(read_recipe(recipe) if recipe else TuningSettings(), changes)
    halves = [
        read_rationale_data(data, half, rationales, gold=settings.gold)
        for half in ([split] if validate_on is None else [split, validate_on])
    ]
    writable(out)
    space = load_clip(settings.clip, device or _own_device())
    try:
        tune(
            halves[0], space, out, settings, resume=resume, workers=workers,
            validation=halves[1] if len(halves) > 1 else None,
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        if (out / CHECKPOINT).exists():
            complain(
                f"stopped; continue with the same command and --resume (in {out}: what was learned up to half a minute "
                "ago)"
            )
        else:
            complain("stopped before anything was learned; start again with the same command")
        raise typer.Exit(exit_code(stop)) from None
    finally:
        _leave_together()
    if os.environ.get("RANK", "0") == "0":
        history = json.loads((out / HISTORY).read_text())["history"]
        kept = {name: kept_row(history)[name] for name in ("epoch", "step", "validation")}
        errors.print(f"next: saywhy why PICTURES --space {quote(f'tuned:{out}')}", markup=False, soft_wrap=True)
        print(json.dumps({"out": str(out)} | history[-1] | {"kept": kept}))


def _leave_together() -> None:
    """Close the process group, so that NCCL does not complain."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _own_device() -> str | None:
    """The GPU of this process among those that were launched together."""
    from saywhy.plumbing.devices import choose_device

    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if choose_device(None).type == "cuda" else None


def _parsed(assignments: Sequence[str]) -> dict[str, Any]:
    """{name: value} of KEY=VALUE; a value that is not a number, true or false is a string. Raises SaywhyError."""
    changes = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SaywhyError(f"--set {assignment}: expected KEY=VALUE, as in a recipe")
        try:
            changes[name.strip()] = parse_toml(f"value = {value}", f"--set {name}")["value"]
        except SaywhyError:
            changes[name.strip()] = value.strip()
    return changes


@train.command("classifier")
def train_classifier_command(
    data: Annotated[Path, typer.Option(help="Folder in CUB-200-2011's layout.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained network (loads as timm:OUT).")],
    arch: Annotated[str, typer.Option(help="timm:NAME")] = "timm:vit_large_patch16_224",
    pretrained: Annotated[bool, typer.Option(help="Start from ImageNet weights (needs a hub).")] = True,
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 2e-5,
    size: Annotated[int | None, typer.Option(min=8, help="Side of the input, pixels.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps: a trial.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures.")] = 2,
    resume: Annotated[bool, typer.Option(help="Continue from the last epoch in OUT.")] = False,
) -> None:
    """Fine-tune a timm network on birds, as LRP-CLIP did; resumable, in mixed precision on a GPU."""
    import json

    from saywhy.training.classifier import FineTuningSettings, train_classifier

    settings = FineTuningSettings(
        arch=arch, pretrained=pretrained, epochs=epochs, batch_size=batch_size, rate=rate, steps=steps, size=size
    )
    writable(out)
    try:
        measured = train_classifier(data, out, settings, resume=resume, workers=workers)
    except KeyboardInterrupt as stop:
        complain(f"stopped; continue with --resume (in {out}: the last whole epoch)")
        raise typer.Exit(exit_code(stop)) from None
    print(json.dumps(measured))


@train.command("language")
def train_language_command(
    texts: Annotated[Path, typer.Option(help="Sentences: a .txt, one per line, or a .json list of strings.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained model (loads with transformers).")],
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    layers: Annotated[int, typer.Option(min=1)] = 4,
    width: Annotated[
        int, typer.Option(min=4, help="Size of a token's vector; a multiple of 4, the attention heads.")
    ] = 256,
    vocabulary: Annotated[int, typer.Option(min=257, help="Tokens at most.")] = 4096,
    resume: Annotated[bool, typer.Option(help="Continue from the last epoch in OUT.")] = False,
) -> None:
    """Train a small GPT-2 on your own sentences; resumable, on a GPU where there is one."""
    import json

    from saywhy.training.language import LanguageSettings, train_language

    settings = LanguageSettings(epochs=epochs, layers=layers, width=width, vocabulary=vocabulary)
    writable(out)
    try:
        measured = train_language(texts, out, settings, resume)
    except KeyboardInterrupt as stop:
        complain(f"stopped; continue with the same command and --resume (in {out}: the last whole epoch)")
        raise typer.Exit(exit_code(stop)) from None
    print(json.dumps(measured))


@train.command("concepts")
@takes_a_classifier
def train_concepts(
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            help="What is true of pictures: a folder in CUB-200-2011's layout, a .csv or .parquet of "
            "picture,phrase[,there,class,group] with phrases that several classes share, world:aviary; "
            "with --labels-from a folder of pictures."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the probes (explain: --space concepts:OUT).")],
    labels_from: Annotated[
        str | None, typer.Option(help="A CLIP that labels the pictures: clip, clip:ARCH/TAG, clip:DIR, world:NAME")
    ] = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="The phrases that the CLIP looks for (with --labels-from).")
    ] = None,
    precision: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of what is said that is to be true.")
    ] = 0.95,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Pictures at most, drawn at random.")
    ] = None,
    loading: Loading = NOTHING_SAID,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Learn phrases from pictures, as directions in the classifier's own features, each with its held-out quality.

    The quality is measured on classes that did not teach: the table's, else those of the folders, else what the
    classifier says. A phrase that too few classes have, or that the pictures do not tell from another, is never said
    as a fact.
    """
    from saywhy.classifiers.feature_cache import cached_features
    from saywhy.pictures.phrase_tables import read_phrases
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.references import keep_typical
    from saywhy.spaces.concepts import features_of
    from saywhy.training.concepts import cannot_tell, fit_probes, not_known, reach, with_classes

    if vocabulary is not None and labels_from is None:
        raise SaywhyError("--vocabulary is for --labels-from; the phrases of a table are its own")
    if out.is_dir():
        raise SaywhyError(f"--out {out}: is a folder; name a file, such as {out / 'probes.safetensors'}")
    told = read_phrases(data, limit) if labels_from is None else None
    with errors.status("loading the model", spinner="dots"):
        classifier = load_classifier(model, loading, device)
    _ = classifier.head_place  # without a linear head there are no features
    teacher = ""
    if told is None:
        told, teacher = _labelled(str(labels_from), data, vocabulary, limit, classifier, device)
    for name, why in told.skipped[:NOTED]:
        note(f"{name} is left out: {why}")
    if len(told.skipped) > NOTED:
        note(f"{len(told.skipped) - NOTED} more pictures are left out")
    if all(os.path.isfile(picture.name) for picture in told.pictures):
        features = cached_features(classifier, [Path(picture.name) for picture in told.pictures])
    else:
        features = features_of(classifier, [picture.open() for picture in told.pictures])
    told = with_classes(told, features, classifier)
    probes, held = fit_probes(
        features, told, classifier.fingerprint, precision=precision, teacher=teacher, quiet=errors.quiet
    )
    probes.save(out)
    keep_typical(out, eyes_of(None, classifier), told.pictures, f"pictures of {told.name}", progress_bar, note)
    _show_probes(probes)
    for sentence in [*cannot_tell(probes)[:NOTED], *not_known(probes)]:
        note(sentence)
    reached = {f"{target:g}": reach(held, probes, target)[1] for target in sorted({0.8, 0.9, 0.95, precision})}
    if probes.threshold > 1 and probes.held.any():
        best = ", ".join(f"{name}: {words:.1f}" for name, words in reached.items())
        note(
            f"nothing is said: no probability gives a precision of {precision:g}; words a picture by precision: {best}"
        )
    areas = [value for value in probes.auc[:, 0].tolist() if value == value]
    unknown = {phrase: why for phrase, why in probes.left_out if phrase in probes.phrases}
    lost = [phrase for m, phrase in enumerate(probes.phrases) if not probes.held[m] and phrase not in unknown]
    measured = {
        "out": str(out), "pictures": len(told), "phrases": len(probes.phrases), "held": int(probes.held.sum()),
        "left out": len(probes.left_out), "mean AUC": sum(areas) / len(areas) if areas else None,
        "threshold": None if probes.threshold > 1 else probes.threshold, "precision": precision,
        "words a picture": reached, "cannot tell": lost, "never said": unknown,
        "basis": probes.basis,
    }  # fmt: skip
    print(json.dumps(measured))


@train.command("sae")
@takes_a_classifier
def train_sae_command(
    data: Annotated[
        str, typer.Argument(help="An audit's folder, for the features it kept; or pictures: a folder, ...")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for it (saywhy inside AUDIT --sae OUT).")],
    model: MaybeModel = None,
    width: Annotated[int, typer.Option(min=0, help="Latents (0: as many as features).")] = 0,
    k: Annotated[int, typer.Option("--k", min=0, help="Latents active in a picture (0: a sixth of the features).")] = 0,
    steps: Annotated[int, typer.Option(min=1)] = 2000,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per step.")] = 256,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Pictures at most, evenly over the classes.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run that was stopped.")] = False,
    loading: Loading = NOTHING_SAID,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Learn a small sparse autoencoder of a classifier's features: directions of which a picture shows few."""
    from saywhy.training.sae import SaeSettings, train_sae

    settings = SaeSettings(width=width, k=k, steps=steps, batch=batch_size, rate=rate, seed=seed)
    if out.is_dir():
        raise SaywhyError(f"--out {out}: is a folder; name a file, such as {out / 'sae.safetensors'}")
    writable(out.parent)
    if Path(data, "manifest.json").is_file():
        from saywhy.audits.store import Store

        if model is not None:
            raise SaywhyError("an audit has its model's features; --model is for pictures")
        features, fingerprint = _kept_features(Store.open(data), limit)
    else:
        if model is None:
            raise SaywhyError(f"{data}: is no audit's folder; of pictures, name the classifier with --model")
        with errors.status("loading the model", spinner="dots"):
            classifier = load_classifier(model, loading, device)
        features, fingerprint = _features_of(classifier, data, limit), classifier.fingerprint
    unfinished = out.with_name(f"{out.name}.run")
    try:
        with progress_bar("learning directions", steps) as advance:
            made = train_sae(
                features, settings, fingerprint, checkpoint=unfinished, resume=resume, advance=advance
            )  # fmt: skip
    except KeyboardInterrupt as stop:
        if unfinished.exists():
            complain(f"stopped; continue with the same command and --resume (in {unfinished}: half a minute ago)")
        else:
            complain("stopped within half a minute, of which nothing is kept; start again with the same command")
        raise typer.Exit(exit_code(stop)) from None
    made.save(out)
    unfinished.unlink(missing_ok=True)
    story = dict(made.story or {})
    if story["R2"] < LEAST_EXPLAINED:
        note(f"it gives back {max(0, story['R2']):.0%} of what differs between pictures: take more steps or latents")
    print(json.dumps({"out": str(out)} | {name: story[name] for name in ("pictures", "width", "k", "R2", "dead")}))


def _kept_features(store: Store, limit: int | None) -> tuple[Tensor, str]:
    """(N, d) features of an audit's pictures, a sample where they are very many; and its classifier's fingerprint."""
    import torch

    from saywhy.audits.inside import sample

    found = sample(store.view(), min(limit or MOST_PICTURES, MOST_PICTURES))
    if found.of > len(found.numbers):
        note(f"{len(found.numbers):,} of {found.of:,} pictures are taken")
    return torch.from_numpy(found.features), store.manifest["model"]["fingerprint"]


def _features_of(classifier: Classifier, data: str, limit: int | None) -> Tensor:
    from saywhy.classifiers.feature_cache import cached_features
    from saywhy.pictures.sources import read_sources
    from saywhy.spaces.concepts import features_of

    _ = classifier.head_place  # without a linear head there are no features
    pictures = read_sources([data], limit)
    if all(os.path.isfile(picture.name) for picture in pictures):
        return cached_features(classifier, [Path(picture.name) for picture in pictures])
    return features_of(classifier, [picture.open() for picture in pictures])


def _labelled(
    name: str, data: str, vocabulary: str | None, limit: int | None, classifier: Classifier, device: str | None
) -> tuple[PhraseData, str]:
    """The pictures of a folder, or of whatever else names some, as a CLIP labels them; and whose labels these are."""
    from saywhy.pictures.sources import known, read_sources
    from saywhy.questions.names_and_defaults import check_space_name, resolve_seen, resolve_space, resolve_vocabulary
    from saywhy.questions.teaching import labelled_by
    from saywhy.spaces.traits import clip_of

    check_space_name(name)
    pictures = read_sources([data], limit)
    space = resolve_space(name, classifier, device)
    if clip_of(space) is None:
        raise SaywhyError(f"--labels-from {name}: only a CLIP can label pictures; {space.name} is none")
    words = resolve_vocabulary(vocabulary, classifier)
    seen = resolve_seen(space, words)
    if seen.calibration is None:
        note(f"{space.name} has no calibration: the labels are what stands out in each picture, and some are wrong")
    called = Path(data).name or data
    return labelled_by(space, known(pictures, classifier.labels), classifier, words, seen, called), space.name


def _show_probes(probes: Probes) -> None:
    """The phrases, best held first, on standard error."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("phrase")
    for column in ("pictures", "AUC", "95 %", "said", "right"):
        table.add_column(column, justify="right")
    order = sorted(
        range(len(probes.phrases)), key=lambda m: (not probes.held[m], -float(probes.auc[m, 0].nan_to_num()))
    )
    for m in order[:SHOWN]:
        area, low, high = probes.auc[m].tolist()
        has, _, said, right = probes.counts[m].tolist()
        share = f"{right / said:.0%}" if said else ""
        style = "" if probes.held[m] else "dim"
        measured = (f"{area:.2f}", f"{low:.2f} to {high:.2f}") if area == area else ("not known", "")
        cells = (str(has), *measured, str(said), share)
        table.add_row(as_text(probes.phrases[m], style), *(Text(cell, style) for cell in cells))
    errors.print(table)
    rest = len(order) - min(SHOWN, len(order))
    if rest:
        errors.print(f"... and {rest} more", style="dim")
    errors.print(as_text(probes.basis, "dim"))
    few = [one for one in probes.left_out if one[0] not in probes.phrases]
    if few:
        phrase, why = few[0]
        note(f"{len(few)} phrases are left out, {phrase!r} for one: {why}")
