"""OA-BreaCR: one view of one breast, current and prior exam, to the year of cancer (Wang et al., MICCAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mammorisk.batch import MAX_FOLLOWUP, Batch, InputSpec, MissingPriors, RiskOutput
from mammorisk.errors import UserError
from mammorisk.losses.gaussian_distances import DISTANCES
from mammorisk.losses.ordinal import ordinal_embedding_loss, ordinal_labels, ordinal_risk_loss
from mammorisk.models.attention import AttentionPool
from mammorisk.models.base import Head, Loss, RiskModel
from mammorisk.models.encoders import ResNetEncoder, encode_batch
from mammorisk.models.ordinal_embedding import Embedding, OrdinalEmbedding
from mammorisk.models.time_encoding import TimeEncoding
from mammorisk.warping import warp

Distance = Literal["JDistance", "Bhattacharyya", "Wasserstein", "ForwardKL", "ReverseKL", "Hellinger", "Geodesic"]
EXAMS = 2


class OABreaCR(RiskModel):
    """Attention pools of both exams and of their aligned difference, then a probabilistic ordinal embedding.

    Its heads choose a class: the year of the cancer, 0 ... Y-1, or Y for none within Y years.

    Args:
        encoder: image encoder, [N, 1, H, W] -> [N, C, h, w].
        image_size: (H, W) of all images in pixels: the attention map's LayerNorm has a weight per position.
        embedding: ``stochastic`` (published) or ``deterministic``, see OrdinalEmbedding.
        max_t: draws per sample of the stochastic embedding (50 published).
        distance: between Gaussians, in the ordinal triplets.
        margin: of the triplets, in units of the distance.
        kl_weight: of the embedding's KL divergence from N(0, 1) in the loss (alpha).
        triplet_weight: of the ordinal triplets in the loss (beta).
        alignment_weight: of the mean squared difference of the aligned attention maps in the loss.
        dropout: in the network that joins the three vectors.
        embedding_dropout: on the samples that the embedding draws.
        time_dropout: after the time encoding.
        max_followup: Y, years of risk.
        missing_priors: see InputSpec; with ``mask`` a missing prior's vector and the difference are zero, with no
            time encoding, and the sample has no part in the alignment loss.
        auxiliary_weight: weight of the heads ``current``, ``prior`` and ``difference`` in the loss.
        loss: of a head, (logits [B, (S,) Y+1], target [B, Y], target_mask [B, Y]) -> scalar.

    Raises:
        UserError: unknown ``embedding`` or ``distance``, or no draw.
    """

    def __init__(
        self,
        encoder: ResNetEncoder,
        image_size: Sequence[int],
        embedding: Embedding = "stochastic",
        max_t: int = 50,
        distance: Distance = "JDistance",
        margin: float = 2.0,
        kl_weight: float = 1e-5,
        triplet_weight: float = 1e-4,
        alignment_weight: float = 0.01,
        dropout: float = 0.2,
        embedding_dropout: float = 0.1,
        time_dropout: float = 0.1,
        max_followup: int = MAX_FOLLOWUP,
        missing_priors: MissingPriors = "drop",
        auxiliary_weight: float = 0.2,
        loss: Loss = ordinal_risk_loss,
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise UserError(f"distance must be one of {', '.join(DISTANCES)}; found {distance!r}.")
        self.inputs = InputSpec(unit="image", exams=EXAMS, missing_priors=missing_priors)
        self.heads = {
            "final": Head(1.0),
            "current": Head(auxiliary_weight),
            "prior": Head(auxiliary_weight, exam=-2),
            "difference": Head(auxiliary_weight),
        }
        self.primary, self.loss_function = "final", loss
        self.averages_known_years = False  # over samples, and its triplets are those of one process's batch
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.kl_weight, self.triplet_weight, self.alignment_weight = kl_weight, triplet_weight, alignment_weight
        self.distance, self.margin = DISTANCES[distance], margin
        channels, classes = encoder.out_channels, max_followup + 1
        self.encoder = encoder
        self.pool = AttentionMapPool(channels, [-(-side // encoder.stride) for side in self.image_size])
        self.field = nn.Sequential(_conv_block(), _conv_block())
        self.time_encoding = TimeEncoding(channels, dropout=time_dropout)
        self.fusion = nn.Sequential(
            nn.Linear(3 * channels, channels), nn.Dropout(dropout), nn.GELU(), nn.Linear(channels, channels)
        )
        self.embedding = OrdinalEmbedding(channels, embedding, max_t, embedding_dropout)
        self.final_head = nn.Linear(channels, classes)
        self.exam_head = nn.Linear(channels, classes)  # of the current and of the prior exam
        self.difference_head = nn.Linear(channels, classes)

    def forward(self, batch: Batch) -> RiskOutput:
        """Logits of ``current``, ``prior`` and ``difference``, [B, Y+1], and of ``final``, [B, S, Y+1].

        It uses the last two exams of the batch. A deterministic ``final`` is [B, Y+1]. Auxiliary losses,
        weighted: ``alignment``, and ``ordinal_embedding``, which compares the current exams by their labels. Maps:
        ``attention_current`` and ``attention_prior``, standardised log weights [B, h, w]; ``difference``, its mean over
        channels [B, h, w]; ``displacement``, (dy, dx) in feature positions [B, 2, h, w].

        Raises:
            ValueError: fewer than two exams, or several views.
            UserError: images of another size than ``image_size``.
        """
        prior, current, paired = self._features(batch)
        current_map, prior_map = self.pool.map(current), self.pool.map(prior)
        displacement = self._displacement(current_map, prior_map, paired)
        difference = (current - warp(prior, displacement)).abs()
        years = batch.time_gap[:, -2] - batch.time_gap[:, -1]
        changed = self.time_encoding(self.pool.pooled(difference), years).masked_fill(~paired[:, None], 0.0)  # [B, C]
        now, before = self.pool.pooled(current), self.pool.pooled(prior)
        drawn, mean, log_variance = self.embedding(self.fusion(torch.cat([now, before, changed], dim=1)))
        logits = {
            "final": self.final_head(drawn),
            "current": self.exam_head(now),
            "prior": self.exam_head(before),
            "difference": self.difference_head(changed),
        }
        auxiliary = {
            "alignment": self.alignment_weight * _misalignment(current_map, prior_map, displacement, paired),
            "ordinal_embedding": self._embedding_loss(mean, log_variance, batch),
        }
        maps = {
            "attention_current": current_map.squeeze(1),
            "attention_prior": prior_map.squeeze(1),
            "difference": difference.float().mean(1) * paired[:, None, None],  # [B, C, h, w] -> [B, h, w]
            "displacement": displacement,
        }
        return RiskOutput(logits, auxiliary, {name: values.detach() for name, values in maps.items()})

    @property
    def encoder_module(self) -> nn.Module:
        """The image encoder."""
        return self.encoder

    def risk(self, output: RiskOutput) -> Tensor:
        """Probability of cancer within 1..Y years, [B, Y]: mean over the draws, summed over the years."""
        probability = output.logits[self.primary].float().softmax(-1)
        if probability.dim() == 3:
            probability = probability.mean(1)  # [B, S, Y+1] -> [B, Y+1]
        return probability[:, :-1].cumsum(1).clamp(max=1.0)

    def _features(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the prior and the current exam, [B, C, h, w] each, and whether there is a prior, [B] bool."""
        images, present = batch.images[:, -EXAMS:], batch.view_mask[:, -EXAMS:]  # [B, 2, 1, 1, H, W], [B, 2, 1]
        if images.shape[1:3] != (EXAMS, 1):
            raise ValueError(f"expected two exams of one view, got images {list(batch.images.shape)}")
        if batch.features is None and tuple(images.shape[-2:]) != self.image_size:
            raise UserError(
                f"The model is made for images of {self.image_size} pixels (model.image_size), found "
                f"{tuple(images.shape[-2:])}: leave model.image_size as it is, ${{dataset.image_size}}."
            )
        features = encode_batch(self.encoder, batch, EXAMS)  # [B, 2, 1, C, h, w]
        prior, current = features.squeeze(2).unbind(1)
        return prior, current, present.flatten(1).all(1)

    def _embedding_loss(self, mean: Tensor, log_variance: Tensor, batch: Batch) -> Tensor:
        labels = ordinal_labels(batch.target[:, -1], batch.target_mask[:, -1])
        weights = self.kl_weight, self.triplet_weight
        return ordinal_embedding_loss(mean, log_variance, labels, *weights, self.distance, self.margin)

    def _displacement(self, current_map: Tensor, prior_map: Tensor, paired: Tensor) -> Tensor:
        """Displacement of each position of the current exam in the prior one, (dy, dx), [B, 2, h, w]."""
        # Without a prior the current map is paired with itself, so that BatchNorm gets no meaningless difference.
        before = torch.where(paired[:, None, None, None], prior_map, current_map)
        with torch.autocast(current_map.device.type, enabled=False):  # half precision is off by fractions of a position
            displacement: Tensor = self.field(torch.cat([current_map, before], dim=1))
        return displacement


class AttentionMapPool(AttentionPool):
    """Attention pooling of feature maps, and the attention as a map (Wang et al., MICCAI 2024; Sybil).

    Args:
        dim: C.
        size: (h, w) of the feature maps; each position has a weight of its own in the map's LayerNorm.
    """

    def __init__(self, dim: int, size: Sequence[int]) -> None:
        super().__init__(dim)
        self.norm = nn.LayerNorm(size[0] * size[1])

    def pooled(self, features: Tensor) -> Tensor:
        """Features [B, C, h, w] -> their attention-weighted sum over positions [B, C]."""
        pooled: Tensor = self(_positions(features))
        return pooled

    def map(self, features: Tensor) -> Tensor:
        """Features [B, C, h, w] -> log weights of the positions, standardised over them, [B, 1, h, w] float32."""
        weight = self.score(_positions(features)).squeeze(-1).float().log_softmax(1)  # [B, h*w, C] -> [B, h*w]
        standardised: Tensor = self.norm(weight)
        return standardised.reshape(-1, 1, *features.shape[-2:])  # [B, h*w] -> [B, 1, h, w]


def _positions(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2)  # [B, C, h, w] -> [B, h*w, C]


def _conv_block() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU())


def _misalignment(current_map: Tensor, prior_map: Tensor, displacement: Tensor, paired: Tensor) -> Tensor:
    """Mean squared difference of the current and the warped prior attention map, of the samples with a prior."""
    error = (current_map - warp(prior_map, displacement)).square().mean((1, 2, 3))  # [B, 1, h, w] -> [B]
    return error.masked_fill(~paired, 0.0).sum() / paired.sum().clamp(min=1)
