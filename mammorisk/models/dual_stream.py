"""Dual-stream block of LMV-Net: self- and cross-attention of the two views of one breast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mammorisk.models.attention import MultiHeadAttention
from mammorisk.models.stochastic_depth import StochasticDepth

VIEWS_OF_A_BREAST = 2


class DualStreamBlock(nn.Module):
    """Self- plus cross-attention over positions, then a feed-forward network (Thrun et al., arXiv 2607.11343).

    For each view x with the other view y: x <- LN(x + path(drop(self(x) + cross(x -> y)))), then
    x <- LN(x + path(FFN(x))). The attention weights are shared by the views; LayerNorms and FFNs are each view's own.
    Both views are updated from the values before the block.

    Args:
        dim: D, channels of a token.
        num_heads: attention heads.
        ffn_expansion: hidden width of the FFN over D.
        dropout: on the sum of the attentions and inside the FFN, not on the attention weights.
        stochastic_depth: share of (sample, view) branches dropped.
    """

    def __init__(
        self, dim: int, num_heads: int, ffn_expansion: float = 2, dropout: float = 0.3, stochastic_depth: float = 0.2
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(dim, num_heads)
        self.cross_attention = MultiHeadAttention(dim, num_heads)
        self.self_attention.reset_packed()
        self.cross_attention.reset_packed()
        views, hidden = range(VIEWS_OF_A_BREAST), int(dim * ffn_expansion)
        self.attention_norms = nn.ModuleList(nn.LayerNorm(dim) for _ in views)
        self.ffn_norms = nn.ModuleList(nn.LayerNorm(dim) for _ in views)
        self.ffns = nn.ModuleList(_ffn(dim, hidden, dropout) for _ in views)
        self.dropout = nn.Dropout(dropout)
        self.path = StochasticDepth(stochastic_depth, sample_dims=2)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Tokens [B, 2, N, D] (CC, MLO) -> [B, 2, N, D]; a view that is not ``present`` [B, 2] is not attended to."""
        if tokens.shape[1] != VIEWS_OF_A_BREAST:
            raise ValueError(f"expected tokens [B, 2, N, D], got {list(tokens.shape)}")
        views = tokens.flatten(0, 1)  # [B, 2, N, D] -> [B*2, N, D]
        others = tokens.flip(1).flatten(0, 1)
        within = self.self_attention(views).unflatten(0, tokens.shape[:2])
        across = self.cross_attention(views, others).unflatten(0, tokens.shape[:2])
        if present is not None:
            across = across.masked_fill(~present.flip(1)[:, :, None, None], 0.0)
        tokens = each_view(self.attention_norms, tokens + self.path(self.dropout(within + across)))
        return each_view(self.ffn_norms, tokens + self.path(each_view(self.ffns, tokens)))


def each_view(modules: nn.ModuleList | Sequence[nn.Module], tokens: Tensor) -> Tensor:
    """Apply module v to view v of [B, V, ...], and stack the results to [B, V, ...]."""
    return torch.stack([module(tokens[:, view]) for view, module in enumerate(modules)], dim=1)


def _ffn(dim: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim), nn.Dropout(dropout)
    )
