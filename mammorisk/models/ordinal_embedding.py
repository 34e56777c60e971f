"""Probabilistic ordinal embedding: a Gaussian per feature vector, and draws from it (Li et al., CVPR 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mammorisk.errors import UserError

Embedding = Literal["stochastic", "deterministic"]
EMBEDDINGS = ("stochastic", "deterministic")
NOISE_SEED = 2021  # of the noise in eval mode; any number would do


class OrdinalEmbedding(nn.Module):
    """Mean and log variance of a Gaussian per sample, each a Linear(D -> D), and draws from it.

    In training every draw uses new noise. In eval mode the noise is a fixed table, the same for every sample, call,
    device and process. A risk then depends only on the sample and the weights, and the random state does not change.

    Args:
        dim: D.
        embedding: ``stochastic`` draws mean + deviation * noise, ``deterministic`` takes the mean.
        max_t: S, draws per sample.
        dropout: on the draws.

    Raises:
        UserError: unknown ``embedding``, or no draw.
    """

    noise: Tensor  # [S, D] | standard normal, constant, so not part of a checkpoint

    def __init__(self, dim: int, embedding: Embedding = "stochastic", max_t: int = 50, dropout: float = 0.1) -> None:
        super().__init__()
        if embedding not in EMBEDDINGS:
            raise UserError(f"embedding must be 'stochastic' or 'deterministic', found {embedding!r}.")
        if max_t < 1:
            raise UserError(f"max_t, the draws of the stochastic embedding, must be at least 1, found {max_t}.")
        self.embedding = embedding
        self.mean = nn.Linear(dim, dim)
        self.log_variance = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        noise = torch.randn(max_t, dim, generator=torch.Generator().manual_seed(NOISE_SEED))
        self.register_buffer("noise", noise, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, D] -> draws [B, S, D] (deterministic: [B, D]), mean and log variance [B, D], in float32."""
        # In float32: the loss takes exponentials of them.
        mean, log_variance = self.mean(x).float(), self.log_variance(x).float()
        return self.dropout(self._drawn(mean, log_variance)), mean, log_variance

    def _drawn(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        if self.embedding == "deterministic":
            return mean
        shape = (mean.shape[0], *self.noise.shape)
        noise = torch.randn(shape, device=mean.device) if self.training else self.noise  # [B, S, D] or [S, D]
        deviation = (0.5 * log_variance).exp()
        return mean.unsqueeze(1) + deviation.unsqueeze(1) * noise  # [B, D] -> [B, S, D]
