"""The tuned space: its vectors, and the adapter that it is kept in."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from saywhy.errors import SaywhyError
from saywhy.spaces.clip import ClipSpace, load_clip
from saywhy.spaces.pairs.beliefs import FEATURES, ReasonChance
from saywhy.spaces.similarity import Usual
from saywhy.spaces.tuned import ADAPTER, TunedSpace, load_tuned
from saywhy.spaces.visual_prompts import draw_prompts
from saywhy.types import Space
from saywhy.words.rationale_words import RationaleWords, Templates
from tests.helpers import picture

WORDS = RationaleWords(
    ("kit fox", "owl"),
    ("large ears", "wings", "large ears and wings"),
    ((0,), (1, 2)),
    {2: ("large ears", "wings")},
    Templates(category="A {c}."),
)
IMAGES = [picture(seed=n) for n in range(3)]


def clip_directory(path: Path, seed: int = 0, **vision: Any) -> Path:
    """A tiny open_clip local directory at random weights."""
    import open_clip

    config: dict[str, Any] = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16} | vision,
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    torch.manual_seed(seed)
    path.mkdir(parents=True)
    save_file(open_clip.model.CLIP(**config).state_dict(), path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipSpace:
    return load_clip(str(clip_directory(tmp_path_factory.mktemp("clips") / "clip")))


def tuned(clip: ClipSpace, count: int = 3, deep: bool = False) -> TunedSpace:
    return TunedSpace(clip, draw_prompts(clip.image_tower, count, deep, 0), "ecor", WORDS, "bank", {"pair": 1.5})


def altered(path: Path, prompts: torch.Tensor | None = None, **changes: Any) -> None:
    with safe_open(path, "pt") as file:
        about, kept = json.loads(file.metadata()["saywhy"]), file.get_tensor("prompts")
    about = {key: value for key, value in (about | changes).items() if value is not None}
    save_file({"prompts": kept if prompts is None else prompts}, path, metadata={"saywhy": json.dumps(about)})


def test_it_is_a_space_with_prompts_in_its_pictures_and_none_in_its_texts(clip: ClipSpace) -> None:
    space = tuned(clip)
    assert isinstance(space, Space)
    assert space.scale == clip.scale
    images = space.encode_images(IMAGES)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    pixels = torch.stack([clip.transform(image) for image in IMAGES])
    torch.testing.assert_close(images, F.normalize(space.tower(pixels).detach().cpu(), dim=1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(images, clip.encode_images(IMAGES), atol=1e-3)
    assert torch.equal(space.encode_texts(["a fox"]), clip.encode_texts(["a fox"]))
    assert torch.equal(space.encode_texts_once(["a fox"]), clip.encode_texts_once(["a fox"]))


def test_without_prompts_it_is_clip(clip: ClipSpace) -> None:
    assert torch.equal(tuned(clip, 0).encode_images(IMAGES), clip.encode_images(IMAGES))


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_saved_comes_back(clip: ClipSpace, tmp_path: Path, deep: bool) -> None:
    space = tuned(clip, deep=deep)
    assert space.save(tmp_path / "new" / "space") == tmp_path / "new" / "space" / ADAPTER
    again = load_tuned(tmp_path / "new" / "space")
    assert torch.equal(again.prompts, space.prompts)
    assert torch.equal(again.encode_images(IMAGES), space.encode_images(IMAGES))
    assert (again.objective, again.words, again.bank_key) == ("ecor", WORDS, "bank")
    assert again.temperatures == {"pair": 1.5}
    assert again.name == space.name
    assert [file.name for file in (tmp_path / "new" / "space").iterdir()] == [ADAPTER]


def test_what_is_usual_is_kept_with_the_prompts(clip: ClipSpace, tmp_path: Path) -> None:
    usual = Usual(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.01, 0.02, 0.03]))
    replace(tuned(clip), usual=usual).save(tmp_path / "knows")
    again = load_tuned(tmp_path / "knows").usual
    assert again is not None
    assert torch.equal(again.mean, usual.mean)
    assert torch.equal(again.std, usual.std)
    assert (again.visible_from, again.basis) == (None, usual.basis)
    tested = replace(usual, visible_from=1.5, basis="AUC 0.9")
    path = replace(tuned(clip), usual=tested).save(tmp_path / "tested")
    kept = load_tuned(tmp_path / "tested").usual
    assert kept is not None
    assert (kept.visible_from, kept.basis) == (1.5, "AUC 0.9")
    chances = [
        ReasonChance((0.5,) * (len(FEATURES) + 1), ("rationale", "pair"), 5, threshold, "calibrated on 9")
        for threshold in (0.9, math.inf)
    ]
    for chance in chances:
        replace(tuned(clip), chance=chance).save(tmp_path / "chance")
        assert load_tuned(tmp_path / "chance").chance == chance
    altered(tmp_path / "chance" / ADAPTER, chance={"weights": [1.0]})
    with pytest.raises(SaywhyError, match="is damaged, or not an adapter"):
        load_tuned(tmp_path / "chance")
    tuned(clip).save(tmp_path / "does not")
    assert load_tuned(tmp_path / "does not").usual is None
    with safe_open(path, "pt") as file:  # as an earlier saywhy wrote it: whatever told noise apart best
        about, tensors = json.loads(file.metadata()["saywhy"]), {n: file.get_tensor(n) for n in ("prompts", "usual")}
    del about["visible basis"]
    save_file(tensors, path, metadata={"saywhy": json.dumps(about | {"visible from": -0.63})})
    old = load_tuned(tmp_path / "tested").usual
    assert old is not None
    assert torch.equal(old.mean, usual.mean)
    assert old.visible_from is None
    assert "continue its run with --resume" in old.basis


@pytest.mark.parametrize(
    "damaged",
    [torch.zeros(2, 2), torch.zeros(2, 4), torch.zeros(3, 3), torch.zeros(3), torch.zeros(2, 3, 1),
     torch.tensor([[0.1, float("nan"), 0.1], [0.1] * 3])],
    ids=["too few", "too many", "three of them", "one of them", "tables", "not finite"],
)  # fmt: skip
def test_what_is_usual_of_other_rationales_is_refused(clip: ClipSpace, tmp_path: Path, damaged: torch.Tensor) -> None:
    path = tuned(clip).save(tmp_path)
    with safe_open(path, "pt") as file:
        metadata, prompts = file.metadata(), file.get_tensor("prompts")
    save_file({"prompts": prompts, "usual": damaged}, path, metadata=metadata)
    with pytest.raises(SaywhyError, match="is damaged, or not an adapter"):
        load_tuned(tmp_path)


def test_the_command_line_knows_it_by_its_folder(clip: ClipSpace, tmp_path: Path) -> None:
    from saywhy.questions.names_and_defaults import SPACES, resolve_space

    space = tuned(clip)
    space.save(tmp_path)
    found = resolve_space(f"tuned:{tmp_path}", None, "cpu")
    assert isinstance(found, TunedSpace)
    assert torch.equal(found.prompts, space.prompts)
    assert "tuned:DIR" in SPACES
    for nowhere in ("tuned:", f"tuned:{tmp_path / 'nowhere'}"):
        with pytest.raises(SaywhyError, match="holds no tuned space"):
            resolve_space(nowhere, None)


def test_an_embedded_world_is_a_base_like_any_other(tmp_path: Path) -> None:
    space = tuned(load_clip("world:aviary/vit"))
    space.save(tmp_path)
    assert torch.equal(load_tuned(tmp_path).encode_images(IMAGES), space.encode_images(IMAGES))


def test_it_fits_in_a_few_hundred_kilobytes(tmp_path: Path, clip: ClipSpace) -> None:
    """With as many words as ImageNet's; prompts add 4 bytes a value, 1.1 MB for the largest published ones."""
    names = tuple(f"a rationale of about thirty letters {n}" for n in range(4000))
    words = RationaleWords(tuple(f"a category {n}" for n in range(1000)), names, tuple((n, n + 1) for n in range(1000)))
    path = replace(tuned(clip), words=words).save(tmp_path)
    assert path.stat().st_size < 400_000


def test_a_clip_that_moved_is_named(clip: ClipSpace, tmp_path: Path) -> None:
    first = clip_directory(tmp_path / "first")
    space = tuned(load_clip(str(first)))
    space.save(tmp_path / "space")
    moved = first.rename(tmp_path / "second")
    load_clip.cache_clear()
    with pytest.raises(SaywhyError, match="say where it is now"):
        load_tuned(tmp_path / "space")
    again = load_tuned(tmp_path / "space", clip=str(moved))
    assert torch.equal(again.encode_images(IMAGES), space.encode_images(IMAGES))


def test_another_clip_is_refused(clip: ClipSpace, tmp_path: Path) -> None:
    tuned(clip).save(tmp_path / "space")
    other = clip_directory(tmp_path / "other", seed=1)
    with pytest.raises(SaywhyError, match="was tuned on CLIP") as caught:
        load_tuned(tmp_path / "space", clip=str(other))
    for named in (clip.source, str(other)):
        assert named in str(caught.value)


def test_another_activation_function_is_refused(clip: ClipSpace, tmp_path: Path) -> None:
    tuned(clip).save(tmp_path / "space")
    quick = clip_directory(tmp_path / "quick")
    config = json.loads((quick / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    (quick / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(SaywhyError, match=r"GELU.*QuickGELU.*quick_gelu"):
        load_tuned(tmp_path / "space", clip=str(quick))
    base = load_clip(str(quick))
    named = replace(base, key=base.key.replace(str(quick), "ViT-B-32-quickgelu/openai"))
    tuned(named).save(tmp_path / "named")
    altered(tmp_path / "named" / ADAPTER, clip=clip.source)
    with pytest.raises(SaywhyError, match="was tuned with the activation function QuickGELU"):
        load_tuned(tmp_path / "named")


def test_the_quickgelu_variant_is_advised(clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned(clip).save(tmp_path)
    altered(tmp_path / ADAPTER, activation="QuickGELU", clip="ViT-B-32/openai")
    hub = replace(clip, key=clip.key.replace(clip.source, "ViT-B-32/openai"))
    monkeypatch.setattr("saywhy.spaces.tuned.load_clip", lambda source, device: hub)
    with pytest.raises(SaywhyError, match=r"clip=ViT-B-32-quickgelu/openai.*with '-quickgelu'"):
        load_tuned(tmp_path)


def test_one_tuned_without_the_weights_own_activation_is_to_be_trained_again(
    clip: ClipSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, ViT-B-32/openai was read with GELU; now it is the architecture that OpenAI trained."""
    tuned(clip).save(tmp_path / "space")
    quick = clip_directory(tmp_path / "quick")
    config = json.loads((quick / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    (quick / "open_clip_config.json").write_text(json.dumps(config))
    base = load_clip(str(quick))
    hub = replace(base, key=base.key.replace(str(quick), "ViT-B-32-quickgelu/openai"))
    monkeypatch.setattr("saywhy.spaces.tuned.load_clip", lambda source, device: hub)
    with pytest.raises(SaywhyError, match="read with the activation function they were trained with: train it again"):
        load_tuned(tmp_path / "space", clip="ViT-B-32/openai")


def test_damaged_adapters_are_named(clip: ClipSpace, tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="holds no tuned space"):
        load_tuned(tmp_path)
    path = tuned(clip).save(tmp_path)
    whole = path.read_bytes()
    damages = [
        lambda: path.write_bytes(whole[: len(whole) // 2]),
        lambda: path.write_bytes(b"nothing of the kind"),
        lambda: save_file({"prompts": torch.zeros(1, 1, 32)}, path),
        lambda: altered(path, bank=None),
        lambda: altered(path, objective=3),
        lambda: altered(path, words={"categories": []}),
        lambda: altered(path, words=asdict(WORDS) | {"lists": [[0], [9]]}),
        lambda: altered(path, words=asdict(WORDS) | {"several": {"7": ["wings"]}}),
        lambda: altered(path, words=asdict(WORDS) | {"rationales": ["wings", 3, "x"]}),
        lambda: altered(path, words=asdict(WORDS) | {"templates": asdict(WORDS.templates) | {"pair": "of {c}"}}),
        lambda: altered(path, temperatures={"pair": 0.0}),
        lambda: altered(path, prompts=torch.full((1, 3, 32), float("nan"))),
    ]
    for damage in damages:
        path.write_bytes(whole)
        damage()
        with pytest.raises(SaywhyError, match="is damaged, or not an adapter"):
            load_tuned(tmp_path)
    path.write_bytes(whole)
    altered(path, prompts=torch.zeros(1, 3, 31))
    with pytest.raises(SaywhyError, match=r"cannot be used with.*the tower takes prompts"):
        load_tuned(tmp_path)
    path.write_bytes(whole)
    altered(path, objective="of tomorrow")
    with pytest.raises(SaywhyError, match=r"cannot be used with.*of tomorrow"):
        load_tuned(tmp_path)


def test_what_cannot_be_tuned_or_written_is_said(clip: ClipSpace, tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="did you mean ecor"):
        TunedSpace(clip, torch.zeros(1, 0, 32), "ecr", WORDS, "")
    (tmp_path / "file").write_text("")
    with pytest.raises(SaywhyError, match="cannot be written"):
        tuned(clip).save(tmp_path / "file")
