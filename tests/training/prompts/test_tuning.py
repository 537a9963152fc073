"""A run that is stopped, shared or taken in parts is the run that was not; what cannot be trained is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open

from saywhy.errors import SaywhyError
from saywhy.pictures.truth import RationaleData
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.objectives import OBJECTIVES
from saywhy.spaces.pairs.on_disk import build_bank
from saywhy.spaces.similarity import usual_scores
from saywhy.spaces.tuned import ADAPTER, TunedSpace
from saywhy.spaces.visual_prompts import PromptedTower, draw_prompts
from saywhy.training.prompts import checkpoint
from saywhy.training.prompts import tuning as prompt_tuning
from saywhy.training.prompts.batches import Plan
from saywhy.training.prompts.losses import objective_loss
from saywhy.training.prompts.settings import TuningSettings
from saywhy.training.prompts.tuning import tune
from tests.tuning import SMALL, read, tiny_clip, write_pictures

pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).parents[3]
TRAINED = [name for name, objective in OBJECTIVES.items() if objective.trained]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "data")


@pytest.fixture(scope="module")
def data(folder: Path) -> RationaleData:
    return read(folder)


@pytest.fixture(scope="module")
def clip() -> ClipSpace:
    return tiny_clip()


def run(data: RationaleData, clip: ClipSpace, out: Path, settings: TuningSettings = SMALL, **more: Any) -> TunedSpace:
    return tune(data, clip, out, settings, **{"workers": 0, **more})


def history(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "history.json").read_text())["history"]
    return rows


def by_hand(data: RationaleData, clip: ClipSpace, settings: TuningSettings) -> torch.Tensor:
    """The prompts after plain steps of torch's own optimiser on whole batches."""
    drawn = draw_prompts(clip.image_tower, settings.prompts, settings.deep, settings.seed, settings.init_std)
    tower = PromptedTower(clip.image_tower, drawn).eval()
    bank = build_bank(clip, data.words)
    plan = Plan.of(data, settings)
    optimiser = torch.optim.SGD([tower.prompts], 1.0, settings.momentum)
    for step, batch in enumerate(plan.batches()):
        shown = [data.images[n] for n in batch]
        pixels = torch.stack([clip.transform(Image.open(image.path)) for image in shown])
        loss, _ = objective_loss(
            F.normalize(tower(pixels), dim=1), torch.tensor([i.category for i in shown]),
            [i.rationales for i in shown], bank, settings.objective, clip.scale, weight=settings.lambda_r,
        )  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        optimiser.param_groups[0]["lr"] = settings.rate_at(step, plan.total)
        optimiser.step()
    return tower.prompts.detach()


# -- the same run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [False, True])
def test_it_is_plain_descent(data: RationaleData, clip: ClipSpace, tmp_path: Path, deep: bool) -> None:
    settings = replace(SMALL, deep=deep, lambda_r=0.7, sampler="pair-balanced", epoch_length=8)
    space = run(data, clip, tmp_path, settings)
    torch.testing.assert_close(space.prompts, by_hand(data, clip, settings), rtol=0, atol=1e-6)


@pytest.mark.parametrize("objective", TRAINED)
def test_every_objective_learns(data: RationaleData, clip: ClipSpace, tmp_path: Path, objective: str) -> None:
    settings = replace(SMALL, objective=objective, epochs=12, optimiser="adamw", rate=0.05, batch_size=16)
    space = run(data, clip, tmp_path, settings)
    rows = history(tmp_path)
    assert set(rows[0]["loss"]) == set(OBJECTIVES[objective].trained)
    assert sum(rows[-1]["loss"].values()) < sum(rows[0]["loss"].values())
    assert space.objective == objective
    assert rows[-1] == rows[-1] | {"epoch": 12, "step": 12}


class Stopped(Exception):
    pass


def stopped_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """The run ends, as if killed, when it has been kept after so many steps."""
    keep = checkpoint.Run.keep

    def keep_and_stop(self: Any) -> None:
        keep(self)
        if self.done.step == steps:
            raise Stopped

    patch.setattr(checkpoint.Run, "keep", keep_and_stop)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sampler": "pair-balanced", "deep": True},
        {"optimiser": "adam", "rate": 0.01, "validation": 0.3},
        {"accumulate": 2, "precision": "bf16", "sets": "joined"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "plain",
)
@pytest.mark.parametrize("steps", [2, 5])
def test_resuming_changes_no_bit(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, changes: dict[str, Any], steps: int
) -> None:
    """Three steps to a pass (two where pictures are held out): both stops are in the middle of one, or at its end."""
    settings = replace(SMALL, **changes)
    whole = run(data, clip, tmp_path / "whole", settings, save_every=0)
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(steps, patch)
        with pytest.raises(Stopped):
            run(data, clip, tmp_path / "parts", settings, save_every=0)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    parts = run(data, clip, tmp_path / "parts", settings, resume=True)
    assert torch.equal(whole.prompts, parts.prompts)
    assert history(tmp_path / "whole") == history(tmp_path / "parts")
    assert (tmp_path / "whole" / ADAPTER).read_bytes() == (tmp_path / "parts" / ADAPTER).read_bytes()
    one, two = (torch.load(tmp_path / p / "training.pt", weights_only=True) for p in ("whole", "parts"))
    assert torch.equal(one["prompts"], two["prompts"])
    assert repr(one["optimiser"]) == repr(two["optimiser"])
    assert torch.equal(one["random"]["torch"], two["random"]["torch"])


def test_a_run_goes_on_in_smaller_parts(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(data, clip, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopped_after(2, patch)
        with pytest.raises(Stopped):
            run(data, clip, tmp_path / "parts", save_every=0.0)
    parts = run(data, clip, tmp_path / "parts", replace(SMALL, accumulate=2), resume=True)
    assert torch.allclose(parts.prompts, whole.prompts, atol=1e-5)


def test_a_run_that_is_done_stays_as_it_is(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    first = run(data, clip, tmp_path)
    (tmp_path / ADAPTER).unlink()  # killed between the checkpoint and the adapter
    again = run(data, clip, tmp_path, resume=True)
    assert torch.equal(first.prompts, again.prompts)
    assert (tmp_path / ADAPTER).is_file()


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_parts_add_up_to_the_batch(data: RationaleData, clip: ClipSpace, tmp_path: Path, accumulate: int) -> None:
    """12 pictures in batches of 5: the last has 2, and 4 parts of it are empty for half."""
    whole = replace(SMALL, batch_size=5)
    one = run(data, clip, tmp_path / "one", whole)
    two = run(data, clip, tmp_path / "two", replace(whole, accumulate=accumulate))
    torch.testing.assert_close(one.prompts, two.prompts, rtol=0, atol=1e-6)
    for a, b in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


def test_pictures_read_one_by_one_or_kept(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = run(data, clip, tmp_path / "kept")
    monkeypatch.setattr("saywhy.training.prompts.batches.HELD_BYTES", 0)
    for workers in (0, 2):
        assert torch.equal(kept.prompts, run(data, clip, tmp_path / f"read {workers}", workers=workers).prompts)


def started(arguments: list[Any], launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(launcher or ("-m",)), "tests.tuning", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_kill_9_while_a_checkpoint_is_written(folder: Path, clip: ClipSpace, tmp_path: Path) -> None:
    changes = {"epochs": 4, "optimiser": "adamw", "rate": 0.01}
    process = started([folder, tmp_path / "parts", json.dumps(changes), "", 6])
    process.communicate(timeout=120)
    assert process.returncode == -9
    settings = replace(SMALL, **changes)
    assert torch.load(tmp_path / "parts" / "training.pt", weights_only=True)["done"]["step"] == 4
    parts = run(read(folder), clip, tmp_path / "parts", settings, resume=True)
    whole = run(read(folder), clip, tmp_path / "whole", settings)
    assert torch.equal(whole.prompts, parts.prompts)
    assert (tmp_path / "whole" / ADAPTER).read_bytes() == (tmp_path / "parts" / ADAPTER).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"batch_size": 5}, {"batch_size": 5, "accumulate": 2, "validation": 0.4}])
def test_two_processes_share_a_batch(folder: Path, clip: ClipSpace, tmp_path: Path, changes: dict[str, Any]) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    process = started([folder, tmp_path / "two", json.dumps(changes)], launcher)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    one = run(read(folder), clip, tmp_path / "one", replace(SMALL, **changes))
    two = torch.load(tmp_path / "two" / "training.pt", weights_only=True)
    last = torch.load(tmp_path / "one" / "training.pt", weights_only=True)
    torch.testing.assert_close(last["prompts"], two["prompts"], rtol=0, atol=1e-5)
    for a, b in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        assert a["validation"] == pytest.approx(b["validation"])
    assert one.prompts.shape == two["prompts"].shape
    assert said.count("trainable of") == 1


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_the_prompts_that_do_best_on_what_is_held_out_are_kept(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    found = iter([0.2, 0.6, 0.6, 0.1])
    seen = []

    def measured(self: Any, run: Any) -> dict[str, float]:
        seen.append(run.tower.prompts.detach().clone())
        return {"RR": next(found), "accuracy": 0.5}

    monkeypatch.setattr(prompt_tuning._Validation, "__call__", measured)
    space = run(data, clip, tmp_path, replace(SMALL, epochs=4, validation=0.3))
    assert torch.equal(space.prompts, seen[1])
    assert not torch.equal(space.prompts, seen[2])
    assert [row["validation"]["RR"] for row in history(tmp_path)] == [0.2, 0.6, 0.6, 0.1]
    assert (
        "kept: the prompts of epoch 2 (held out: RR 60.0%, accuracy 50.0%); whether a rationale is visible cannot be "
        in (capsys.readouterr().err)
    )


def test_a_recipe_for_a_gpu_runs_on_a_cpu_and_says_so(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, capsys: Any
) -> None:
    """The published ones train in fp16 and warm up over 1,000 steps."""
    asked = replace(SMALL, precision="fp16", warmup=1000)
    space = run(data, clip, tmp_path / "asked", asked)
    said = capsys.readouterr().err
    assert said.count("note: fp16 needs a GPU; on this CPU it is fp32\n") == 1
    assert said.count("note: the run has 9 steps: it warms up over 4 of them, not 1,000\n") == 1
    assert "kept: the prompts of epoch 3 (the last: nothing was held out to choose by" in said
    plain = run(data, clip, tmp_path / "plain", replace(SMALL, warmup=4))
    assert torch.equal(space.prompts, plain.prompts)
    assert "note:" not in capsys.readouterr().err.replace("note: tensorboard is not", "")
    run(data, clip, tmp_path / "asked", asked, resume=True)


def test_what_is_measured_is_what_the_evaluator_says(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    from saywhy.metrics.doubly_right import RR, WR, outcomes
    from saywhy.pictures.truth import Gold
    from saywhy.spaces.pairs.ranking import rank
    from saywhy.spaces.pairs.scorer import PairScorer
    from saywhy.spaces.pairs.scoring import Scoring

    space = run(data, clip, tmp_path, replace(SMALL, epochs=1), validation=data)
    vectors = space.encode_images([Image.open(image.path) for image in data.images])
    ranked = rank(vectors, PairScorer(pairs=build_bank(clip, data.words), scoring=Scoring(), scale=clip.scale), 5)
    gold = Gold(np.array([i.category for i in data.images]), tuple(frozenset(i.rationales) for i in data.images))
    found = outcomes(ranked, gold, 5)
    expected = {"RR": (found == RR).mean(), "accuracy": (found < WR).mean()}
    assert history(tmp_path)[-1]["validation"] == pytest.approx(expected)


def test_the_clip_is_as_it_was(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    tower: Any = clip.image_tower
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    run(data, clip, tmp_path, replace(SMALL, precision="bf16"))
    assert all(torch.equal(before[name], tensor) for name, tensor in tower.state_dict().items())
    assert "forward" not in vars(tower)
    assert all(parameter.grad is None for parameter in tower.parameters())


def test_scalars_are_there_for_tensorboard(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(data, clip, tmp_path, replace(SMALL, validation=0.3))
    found = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    names = {"training/rationale", "training/pair", "training/rate", "validation/RR", "validation/accuracy"}
    assert set(found.Tags()["scalars"]) == names
    assert [event.step for event in found.Scalars("training/pair")] == list(range(1, 7))


def test_without_tensorboard_it_trains(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run(data, clip, tmp_path)
    assert capsys.readouterr().err.count("tensorboard is not installed") == 1
    assert not (tmp_path / "tensorboard").exists()


def test_temperatures_are_of_pictures_that_were_held_out(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    held_out = run(data, clip, tmp_path / "with", validation=data)
    plain = run(data, clip, tmp_path / "without")
    assert set(held_out.temperatures) == {"rationale", "pair"}
    assert all(value > 0 for value in held_out.temperatures.values())
    assert plain.temperatures == {}
    for space in (held_out, plain):  # what is usual can be said of pictures that were trained on, too
        vectors = space.encode_images([Image.open(image.path) for image in data.images])
        expected = usual_scores(vectors, build_bank(clip, data.words).rationales)
        assert space.usual is not None
        torch.testing.assert_close(space.usual.mean, expected.mean)
        torch.testing.assert_close(space.usual.std, expected.std, rtol=1e-3, atol=1e-6)
    again = load_kept(tmp_path / "with")
    assert again["temperatures"] == pytest.approx(dict(held_out.temperatures))
    few = run(data, clip, tmp_path / "few", replace(SMALL, validation=0.3))  # too few held out to say anything
    assert few.usual is None
    assert few.temperatures == {}


def load_kept(out: Path) -> dict[str, Any]:
    """What the adapter says of itself."""
    with safe_open(out / ADAPTER, "pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["saywhy"])
    return about


@pytest.mark.parametrize("objective", ["ecor", "dror", "ab4", "ab5", "ab6"])
def test_looking_back_is_done_once(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    """A run that was killed before it, or afterwards, ends in the same bytes."""
    settings = replace(SMALL, objective=objective, epochs=1)
    whole = run(data, clip, tmp_path / "whole", settings, validation=data)
    assert set(whole.temperatures) == set(OBJECTIVES[objective].scored)
    kept = (tmp_path / "whole" / ADAPTER).read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_tuning, "_look_back", stop)
        with pytest.raises(Stopped):
            run(data, clip, tmp_path / "parts", settings, validation=data)
    run(data, clip, tmp_path / "parts", settings, validation=data, resume=True)
    assert (tmp_path / "parts" / ADAPTER).read_bytes() == kept
    monkeypatch.setattr(prompt_tuning, "_look_back", stop)
    again = run(data, clip, tmp_path / "whole", settings, validation=data, resume=True)
    assert again.temperatures == whole.temperatures
    assert (tmp_path / "whole" / ADAPTER).read_bytes() == kept


def test_a_run_of_an_earlier_saywhy_is_looked_back_at_again(
    data: RationaleData, clip: ClipSpace, tmp_path: Path
) -> None:
    """It called visible what told noise apart best."""
    whole = run(data, clip, tmp_path, validation=data)
    assert whole.usual is not None
    path = tmp_path / "training.pt"
    state = torch.load(path, weights_only=True)
    del state["done"]["visible_basis"]
    state["done"]["visible_from"] = -0.63
    torch.save(state, path)
    again = run(data, clip, tmp_path, validation=data, resume=True).usual
    assert again is not None
    assert (again.visible_from, again.basis) == (whole.usual.visible_from, whole.usual.basis)


def stop(*arguments: Any) -> None:
    raise Stopped


# -- odd data and refusals --------------------------------------------------------------------------------------------


def test_one_picture(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    one = replace(data, images=data.images[:1])
    run(one, clip, tmp_path / "one", replace(SMALL, batch_size=32, sampler="pair-balanced"))
    assert len(history(tmp_path / "one")) == 3
    with pytest.raises(SaywhyError, match="leaves none of 1 pictures"):
        run(one, clip, tmp_path / "none", replace(SMALL, validation=0.5))
    with pytest.raises(SaywhyError, match="no picture to train on"):
        run(replace(data, images=()), clip, tmp_path / "none")


def test_pictures_that_cannot_be_read_are_left_out(clip: ClipSpace, tmp_path: Path, capsys: Any) -> None:
    data = read(write_pictures(tmp_path / "data"))
    bad = data.images[4]
    bad.path.write_bytes(b"no picture")
    first = run(data, clip, tmp_path / "first")
    assert capsys.readouterr().err.count(f"note: left out: {bad.path}") == 1
    assert torch.equal(first.prompts, run(data, clip, tmp_path / "second").prompts)
    for image in data.images:
        image.path.write_bytes(b"no picture")
    with pytest.raises(SaywhyError, match="none of its pictures can be read"):
        run(data, clip, tmp_path / "third")


def test_a_loss_that_is_not_finite_loses_nothing(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def loss_of(*arguments: Any, **more: Any) -> Any:
        loss, values = objective_loss(*arguments, **more)
        calls.append(loss)
        broken = float("nan") if len(calls) == 5 else 1
        return loss * broken, {term: value * broken for term, value in values.items()}

    monkeypatch.setattr(prompt_tuning, "objective_loss", loss_of)
    with pytest.raises(SaywhyError, match=r"no longer finite \(step 5\): start again with a lower --rate than 1"):
        run(data, clip, tmp_path / "parts", save_every=1e9)
    kept = torch.load(tmp_path / "parts" / "training.pt", weights_only=True)
    assert kept["done"]["step"] == 4
    monkeypatch.setattr(prompt_tuning, "objective_loss", objective_loss)
    parts = run(data, clip, tmp_path / "parts", resume=True)  # had it been the machine's fault
    assert torch.equal(parts.prompts, run(data, clip, tmp_path / "whole").prompts)


def test_a_gradient_that_is_not_finite_changes_nothing(
    data: RationaleData, clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def loss_of(images: torch.Tensor, *arguments: Any, **more: Any) -> Any:
        calls.append(images)
        if len(calls) == 3:
            images.register_hook(lambda gradient: gradient * float("inf"))
        return objective_loss(images, *arguments, **more)

    monkeypatch.setattr(prompt_tuning, "objective_loss", loss_of)
    with pytest.raises(SaywhyError, match=r"no longer finite \(step 3\)"):
        run(data, clip, tmp_path)
    kept = torch.load(tmp_path / "training.pt", weights_only=True)
    assert kept["done"]["step"] == 2
    assert kept["prompts"].isfinite().all()


def test_prompts_that_overflow_are_not_kept(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="no longer finite"):
        run(data, clip, tmp_path, replace(SMALL, rate=3e38, warmup=0, init_std=1e-3), save_every=0)
    kept = torch.load(tmp_path / "training.pt", weights_only=True)
    assert kept["done"]["step"] == 0
    assert kept["prompts"].isfinite().all()


def test_a_run_is_not_overwritten(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    first = run(data, clip, tmp_path)
    with pytest.raises(SaywhyError, match=r"already a run here; continue it with --resume, or use a new --out"):
        run(data, clip, tmp_path)
    assert torch.equal(run(data, clip, tmp_path, resume=True).prompts, first.prompts)


def test_what_must_be_the_same_to_resume(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="there is no run here to resume"):
        run(data, clip, tmp_path / "nowhere", resume=True)
    run(data, clip, tmp_path)
    with pytest.raises(SaywhyError, match=r"had rate 1\.0, now 0\.5; seed 0, now 3; use the same, or a new --out"):
        run(data, clip, tmp_path, replace(SMALL, rate=0.5, seed=3), resume=True)
    with pytest.raises(SaywhyError, match="that run had other pictures; use"):
        run(replace(data, images=data.images[1:]), clip, tmp_path, resume=True)
    with pytest.raises(SaywhyError, match="that run had other CLIP; other bank of texts; use"):
        run(data, replace(clip, key="clip:tiny:1"), tmp_path, resume=True)
    with pytest.raises(SaywhyError, match="other validation pictures"):
        run(data, clip, tmp_path, resume=True, validation=data)
    path = tmp_path / "training.pt"
    for content in (b"", b"no run", path.read_bytes()[:500]):
        path.write_bytes(content)
        with pytest.raises(SaywhyError, match="is damaged, or not a checkpoint of saywhy"):
            run(data, clip, tmp_path, resume=True)


def test_what_cannot_be_trained_is_refused(data: RationaleData, clip: ClipSpace, tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="both a share to hold out and separate validation pictures are given"):
        run(data, clip, tmp_path, replace(SMALL, validation=0.2), validation=data)
    other = replace(data.words, rationales=("a", "b", "c"))
    with pytest.raises(SaywhyError, match="are not those of"):
        run(data, clip, tmp_path, validation=replace(data, words=other))
    with pytest.raises(SaywhyError, match="no picture to validate on"):
        run(data, clip, tmp_path, validation=replace(data, images=()))
    with pytest.raises(SaywhyError, match="visual prompts need open_clip's own ViT"):
        run(data, replace(clip, image_tower=torch.nn.Linear(2, 2)), tmp_path)
    plain = replace(clip, transform=lambda picture: clip.transform(picture))
    with pytest.raises(SaywhyError, match="preprocessing is not open_clip's"):
        run(data, plain, tmp_path, replace(SMALL, transform="squash"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SaywhyError, match=r"file.training.pt: cannot be written"):
        run(data, clip, tmp_path / "file")
