"""Stochastic depth: residual branches left out at random while training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mammorisk.errors import UserError


class StochasticDepth(nn.Module):
    """Drops the residual branch of whole samples in training (Huang et al., ECCV 2016), scaled to keep the mean.

    Args:
        rate: share of samples dropped, in [0, 1).
        sample_dims: number of leading dimensions that index samples.
    """

    def __init__(self, rate: float, sample_dims: int = 1) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise UserError(f"The stochastic depth rate must lie in [0, 1), found {rate}.")
        self.rate, self.sample_dims = rate, sample_dims

    def forward(self, x: Tensor) -> Tensor:
        """Branches [sample, ...] -> the same shape, samples zeroed or divided by the share kept."""
        if not self.training or self.rate == 0.0:
            return x
        shape = [*x.shape[: self.sample_dims], *[1] * (x.dim() - self.sample_dims)]
        # Multiplied, not skipped: every parameter gets a gradient on every process.
        keep = torch.rand(shape, device=x.device) >= self.rate
        return x * (keep / (1.0 - self.rate)).to(x.dtype)
