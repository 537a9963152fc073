"""Sparse autoencoders: what they compute, and files of others."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saywhy import SaywhyError
from saywhy.classifiers.sae import SparseAutoencoder, active, load_sae

D, L = 6, 9


def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "W_enc": torch.randn(D, L, generator=draw), "b_enc": torch.randn(L, generator=draw),
        "W_dec": torch.randn(L, D, generator=draw), "b_dec": torch.randn(D, generator=draw),
    }  # fmt: skip


def test_a_saelens_file_gives_what_its_formula_says(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "sae.safetensors")
    x, t = torch.randn(5, D, generator=torch.Generator().manual_seed(1)), tensors()
    expected = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    torch.testing.assert_close(load_sae(tmp_path / "sae.safetensors").latents(x), expected)


def test_linear_layers_give_the_same_as_saelens(tmp_path: Path) -> None:
    t = tensors()
    layers = {"encoder.weight": t["W_enc"].T, "encoder.bias": t["b_enc"], "decoder.weight": t["W_dec"].T,
              "decoder.bias": t["b_dec"]}  # fmt: skip
    save_file({name: one.contiguous() for name, one in layers.items()}, tmp_path / "b.safetensors")
    save_file(t, tmp_path / "a.safetensors")
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
    one, other = load_sae(tmp_path / "a.safetensors"), load_sae(tmp_path / "b.safetensors")
    torch.testing.assert_close(one.latents(x), other.latents(x))
    assert one.explained(x) == pytest.approx(other.explained(x))


def test_what_a_configuration_beside_it_says_holds(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "sae.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps({"k": 2, "apply_b_dec_to_input": False}))
    x, t = torch.randn(5, D, generator=torch.Generator().manual_seed(1)), tensors()
    found = load_sae(tmp_path / "sae.safetensors")
    torch.testing.assert_close(found.latents(x), active(x @ t["W_enc"] + t["b_enc"], 2))
    assert ((found.latents(x) > 0).sum(1) <= 2).all()


def test_topk_keeps_the_largest_and_jumprelu_what_is_above_its_threshold() -> None:
    before = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    assert active(before, 2).tolist() == [[1, 0, 3, 0]]
    assert active(before, None, torch.tensor([0.9, 0, 3.5, 0.1])).tolist() == [[1, 0, 0, 0.5]]
    assert active(-before.abs(), 2).tolist() == [[0, 0, 0, 0]]


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    t = tensors()
    made = SparseAutoencoder(t["W_enc"].T, t["b_enc"], t["W_dec"], t["b_dec"], t["b_dec"], 3, story={"classifier": "a"})
    made.save(tmp_path / "new" / "sae.safetensors")
    found = load_sae(tmp_path / "new" / "sae.safetensors", "a")
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.latents(x), made.latents(x))
    assert found.k == 3
    assert found.story is not None
    assert found.story["classifier"] == "a"
    with pytest.raises(SaywhyError, match="another classifier"):
        load_sae(tmp_path / "new" / "sae.safetensors", "b")
    with pytest.raises(SaywhyError, match="takes 6 features, and these are 7"):
        found.latents(torch.zeros(2, 7))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"W_dec": torch.zeros(L, D + 1)}, "do not fit"),
        ({"W_enc": torch.zeros(3)}, "no matrices"),
        ({"b_enc": torch.zeros(L + 1)}, "9 values are needed"),
        ({"b_dec": torch.zeros(D, 1)}, "6 values are needed"),
        ({"W_enc": None}, "W_enc and W_dec are needed"),
        ({"threshold": torch.zeros(2)}, "9 values are needed"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    kept = {name: one for name, one in (tensors() | change).items() if one is not None}
    save_file(kept, tmp_path / "sae.safetensors")
    with pytest.raises(SaywhyError, match=said) as told:
        load_sae(tmp_path / "sae.safetensors")
    assert "\n" not in str(told.value)
    assert "sae.safetensors" in str(told.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sae.safetensors").write_text("no")
    with pytest.raises(SaywhyError, match="holds no sparse autoencoder"):
        load_sae(tmp_path / "sae.safetensors")
    save_file(tensors(), tmp_path / "b.safetensors")
    (tmp_path / "cfg.json").write_text('{"k": "many"}')
    with pytest.raises(SaywhyError, match="its k is 'many'"):
        load_sae(tmp_path / "b.safetensors")
