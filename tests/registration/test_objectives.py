from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.phantom_pairs import phantom_pairs
from torch.autograd import gradcheck

from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.registration.objectives import (
    FOLDING_WEIGHT,
    folding,
    jacobian_determinant,
    ncc,
    registration_loss,
    smoothness,
)
from mammorisk.warping import affine_displacement, resize_displacement, warp

SIZES = [(40, 28), (25, 60)]


def positions(size, dtype=torch.float64):
    r, c = torch.meshgrid(*(torch.arange(n, dtype=dtype) for n in size), indexing="ij")
    return r, c


def field_of(row, column, size):
    """The displacement of a map of positions: (r, c) -> (row(r, c), column(r, c))."""
    r, c = positions(size)
    return torch.stack((row(r, c) - r, column(r, c) - c))[None]


def waves(size, fold=1.0):
    """A field of waves, the same motion at any size; from fold = 1.28 on it folds."""
    r, c = positions(size)
    y, x = r / (size[0] - 1), c / (size[1] - 1)
    dy = 0.1 * size[0] * torch.sin(2 * math.pi * y + x) + 0 * x
    dx = fold * 0.125 * size[1] * torch.cos(2 * math.pi * x + 3 * y)
    return torch.stack((dy, dx))[None]


def random_images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Normalised cross-correlation


@pytest.mark.parametrize("size", SIZES)
def test_ncc_equals_numpys_corrcoef_pair_by_pair(size):
    one, noise = random_images(4, 1, *size, dtype=torch.float32), random_images(4, 1, *size, seed=1).float()
    other = torch.tensor([1.0, 0.4, 0.0, -0.7]).view(4, 1, 1, 1) * one + 0.5 * noise
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    np.testing.assert_allclose(ncc(one, other).numpy(), expected, atol=1e-5)


def test_ncc_is_of_each_pair_and_not_of_the_batch():
    one, other = random_images(3, 1, 9, 7), random_images(3, 1, 9, 7, seed=1)
    brighter = one * torch.tensor([1.0, 5.0, 0.01]).view(3, 1, 1, 1) + torch.tensor([0.0, 3.0, 1.0]).view(3, 1, 1, 1)
    torch.testing.assert_close(ncc(brighter, other), torch.cat([ncc(one[[i]], other[[i]]) for i in range(3)]))


def test_ncc_of_an_image_with_itself_and_its_negative():
    one = random_images(1, 1, 20, 15, dtype=torch.float32)
    assert ncc(one, 0.3 * one + 0.2).item() == pytest.approx(1, abs=1e-6)
    assert ncc(one, 1 - one).item() == pytest.approx(-1, abs=1e-6)
    many = random_images(500, 1, 8, 8, dtype=torch.float32)
    assert ncc(many, many).max() <= 1  # rounding does not take it out of its range


def test_ncc_keeps_its_digits_at_full_size():
    one = 0.5 + 1e-2 * random_images(1, 1, 1024, 512, dtype=torch.float32)  # much brightness, little contrast
    other = one + 1e-2 * random_images(1, 1, 1024, 512, seed=1, dtype=torch.float32)
    expected = np.corrcoef(one.numpy().ravel().astype(float), other.numpy().ravel().astype(float))[0, 1]
    assert ncc(one, other).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 0.123456789, 4095.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_flat_image_scores_zero_and_has_a_finite_gradient(value, dtype):
    flat = torch.full((2, 1, 91, 53), value, dtype=dtype, requires_grad=True)
    other = random_images(2, 1, 91, 53).to(dtype).requires_grad_()
    for pair in ((flat, other), (other, flat), (flat, flat)):
        score = ncc(*pair)
        assert score.tolist() == [0, 0]
        for gradient in torch.autograd.grad(score.sum(), pair[:1]):
            assert not gradient.any()


def test_a_flat_image_does_not_touch_the_others_of_its_batch():
    one, other = random_images(2, 1, 9, 7), random_images(2, 1, 9, 7, seed=1)
    one[0] = 0.4
    one.requires_grad_()
    score = ncc(one, other)
    assert score[0] == 0
    torch.testing.assert_close(score[1:], ncc(one[1:], other[1:]))
    gradient = torch.autograd.grad(score.sum(), one)[0]
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() > 0


def test_ncc_inside_a_mask_is_that_of_its_pixels():
    one, other = random_images(2, 1, 12, 9), random_images(2, 1, 12, 9, seed=1)
    mask = random_images(2, 1, 12, 9, seed=2) > 0.6
    inside = [np.corrcoef(one[i][mask[i]], other[i][mask[i]])[0, 1] for i in range(2)]
    np.testing.assert_allclose(ncc(one, other, mask).numpy(), inside, atol=1e-10)
    assert ncc(one, other, torch.zeros_like(mask)).tolist() == [0, 0]


def test_ncc_refuses_images_of_unlike_shape():
    with pytest.raises(ValueError, match=r"\[1, 1, 8, 6\] and \[1, 1, 6, 8\]"):
        ncc(torch.rand(1, 1, 8, 6), torch.rand(1, 1, 6, 8))


# Smoothness


def test_smoothness_of_a_shift_is_zero_and_of_a_stretch_its_square():
    assert smoothness(torch.ones(1, 2, 9, 7) * torch.tensor([3.0, -2.0]).view(1, 2, 1, 1)).tolist() == [0]
    r, c = positions((9, 7))
    fields = torch.stack([torch.stack(each) for each in ((0.3 * r, 0 * c), (0 * r, 0.3 * c), (0.3 * c, 0 * r))])
    torch.testing.assert_close(smoothness(fields), torch.full((3,), 0.09 / 4, dtype=torch.float64))


def test_smoothness_by_brute_force():
    field = random_images(1, 2, 5, 4)
    down = [(field[0, i, r + 1, c] - field[0, i, r, c]) ** 2 for i in range(2) for r in range(4) for c in range(4)]
    along = [(field[0, i, r, c + 1] - field[0, i, r, c]) ** 2 for i in range(2) for r in range(5) for c in range(3)]
    assert smoothness(field).item() == pytest.approx((np.mean(down) + np.mean(along)) / 2)


# Jacobian determinant


@pytest.mark.parametrize("size", SIZES)
def test_jacobian_of_affine_maps_is_their_determinant(size):
    maps = torch.tensor([[[1.1, 0.2, 0.1], [-0.3, 0.8, 0.0]], [[0.5, 0.0, 0.0], [0.0, 2.0, 0.2]]], dtype=torch.float64)
    determinant = jacobian_determinant(affine_displacement(maps, size))
    assert determinant.shape == (2, size[0] - 1, size[1] - 1)
    expected = torch.linalg.det(maps[:, :, :2])  # the change to pixels cancels
    torch.testing.assert_close(determinant, expected.view(2, 1, 1).expand_as(determinant))


@pytest.mark.parametrize("size", SIZES)
def test_jacobian_of_shifts_rotations_and_flips(size):
    turn, cut = math.cos(0.4), math.sin(0.4)
    for row, column, expected in (
        (lambda r, c: r + 3, lambda r, c: c - 2, 1),
        (lambda r, c: turn * r - cut * c, lambda r, c: cut * r + turn * c, 1),
        (lambda r, c: -r, lambda r, c: c, -1),
        (lambda r, c: c, lambda r, c: r, -1),  # rows and columns exchanged
        (lambda r, c: 2 * r, lambda r, c: 3 * c + r, 6),
    ):
        determinant = jacobian_determinant(field_of(row, column, size))
        torch.testing.assert_close(determinant, torch.full_like(determinant, expected))


def test_jacobian_of_a_map_that_bends():
    # (r, c) -> (r + r^2/100, c + r c/50): its differences are (1 + (2r + 1)/100)(1 + r/50).
    field = field_of(lambda r, c: r + r**2 / 100, lambda r, c: c + r * c / 50, (20, 13))
    r, _ = positions((19, 12))
    torch.testing.assert_close(jacobian_determinant(field), ((1 + (2 * r + 1) / 100) * (1 + r / 50))[None])


def test_pitfall_03_the_jacobian_reads_dy_first():
    field = torch.zeros(1, 2, 30, 20, dtype=torch.float64)
    r, c = positions((30, 20))
    field[0, 0] = 0.5 * r + 2 * c  # stretched down by 1.5, sheared along; read as dx it would have determinant 3
    torch.testing.assert_close(jacobian_determinant(field), torch.full((1, 29, 19), 1.5, dtype=torch.float64))


def test_area_shown_is_the_mean_determinant():
    # Where a map keeps the border, what it shows has the image's area, however it bends inside.
    r, c = positions((33, 21))
    bump = torch.sin(math.pi * r / 32) * torch.sin(math.pi * c / 20)
    assert jacobian_determinant(torch.stack((4 * bump, -3 * bump))[None]).mean().item() == pytest.approx(1, abs=1e-3)


# Folding


def test_folding_of_a_known_share():
    field = torch.zeros(2, 2, 41, 31)
    r, _ = positions((41, 31), torch.float32)
    field[0, 0] = torch.where(r > 30, -3 * (r - 30), 0)  # the last 10 of 40 rows of cells run back, det = -2
    torch.testing.assert_close(folding(field), torch.tensor([0.25 * 2, 0.0]))


def test_the_narrowest_fold_is_seen():
    field = torch.zeros(1, 2, 9, 9)
    field[0, 1, :, 4] = 1.5  # one column steps over the next; differences across two pixels see nothing negative
    determinant = jacobian_determinant(field)
    assert (determinant[0, :, 4] == -0.5).all()
    assert folding(field).item() == pytest.approx(0.5 / 8)


def test_published_weight_is_that_of_the_sum():
    field = 40 * torch.randn(1, 2, 1024, 512, generator=torch.Generator().manual_seed(0))
    published = 1e-5 * torch.relu(-jacobian_determinant(field)).sum()
    assert (FOLDING_WEIGHT * folding(field)).item() == pytest.approx(published.item(), rel=5e-3)


# Resolution


@pytest.mark.parametrize("size", [(128, 80), (64, 150)])
@pytest.mark.parametrize("objective", [smoothness, folding])
def test_the_same_motion_scores_the_same_on_a_finer_grid(size, objective):
    coarse = objective(waves(size, fold=2.0))
    fine = objective(waves((2 * size[0], 2 * size[1]), fold=2.0))
    assert coarse.item() > 0.01
    assert fine.item() == pytest.approx(coarse.item(), rel=0.03)
    resized = resize_displacement(waves(size, fold=2.0), (2 * size[0], 2 * size[1]))
    assert objective(resized).item() == pytest.approx(coarse.item(), rel=0.03)


def test_a_sum_would_not():
    sums = [folding(waves(size, fold=2.0)) * (size[0] - 1) * (size[1] - 1) for size in ((64, 40), (128, 80))]
    assert sums[1] > 3.5 * sums[0]


# The loss


@pytest.mark.parametrize("objective", [smoothness, folding, lambda field: jacobian_determinant(field).square()])
def test_gradients_of_the_fields_objectives(objective):
    field = waves((6, 5), fold=3.0).requires_grad_()
    assert folding(field).item() > 0
    assert gradcheck(objective, (field,))


def test_gradients_of_ncc():
    one, other, mask = (random_images(2, 1, 5, 4, seed=seed) for seed in range(3))
    assert gradcheck(ncc, (one.requires_grad_(), other.requires_grad_(), mask))


def test_gradients_of_the_loss():
    images = [random_images(2, 1, 5, 4, seed=seed).requires_grad_() for seed in range(3)]
    field = waves((5, 4), fold=3.0).repeat(2, 1, 1, 1).requires_grad_()
    assert gradcheck(registration_loss, (*images, field))


def test_loss_is_the_weighted_sum_of_each_pair():
    fixed, affine, warped = (random_images(3, 1, 12, 9, seed=seed) for seed in range(3))
    field = torch.cat([waves((12, 9), fold) for fold in (0.5, 2, 4)])
    expected = (1 - ncc(fixed, affine)) + (1 - ncc(fixed, warped)) + 0.5 * smoothness(field) + 7 * folding(field)
    torch.testing.assert_close(registration_loss(fixed, affine, warped, field, 0.5, 7), expected)
    by_default = (1 - ncc(fixed, affine)) + (1 - ncc(fixed, warped)) + smoothness(field) + 5.24 * folding(field)
    torch.testing.assert_close(registration_loss(fixed, affine, warped, field), by_default)


def test_pairs_that_lie_on_each_other_have_no_loss():
    image = random_images(2, 1, 12, 9)
    torch.testing.assert_close(
        registration_loss(image, image, image, torch.zeros(2, 2, 12, 9)), torch.zeros(2, dtype=torch.float64)
    )


def test_pitfall_15_inputs_are_not_written():
    inputs = [random_images(2, 1, 12, 9, seed=seed) for seed in range(3)] + [waves((12, 9)).repeat(2, 1, 1, 1)]
    before = [values.clone() for values in inputs]
    registration_loss(*inputs)
    for values, copy in zip(inputs, before, strict=True):
        assert torch.equal(values, copy)


def test_half_precision_is_computed_in_full():
    images = [random_images(1, 1, 64, 40, seed=seed).bfloat16() for seed in range(3)]
    field = waves((64, 40), fold=2.0).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = registration_loss(*images, field)
    assert loss.dtype == torch.float32
    expected = registration_loss(*(image.float() for image in images), field.float())
    assert torch.equal(loss, expected)


def test_what_mammoregnet_returns_can_be_minimised():
    pairs = phantom_pairs()
    fixed, moving = (image[:2, :, ::2, ::2] for image in (pairs.current, pairs.prior))
    network = MammoRegNet(channels=(4, 4, 8), decoder_channels=(16, 8, 4), num_heads=(2, 2), depth=1)
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        found = network.register(fixed, moving, images=True)
        loss = registration_loss(fixed, found.affine_warped, found.warped, found.displacement)
        assert loss.shape == (2,)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        losses.append(loss.mean().item())
    assert losses[-1] < losses[0]
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_the_loss_compiles_without_a_break():
    images = [random_images(2, 1, 12, 9, seed=seed) for seed in range(3)]
    explained = torch._dynamo.explain(registration_loss)(*images, waves((12, 9)).repeat(2, 1, 1, 1))
    assert explained.graph_break_count == 0


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 8, 8), (1, 2, 1, 8), (1, 2, 8, 1)])
def test_what_is_no_field_is_refused(shape):
    for objective in (smoothness, jacobian_determinant, folding):
        with pytest.raises(ValueError, match="expected a displacement"):
            objective(torch.zeros(shape))


def test_the_right_field_has_less_loss_than_none_where_the_prior_reaches():
    pairs = phantom_pairs()
    inside = warp(torch.ones_like(pairs.prior), pairs.displacement) > 0.99
    after = ncc(pairs.current, warp(pairs.prior, pairs.displacement), inside)
    assert (after > ncc(pairs.current, pairs.prior, inside)).all()
