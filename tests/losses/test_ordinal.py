from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.reference_blocks import outputs
from torch import Tensor

from mammorisk.datasets.labels import survival_labels
from mammorisk.losses.gaussian_distances import DISTANCES, j_distance
from mammorisk.losses.ordinal import (
    OrdinalLabels,
    class_bce,
    mean_variance,
    ordinal_embedding_loss,
    ordinal_labels,
    ordinal_risk_loss,
    ordinal_triplet,
    standard_normal_kl,
)

CANCER = [1, 2, 5, 6, np.nan, np.nan, np.nan]  # years to cancer
FOLLOWUP = [9, 1, 5, 6, 1, 3, 5]


def labels_of(cancer: list[float], followup: list[float]) -> tuple[Tensor, Tensor]:
    found = survival_labels(cancer, followup)
    return torch.from_numpy(found.target), torch.from_numpy(found.mask)


def batch(seed: int = 0, n_draws: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of seven women: cancers of the years 0, 1 and 4, one after the horizon, three without."""
    target, mask = labels_of(CANCER, FOLLOWUP)
    shape = (7, 6) if n_draws is None else (7, n_draws, 6)
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)), target, mask


def reference_labels() -> OrdinalLabels:
    """The reference's six women: ``labels`` are years of the cancer (5 and more: none), ``lfu`` the last known year."""
    stored, years = outputs("h_losses"), torch.arange(5)
    event = stored["labels"][:, None] < 5
    target = event & (years >= stored["labels"][:, None])
    last = torch.where(event, stored["labels"][:, None], stored["lfu"][:, None])
    return ordinal_labels(target.float(), (years <= last).float())


def test_cross_entropy_equals_the_authors():
    reference = outputs("h_losses")
    found = 2.0 * class_bce(reference["logits"], reference_labels())
    assert float(found) == pytest.approx(float(reference["risk_bce_oa_breacr_repo"]), rel=1e-6)


def test_pitfall_25_bcrbench_never_supervises_the_class_of_the_healthy():
    # Its labels, stored: no class 5 for five-year negatives, and a cancer's later years are masked. We do otherwise.
    reference, ours = outputs("h_losses"), reference_labels()
    y, mask = reference["bce_y"], reference["bce_mask"]
    assert not y[:, 5].any()
    trap = F.binary_cross_entropy(reference["logits"].softmax(1), y, mask, reduction="sum") / mask.sum()
    assert float(2 * trap) == pytest.approx(float(reference["risk_bce_bcrbench"]), rel=1e-6)
    assert float(2 * class_bce(reference["logits"], ours)) != pytest.approx(float(2 * trap), rel=1e-2)


@pytest.mark.parametrize("name", ["mean_variance", "mean_variance_oa_breacr_repo"])
def test_mean_variance_equals_the_reference(name):
    reference = outputs("h_losses")
    found = mean_variance(reference["logits"], reference_labels())
    assert float(found) == pytest.approx(float(reference[name]), rel=1e-6)


@pytest.mark.parametrize("name", ["poe_JDistance", "poe_JDistance_oa_breacr_repo"])
def test_embedding_loss_equals_the_reference(name):
    reference = outputs("h_losses")
    found = ordinal_embedding_loss(reference["emb"], reference["log_var"], reference_labels())
    assert float(found) == pytest.approx(float(reference[name][2]), rel=1e-5)


def test_labels_are_the_year_or_none_and_what_is_known_of_it():
    labels = ordinal_labels(*batch()[1:])
    assert labels.year.tolist() == [0, 1, 4, 5, 5, 5, 5]
    assert labels.settled.tolist() == [True, True, True, True, False, False, True]
    assert labels.known.sum(1).tolist() == [6, 6, 6, 6, 1, 3, 6]
    assert labels.known[5].tolist() == [True, True, True, False, False, False]
    nothing = ordinal_labels(torch.full((1, 5), math.nan), torch.zeros(1, 5))
    assert (bool(nothing.settled), bool(nothing.known.any())) == (False, False)


@pytest.mark.parametrize("seed", range(5))
def test_cross_entropy_is_the_mean_over_all_known_classes(seed):
    logits, target, mask = batch(seed)
    labels = ordinal_labels(target, mask)
    terms = []
    for row, year, known in zip(logits.double().tolist(), labels.year.tolist(), labels.known.tolist(), strict=True):
        total = sum(math.exp(z) for z in row)
        shares = [math.exp(z) / total for z in row]
        terms += [-math.log(p if c == year else 1 - p) for c, p in enumerate(shares) if known[c]]
    assert float(class_bce(logits, labels)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_mean_variance_is_the_mean_over_the_settled(seed):
    logits, target, mask = batch(seed)
    labels = ordinal_labels(target, mask)
    errors, variances, years = [], [], np.arange(6)
    for row, year in zip(logits[labels.settled].double(), labels.year[labels.settled].tolist(), strict=True):
        share = row.softmax(0).numpy()
        errors.append((share @ years - year) ** 2 / 2)
        variances.append(share @ years**2 - (share @ years) ** 2)
    expected = 0.3 * np.mean(errors) + 0.7 * np.mean(variances)
    assert float(mean_variance(logits, labels, 0.3, 0.7)) == pytest.approx(expected, rel=1e-4)


def test_head_loss_is_the_weighted_sum():
    logits, target, mask = batch()
    labels = ordinal_labels(target, mask)
    expected = 3 * class_bce(logits, labels) + mean_variance(logits, labels, 0.5, 0.7)
    torch.testing.assert_close(ordinal_risk_loss(logits, target, mask, 3, 0.5, 0.7), expected)
    published = 2 * class_bce(logits, labels) + mean_variance(logits, labels, 0.2, 0.05)
    torch.testing.assert_close(ordinal_risk_loss(logits, target, mask), published)


def test_draws_share_a_label_and_are_averaged():
    logits, target, mask = batch(n_draws=4)
    each = [ordinal_risk_loss(logits[:, draw], target, mask) for draw in range(4)]
    torch.testing.assert_close(ordinal_risk_loss(logits, target, mask), torch.stack(each).mean())


def fitted(cancer: float, followup: float) -> Tensor:
    """The probabilities of the classes that minimise the whole loss of one woman: gradient descent on free logits."""
    target, mask = labels_of([cancer], [followup])
    logits = torch.zeros(1, 6, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(400):
        optimizer.zero_grad()
        ordinal_risk_loss(logits, target, mask).backward()
        optimizer.step()
    return logits.detach().softmax(1)[0]


def test_pitfall_25_the_best_prediction_of_a_five_year_negative_is_no_cancer():
    probability = fitted(np.nan, 5)
    assert float(probability[5]) > 0.999
    assert float(probability[:5].cumsum(0).max()) < 1e-3  # the risk; BCRBench: 17, 33, 50, 67, 83 %


def test_the_best_prediction_of_a_cancer_is_its_year():
    assert float(fitted(3, 3)[2]) > 0.999


def test_the_best_prediction_of_a_censored_woman_leaves_her_known_years():
    probability = fitted(np.nan, 3)
    assert float(probability[:3].max()) < 1e-3
    torch.testing.assert_close(probability[3:], torch.full((3,), 1 / 3), atol=1e-3, rtol=0)  # nothing said of these


@pytest.mark.parametrize("draws", [None, 3])
def test_pitfall_15_losses_do_not_write_their_inputs(draws):
    logits, target, mask = batch(n_draws=draws)
    target[mask == 0] = math.nan
    labels = ordinal_labels(target.clone(), mask.clone())
    mean, log_variance = torch.randn(2, 7, 4)
    inputs = [logits, target, mask, *labels, mean, log_variance]
    before = [tensor.clone() for tensor in inputs]
    first = ordinal_risk_loss(logits, target, mask), ordinal_embedding_loss(mean, log_variance, labels)
    for tensor, copy in zip(inputs, before, strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0, equal_nan=True)
    again = ordinal_risk_loss(logits, target, mask), ordinal_embedding_loss(mean, log_variance, labels)
    assert torch.equal(torch.stack(first), torch.stack(again))


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, -math.inf, 7.0])
def test_what_is_unknown_does_not_count(rubbish):
    logits, target, mask = batch()
    mask[0] = 0  # no label at all, as of a missing prior
    clean = logits.clone().requires_grad_()
    dirty = logits.clone()
    dirty[0] = rubbish
    dirty.requires_grad_()
    expected = ordinal_risk_loss(clean, target, mask)
    found = ordinal_risk_loss(dirty, target.masked_fill(mask == 0, rubbish), mask)
    assert torch.equal(found, expected)
    expected.backward()
    found.backward()
    assert torch.equal(dirty.grad, clean.grad)
    assert not dirty.grad[0].any()
    assert dirty.grad[1:].any(1).all()


def test_a_known_nan_is_not_hidden():
    logits, target, mask = batch()
    logits[2, 3] = math.nan
    assert ordinal_risk_loss(logits, target, mask).isnan()


def test_nothing_known_gives_zero_and_a_gradient_of_zeros():
    logits = torch.randn(3, 6, requires_grad=True)
    loss = ordinal_risk_loss(logits, torch.full((3, 5), math.nan), torch.zeros(3, 5))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 6))


@pytest.mark.parametrize("size", [30.0, 1e4, 1e30])
def test_extreme_logits_stay_finite_and_wrong_ones_learn(size):
    target, mask = labels_of([1, 1, np.nan], [1, 1, 2])
    logits = torch.zeros(3, 6)
    logits[0, 0], logits[1, 4], logits[2, 0] = size, size, size  # right, wrong, and wrong in a known year
    logits.requires_grad_()
    loss = ordinal_risk_loss(logits, target, mask)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert float(logits.grad[1, 4]) > 0.1
    assert float(logits.grad[2, 0]) > 0.05
    assert float(logits.grad[0].abs().max()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, target, mask = batch(n_draws=3)
    halved = logits.to(dtype)
    loss = ordinal_risk_loss(halved, target, mask)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, ordinal_risk_loss(halved.float(), target, mask))


@pytest.mark.parametrize("shape", [(4, 5), (7, 5), (6, 6), (7, 2, 5), (1, 6), (7, 1, 2, 6), (6,)])
def test_shapes_that_would_broadcast_are_refused(shape):
    with pytest.raises(ValueError, match=r"logits \[B, \(S,\) Y\+1\], target and mask \[B, Y\]; found"):
        ordinal_risk_loss(torch.zeros(shape), *batch()[1:])
    with pytest.raises(ValueError, match="found"):
        ordinal_risk_loss(torch.zeros(7, 6), batch()[1], torch.ones(1, 5))


def triplets_one_by_one(mean: Tensor, log_variance: Tensor, labels: OrdinalLabels, margin: float) -> list[float]:
    """The violations of all triplets, by loops over the settled women as the publication's code walks them."""
    known = [i for i, settled in enumerate(labels.settled.tolist()) if settled]
    year = labels.year.tolist()

    def distance(i: int, j: int) -> float:
        return float(j_distance(mean[i], log_variance[i], mean[j], log_variance[j]))

    found = []
    for place, anchor in enumerate(known):
        second = known[(place + 1) % len(known)]
        gap = abs(year[anchor] - year[second])
        others = [j for j in known if j != anchor and abs(year[anchor] - year[j]) != gap]
        if others:
            third = min(others, key=lambda j: abs(abs(year[anchor] - year[j]) - gap))  # the first of equals
            near, far = (second, third) if gap < abs(year[anchor] - year[third]) else (third, second)
            found.append(max(0.0, distance(anchor, near) - distance(anchor, far) + margin))
    return [violation for violation in found if violation > 0]


@pytest.mark.parametrize("seed", range(20))
def test_triplets_equal_a_walk_over_samples(seed):
    draw = torch.Generator().manual_seed(seed)
    samples = 2 + seed % 9
    year = torch.randint(0, 6, (samples,), generator=draw)
    settled = torch.rand(samples, generator=draw) < 0.7
    labels = OrdinalLabels(year, settled, settled[:, None].expand(-1, 6))
    mean, log_variance = torch.randn(2, samples, 4, generator=draw, dtype=torch.float64)
    violations = triplets_one_by_one(mean, log_variance, labels, margin=0.5)
    expected = sum(violations) / max(len(violations), 1)
    assert float(ordinal_triplet(mean, log_variance, labels, j_distance, 0.5)) == pytest.approx(expected, rel=1e-9)


def test_triplets_order_embeddings_as_years():
    labels = OrdinalLabels(torch.tensor([0, 2, 5, 1]), torch.ones(4, dtype=torch.bool), torch.ones(4, 6).bool())
    ordered = 10 * labels.year[:, None].double()
    assert float(ordinal_triplet(ordered, torch.zeros(4, 1).double(), labels)) == 0
    assert float(ordinal_triplet(-ordered.flip(0), torch.zeros(4, 1).double(), labels)) > 100


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize(
    ("years", "settled"),
    [([1], [1]), ([1, 4], [1, 1]), ([3, 3, 3], [1, 1, 1]), ([0, 2, 4], [0, 0, 0]), ([0, 2, 4], [0, 1, 0])],
)
def test_without_a_triplet_the_loss_is_zero_and_so_is_its_gradient(name, years, settled):
    size = len(years)
    labels = OrdinalLabels(torch.tensor(years).long(), torch.tensor(settled).bool(), torch.ones(size, 6).bool())
    mean, log_variance = torch.randn(2, size, 4).unbind(0)
    inputs = [t.clone().requires_grad_() for t in (mean, log_variance)]
    loss = ordinal_triplet(*inputs, labels, DISTANCES[name])
    loss.backward()
    assert loss.item() == 0
    assert not any(t.grad.any() for t in inputs)


def test_divergence_is_from_the_standard_normal_and_of_all_samples():
    mean, log_variance = torch.randn(2, 5, 3)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(standard_normal_kl(mean, log_variance), expected)
    nobody = OrdinalLabels(torch.zeros(5).long(), torch.zeros(5).bool(), torch.zeros(5, 6).bool())
    torch.testing.assert_close(ordinal_embedding_loss(mean, log_variance, nobody, 0.5), 0.5 * expected)


def test_embedding_loss_weighs_its_parts():
    labels = ordinal_labels(*batch()[1:])
    mean, log_variance = torch.randn(2, 7, 4)
    for kl, triplet in itertools.product((0.0, 2.0), (0.0, 3.0)):
        order = DISTANCES["Wasserstein"], 1.0
        found = ordinal_embedding_loss(mean, log_variance, labels, kl, triplet, *order)
        expected = kl * standard_normal_kl(mean, log_variance)
        expected = expected + triplet * ordinal_triplet(mean, log_variance, labels, *order)
        torch.testing.assert_close(found, expected)
