"""Distances between Gaussians of diagonal covariance (Li et al., CVPR 2021, probabilistic ordinal embeddings).

Every function takes two batches of Gaussians N(mean, exp(log_variance)), each tensor [N, D] float, and gives [N]; all
are 0 for equal Gaussians, with a finite gradient there. Variances come as logarithms, so that none can vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

GaussianDistance = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

TINY = 1e-12  # below it a square root is treated as constant: its slope would be infinite


def forward_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(one || other) in nats; not symmetric."""
    log_ratio = log_variance - other_log_variance
    mahalanobis = (mean - other_mean).square() * torch.exp(-other_log_variance)
    return 0.5 * (log_ratio.exp() - log_ratio - 1.0 + mahalanobis).sum(-1)  # [N, D] -> [N]


def reverse_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(other || one) in nats; not symmetric."""
    return forward_kl(other_mean, other_log_variance, mean, log_variance)


def j_distance(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Jeffreys divergence KL(one || other) + KL(other || one), in nats."""
    gaussians = (mean, log_variance, other_mean, other_log_variance)
    return forward_kl(*gaussians) + reverse_kl(*gaussians)


def bhattacharyya(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """-ln of the integral of sqrt(one * other); with v the mean variance, (m - m')^2 / 8v + ln(v / (s s')) / 2."""
    log_middle = torch.logaddexp(log_variance, other_log_variance) - math.log(2.0)
    apart = (mean - other_mean).square() * torch.exp(-log_middle) / 8.0
    unlike = 0.5 * (log_middle - 0.5 * (log_variance + other_log_variance))
    return (apart + unlike).sum(-1)  # [N, D] -> [N]


def hellinger(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """sqrt(1 - exp(-Bhattacharyya)), in [0, 1]."""
    return _root(-torch.expm1(-bhattacharyya(mean, log_variance, other_mean, other_log_variance)))


def wasserstein(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """2-Wasserstein distance, sqrt(|m - m'|^2 + |s - s'|^2), in the units of the means."""
    deviation, other_deviation = (0.5 * log_variance).exp(), (0.5 * other_log_variance).exp()
    squared = (mean - other_mean).square() + (deviation - other_deviation).square()
    return _root(squared.sum(-1))  # [N, D] -> [N]


def geodesic(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Fisher-Rao distance; per dimension sqrt(2) ln((1 + d) / (1 - d)), where
    d^2 = ((m - m')^2 + 2 (s - s')^2) / ((m - m')^2 + 2 (s + s')^2).
    """
    deviation, other_deviation = (0.5 * log_variance).exp(), (0.5 * other_log_variance).exp()
    apart = (mean - other_mean).square()
    whole = apart + 2.0 * (deviation + other_deviation).square()
    d = _root((apart + 2.0 * (deviation - other_deviation).square()) / whole)
    # (1 + d) / (1 - d) = (1 + d)^2 / (1 - d^2), and 1 - d^2 = 8 s s' / whole without cancellation where d is near 1
    log_complement = math.log(8.0) + 0.5 * (log_variance + other_log_variance) - whole.log()
    length = 2.0 * d.log1p() - log_complement
    return _root(2.0 * length.square().sum(-1))  # [N, D] -> [N]


DISTANCES: Mapping[str, GaussianDistance] = MappingProxyType(
    {
        "JDistance": j_distance,
        "Bhattacharyya": bhattacharyya,
        "Wasserstein": wasserstein,
        "ForwardKL": forward_kl,
        "ReverseKL": reverse_kl,
        "Hellinger": hellinger,
        "Geodesic": geodesic,
    }
)


def _root(x: Tensor) -> Tensor:
    return torch.where(x > TINY, x.clamp(min=TINY).sqrt(), 0.0)
