"""Losses: pure functions of logits, targets and masks."""

from mammorisk.losses.hazard import hazard_bce
from mammorisk.losses.ordinal import ordinal_embedding_loss, ordinal_risk_loss

__all__ = ["hazard_bce", "ordinal_embedding_loss", "ordinal_risk_loss"]
