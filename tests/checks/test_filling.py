import torch

from saywhy.checks.filling import others, rest, ring


def test_a_ring_fills_with_the_mean_of_what_is_just_around() -> None:
    pixels = torch.zeros(2, 20, 20)
    pixels[:, 8:12, 8:12] = 5.0
    pixels[0, 6:14, 6:14] += 1.0
    pixels[0, :4] = 100.0  # farther away than the ring reaches
    mask = torch.zeros(1, 20, 20, dtype=torch.bool)
    mask[0, 8:12, 8:12] = True
    (filled,) = ring(pixels, mask)
    assert torch.allclose(filled[0][mask[0]], torch.tensor(1.0))
    assert torch.allclose(filled[1][mask[0]], torch.tensor(0.0))
    assert torch.equal(filled[:, ~mask[0]], pixels[:, ~mask[0]])


def test_masks_that_leave_nothing_around_fill_with_the_mean() -> None:
    pixels = torch.arange(48.0).view(3, 4, 4)
    full = torch.ones(1, 4, 4, dtype=torch.bool)
    assert torch.allclose(ring(pixels, full)[0], pixels.mean((1, 2))[:, None, None].expand(3, 4, 4))
    assert torch.equal(rest(pixels, full)[0], pixels)


def test_many_masks_at_once_are_as_each_alone() -> None:
    pixels = torch.randn(3, 24, 24)
    masks = torch.rand(5, 24, 24) > 0.7
    each = torch.stack([ring(pixels, mask[None])[0] for mask in masks])
    assert torch.allclose(ring(pixels, masks), each, atol=1e-6)


def test_what_is_kept_and_what_others_show() -> None:
    pixels, other = torch.randn(3, 6, 6), torch.randn(1, 3, 6, 6)
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[0, :3] = True
    (kept,) = rest(pixels, mask)
    assert torch.equal(kept[:, :3], pixels[:, :3])
    assert torch.allclose(kept[:, 3:], pixels[:, 3:].mean((1, 2))[:, None, None].expand(3, 3, 6))
    (swapped,) = others(pixels, mask, other)
    assert torch.equal(swapped[:, :3], other[0, :, :3])
    assert torch.equal(swapped[:, 3:], pixels[:, 3:])
