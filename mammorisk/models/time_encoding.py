"""Continuous encoding of the time between two exams, in years, as a vector to add to a feature."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEncoding(nn.Module):
    """Adds a sinusoidal encoding of a time gap in years to features (ImgFeatAlign, arXiv 2506.19363; LMV-Net).

    The Transformer's sine and cosine table, at ``steps`` positions over [0, ``max_years``] years, is read by linear
    interpolation at the gap, clamped to that range.

    Args:
        dim: C, even; sines in the even, cosines in the odd channels.
        max_years: longest gap that the encoding distinguishes.
        steps: rows of the table.
        dropout: applied to the sum.
    """

    table: Tensor  # [steps, C] | constant, so not part of a checkpoint

    def __init__(self, dim: int, max_years: float = 5.0, steps: int = 240, dropout: float = 0.1) -> None:
        super().__init__()
        self.max_years, self.steps = max_years, steps
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", sinusoid_table(dim, max_years, steps), persistent=False)

    def encode(self, years: Tensor) -> Tensor:
        """Gaps in years [N] -> encodings [N, C] float32."""
        row = years.float().clamp(0, self.max_years) / self.max_years * (self.steps - 1)
        below = row.floor().long()
        above = (below + 1).clamp(max=self.steps - 1)
        return torch.lerp(self.table[below], self.table[above], (row - below).unsqueeze(-1))

    def forward(self, features: Tensor, years: Tensor) -> Tensor:
        """Features [N, C, ...] plus the encoding of the gaps [N]; the features' dtype.

        Raises:
            ValueError: ``years`` is not one number per feature.
        """
        if years.shape != features.shape[:1]:
            raise ValueError(f"expected years [{features.shape[0]}], got {list(years.shape)}")
        code = self.encode(years)  # [N] -> [N, C]
        code = code.reshape(*code.shape, *[1] * (features.dim() - 2))  # [N, C] -> [N, C, 1, ...]
        summed: Tensor = self.dropout(features + code.to(features.dtype))
        return summed


def sinusoid_table(dim: int, max_years: float, steps: int) -> Tensor:
    """Sines and cosines of ``steps`` times in [0, ``max_years``] at frequencies 10000^(-2i/dim), [steps, dim]."""
    times = torch.linspace(0.0, max_years, steps).unsqueeze(1)
    frequencies = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = times * frequencies  # [steps, 1] * [dim / 2] -> [steps, dim / 2]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]  # interleaved
