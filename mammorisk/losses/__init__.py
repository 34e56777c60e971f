"""Losses: pure functions of logits, targets and masks."""

from mammorisk.losses.hazard import hazard_bce
from mammorisk.losses.ordinal import OrdinalLoss

__all__ = ["OrdinalLoss", "hazard_bce"]
