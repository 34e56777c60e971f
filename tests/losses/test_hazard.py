from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.reference_blocks import outputs
from torch import Tensor

from mammorisk.datasets.labels import survival_labels
from mammorisk.losses import hazard_bce

ALL_YEARS = torch.ones(1, 5)


def batch(seed: int = 0, samples: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Random logits; targets and masks of random futures."""
    random = np.random.default_rng(seed)
    cancer = np.where(random.random(samples) < 0.5, random.integers(0, 5, samples), np.nan)
    labels = survival_labels(cancer, random.integers(0, 9, samples))
    logits = torch.randn(samples, 5, generator=torch.Generator().manual_seed(seed))
    return logits, torch.from_numpy(labels.target), torch.from_numpy(labels.mask)


def test_equals_the_reference():
    reference = outputs("h_losses")
    logits, target, mask = (reference[f"masked_bce_{name}"] for name in ("pred", "target", "mask"))
    assert float(hazard_bce(logits, target, mask)) == pytest.approx(float(reference["masked_bce"]), rel=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_is_the_mean_over_all_known_years(seed):
    logits, target, mask = batch(seed)
    terms = [
        -math.log(1 / (1 + math.exp(-z if y else z)))
        for z, y, m in zip(logits.flatten().tolist(), target.flatten().tolist(), mask.flatten().tolist(), strict=True)
        if m
    ]
    assert float(hazard_bce(logits, target, mask)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_long_followup_weighs_more():
    target = torch.zeros(2, 5)
    mask = torch.tensor([[1.0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    logits = torch.tensor([[20.0] * 5, [-20.0] * 5])
    assert float(hazard_bce(logits, target, mask)) == pytest.approx(20 / 6)


def test_pitfall_15_losses_do_not_write_their_inputs():
    inputs = batch()
    inputs[1][inputs[2] == 0] = math.nan  # what is not known may be anything
    before = [tensor.clone() for tensor in inputs]
    first = hazard_bce(*inputs)
    for tensor, copy in zip(inputs, before, strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(hazard_bce(*inputs), first)


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, -math.inf, 7.0])
def test_unknown_years_do_not_count(rubbish):
    logits, target, mask = batch()
    clean = logits.clone().requires_grad_()
    dirty = logits.masked_fill(mask == 0, rubbish).requires_grad_()
    expected = hazard_bce(clean, target, mask)
    found = hazard_bce(dirty, target.masked_fill(mask == 0, rubbish), mask)
    assert torch.equal(found, expected)
    expected.backward()
    found.backward()
    assert torch.equal(dirty.grad, clean.grad)
    assert (dirty.grad[mask == 0] == 0).all()
    assert (dirty.grad[mask == 1] != 0).all()


def test_a_known_nan_is_not_hidden():
    logits, target, mask = batch()
    logits[mask == 1] = math.nan
    assert hazard_bce(logits, target, mask).isnan()


def test_nothing_known_gives_zero_and_a_gradient_of_zeros():
    logits = torch.randn(3, 5, requires_grad=True)
    loss = hazard_bce(logits, torch.full((3, 5), math.nan), torch.zeros(3, 5))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 5))


@pytest.mark.parametrize("shapes", [((4, 5), (4, 1), (4, 5)), ((4, 5), (5,), (4, 5)), ((4, 5), (4, 5), (1, 5))])
def test_shapes_that_would_broadcast_are_refused(shapes):
    with pytest.raises(ValueError, match=r"one shape \[B, Y\]; found \(4, 5\), .* and"):
        hazard_bce(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, target, mask = batch(samples=64)
    halved = logits.to(dtype)
    loss = hazard_bce(halved, target, mask)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, hazard_bce(halved.float(), target, mask))
    assert torch.equal(loss, hazard_bce(halved, target.to(dtype), mask.to(dtype)))


def test_the_sum_of_a_large_batch_fits_float16():
    # 5 * 20000 known years: more than float16 can count.
    logits = torch.full((20_000, 5), 0.5, dtype=torch.float16)
    loss = hazard_bce(logits, torch.zeros(20_000, 5), torch.ones(20_000, 5))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0.5)), rel=1e-4)


def test_integers_and_truth_values_may_be_labels():
    logits, target, mask = batch()
    assert torch.equal(hazard_bce(logits, target.long(), mask.bool()), hazard_bce(logits, target, mask))


def test_float64_stays_float64():
    logits, target, mask = batch()
    assert hazard_bce(logits.double(), target, mask).dtype == torch.float64


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4, 0]], requires_grad=True)
    loss = hazard_bce(logits, torch.tensor([[1.0, 0, 0, 1, 1]]), ALL_YEARS)
    loss.backward()
    assert loss.item() == pytest.approx((2e4 + math.log(2)) / 5)
    assert logits.grad.isfinite().all()


def fitted_risk(target: Tensor, mask: Tensor) -> list[float]:
    """The risk, one for all samples, that minimises their loss: gradient descent on free logits."""
    logits = torch.zeros(1, target.shape[1], requires_grad=True)
    for _ in range(150):
        loss = hazard_bce(logits.expand_as(target), target, mask)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 20 * gradient).detach().requires_grad_()
    return logits.detach().sigmoid().flatten().tolist()


def test_pitfall_25_the_best_risk_of_a_five_year_negative_is_zero():
    labels = survival_labels([np.nan], [5])
    risk = fitted_risk(torch.from_numpy(labels.target), torch.from_numpy(labels.mask))
    assert max(risk) < 0.01


def test_the_best_risk_of_a_cancer_is_a_step_at_its_year():
    labels = survival_labels([3], [3])
    risk = fitted_risk(torch.from_numpy(labels.target), torch.from_numpy(labels.mask))
    assert max(risk[:2]) < 0.01
    assert risk[2] > 0.99
    assert risk[3:] == [0.5, 0.5]  # the years after it are not known to the loss; the head keeps them above


def test_the_best_risk_of_a_group_is_its_share_of_cancers():
    labels = survival_labels([1] * 2 + [np.nan] * 6, [5] * 8)
    risk = fitted_risk(torch.from_numpy(labels.target), torch.ones(8, 5))
    assert risk == pytest.approx([0.25] * 5, abs=1e-3)
