"""Mirai: the four views of one exam, put together by a transformer (Yala et al., Sci. Transl. Med. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mammorisk.batch import MAX_FOLLOWUP, VIEWS, Batch, InputSpec, MissingViews, RiskOutput
from mammorisk.losses import hazard_bce
from mammorisk.models.attention import AttentionPool, TransformerLayer
from mammorisk.models.base import Head, Loss, RiskModel
from mammorisk.models.encoders import ResNetEncoder, encode_present
from mammorisk.models.heads import CumulativeProbability

# Indices of the released weights' embeddings; views are CC 0, MLO 1, sides R 0, L 1.
CURRENT_EXAM = 0
VIEW_PADDING, SIDE_PADDING, TIME_PADDING = 2, 2, 10
EMBEDDING_DIM = 32  # each of time, view and side


class Mirai(RiskModel):
    """Image encoder, global max pool, image aggregator, additive hazards; without risk factors.

    Args:
        encoder: image encoder, [N, 1, H, W] -> [N, C, h, w].
        hidden_dim: width of the aggregator; None takes the encoder's channels (512 published).
        num_heads: attention heads (8 published).
        num_layers: transformer layers (1 published).
        dropout: on attention weights and on the pooled vector (0 or 0.1 in the published search).
        max_followup: years of risk.
        missing_views: ``mask``: a missing view is a padding token, seen by nobody; ``drop``: the sample is left out.
        loss: (logits [B, Y], target [B, Y], target_mask [B, Y]) -> scalar.
    """

    def __init__(
        self,
        encoder: ResNetEncoder,
        hidden_dim: int | None = None,
        num_heads: int = 8,
        num_layers: int = 1,
        dropout: float = 0.1,
        max_followup: int = MAX_FOLLOWUP,
        missing_views: MissingViews = "mask",
        loss: Loss = hazard_bce,
    ) -> None:
        super().__init__()
        self.inputs = InputSpec(unit="exam", exams=1, missing_views=missing_views)
        self.heads = {"risk": Head(1.0)}
        self.primary = "risk"
        self.loss_function = loss
        self.encoder = encoder
        channels = encoder.out_channels
        self.aggregator = ImageAggregator(
            channels, hidden_dim or channels, num_heads, num_layers, dropout, max_followup=max_followup
        )

    def forward(self, batch: Batch) -> RiskOutput:
        """Risk logits of the current exam, head ``risk`` [B, Y]."""
        images, present = batch.images[:, -1], batch.view_mask[:, -1]  # [B, T, V, ...] -> [B, V, ...]
        features = encode_present(self.encoder, images, present, batch.complete)  # [B, V, 1, H, W] -> [B, V, C, h, w]
        vectors = features.amax((-2, -1))  # [B, V, C, h, w] -> [B, V, C]
        return RiskOutput(logits={"risk": self.aggregator(vectors, *view_tokens(present), present)})


class ImageAggregator(nn.Module):
    """Mirai's image aggregator with its hazard layer: image vectors of an exam to one risk.

    Args:
        in_features: C, width of an image vector.
        hidden_dim: D, width of the transformer.
        num_heads: attention heads.
        num_layers: transformer layers.
        dropout: on attention weights and on the pooled vector.
        max_followup: Y.
    """

    mask_embedding: Tensor  # [2, C] | row 1 is added to every image: constant and zero unless a snapshot fills it

    def __init__(
        self,
        in_features: int,
        hidden_dim: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
        max_followup: int = MAX_FOLLOWUP,
    ) -> None:
        super().__init__()
        self.register_buffer("mask_embedding", torch.zeros(2, in_features))
        self.projection = nn.Linear(in_features, hidden_dim)
        # The padding rows are zero and stay so.
        self.time_embedding = nn.Embedding(TIME_PADDING + 1, EMBEDDING_DIM, padding_idx=TIME_PADDING)
        self.view_embedding = nn.Embedding(VIEW_PADDING + 1, EMBEDDING_DIM, padding_idx=VIEW_PADDING)
        self.side_embedding = nn.Embedding(SIDE_PADDING + 1, EMBEDDING_DIM, padding_idx=SIDE_PADDING)
        self.scale = nn.Linear(3 * EMBEDDING_DIM, hidden_dim)
        self.add = nn.Linear(3 * EMBEDDING_DIM, hidden_dim)
        self.layers = nn.ModuleList(TransformerLayer(hidden_dim, num_heads, dropout) for _ in range(num_layers))
        self.pool = AttentionPool(hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.risk = CumulativeProbability(hidden_dim, max_followup)

    def forward(self, vectors: Tensor, view: Tensor, side: Tensor, time: Tensor, mask: Tensor | None = None) -> Tensor:
        """Image vectors [B, N, C] and their indices [B, N] -> risk logits [B, Y].

        Tokens where ``mask`` [B, N] is false influence nothing; a sample of none but such tokens sees them all, so
        that its risk is a number.
        """
        if mask is not None:
            mask = mask | ~mask.any(1, keepdim=True)
        tokens = self.contextualise(vectors, view, side, time, mask)
        pooled = self.pool(tokens, mask)  # [B, N, D] -> [B, D]
        logits: Tensor = self.risk(self.dropout(pooled.relu()))
        return logits

    def contextualise(
        self, vectors: Tensor, view: Tensor, side: Tensor, time: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Tokens after the transformer, [B, N, C] -> [B, N, D]."""
        tokens: Tensor = self.projection(vectors + self.mask_embedding[1])  # [B, N, C] -> [B, N, D]
        place = torch.cat([self.view_embedding(view), self.time_embedding(time), self.side_embedding(side)], dim=-1)
        tokens = self.scale(place) * tokens + self.add(place)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return tokens


def view_tokens(present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """View, side and time index of the views of an exam in the order of ``VIEWS``; padding where not ``present``.

    Args:
        present: [B, V] bool.

    Returns:
        Three [B, V] int64.
    """
    place = torch.arange(len(VIEWS), device=present.device)  # made there: a copy would wait for the device
    view, side = place % 2, place // 2  # R-CC, R-MLO, L-CC, L-MLO
    time = torch.full_like(view, CURRENT_EXAM)
    return (
        torch.where(present, view, VIEW_PADDING),
        torch.where(present, side, SIDE_PADDING),
        torch.where(present, time, TIME_PADDING),
    )
