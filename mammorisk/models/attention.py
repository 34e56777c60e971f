"""Attention layers: multi-head attention, Mirai's transformer layer, attention pooling."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.errors import UserError


class MultiHeadAttention(nn.Module):
    """softmax(q k' / sqrt(d)) v in ``num_heads`` heads (Vaswani et al. 2017).

    The weights are never materialised (docs/pitfalls.md#p12). With ``dropout`` on the weights, some devices
    materialise them in training, so use it for short sequences only.

    Args:
        dim: D, width of queries, keys, values and output.
        num_heads: heads of D / num_heads channels.
        dropout: on the attention weights.

    Raises:
        UserError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise UserError(f"num_heads must divide the attention width {dim}, found {num_heads}: choose a divisor.")
        self.num_heads, self.dropout = num_heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor | None = None, key_mask: Tensor | None = None) -> Tensor:
        """Queries x [B, N, D] attend to context [B, M, D] (default: x) -> [B, N, D].

        ``key_mask`` [B, M] bool is true where a key may be seen; at least one must be in every sample.
        """
        context = x if context is None else context
        query, key, value = self._heads(self.query(x)), self._heads(self.key(context)), self._heads(self.value(context))
        mask = None if key_mask is None else key_mask[:, None, None, :]  # [B, M] -> [B, heads, N, M] by broadcast
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        output: Tensor = self.output(seen.transpose(1, 2).flatten(2))  # [B, heads, N, d] -> [B, N, D]
        return output

    def _heads(self, x: Tensor) -> Tensor:
        split = x.reshape(*x.shape[:-1], self.num_heads, -1)
        return split.transpose(1, 2)  # [B, N, D] -> [B, heads, N, d]

    def reset_packed(self) -> None:
        """Start as ``nn.MultiheadAttention`` does: Xavier over q, k and v as one matrix, biases 0."""
        for linear in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(linear.weight, gain=0.5**0.5)  # D -> D with the bound of D -> 3D
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.zeros_(linear.bias)


class TransformerLayer(nn.Module):
    """Attention and a ReLU network, each with residual and post-LayerNorm (Mirai, ImgFeatAlign).

    Args:
        dim: D.
        num_heads: heads of the attention.
        dropout: on the attention weights.
        ffn_expansion: hidden width of the network over D.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0, ffn_expansion: int = 1) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, num_heads, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_expansion * dim), nn.ReLU(), nn.Linear(ffn_expansion * dim, dim))
        self.ffn_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] -> [B, N, D]; those where ``mask`` [B, N] is false are not attended to."""
        x = self.attention_norm(x + self.attention(x, key_mask=mask))
        x = self.ffn_norm(x + self.ffn(x))
        return x


class AttentionPool(nn.Module):
    """Mean of tokens weighted by the softmax of a learned linear score (Mirai's ``Simple_AttentionPool``).

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens [B, N, D] -> [B, D]; ``mask`` [B, N] bool is true for the tokens that count (at least one)."""
        return (self.weights(tokens, mask) * tokens).sum(1)  # [B, N, D] -> [B, D]

    def weights(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The share of each token in the mean, [B, N, D] -> [B, N, 1], in the tokens' dtype."""
        score: Tensor = self.score(tokens).float()  # [B, N, D] -> [B, N, 1]
        if mask is not None:
            score = score.masked_fill(~mask.unsqueeze(-1), float("-inf"))
        return score.softmax(dim=1).to(tokens.dtype)
