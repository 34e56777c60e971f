"""Losses of models that classify the year of the cancer: classes 0 ... Y-1, and Y for none within Y years (OA-BreaCR).

Pure functions that never write their inputs (docs/pitfalls.md#p15), in float32 at least. Logits are [B, Y+1], or
[B, S, Y+1] where a sample has S draws that share its label; a loss is then the mean over the draws.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mammorisk.losses.gaussian_distances import GaussianDistance, j_distance

TIE, ITSELF, UNSETTLED = 1000, 2000, 3000  # ranks above any difference of years


class OrdinalLabels(NamedTuple):
    """Known classes of B samples."""

    year: Tensor  # [B] int64 | year of the cancer, 0 ... Y-1, else Y
    settled: Tensor  # [B] bool | the class is known: cancer within Y years, or none in all of them
    known: Tensor  # [B, Y+1] bool | the classes known to be right or wrong; all where settled


def ordinal_labels(target: Tensor, target_mask: Tensor) -> OrdinalLabels:
    """Classes from targets and masks (``datasets/labels.py``).

    Cancer in a known year is that year's class; all Y years known and free are class Y; both are settled, and all their
    classes are known. Of a woman censored earlier it is only known that the classes of her known years are wrong
    (docs/pitfalls.md#p25). Of an exam without any known year, as a missing prior, nothing is known.

    Args:
        target: [B, Y] 1 from the year of the cancer on; values where nothing is known do not count, NaN included.
        target_mask: [B, Y] 1 for known years: up to the cancer or the last follow-up.
    """
    followed = target_mask > 0
    has_cancer = followed & (target > 0.5)
    event, horizon = has_cancer.any(1), target.shape[1]
    free = (followed & ~has_cancer).sum(1)  # [B, Y] -> [B] | years known to be free of cancer
    year = torch.where(event, free, horizon)
    settled = event | (free == horizon)
    known = settled[:, None] | (torch.arange(horizon + 1, device=target.device) < free[:, None])  # [B, Y+1]
    return OrdinalLabels(year, settled, known)


def class_bce(logits: Tensor, labels: OrdinalLabels) -> Tensor:
    """Binary cross-entropy of every class's softmax probability over the known classes (Wang et al., MICCAI 2024).

    sum known * BCE(p_c, [c is the year]) / sum known, in nats; over all classes and samples of the batch, so a
    settled sample has more weight than a censored one.

    Returns:
        Scalar; 0, with a gradient of zeros, where nothing is known.
    """
    known = labels.known.unsqueeze(1)  # [B, C] -> [B, 1, C]
    logits = _draws(logits).masked_fill(~known.any(-1, keepdim=True), 0.0)  # [B, S, C]
    classes = logits.shape[-1]
    itself = torch.eye(classes, dtype=torch.bool, device=logits.device)
    total = logits.logsumexp(-1, keepdim=True)
    # ln(1 - p) from the logits of the other classes: 1 - p itself is 0 in floating point where p is near 1.
    others = logits.unsqueeze(-2).masked_fill(itself, float("-inf"))  # [B, S, C] -> [B, S, C, C]
    log_right, log_wrong = logits - total, others.logsumexp(-1) - total
    chosen = (torch.arange(classes, device=logits.device) == labels.year[:, None]).unsqueeze(1)  # [B, 1, C]
    terms = -torch.where(chosen, log_right, log_wrong).masked_fill(~known, 0.0)
    return terms.sum() / (known.sum() * logits.shape[1]).clamp(min=1)


def mean_variance(
    logits: Tensor, labels: OrdinalLabels, mean_weight: float = 0.2, variance_weight: float = 0.05
) -> Tensor:
    """Mean-variance loss (Pan et al., CVPR 2018) over the settled samples.

    mean_weight * mean((m - year)^2) / 2 + variance_weight * mean(v), with m and v mean and variance of the class, in
    years, under the softmax.

    Returns:
        Scalar; 0, with a gradient of zeros, where no sample is settled.
    """
    settled = labels.settled[:, None]  # [B, 1]
    probability = _draws(logits).masked_fill(~settled.unsqueeze(-1), 0.0).softmax(-1)  # [B, S, C]
    years = torch.arange(probability.shape[-1], device=logits.device, dtype=probability.dtype)
    mean = (probability * years).sum(-1)  # [B, S, C] -> [B, S]
    variance = (probability * (years - mean.unsqueeze(-1)).square()).sum(-1)
    error = 0.5 * (mean - labels.year[:, None]).square()
    terms = (mean_weight * error + variance_weight * variance).masked_fill(~settled, 0.0)
    return terms.sum() / (settled.sum() * mean.shape[1]).clamp(min=1)


def ordinal_risk_loss(
    logits: Tensor,
    target: Tensor,
    target_mask: Tensor,
    bce_weight: float = 2.0,
    mean_weight: float = 0.2,
    variance_weight: float = 0.05,
) -> Tensor:
    """The loss of one head of OA-BreaCR: ``class_bce`` and ``mean_variance`` (Wang et al., MICCAI 2024).

    Args:
        logits: [B, Y+1] or [B, S, Y+1] float, logits of the classes.
        target: [B, Y], see ``ordinal_labels``.
        target_mask: [B, Y].
        bce_weight: of the cross-entropy.
        mean_weight: of the squared error of the mean year.
        variance_weight: of its variance.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes do not fit (they would broadcast silently).
    """
    fits = logits.dim() in (2, 3) and (logits.shape[0], logits.shape[-1] - 1) == tuple(target.shape)
    if not fits or target.shape != target_mask.shape:
        shapes = f"{tuple(logits.shape)}, {tuple(target.shape)} and {tuple(target_mask.shape)}"
        raise ValueError(f"Expected logits [B, (S,) Y+1], target and mask [B, Y]; found {shapes}.")
    labels = ordinal_labels(target, target_mask)
    return bce_weight * class_bce(logits, labels) + mean_variance(logits, labels, mean_weight, variance_weight)


def standard_normal_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) in nats, summed over D, averaged over B; both [B, D] -> scalar."""
    mean, log_variance = _precise(mean), _precise(log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(-1).mean()


def ordinal_triplet(
    mean: Tensor,
    log_variance: Tensor,
    labels: OrdinalLabels,
    distance: GaussianDistance = j_distance,
    margin: float = 2.0,
) -> Tensor:
    """Hinge loss that orders the distances of embeddings as their years (Li et al., CVPR 2021, triplet loss).

    Each settled sample is compared with the next settled one of the batch (after the last comes the first) and with the
    settled one whose year is the next nearest or farther from it; the nearer in years must be nearer by ``margin``.
    The mean is over the triplets that violate this.

    Args:
        mean: [B, D].
        log_variance: [B, D].
        labels: of the B samples.
        distance: between two batches of Gaussians, [N, D] each -> [N].
        margin: in the units of the distance.

    Returns:
        Scalar; 0, with a gradient of zeros, without any such triplet.
    """
    order = (~labels.settled).int().argsort(stable=True)  # settled ones first, without a count from the device
    year, count = labels.year[order], labels.settled.sum()
    mean, log_variance = _precise(mean)[order], _precise(log_variance)[order]
    place = torch.arange(len(year), device=year.device)
    counts = place < count
    second = torch.where(place + 1 < count, place + 1, 0)
    third, sign = _third(year, second, counts)

    def to(other: Tensor) -> Tensor:
        return distance(mean, log_variance, mean[other], log_variance[other])

    hinge = (margin + sign * (to(third) - to(second))).relu().masked_fill(sign == 0, 0.0)
    return hinge.sum() / (hinge > 0).sum().clamp(min=1)


def _third(year: Tensor, second: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The third of every triplet [B], and 1 where it is nearer in years than the second, -1 where farther, else 0."""
    gap = (year[:, None] - year).abs()  # [B] -> [B, B]
    to_second = gap.gather(1, second[:, None])  # [B, 1]
    rank = (gap - to_second).abs()
    # The one that differs least from the second is taken; ties with it, the sample itself and the unsettled come last.
    itself = torch.eye(len(year), dtype=torch.bool, device=year.device)
    rank = rank.masked_fill(rank == 0, TIE).masked_fill(itself, ITSELF).masked_fill(~counts, UNSETTLED)
    third = rank.argmin(1)
    sign = (to_second - gap.gather(1, third[:, None])).sign().squeeze(1)
    return third, sign * counts


def ordinal_embedding_loss(
    mean: Tensor,
    log_variance: Tensor,
    labels: OrdinalLabels,
    kl_weight: float = 1e-5,
    triplet_weight: float = 1e-4,
    distance: GaussianDistance = j_distance,
    margin: float = 2.0,
) -> Tensor:
    """Loss of a probabilistic ordinal embedding (Li et al., CVPR 2021): the regulariser and the order of distances.

    kl_weight * ``standard_normal_kl`` (all samples) + triplet_weight * ``ordinal_triplet`` (settled ones).

    Returns:
        Scalar.
    """
    regulariser = standard_normal_kl(mean, log_variance)
    return kl_weight * regulariser + triplet_weight * ordinal_triplet(mean, log_variance, labels, distance, margin)


def _draws(logits: Tensor) -> Tensor:
    """Logits [B, C] or [B, S, C] -> [B, S, C], float32 at least."""
    return _precise(logits if logits.dim() == 3 else logits.unsqueeze(1))


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
