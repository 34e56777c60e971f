"""Output heads: a feature vector to cumulative risks."""

from __future__ import annotations

from torch import Tensor, nn

from mammorisk.batch import MAX_FOLLOWUP


class CumulativeProbability(nn.Module):
    """Additive hazard layer (Yala et al., Sci. Transl. Med. 2021): risk logits that never fall with the years.

    logit_y = base + sum_{j <= y} h_j, with base = Linear(C -> 1)(x) and hazards h = ReLU(Linear(C -> Y)(x)).

    Args:
        in_features: C.
        max_followup: Y, years of follow-up.
    """

    def __init__(self, in_features: int, max_followup: int = MAX_FOLLOWUP) -> None:
        super().__init__()
        self.base = nn.Linear(in_features, 1)
        self.hazards = nn.Linear(in_features, max_followup)

    def forward(self, features: Tensor) -> Tensor:
        """[..., C] -> [..., Y] float32 logits of the risk within 1..Y years."""
        # In float32: a bfloat16 sum could fall from one year to the next by rounding.
        hazards = self.hazards(features).float().relu()  # [..., C] -> [..., Y]
        logits: Tensor = self.base(features).float() + hazards.cumsum(-1)
        return logits
