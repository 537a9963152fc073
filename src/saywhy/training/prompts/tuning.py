"""``saywhy train prompts``: learns the visual prompts of a TunedSpace; everything else of its CLIP stays as it is.

Sources: ECOR (Rasekh et al. 2024) and "Doubly Right Object Recognition" (DROR, Mao et al. 2023), whose runs are recipes
here. A run is a function of its settings and data: adding gradients up over parts of a batch, and sharing a batch among
processes, change nothing but rounding; on a CPU, a run that was killed and resumed is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, final

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.metrics.doubly_right import RR, WR, outcomes
from saywhy.metrics.temperatures import calibrated_scoring, visible_threshold
from saywhy.pictures.truth import RationaleData, evenly, gold_of, joined
from saywhy.plumbing.extras import need
from saywhy.seen.reasons import fit_reason_chance
from saywhy.spaces.clip import BATCH, ClipSpace
from saywhy.spaces.objectives import OBJECTIVES
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.in_memory import resident
from saywhy.spaces.pairs.on_disk import PromptBank, build_bank
from saywhy.spaces.pairs.ranking import rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.similarity import FEWEST, standing_out, usual_scores
from saywhy.spaces.tuned import TunedSpace
from saywhy.spaces.visual_prompts import PromptedTower, draw_prompts, parameter_report
from saywhy.training.prompts.batches import Loaded, Parts, Pictures, Plan, split_off, squashed
from saywhy.training.prompts.checkpoint import CHECKPOINT, HISTORY, Run, diverged, kept_row
from saywhy.training.prompts.losses import objective_loss
from saywhy.training.prompts.settings import TuningSettings, runnable_on

if TYPE_CHECKING:
    from accelerate import Accelerator

LOOKED_AT = 512  # pictures at most from which the usual scores are measured
TOP = 5  # pairs that vote on a validation picture, as in the published tables


def tune(
    data: RationaleData,
    clip: ClipSpace,
    out: str | Path,
    settings: TuningSettings,
    *,
    resume: bool = False,
    validation: RationaleData | None = None,
    workers: int = 2,
    save_every: float = 30.0,
    bank_directory: Path | None = None,
) -> TunedSpace:
    """The space with the prompts that were learned on ``data``; it is in the folder ``out`` too, from the start.

    Beside it there are training.pt (the checkpoint), history.json (losses by epoch, and what was measured) and, where
    tensorboard is installed, its scalars. With validation pictures (``validation``, or else the share of ``data`` that
    the settings hold out) the prompts that are kept are those with most doubly right answers among the best five pairs,
    then with most right categories; without, the last. A picture that cannot be read is left out of its batch, with a
    note.

    resume:         continue from training.pt, mid-epoch if need be.
    validation:     with the words of ``data``.
    workers:        processes that read pictures, where not all fit into memory.
    save_every:     seconds between checkpoints; there is one after each epoch besides.
    bank_directory: of the bank of texts, as for ``build_bank``.

    Under ``accelerate launch`` or ``torchrun`` each process takes its share of every batch. The random state of torch,
    NumPy and Python is set by the seed.

    Raises SaywhyError for a CLIP whose image tower takes no prompts, data or settings that cannot be trained on, a run
    that is there but not to be resumed, one to be resumed that is not there or had other settings or data, and a loss
    that is not finite: the state before that step is kept.
    """
    need("tuning prompts", "accelerate")
    from accelerate.utils import set_seed

    out = Path(out)
    _check_place(out, resume)
    asked, settings = settings, runnable_on(settings, clip.device)
    accelerator = _accelerator(clip, settings)
    data, validation = _halves(data, validation, settings)
    plan = Plan.of(data, settings)
    prompts = draw_prompts(clip.image_tower, settings.prompts, settings.deep, settings.seed, settings.init_std)
    tower = PromptedTower(clip.image_tower, prompts).eval()
    with accelerator.main_process_first():
        bank = build_bank(
            clip, data.words, inverse="inverse" in OBJECTIVES[settings.objective].trained, directory=bank_directory
        )
    set_seed(settings.seed)
    model, optimiser = accelerator.prepare(tower, _optimiser(tower, settings))
    run = Run(out, clip, plan, validation, bank, accelerator, tower, model, optimiser)
    if resume:
        run.load()
    accelerator.wait_for_everyone()  # no process overwrites what another still reads
    run.keep()
    console = Console(stderr=True, highlight=False)
    if run.done.step < plan.total:
        if accelerator.is_main_process:
            for line in (_announced(run), *_adapted(run, asked)):
                console.print(line, markup=False, soft_wrap=True)
        _train(run, workers, save_every, console)
    if run.done.usual is None and accelerator.is_main_process:
        _look_back(run, workers)
        run.keep()
        console.print(_kept(run), markup=False, soft_wrap=True)
    accelerator.wait_for_everyone()
    return run.space()


def _check_place(out: Path, resume: bool) -> None:
    path = out / CHECKPOINT
    if resume and not path.is_file():
        raise SaywhyError(f"{path}: there is no run here to resume")
    if not resume and path.exists():
        raise SaywhyError(f"{out}: there is already a run here; continue it with --resume, or use a new --out")


def _announced(run: Run) -> str:
    words, plan = run.plan.data.words, run.plan
    steps = "1 step" if plan.total == 1 else f"{plan.total:,} steps"
    return (
        f"{parameter_report(run.clip.image_tower, run.tower.prompts)} parameters; {len(plan.data.images):,} pictures "
        f"against {len(words.categories) * len(words.rationales):,} texts; {steps} of "
        f"{plan.settings.batch_size}"
    )


def _adapted(run: Run, asked: TuningSettings) -> Iterator[str]:
    """What of the settings that were asked for is done otherwise here."""
    settings, total = run.plan.settings, run.plan.total
    if settings.precision != asked.precision:
        yield f"note: {asked.precision} needs a GPU; on this CPU it is {settings.precision}"
    if (warmup := settings.warmup_of(total)) < settings.warmup:
        yield f"note: the run has {total:,} steps: it warms up over {warmup:,} of them, not {settings.warmup:,}"


def _train(run: Run, workers: int, save_every: float, console: Console) -> None:
    """Train from the run's current step to its end."""
    plan, done, accelerator = run.plan, run.done, run.accelerator
    transform = run.clip.transform if plan.settings.transform == "clip" else squashed(run.clip.transform)
    pictures = Pictures(plan.data, transform)
    parts = Parts(plan, done.step, accelerator.process_index, accelerator.num_processes)
    loaded, bank = pictures.load(parts, workers), _at_hand(run.bank, run.clip.device, plan.settings)
    validate = run.validation and _Validation(Pictures(run.validation, run.clip.transform), bank, workers)
    unreadable: set[str] = set()
    saved, first = monotonic(), accelerator.is_main_process
    with _scalars(run, console) as write, Progress(console=console, transient=True, disable=not first) as progress:
        bar = progress.add_task("tuning", total=plan.total, completed=done.step)
        for batch in plan.batches(done.step):
            loaded_parts = [next(loaded) for _ in range(plan.settings.accumulate)]
            for failure in dict.fromkeys(f for part in loaded_parts for f in part.failures if f not in unreadable):
                unreadable.add(failure)
                console.print(f"note: left out: {failure}", markup=False, soft_wrap=True)
            write("training", _step(run, bank, loaded_parts, len(batch)))
            progress.advance(bar)
            if done.step % plan.per_epoch == 0 or done.step == plan.total:
                row = _close_epoch(run, validate)
                write("validation", row["validation"])
                if first:
                    console.print(_worded(row), markup=False, soft_wrap=True)
            elif monotonic() - saved < save_every:
                continue
            run.keep()
            saved = monotonic()


def _step(run: Run, bank: WordBank, parts: list[Loaded], count: int) -> dict[str, float]:
    """One step of the optimiser on a batch of ``count`` pictures, of which this process has ``parts``.

    Returns each term's mean over the pictures that could be read, and the rate. Raises SaywhyError for a loss that is
    not finite, before anything is changed by it.
    """
    settings, accelerator, device = run.plan.settings, run.accelerator, run.clip.device
    terms = OBJECTIVES[settings.objective].trained
    sums = torch.zeros(len(terms) + 2, dtype=torch.float64, device=device)  # losses, pictures, broken gradients
    for n, part in enumerate(parts):
        with accelerator.no_sync(run.model) if n + 1 < len(parts) else nullcontext():
            if not part.pictures:  # the others wait for this process's gradients, even if it has none
                accelerator.backward(0 * run.model(torch.zeros(1, *part.pixels.shape[1:], device=device)).sum())
                continue
            images = F.normalize(run.model(part.pixels.to(device, non_blocking=True)).float(), dim=1)
            shown = [run.plan.data.images[picture] for picture in part.pictures]
            loss, values = objective_loss(
                images,
                torch.tensor([image.category for image in shown]),
                [image.rationales for image in shown],
                None if "inverse" in terms else bank,
                settings.objective,
                run.clip.scale,
                bank_mode=settings.bank_mode,
                weight=settings.lambda_r,
                inverse_bank=bank if "inverse" in terms else None,  # it was built of the template that is trained
                mask_same_class=settings.mask_same_class,
            )
            # The mean over the whole batch: processes' gradients are averaged, those of parts are added.
            accelerator.backward(loss * (len(shown) / count * accelerator.num_processes))
            sums[:-1] += len(shown) * torch.stack([*(values[term] for term in terms), torch.ones_like(loss)])
    sums[-1] = _broken(run)
    *totals, read, broken = accelerator.reduce(sums, "sum").tolist()
    done, rate = run.done, settings.rate_at(run.done.step, run.plan.total)
    if broken or not all(isfinite(total) for total in totals):
        run.keep()
        raise diverged(run)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.optimiser.step()
    run.optimiser.zero_grad()
    done.step += 1
    done.read += read
    done.losses = {term: done.losses.get(term, 0.0) + total for term, total in zip(terms, totals, strict=True)}
    return {term: total / max(read, 1) for term, total in zip(terms, totals, strict=True)} | {"rate": rate}


def _broken(run: Run) -> Tensor:
    """(): how many numbers of the gradient are not finite; 0 where gradients are scaled and such steps are skipped."""
    gradient = run.tower.prompts.grad
    if gradient is None or run.accelerator.scaler is not None:
        return torch.zeros((), device=run.clip.device)
    return (~gradient.isfinite()).sum()


def _close_epoch(run: Run, validate: _Validation | None) -> dict[str, Any]:
    """The row of history.json that sums up the steps since the last one."""
    done, plan = run.done, run.plan
    run.check()
    if not done.read:
        raise SaywhyError(f"{plan.data.root}: none of its pictures can be read")
    row: dict[str, Any] = {
        "epoch": done.step / plan.per_epoch,
        "step": done.step,
        "loss": {term: total / done.read for term, total in done.losses.items()},
        "validation": {} if validate is None else validate(run),
    }
    done.history.append(row)
    done.losses, done.read = {}, 0.0
    measured = tuple(row["validation"].values())
    if validate is not None and measured > done.best_measured:
        done.best_measured, done.best = measured, run.tower.prompts.detach().cpu().clone()
    return row


def _looked_at(
    tower: PromptedTower, pictures: Pictures, which: Sequence[int], device: torch.device, workers: int
) -> list[tuple[int, Tensor]]:
    """(picture, its unit vector on the CPU) of those that can be read."""
    seen: list[tuple[int, Tensor]] = []
    for part in pictures.load([which[start : start + BATCH] for start in range(0, len(which), BATCH)], workers):
        if part.pictures:
            seen += zip(part.pictures, F.normalize(tower(part.pixels.to(device)).float(), dim=1).cpu(), strict=True)
    return seen


def _look_back(run: Run, workers: int) -> None:
    """Measure what the rationales usually score, when they are visible, and temperatures, on the held-out pictures.

    Without these, on some that were trained on, and then only what is usual.
    """
    space = run.space()
    images = (run.validation or run.plan.data).images
    pictures = Pictures(run.validation or run.plan.data, run.clip.transform)
    with torch.no_grad():
        looks = _looked_at(space.tower, pictures, evenly(len(images), LOOKED_AT).tolist(), run.clip.device, workers)
    if len(looks) < FEWEST:
        return
    shown, seen = [images[n] for n, _ in looks], torch.stack([vector for _, vector in looks])
    usual = usual_scores(seen, run.bank.rationales)
    run.done.usual = torch.stack([usual.mean, usual.std])
    standing = standing_out(seen, run.bank.rationales, usual)
    if run.validation is not None and standing is not None:
        visible = visible_threshold(standing, gold_of(shown), run.bank.words.lists)
        run.done.visible_from, run.done.visible_basis = visible.threshold, visible.basis
        fitted = calibrated_scoring(seen, _scorer(run, run.bank), gold_of(shown))
        run.done.temperatures = dict(fitted.temperatures)
        if all(image.known for image in shown):
            scorer = replace(_scorer(run, run.bank), scoring=fitted)
            known = [image.known for image in shown]
            chance = fit_reason_chance(seen, scorer, standing, run.bank.words.lists, known, TOP)
            run.done.chance = None if chance is None else asdict(chance)


def _scorer(run: Run, bank: WordBank) -> PairScorer[WordBank]:
    """How the run's objective scores, with a bank of the template that it trains."""
    scoring = Scoring(OBJECTIVES[run.plan.settings.objective].scored)
    return PairScorer.of_bank(bank, scoring=scoring, scale=run.clip.scale)


def _worded(row: dict[str, Any]) -> str:
    losses = ", ".join(f"{term} {loss:.4f}" for term, loss in row["loss"].items())
    held = _held_out(row)
    return f"epoch {row['epoch']:g}: loss of {losses}" + (f"; {held}" if held else "")


def _held_out(row: dict[str, Any]) -> str:
    measured = ", ".join(f"{name} {value:.1%}" for name, value in row["validation"].items())
    return f"held out: {measured}" if measured else ""


def _kept(run: Run) -> str:
    """Which prompts the space has, and what they were chosen by."""
    row = kept_row(run.done.history)
    chosen = _held_out(row) or "the last: nothing was held out to choose by; see --validation"
    done = run.done
    seen = (
        "whether a rationale is visible cannot be told"
        if done.visible_from is None
        else (f"a rationale is visible from {done.visible_from:+.1f} sd")
    )
    return f"kept: the prompts of epoch {row['epoch']:g} ({chosen}); {seen}: {done.visible_basis}"


@final
@dataclass(frozen=True, eq=False)
class _Validation:
    """Calling it measures the prompts as they are: RR and category accuracy among the best five pairs, 0..1."""

    pictures: Pictures
    bank: WordBank
    workers: int

    def __call__(self, run: Run) -> dict[str, float]:
        from accelerate.utils import gather_object

        accelerator, images = run.accelerator, self.pictures.data.images
        mine = list(range(len(images)))[accelerator.process_index :: accelerator.num_processes]
        with torch.no_grad(), accelerator.autocast():
            found = _looked_at(run.tower, self.pictures, mine, run.clip.device, self.workers)
        found = sorted(gather_object(found), key=lambda pair: pair[0])
        if not found:
            raise SaywhyError(f"{self.pictures.data.root}: none of the held-out pictures can be read")
        shown = [images[n] for n, _ in found]
        k = min(TOP, len(self.bank.categories) * len(self.bank.rationales))
        vectors = torch.stack([vector for _, vector in found]).to(run.clip.device)
        ranked = rank(vectors, _scorer(run, self.bank), k)
        verdicts = outcomes(ranked, gold_of(shown), k)
        return {"RR": float((verdicts == RR).mean()), "accuracy": float((verdicts < WR).mean())}


# -- preparations -----------------------------------------------------------------------------------------------------


def _accelerator(clip: ClipSpace, settings: TuningSettings) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import InitProcessGroupKwargs

    on_cpu = clip.device.type == "cpu"
    # accelerate keeps one state for the whole process, but the next run in it may want another device or precision.
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=not distributed)
    patience = InitProcessGroupKwargs(timeout=timedelta(days=2))  # the others wait while one process builds the bank
    precision = "no" if settings.precision == "fp32" else settings.precision
    return Accelerator(cpu=on_cpu, device_placement=False, mixed_precision=precision, kwargs_handlers=[patience])


def _halves(
    data: RationaleData, validation: RationaleData | None, settings: TuningSettings
) -> tuple[RationaleData, RationaleData | None]:
    """What is trained on and what is held out, in the same words."""
    if validation is not None:
        if settings.validation:
            raise SaywhyError("both a share to hold out and separate validation pictures are given; use one of them")
        if validation.words != data.words:
            raise SaywhyError(f"{validation.root}: its categories and rationales are not those of {data.root}")
        if not validation.images:
            raise SaywhyError(f"{validation.root}: there is no picture to validate on")
    if settings.sets == "joined":
        others = [] if validation is None else [validation]
        data, validation = joined(data, others), validation and joined(validation, [data])
    if settings.validation:
        return split_off(data, settings.validation, settings.seed)
    return data, validation


def _optimiser(tower: PromptedTower, settings: TuningSettings) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"params": [tower.prompts], "lr": settings.rate, "weight_decay": settings.weight_decay}
    if settings.optimiser == "sgd":
        return torch.optim.SGD(**options, momentum=settings.momentum)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimiser](**options)


def _at_hand(bank: PromptBank, device: torch.device, settings: TuningSettings) -> WordBank:
    """The bank in the device's memory, as every step sweeps over it; where it does not fit, as it is on disk."""
    terms = OBJECTIVES[settings.objective].trained
    if settings.bank_mode == "batch" or not {"pair", "inverse"} & set(terms):
        return bank
    numbers = len(bank.words.categories) * len(bank.words.rationales) * bank.dimension
    if device.type == "cuda":
        fits = 2 * 2 * numbers < torch.cuda.mem_get_info(device)[0]  # float16, twice while it is put together
    else:
        fits = 2 * 4 * numbers < _free_memory()
    return resident(bank, device) if fits else bank


def _free_memory() -> int:
    """Bytes of free memory; on systems that do not report it, 2 GiB."""
    import os

    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2 * 2**30


@contextmanager
def _scalars(run: Run, console: Console) -> Iterator[Callable[[str, dict[str, float]], None]]:
    """Writes a step's numbers for TensorBoard, from the first process; none twice after a resume."""
    writer: Any = None
    if run.accelerator.is_main_process:
        try:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(run.out / "tensorboard", purge_step=run.done.step or None)
        except ImportError:
            console.print(
                f"note: tensorboard is not installed; the losses are only in {HISTORY}", markup=False, soft_wrap=True
            )

    def write(group: str, numbers: dict[str, float]) -> None:
        for name, value in numbers.items() if writer is not None else ():
            writer.add_scalar(f"{group}/{name}", value, run.done.step)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
