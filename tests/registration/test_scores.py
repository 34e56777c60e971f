from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.phantom_pairs import phantom_pairs

from mammorisk.metrics.bootstrap import patient_bootstrap
from mammorisk.registration.objectives import ncc
from mammorisk.registration.scores import (
    PairScores,
    breast_mask,
    dice,
    end_point_error,
    folded_percent,
    pair_scores,
    percent_of_identity,
)
from mammorisk.warping import resize_displacement, warp


def scores_of(pairs, displacement) -> PairScores:
    return pair_scores(pairs.current, pairs.prior, displacement, None, pairs.displacement)


def constant(size, dy, dx):
    return torch.tensor([dy, dx], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *size)


def half_disc(size, centre, radius):
    """A breast of plain tissue against the left edge, [1, 1, H, W]."""
    r, c = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return ((r - centre) ** 2 + c**2 <= radius**2).float()[None, None]


# Pairs with a true field


@pytest.mark.parametrize("rows", [64, 160])
def test_pitfall_03_the_true_field_has_no_error_and_lays_the_breasts_on_each_other(rows):
    pairs = phantom_pairs(rows=rows)
    scores = scores_of(pairs, pairs.displacement)
    assert scores.error.tolist() == [0] * 8
    assert (scores.identity_error > 0.01 * rows).all()
    assert scores.folded.tolist() == [0] * 8
    assert (scores.dice_after > 0.96).all()
    assert scores.dice_after.mean() > scores.dice_before.mean() + 0.01
    assert scores.ncc_after.mean() > scores.ncc_before.mean()
    swapped = scores_of(pairs, pairs.displacement.flip(1))
    turned = scores_of(pairs, -pairs.displacement)
    for wrong in (swapped, turned):
        assert (wrong.error > 0).all()
        assert wrong.error.mean() > 0.5 * wrong.identity_error.mean()
        assert wrong.ncc_after.mean() < scores.ncc_after.mean()
        assert wrong.dice_after.mean() < scores.dice_after.mean()


def test_no_field_changes_nothing():
    pairs = phantom_pairs()
    still = torch.zeros_like(pairs.displacement)
    scores = pair_scores(pairs.current, pairs.prior, still, still, pairs.displacement)
    for before, *others in (
        (scores.ncc_before, scores.ncc_affine, scores.ncc_after),
        (scores.breast_ncc_before, scores.breast_ncc_affine, scores.breast_ncc_after),
        (scores.dice_before, scores.dice_after),
        (scores.identity_error, scores.error),
    ):
        for other in others:
            torch.testing.assert_close(other, before, rtol=0, atol=1e-5)


def test_scores_of_a_pair_do_not_depend_on_its_batch():
    pairs = phantom_pairs()
    field = 0.5 * pairs.displacement
    together = pair_scores(pairs.current, pairs.prior, field, field, pairs.displacement)
    one = [values[5:6] for values in (pairs.current, pairs.prior, field, field, pairs.displacement)]
    for name, value in vars(pair_scores(*one)).items():
        torch.testing.assert_close(value, getattr(together, name)[5:6], rtol=1e-4, atol=1e-5)


def test_affine_scores_are_of_the_affine_field():
    pairs = phantom_pairs()
    affine = constant((128, 104), 2, -1).expand(8, -1, -1, -1)
    scores = pair_scores(pairs.current, pairs.prior, torch.zeros_like(affine), affine)
    moved = warp(pairs.prior, affine)
    torch.testing.assert_close(scores.ncc_affine, ncc(pairs.current, moved))
    breast = breast_mask(pairs.current)
    torch.testing.assert_close(scores.breast_ncc_affine, ncc(pairs.current, moved, breast))
    assert (scores.ncc_affine - scores.ncc_after).abs().min() > 1e-4


def test_half_the_field_leaves_half_the_error_at_any_resolution():
    pairs = phantom_pairs()
    for size in ((128, 104), (64, 52), (160, 104)):
        true = resize_displacement(pairs.displacement, size)
        where = torch.ones(8, 1, *size, dtype=torch.bool)
        still = end_point_error(torch.zeros_like(true), true, where)
        torch.testing.assert_close(end_point_error(0.5 * true, true, where), 0.5 * still)


def test_what_is_not_known_is_nan_and_no_column():
    pairs = phantom_pairs()
    scores = pair_scores(pairs.current, pairs.prior, pairs.displacement)
    for name in ("ncc_affine", "breast_ncc_affine", "error", "identity_error"):
        assert getattr(scores, name).isnan().all()
    columns = scores.columns()
    assert sorted(columns) == sorted(
        ["ncc_before", "ncc_after", "breast_ncc_before", "breast_ncc_after", "folded", "dice_before", "dice_after"]
    )
    assert all(values.shape == (8,) and values.dtype == np.float64 for values in columns.values())


def test_columns_go_into_the_bootstrap():
    pairs = phantom_pairs()
    columns = scores_of(pairs, 0.5 * pairs.displacement).columns()
    error, identity, patient = columns["error"], columns["identity_error"], np.repeat(["a", "b"], 4)
    left = patient_bootstrap(
        lambda rows: percent_of_identity(error[rows], identity[rows]), patient, bootstrap_samples=50
    )
    for value in (left.estimate, left.low, left.high):
        assert value == pytest.approx(50, abs=1e-3)


def test_scores_have_no_gradient_and_write_nothing():
    pairs = phantom_pairs()
    field = (0.5 * pairs.displacement).requires_grad_()
    inputs = [pairs.current, pairs.prior, pairs.displacement]
    before = [values.clone() for values in inputs]
    scores = scores_of(pairs, field)
    assert not any(value.requires_grad for value in vars(scores).values())
    assert all(torch.equal(values, copy) for values, copy in zip(inputs, before, strict=True))


# Folds


def test_pitfall_19_folded_is_a_share_of_pixels():
    field = torch.zeros(3, 2, 41, 31)
    r = torch.arange(41.0).view(-1, 1)
    field[0, 0] = torch.where(r > 30, -9 * (r - 30), 0)  # 10 of 40 rows of cells, strongly negative
    field[1, 0] = torch.where(r > 30, -1.0 * (r - 30), 0)  # the same at a determinant of exactly 0
    assert folded_percent(field).tolist() == [25, 25, 0]


def test_a_field_that_is_nan_does_not_pass_for_smooth():
    assert folded_percent(torch.full((1, 2, 9, 7), math.nan)).tolist() == [100]


# End-point error


def test_error_is_the_mean_length_inside_the_mask():
    true = torch.zeros(1, 2, 10, 8)
    found = constant((10, 8), 3, 4).clone()
    found[..., :, 4:] = 100
    where = torch.zeros(1, 1, 10, 8, dtype=torch.bool)
    where[..., :4] = True
    assert end_point_error(found, true, where).tolist() == [5]
    assert end_point_error(found, true, torch.zeros_like(where)).isnan().all()


def test_what_is_outside_the_mask_may_be_nan():
    found = torch.zeros(1, 2, 10, 8)
    found[..., 0, 0] = math.nan
    where = torch.ones(1, 1, 10, 8, dtype=torch.bool)
    assert end_point_error(found, torch.zeros_like(found), where).isnan().all()
    where[..., 0, 0] = False
    assert end_point_error(found, torch.zeros_like(found), where).tolist() == [0]


def test_error_refuses_fields_of_unlike_size():
    with pytest.raises(ValueError, match="one shape"):
        end_point_error(torch.zeros(1, 2, 8, 6), torch.zeros(1, 2, 6, 8), torch.ones(1, 1, 8, 6, dtype=torch.bool))


def test_percent_of_identity_is_a_ratio_of_means():
    error, before = np.array([1.0, 1.0]), np.array([0.001, 3.999])
    assert percent_of_identity(error, before) == pytest.approx(50)
    assert math.isnan(percent_of_identity(error, np.zeros(2)))


# Breast masks


def test_dice_of_known_overlaps():
    one = torch.zeros(3, 1, 4, 6, dtype=torch.bool)
    other = one.clone()
    one[:2, :, :, :4] = True
    other[0, :, :, 2:] = True  # half of each in common
    other[1] = one[1]
    assert dice(one, other)[:2].tolist() == [0.5, 1]
    assert dice(one, other)[2].isnan()


@pytest.mark.parametrize("rows", [64, 256])
def test_breast_is_where_the_phantom_has_tissue(rows):
    pairs = phantom_pairs(rows=rows)
    tissue, mask = pairs.current > 0, breast_mask(pairs.current)
    assert mask.shape == tissue.shape
    assert mask.dtype == torch.bool
    assert (dice(mask, tissue) > (0.97 if rows == 64 else 0.99)).all()  # the edge is a pixel of partial tissue
    assert (mask.float().mean((1, 2, 3)) > 0.05).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 65535.0])
def test_breast_without_label_noise_and_holes(scale):
    size = (90, 70)
    breast = half_disc(size, 45, 40)
    image = breast * 0.5
    image[..., 40:44, 10:14] = 0  # a dark hole
    image[..., 2:8, 60:68] = 1.0  # a label, brighter than any tissue
    noisy = image + 0.01 * torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(breast_mask(scale * noisy), breast > 0)


def test_breast_of_an_empty_image_is_empty():
    empty = torch.zeros(1, 1, 20, 16)
    assert not breast_mask(empty).any()
    scores = pair_scores(empty, empty, torch.zeros(1, 2, 20, 16), None, torch.ones(1, 2, 20, 16))
    assert scores.ncc_before.item() == scores.breast_ncc_after.item() == scores.folded.item() == 0
    assert scores.dice_after.isnan().all()
    assert scores.error.isnan().all()


def test_dice_of_a_breast_moved_by_a_known_shift():
    moving, fixed = half_disc((90, 70), 51, 30), half_disc((90, 70), 45, 30)
    scores = pair_scores(fixed, moving, constant((90, 70), 6, 0))
    assert scores.dice_after.item() == 1
    assert scores.dice_before.item() < 0.9
    assert scores.ncc_after.item() == pytest.approx(1, abs=1e-4)
    assert pair_scores(fixed, moving, constant((90, 70), -6, 0)).dice_after < scores.dice_before
