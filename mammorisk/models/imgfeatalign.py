"""ImgFeatAlign: one view of one breast, current and prior exam (Thrun et al., MICCAI 2025, arXiv 2506.19363)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mammorisk.batch import MAX_FOLLOWUP, Batch, InputSpec, MissingPriors, RiskOutput
from mammorisk.errors import UserError
from mammorisk.losses import hazard_bce
from mammorisk.models.alignment import displacement_of_last_pair, mask_images, warp_features
from mammorisk.models.attention import TransformerLayer
from mammorisk.models.base import Head, Loss, RiskModel, freeze
from mammorisk.models.encoders import ResNetEncoder, encode_batch, encode_present
from mammorisk.models.heads import CumulativeProbability
from mammorisk.models.time_encoding import TimeEncoding

Alignment = Literal["image_feature", "image", "none"]
EXAMS = 2


class ImgFeatAlign(RiskModel):
    """Attention over current features, aligned prior features and their difference.

    Args:
        encoder: image encoder, [N, 1, H, W] -> [N, C, h, w].
        registration: (fixed, moving) [N, 1, H, W] -> displacement [N, 2, H, W]; frozen here.
        alignment: ``image_feature``: the displacement between the images warps the prior's features; ``image``: it
            warps the prior image, which is then encoded (ImgAlign of the paper); ``none``: no alignment (NoAlign).
        num_heads: attention heads (8 published); divides C.
        ffn_expansion: hidden width of the attention layer's network over C.
        dropout: on the attention weights.
        time_dropout: after the time encoding.
        max_followup: years of risk.
        missing_priors: see InputSpec; with ``mask`` only the current exam is attended to.
        auxiliary_weight: weight of the heads ``cur`` and ``pri`` in the loss.
        loss: (logits [B, Y], target [B, Y], target_mask [B, Y]) -> scalar.

    Raises:
        UserError: unknown ``alignment``, or ``num_heads`` does not divide C.
    """

    def __init__(
        self,
        encoder: ResNetEncoder,
        registration: nn.Module,
        alignment: Alignment = "image_feature",
        num_heads: int = 8,
        ffn_expansion: int = 4,
        dropout: float = 0.1,
        time_dropout: float = 0.1,
        max_followup: int = MAX_FOLLOWUP,
        missing_priors: MissingPriors = "drop",
        auxiliary_weight: float = 0.2,
        loss: Loss = hazard_bce,
    ) -> None:
        super().__init__()
        if alignment not in ("image_feature", "image", "none"):
            raise UserError(f"alignment must be 'image_feature', 'image' or 'none', found {alignment!r}.")
        self.inputs = InputSpec("image", EXAMS, missing_priors=missing_priors)
        self.heads = {"fused": Head(1.0), "cur": Head(auxiliary_weight), "pri": Head(auxiliary_weight, exam=-2)}
        self.primary = "fused"
        self.loss_function = loss
        self.encoder = encoder
        self.registration = freeze(registration)
        self.alignment = alignment
        channels = encoder.out_channels
        self.time_encoding = TimeEncoding(channels, dropout=time_dropout)
        self.head = PairHead(channels, num_heads, ffn_expansion, dropout, max_followup)

    def forward(self, batch: Batch) -> RiskOutput:
        """Logits [B, Y] of ``fused``, ``cur`` and ``pri``; map: mean |difference| over channels, [B, h, w].

        It uses the last two exams of the batch.

        Raises:
            ValueError: fewer than two exams, or more than one view.
        """
        present = batch.view_mask[:, -EXAMS:, 0]  # [B, T, V] -> [B, 2]
        if batch.images.shape[1] < EXAMS or batch.images.shape[2] != 1:
            raise ValueError(f"expected two exams of one view, got images {list(batch.images.shape)}")
        images = mask_images(batch.images[:, -EXAMS:, 0], present, batch.complete)  # [B, 2, 1, H, W]
        prior, aligned, current = self.encode(batch, images)  # [B, C, h, w] each
        paired = present.all(1)  # [B]
        difference = (current - aligned).abs().masked_fill(~paired[:, None, None, None], 0.0)
        timed = self.time_encoding(difference, batch.time_gap[:, -2] - batch.time_gap[:, -1])
        # [B, 3]: without a prior its token and the difference are masked
        known = torch.stack([paired, paired, torch.ones_like(paired)], dim=1)
        logits = self.head(prior, aligned, timed, current, None if batch.complete else known)
        return RiskOutput(logits, maps={"difference": difference.detach().float().mean(1)})

    @property
    def registration_module(self) -> nn.Module | None:
        """The frozen registration, unless nothing is aligned."""
        return None if self.alignment == "none" else self.registration

    @property
    def encoder_module(self) -> nn.Module | None:
        """The image encoder, unless it encodes warped images."""
        return None if self.alignment == "image" else self.encoder

    def field_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Size of the features or of the images, whichever are warped."""
        return image_size if self.alignment == "image" else self.encoder.feature_size(image_size)

    def encode(self, batch: Batch, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the prior exam, of the prior exam aligned, and of the current one.

        Args:
            batch: masks of the images, and perhaps the displacement.
            images: [B, 2, 1, H, W], the prior exam first.

        Returns:
            Three [B, C, h, w].
        """
        if self.alignment == "none":
            prior, current = self._encoded(batch)
            return prior, prior, current
        displacement = displacement_of_last_pair(batch, self.registration, images.unsqueeze(2))  # V = 1
        if self.alignment == "image":
            moving, fixed = images.unbind(1)  # [B, 1, H, W] each
            images = torch.stack([warp_features(moving, displacement), fixed], dim=1)
            present = batch.presence[:, -EXAMS:, 0]  # [B, T, V] -> [B, 2]
            prior, current = encode_present(self.encoder, images, present, batch.complete).unbind(1)
            return prior, prior, current
        prior, current = self._encoded(batch)
        return prior, warp_features(prior, displacement), current

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        prior, current = encode_batch(self.encoder, batch, EXAMS)[:, :, 0].unbind(1)  # [B, 2, V=1, C, h, w]
        return prior, current


class PairHead(nn.Module):
    """Average pools of aligned prior, difference and current features as three tokens of one attention layer.

    Args:
        dim: C, channels of the features.
        num_heads: attention heads.
        ffn_expansion: hidden width of the layer's network over C.
        dropout: on the attention weights.
        max_followup: Y.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        ffn_expansion: int = 4,
        dropout: float = 0.1,
        max_followup: int = MAX_FOLLOWUP,
    ) -> None:
        super().__init__()
        self.layer = TransformerLayer(dim, num_heads, dropout, ffn_expansion)
        self.layer.attention.reset_packed()
        self.projection = nn.Linear(dim, dim)
        self.risk = nn.ModuleDict({name: CumulativeProbability(dim, max_followup) for name in ("fused", "cur", "pri")})

    def forward(
        self, prior: Tensor, aligned: Tensor, difference: Tensor, current: Tensor, known: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Features [B, C, h, w], tokens ``known`` [B, 3] -> logits [B, Y] of fused, cur and pri."""
        tokens = torch.stack([each.mean((-2, -1)) for each in (aligned, difference, current)], dim=1)  # [B, 3, C]
        seen = self.layer(tokens, known)
        if known is None:
            pooled = seen.mean(1)  # [B, 3, C] -> [B, C]
        else:
            weight = known.to(seen.dtype).unsqueeze(-1)
            pooled = (seen * weight).sum(1) / weight.sum(1)
        return {
            "fused": self.risk["fused"](self.projection(pooled)),
            "cur": self.risk["cur"](tokens[:, 2]),
            "pri": self.risk["pri"](prior.mean((-2, -1))),
        }
