"""VMRA-MaR: a recurrence over a woman's exams, with the asymmetry of her breasts (Sun et al., MICCAI 2025)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mammorisk.batch import MAX_FOLLOWUP, VIEWS, Batch, InputSpec, MissingPriors, MissingViews, RiskOutput
from mammorisk.bounds import require_in_bounds
from mammorisk.errors import UserError
from mammorisk.losses import hazard_bce
from mammorisk.models.asymmetry import PAIRS, AsymmetryDetector, AsymmetryTracker
from mammorisk.models.base import Head, Loss, RiskModel
from mammorisk.models.encoders import ResNetEncoder, encode_batch
from mammorisk.models.heads import CumulativeProbability
from mammorisk.models.state_space import VMRNNCell

ORIENTATIONS = ("native", "left")


class VMRAMaR(RiskModel):
    """Recurrent cell over the image vectors of the exams, asymmetry tracked over them, additive hazards.

    Args:
        encoder: image encoder, [N, 1, H, W] -> [N, C, h, w].
        orientation: how the images show a right breast: ``native`` (as taken) or ``left`` (mirrored, chest wall at
            the left as in left breasts): decides whether right feature maps are mirrored before the comparison.
        exams: T, exams of a sample, the current one included; the weights fit any number.
        depth: VSS blocks of the cell (2 published).
        d_state: states per channel of the selective scan (16 published).
        d_conv: width of its convolution (3 published).
        expand: its channels over the encoder's (2 published).
        asymmetry_rows: rows of blocks in which asymmetry is measured (5 published).
        asymmetry_columns: columns of blocks (5 published).
        asymmetry_mean: learned mean of the raw asymmetry, at the start (2000 published: Mirai's features at
            2048 x 1664).
        asymmetry_std: learned standard deviation, at the start (300 published).
        persistent_reach: how far asymmetry may move from exam to exam and still count as persistent, over the map's
            shorter side (0.4 published).
        persistent_weight: what persistent asymmetry adds to the weight of both exams (1 published).
        max_followup: years of risk.
        missing_views: see InputSpec; with ``mask`` an exam is the mean of the views that are there.
        missing_priors: see InputSpec; with ``mask`` the history is shorter.
        loss: (logits [B, Y], target [B, Y], target_mask [B, Y]) -> scalar.

    Raises:
        UserError: unknown ``orientation``, or ``exams`` outside 1..5.
    """

    def __init__(
        self,
        encoder: ResNetEncoder,
        orientation: Literal["native", "left"],
        exams: int = 2,
        depth: int = 2,
        d_state: int = 16,
        d_conv: int = 3,
        expand: float = 2,
        asymmetry_rows: int = 5,
        asymmetry_columns: int = 5,
        asymmetry_mean: float = 2000.0,
        asymmetry_std: float = 300.0,
        persistent_reach: float = 0.4,
        persistent_weight: float = 1.0,
        max_followup: int = MAX_FOLLOWUP,
        missing_views: MissingViews = "mask",
        missing_priors: MissingPriors = "mask",
        loss: Loss = hazard_bce,
    ) -> None:
        super().__init__()
        if orientation not in ORIENTATIONS:
            raise UserError(f"orientation must be 'native' or 'left', as the dataset's is; found {orientation!r}.")
        require_in_bounds("mammorisk.models.vmra_mar.VMRAMaR", {"exams": exams}, "model.")
        self.inputs = InputSpec("exam", exams, missing_views, missing_priors)
        self.heads = {"risk": Head(1.0)}
        self.primary = "risk"
        self.loss_function = loss
        self.encoder = encoder
        channels = encoder.out_channels
        self.recurrence = ExamRecurrence(VMRNNCell(channels, depth, d_state, d_conv, expand))
        grid = (asymmetry_rows, asymmetry_columns)
        self.detector = AsymmetryDetector(
            channels, grid, asymmetry_mean, asymmetry_std, mirror_right=orientation == "native"
        )
        self.tracker = AsymmetryTracker(persistent_reach, persistent_weight)
        self.risk_layer = CumulativeProbability(channels + 1, max_followup)

    def forward(self, batch: Batch) -> RiskOutput:
        """Risk logits of the current exam, head ``risk`` [B, Y]; maps: its raw asymmetry, [B, gh, gw] per view.

        It uses all exams of the batch.

        Raises:
            ValueError: other than four views.
        """
        present = batch.view_mask  # [B, T, V]
        if present.shape[2] != len(VIEWS):
            raise ValueError(f"expected exams of {len(VIEWS)} views, got images {list(batch.images.shape)}")
        features = encode_batch(self.encoder, batch)  # [B, T, V, C, h, w]
        history = self.recurrence(exam_tokens(features, present), present.any(-1))  # [B, T, C] -> [B, C]
        asymmetry = self.detector(features, present)
        window = min(asymmetry.heat.shape[-2:])
        tracked = self.tracker(asymmetry.score, asymmetry.position, asymmetry.valid, window)  # [B, T] -> [B]
        logits = self.risk_layer(torch.cat([history, tracked.unsqueeze(-1)], dim=-1))  # [B, C + 1] -> [B, Y]
        current = asymmetry.heat[:, -1].detach().unbind(1)  # [B, T, P, gh, gw] -> [B, gh, gw] each
        maps = {f"asymmetry_{view.lower()}": heat for view, heat in zip(PAIRS, current, strict=True)}
        return RiskOutput(logits={"risk": logits}, maps=maps)

    @property
    def encoder_module(self) -> nn.Module:
        """The image encoder."""
        return self.encoder


class ExamRecurrence(nn.Module):
    """The cell over exams in order, one step per exam, on a grid of one position.

    Args:
        cell: takes its step on [B, 1, 1, C].
    """

    def __init__(self, cell: VMRNNCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """The cell's output after the last exam, [B, T, C] -> [B, C] float32.

        Exams where ``seen`` [B, T] is false are skipped: the state stays the same to the bit.
        """
        grids = tokens[:, :, None, None]  # [B, T, C] -> [B, T, 1, 1, C]
        hidden, memory = self.cell.start(grids[:, 0])
        for exam in range(tokens.shape[1]):
            step = seen[:, exam, None, None, None]  # [B, T] -> [B, 1, 1, 1]
            next_hidden, next_memory = self.cell(grids[:, exam], (hidden, memory))
            hidden = torch.where(step, next_hidden, hidden)
            memory = torch.where(step, next_memory, memory)
        return hidden.flatten(1)  # [B, 1, 1, C] -> [B, C]


def exam_tokens(features: Tensor, present: Tensor) -> Tensor:
    """One vector per exam: maximum over positions, mean over the views present; 0 without any.

    Args:
        features: [B, T, V, C, h, w]; zeros where not present.
        present: [B, T, V] bool.

    Returns:
        [B, T, C] float32.
    """
    vectors = features.amax((-2, -1)).float()  # [B, T, V, C, h, w] -> [B, T, V, C]
    vectors = torch.where(present.unsqueeze(-1), vectors, 0.0)
    return vectors.sum(2) / present.sum(2).clamp(min=1).unsqueeze(-1)  # [B, T, V, C] -> [B, T, C]
