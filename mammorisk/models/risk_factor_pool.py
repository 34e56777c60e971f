"""Risk factors predicted from an image vector, for exams without them (Mirai's ``RiskFactorPool``)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.risk_factors import RISK_FACTORS, SIZES, UNKNOWN


class RiskFactorClassifiers(nn.Module):
    """One linear classifier for each of ``RISK_FACTORS``.

    Args:
        in_features: D.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.of = nn.ModuleDict({name: nn.Linear(in_features, factor.size) for name, factor in RISK_FACTORS.items()})

    def forward(self, features: Tensor) -> Tensor:
        """Image vectors [B, D] -> logits [B, R] float32, in the order of ``RISK_FACTORS``."""
        return torch.cat([classifier(features) for classifier in self.of.values()], dim=1).float()


def known_values(values: Tensor | None, logits: Tensor) -> Tensor:
    """Risk factors [B, R] of a batch; all unknown, in the form of ``logits``, if it has none (None).

    Raises:
        ValueError: another number of values than ``RISK_FACTORS`` has.
    """
    if values is None:
        return torch.full_like(logits, UNKNOWN)
    if values.shape != logits.shape:
        raise ValueError(f"expected risk factors {list(logits.shape)}, got {list(values.shape)}")
    return values


def probabilities(logits: Tensor) -> Tensor:
    """Logits [B, R] -> probabilities [B, R]: of yes, or of the classes of one risk factor, which sum to 1."""
    parts = logits.split_with_sizes(SIZES, 1)
    return torch.cat([part.sigmoid() if part.shape[1] == 1 else part.softmax(1) for part in parts], dim=1)


def risk_factor_loss(logits: Tensor, values: Tensor) -> Tensor:
    """Cross-entropy of the classifiers, in nats.

    It is the mean over the women for whom a risk factor is known, then over the risk factors that are known for any
    (as published, where an unknown yes or no counts as no).

    Args:
        logits: [B, R] float32.
        values: [B, R] one-hot, -1 where unknown.

    Returns:
        Scalar; 0, with a gradient of zeros, where nothing is known.
    """
    total, counted = logits.new_zeros(()), logits.new_zeros(())
    for logit, value in zip(logits.split_with_sizes(SIZES, 1), values.split_with_sizes(SIZES, 1), strict=True):
        known = (value[:, 0] != UNKNOWN).to(logit.dtype)  # [B, size] -> [B]
        truth = value.clamp(min=0)
        if logit.shape[1] == 1:
            each = F.binary_cross_entropy_with_logits(logit, truth, reduction="none")[:, 0]
        else:
            each = -(truth * logit.log_softmax(1)).sum(1)  # [B, size] -> [B]
        total = total + (each * known).sum() / known.sum().clamp(min=1)
        counted = counted + known.amax()
    return total / counted.clamp(min=1)
