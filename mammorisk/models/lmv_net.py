"""LMV-Net: CC and MLO of one breast, current and prior exam (Thrun et al., MICCAI 2026, arXiv 2607.11343)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mammorisk.batch import MAX_FOLLOWUP, Batch, InputSpec, MissingPriors, MissingViews, RiskOutput
from mammorisk.errors import UserError
from mammorisk.losses import hazard_bce
from mammorisk.models.alignment import displacement_of_last_pair, mask_images, warp_features
from mammorisk.models.base import Head, Loss, RiskModel, freeze
from mammorisk.models.dual_stream import VIEWS_OF_A_BREAST, DualStreamBlock
from mammorisk.models.encoders import ResNetEncoder, encode_batch
from mammorisk.models.heads import CumulativeProbability
from mammorisk.models.time_encoding import TimeEncoding

PriorFeatures = Literal["aligned", "raw"]
EXAMS = 2


class LMVNet(RiskModel):
    """Longitudinal multi-view network: [F_cur, F_pri aligned, |difference| + time] per view, then dual-stream blocks.

    Args:
        encoder: image encoder, [N, 1, H, W] -> [N, C, h, w].
        registration: (fixed, moving) [N, 1, H, W] -> displacement [N, 2, H, W]; frozen here.
        num_attn_blocks: dual-stream blocks (1 published).
        num_heads: their attention heads (4 published); divides 3 C.
        ffn_expansion: hidden width of their FFN over 3 C.
        dropout: on attention outputs and in the FFN.
        stochastic_depth: share of residual branches dropped.
        time_dropout: after the time encoding.
        prior_features: prior features beside the current ones: ``aligned`` (paper) or ``raw`` (BCRBench).
        finetune_all: train the encoder; false freezes it.
        max_followup: years of risk.
        missing_views: see InputSpec; with ``mask`` a missing view's features are zero, the other view does not
            attend to it, and its own head has nothing but its bias.
        missing_priors: see InputSpec; with ``mask`` a missing prior's features and the difference are zero, with
            no time encoding.
        auxiliary_weight: weight of the heads ``cc`` and ``mlo`` in the loss.
        loss: (logits [B, Y], target [B, Y], target_mask [B, Y]) -> scalar.

    Raises:
        UserError: unknown ``prior_features``, or ``num_heads`` does not divide 3 C.
    """

    def __init__(
        self,
        encoder: ResNetEncoder,
        registration: nn.Module,
        num_attn_blocks: int = 1,
        num_heads: int = 4,
        ffn_expansion: float = 2,
        dropout: float = 0.3,
        stochastic_depth: float = 0.2,
        time_dropout: float = 0.1,
        prior_features: PriorFeatures = "aligned",
        finetune_all: bool = True,
        max_followup: int = MAX_FOLLOWUP,
        missing_views: MissingViews = "drop",
        missing_priors: MissingPriors = "drop",
        auxiliary_weight: float = 0.2,
        loss: Loss = hazard_bce,
    ) -> None:
        super().__init__()
        if prior_features not in ("aligned", "raw"):
            raise UserError(f"prior_features must be 'aligned' or 'raw', found {prior_features!r}.")
        self.inputs = InputSpec("breast", EXAMS, missing_views, missing_priors)
        self.heads = {"multi": Head(1.0), "cc": Head(auxiliary_weight), "mlo": Head(auxiliary_weight)}
        self.primary = "multi"
        self.loss_function = loss
        self.encoder = encoder
        if not finetune_all:
            freeze(encoder)
        self.registration = freeze(registration)
        self.prior_features = prior_features
        self.time_encoding = TimeEncoding(encoder.out_channels, dropout=time_dropout)
        dim = 3 * encoder.out_channels
        blocks = [
            DualStreamBlock(dim, num_heads, ffn_expansion, dropout, stochastic_depth) for _ in range(num_attn_blocks)
        ]
        self.head = TwoViewHead(dim, blocks, max_followup)

    def forward(self, batch: Batch) -> RiskOutput:
        """Logits [B, Y] of ``multi``, ``cc`` and ``mlo``; maps: mean |difference| over channels, [B, h, w] per view.

        It uses the last two exams of the batch.

        Raises:
            ValueError: fewer than two exams, or other than two views.
        """
        images, present = batch.images[:, -EXAMS:], batch.view_mask[:, -EXAMS:]  # [B, 2, V, 1, H, W], [B, 2, V]
        if images.shape[1:3] != (EXAMS, VIEWS_OF_A_BREAST):
            raise ValueError(f"expected two exams of two views, got images {list(batch.images.shape)}")
        images = mask_images(images, present, batch.complete)
        prior, current = encode_batch(self.encoder, batch, EXAMS).unbind(1)  # [B, V, C, h, w] each
        displacement = displacement_of_last_pair(batch, self.registration, images)
        # [B*V, C, h, w] -> [B, V, C, h, w]
        aligned = warp_features(prior.flatten(0, 1), displacement).reshape(prior.shape)
        paired = present.all(1)  # [B, 2, V] -> [B, V]
        difference = _kept((current - aligned).abs(), paired)
        beside = aligned if self.prior_features == "aligned" else prior
        years = batch.time_gap[:, -2] - batch.time_gap[:, -1]
        timed = _kept(self._timed(difference, years), paired)
        logits = self.head(torch.cat([current, beside, timed], dim=2), present[:, -1])
        maps = difference.detach().float().mean(2)  # [B, V, C, h, w] -> [B, V, h, w]
        return RiskOutput(logits, maps={"difference_cc": maps[:, 0], "difference_mlo": maps[:, 1]})

    @property
    def registration_module(self) -> nn.Module:
        """The frozen registration."""
        return self.registration

    @property
    def encoder_module(self) -> nn.Module:
        """The image encoder."""
        return self.encoder

    def field_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Size of the features, which are warped."""
        return self.encoder.feature_size(image_size)

    def _timed(self, difference: Tensor, years: Tensor) -> Tensor:
        timed: Tensor = self.time_encoding(difference.flatten(0, 1), years.repeat_interleave(VIEWS_OF_A_BREAST))
        return timed.reshape(difference.shape)  # [B*V, C, h, w] -> [B, V, C, h, w]


class TwoViewHead(nn.Module):
    """Dual-stream blocks, average pool per view, and one hazard layer for both views together and each alone.

    Args:
        dim: D, channels of a view's features.
        blocks: dual-stream blocks of that width.
        max_followup: Y.
    """

    def __init__(self, dim: int, blocks: list[DualStreamBlock], max_followup: int = MAX_FOLLOWUP) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.fusion = nn.Linear(VIEWS_OF_A_BREAST * dim, dim)
        self.risk = CumulativeProbability(dim, max_followup)

    def forward(self, features: Tensor, present: Tensor | None = None) -> dict[str, Tensor]:
        """Features [B, 2, D, h, w] (CC, MLO), views ``present`` [B, 2] -> logits [B, Y] of multi, cc, mlo."""
        tokens = features.flatten(3).transpose(2, 3)  # [B, 2, D, h, w] -> [B, 2, h*w, D]
        for block in self.blocks:
            tokens = block(tokens, present)
        pooled = tokens.mean(2)  # [B, 2, N, D] -> [B, 2, D]
        if present is not None:
            pooled = pooled.masked_fill(~present.unsqueeze(-1), 0.0)
        fused = self.fusion(pooled.flatten(1))  # [B, 2, D] -> [B, 2 D] -> [B, D]
        return {"multi": self.risk(fused), "cc": self.risk(pooled[:, 0]), "mlo": self.risk(pooled[:, 1])}


def _kept(features: Tensor, present: Tensor) -> Tensor:
    """Set features [B, V, C, h, w] to zero where not present [B, V]."""
    return features.masked_fill(~present[..., None, None, None], 0.0)
