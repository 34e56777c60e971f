from __future__ import annotations

import math

import pytest
import torch
from helpers.reference_blocks import outputs
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from mammorisk.losses.gaussian_distances import (
    DISTANCES,
    bhattacharyya,
    forward_kl,
    geodesic,
    hellinger,
    j_distance,
    reverse_kl,
    wasserstein,
)
from mammorisk.losses.ordinal import OrdinalLabels, ordinal_triplet, standard_normal_kl

SYMMETRIC = sorted(set(DISTANCES) - {"ForwardKL", "ReverseKL"})


def gaussians(seed: int = 0, samples: int = 4, dim: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    mean, log_variance, other, other_log = torch.randn(4, samples, dim, generator=draw, dtype=torch.float64)
    return mean, log_variance, other, other_log


def deviation(log_variance: Tensor) -> Tensor:
    return (0.5 * log_variance).exp()


@pytest.mark.parametrize("name", DISTANCES)
def test_triplets_of_every_distance_equal_the_reference(name):
    # The reference's labels in our terms: class, and whether it is known (the fourth woman was censored early).
    reference = outputs("h_losses")
    labels = OrdinalLabels(torch.tensor([0, 3, 5, 5, 5, 1]), torch.arange(6) != 3, torch.ones(6, 6, dtype=torch.bool))
    stored = reference[f"poe_{name}" if f"poe_{name}" in reference else f"poe_{name}Distance"]
    embedding = reference["emb"], reference["log_var"]
    found = 1e-4 * ordinal_triplet(*embedding, labels, DISTANCES[name], margin=2.0)
    assert float(found) == pytest.approx(float(stored[1]), rel=1e-5)
    assert float(1e-5 * standard_normal_kl(*embedding)) == pytest.approx(float(stored[0]), rel=1e-5)


def test_divergences_equal_those_of_torch_distributions():
    mean, log_variance, other, other_log = gaussians()
    one, two = Normal(mean, deviation(log_variance)), Normal(other, deviation(other_log))
    there, back = kl_divergence(one, two).sum(1), kl_divergence(two, one).sum(1)
    torch.testing.assert_close(forward_kl(mean, log_variance, other, other_log), there)
    torch.testing.assert_close(reverse_kl(mean, log_variance, other, other_log), back)
    torch.testing.assert_close(j_distance(mean, log_variance, other, other_log), there + back)


def test_overlap_equals_the_integral():
    mean, log_variance, other, other_log = gaussians(samples=3, dim=1)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    one, two = (Normal(m, deviation(v)).log_prob(grid).exp() for m, v in ((mean, log_variance), (other, other_log)))
    overlap = torch.trapezoid((one * two).sqrt(), grid, dim=-1)  # [3, 60001] -> [3]
    torch.testing.assert_close(bhattacharyya(mean, log_variance, other, other_log), -overlap.log())
    torch.testing.assert_close(hellinger(mean, log_variance, other, other_log), (1 - overlap).sqrt())


def test_wasserstein_equals_the_distance_of_quantiles():
    mean, log_variance, other, other_log = gaussians(samples=3, dim=1)
    share = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    one, two = (Normal(m, deviation(v)).icdf(share) for m, v in ((mean, log_variance), (other, other_log)))
    transport = (one - two).square().mean(-1).sqrt()
    torch.testing.assert_close(wasserstein(mean, log_variance, other, other_log), transport, rtol=1e-3, atol=0)


def test_geodesic_adds_up_along_its_line_and_is_the_closed_form_of_scales():
    # Equal means: the line between the two is one of scales s, of length sqrt(2) |ln(s / s')|; here s / s' = e.
    zero, scale = torch.zeros(1, 1), torch.tensor([[2.0]])
    whole = geodesic(zero, zero, zero, scale)
    half = geodesic(zero, zero, zero, scale / 2)
    assert float(whole) == pytest.approx(2 * float(half), rel=1e-5)
    assert float(whole) == pytest.approx(math.sqrt(2), rel=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
def test_equal_gaussians_are_0_apart_with_a_finite_gradient(name):
    inputs = [t.clone().requires_grad_() for t in (*gaussians()[:2], *gaussians()[:2])]
    distance = DISTANCES[name](*inputs)
    assert float(distance.detach().abs().max()) < 1e-5
    distance.sum().backward()
    assert all(t.grad.isfinite().all() for t in inputs)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("apart", [1e-4, 1.0, 100.0])
@pytest.mark.parametrize("log_variance", [-20.0, 0.0, 20.0])
def test_float32_is_finite_and_so_are_gradients(name, apart, log_variance):
    one, two = torch.zeros(2, 3), torch.full((2, 3), apart)
    inputs = [t.requires_grad_() for t in (one, torch.full((2, 3), log_variance), two, torch.full((2, 3), 1.0))]
    distance = DISTANCES[name](*inputs)
    distance.sum().backward()
    assert distance.isfinite().all()
    assert all(t.grad.isfinite().all() for t in inputs)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_are_those_of_finite_differences(name):
    assert torch.autograd.gradcheck(DISTANCES[name], [t.requires_grad_() for t in gaussians(samples=2, dim=2)])


@pytest.mark.parametrize("name", DISTANCES)
def test_farther_means_are_farther_and_symmetric_ones_are_symmetric(name):
    mean, log_variance, _, other_log = gaussians()
    near, far = (DISTANCES[name](mean, log_variance, mean + step, other_log) for step in (0.5, 1.0))
    assert (far > near).all()
    assert (near > 0).all()
    back = DISTANCES[name](mean + 0.5, other_log, mean, log_variance)
    assert torch.allclose(near, back) == (name in SYMMETRIC)
