"""Mirai: a transformer over the four views of one exam (Yala et al., Sci. Transl. Med. 2021)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mammorisk.batch import MAX_FOLLOWUP, VIEWS, Batch, InputSpec, MissingViews, RiskOutput
from mammorisk.errors import UserError
from mammorisk.losses import hazard_bce
from mammorisk.models.attention import AttentionPool, TransformerLayer
from mammorisk.models.base import Head, Loss, RiskModel
from mammorisk.models.encoders import ResNetEncoder, encode_batch
from mammorisk.models.heads import CumulativeProbability
from mammorisk.models.risk_factor_pool import RiskFactorClassifiers, known_values, probabilities, risk_factor_loss
from mammorisk.risk_factors import TOTAL
from mammorisk.weights.loading import load_state, read_state_dict, renamed_state
from mammorisk.weights.renaming import MIRAI_TRANSFORMER

# Indices of the released weights' embeddings; views are CC 0, MLO 1, sides R 0, L 1.
CURRENT_EXAM = 0
VIEW_PADDING, SIDE_PADDING, TIME_PADDING = 2, 2, 10
EMBEDDING_DIM = 32  # each of time, view and side

RiskFactors = Literal["none", "predicted", "given"]


class Mirai(RiskModel):
    """Image encoder, global max pool, image aggregator, optional risk factors, additive hazards.

    Args:
        encoder: image encoder, [N, 1, H, W] -> [N, C, h, w].
        hidden_dim: width of the aggregator; None takes the encoder's channels (512 published).
        num_heads: attention heads (8 published).
        num_layers: transformer layers (1 published).
        dropout: on attention weights and on the pooled vector (0 or 0.1 in the published search).
        risk_factors: ``none``; ``predicted``: 34 risk factors, predicted from the images, are appended to the pooled
            vector (the released model's setting); ``given``: the true ones where they are known, else the predicted.
        risk_factor_weight: of the classifiers' loss (0.25 in the published code, 0.2 or 0.5 in its search).
        pretrained: file of the image aggregator's weights, Mirai's transformer snapshot; None: random weights.
        max_followup: years of risk.
        missing_views: ``mask``: a missing view is a masked padding token; ``drop``: the sample is left out.
        loss: (logits [B, Y], target [B, Y], target_mask [B, Y]) -> scalar.

    Raises:
        UserError: an unknown setting, or a file that cannot be read or does not fit.
    """

    def __init__(
        self,
        encoder: ResNetEncoder,
        hidden_dim: int | None = None,
        num_heads: int = 8,
        num_layers: int = 1,
        dropout: float = 0.1,
        risk_factors: RiskFactors = "none",
        risk_factor_weight: float = 0.25,
        pretrained: str | None = None,
        max_followup: int = MAX_FOLLOWUP,
        missing_views: MissingViews = "mask",
        loss: Loss = hazard_bce,
    ) -> None:
        super().__init__()
        if risk_factors not in get_args(RiskFactors):
            raise UserError(f"risk_factors must be {' or '.join(get_args(RiskFactors))}, found {risk_factors!r}.")
        uses_risk_factors = risk_factors != "none"
        self.inputs = InputSpec(unit="exam", exams=1, missing_views=missing_views, risk_factors=uses_risk_factors)
        self.heads = {"risk": Head(1.0)}
        self.primary = "risk"
        self.loss_function = loss
        self.encoder = encoder
        self.risk_factors, self.risk_factor_weight = risk_factors, risk_factor_weight
        channels = encoder.out_channels
        self.aggregator = ImageAggregator(
            channels, hidden_dim or channels, num_heads, num_layers, dropout, uses_risk_factors, max_followup
        )
        self.pretrained = pretrained
        if pretrained is not None:
            fill_aggregator(self.aggregator, pretrained)

    def notes(self) -> list[str]:
        """Lines of every model, and the origin of the image aggregator's weights."""
        return [*super().notes(), f"image aggregator: {self.pretrained or 'random initialisation'}"]

    def forward(self, batch: Batch) -> RiskOutput:
        """Risk logits of the current exam, head ``risk`` [B, Y]; with risk factors their loss ``risk_factors``.

        Maps, in eval mode only: ``importance`` [B, V, h, w], see ``importance``.
        """
        present = batch.view_mask[:, -1]  # [B, T, V] -> [B, V]
        features = encode_batch(self.encoder, batch, exams=1)[:, -1]  # [B, 1, V, C, h, w] -> [B, V, C, h, w]
        vectors = features.amax((-2, -1))  # [B, V, C, h, w] -> [B, V, C]
        pooled = self.aggregator.pooled(vectors, *view_tokens(present), present)  # [B, V, C] -> [B, D]
        maps = {} if self.training else {"importance": self.importance(features, present)}
        if self.aggregator.risk_factors is None:
            return RiskOutput(logits={"risk": self.aggregator.classify(pooled)}, maps=maps)
        predicted = self.aggregator.risk_factors(pooled)  # [B, D] -> [B, R]
        known = known_values(batch.risk_factors, predicted)
        used = probabilities(predicted)
        if self.risk_factors == "given":
            used = torch.where(known >= 0, known, used)
        return RiskOutput(
            logits={"risk": self.aggregator.classify(pooled, used)},
            auxiliary={"risk_factors": self.risk_factor_weight * risk_factor_loss(predicted, known)},
            maps=maps,
        )

    @property
    def encoder_module(self) -> nn.Module:
        """The image encoder."""
        return self.encoder

    @torch.no_grad()
    def importance(self, features: Tensor, present: Tensor) -> Tensor:
        """Origin of the pooled features: shares that sum to 1 over the views and positions of an exam.

        The attention pooling's weight of a view is spread over its positions by the share of channels that have their
        maximum there. A channel with the same maximum at several positions (after the ReLU often zero everywhere) is
        split among them. The map shows which positions were used, not whether they raised the risk.

        Args:
            features: [B, V, C, h, w].
            present: [B, V] bool.

        Returns:
            [B, V, h, w] float32.
        """
        places = features.flatten(3)  # [B, V, C, h*w]
        peak = places.amax(-1)  # [B, V, C]
        highest = (places == peak[..., None]).float()
        share = (highest / highest.sum(-1, keepdim=True)).mean(2)  # [B, V, h*w]
        mask = present | ~present.any(1, keepdim=True)
        tokens = self.aggregator.contextualise(peak, *view_tokens(present), mask)
        spread = self.aggregator.pool.weights(tokens, mask).float() * share
        return spread.reshape(*spread.shape[:2], *features.shape[-2:])


class ImageAggregator(nn.Module):
    """Mirai's image aggregator with its hazard layer: image vectors of an exam to risk logits.

    Args:
        in_features: C, width of an image vector.
        hidden_dim: D, width of the transformer.
        num_heads: attention heads.
        num_layers: transformer layers.
        dropout: on attention weights and on the pooled vector.
        risk_factors: whether R risk factors are appended to the pooled vector.
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
        risk_factors: bool = False,
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
        self.risk_factors = RiskFactorClassifiers(hidden_dim) if risk_factors else None
        self.risk = CumulativeProbability(hidden_dim + (TOTAL if risk_factors else 0), max_followup)

    def forward(self, vectors: Tensor, view: Tensor, side: Tensor, time: Tensor, mask: Tensor | None = None) -> Tensor:
        """Image vectors [B, N, C] and their indices [B, N] -> risk logits [B, Y], risk factors as predicted.

        Tokens where ``mask`` [B, N] is false have no influence. A sample with only such tokens attends to all of
        them, so that its risk is a number.
        """
        pooled = self.pooled(vectors, view, side, time, mask)  # [B, N, C] -> [B, D]
        return self.classify(pooled, None if self.risk_factors is None else probabilities(self.risk_factors(pooled)))

    def pooled(self, vectors: Tensor, view: Tensor, side: Tensor, time: Tensor, mask: Tensor | None = None) -> Tensor:
        """The first half of ``forward``: one vector for the exam, [B, N, C] -> [B, D]."""
        if mask is not None:
            mask = mask | ~mask.any(1, keepdim=True)
        tokens = self.contextualise(vectors, view, side, time, mask)
        pooled: Tensor = self.pool(tokens, mask)  # [B, N, D] -> [B, D]
        return pooled

    def classify(self, pooled: Tensor, risk_factors: Tensor | None = None) -> Tensor:
        """The second half: the exam's vector [B, D], beside it risk factors [B, R] -> risk logits [B, Y]."""
        if risk_factors is not None:
            pooled = torch.cat([pooled, risk_factors.to(pooled.dtype)], dim=1)  # [B, D] and [B, R] -> [B, D + R]
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


def fill_aggregator(aggregator: ImageAggregator, path: str) -> None:
    """Load a file in the names of Mirai's transformer snapshot, all of it into all of the aggregator.

    Raises:
        UserError: the file cannot be read or does not fit; names the setting that fits it.
    """
    state = read_state_dict(path)
    renamed = renamed_state(state, MIRAI_TRANSFORMER, path)
    holds = any(key.startswith("risk_factors.") for key in renamed)
    if "projection.weight" in renamed and holds != (aggregator.risk_factors is not None):  # else it is another model's
        found, fitting = ("holds", "predicted (or given)") if holds else ("does not hold", "none")
        raise UserError(
            f"model.pretrained={path} {found} classifiers of risk factors, and the model is built "
            f"{'without' if holds else 'with'} them: set model.risk_factors={fitting}, or use another file."
        )
    load_state(aggregator, state, MIRAI_TRANSFORMER, source=path)


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
