"""Loss of cumulative risks: a pure function that never writes its inputs (docs/pitfalls.md#p15)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hazard_bce(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of the yearly risks over the years that are known (Yala et al. 2021, Mirai).

    sum_bk mask_bk * BCE(sigmoid(logits_bk), target_bk) / sum_bk mask_bk, in nats; computed in float32 at least.
    The masked mean is over all known years of the batch, so a long follow-up has more weight than a short one.

    Args:
        logits: [B, Y] float, logits of the cumulative risk.
        target: [B, Y] 1 from the year of the event on, else 0.
        mask: [B, Y] 1 for known years, else 0; values of the others do not count, NaN included.

    Returns:
        Scalar; 0, with a gradient of zeros, where nothing is known.

    Raises:
        ValueError: shapes differ (they would broadcast silently).
    """
    if not logits.shape == target.shape == mask.shape:
        shapes = f"{tuple(logits.shape)}, {tuple(target.shape)} and {tuple(mask.shape)}"
        raise ValueError(f"Expected logits, target and mask of one shape [B, Y]; found {shapes}.")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = mask.to(logits.dtype)
    hidden = mask == 0
    per_year = F.binary_cross_entropy_with_logits(
        logits.masked_fill(hidden, 0), target.to(logits.dtype).masked_fill(hidden, 0), reduction="none"
    )
    return (per_year * known).sum() / known.sum().clamp(min=1)
