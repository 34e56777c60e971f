"""Asymmetry of the breasts over time: detector (SAD) and tracker (LAT) of VMRA-MaR (Sun et al., MICCAI 2025).

The detector is AsymMirai's (Donnelly et al., Radiology 2024): it finds the largest difference between left and
mirrored right features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.batch import VIEWS
from mammorisk.errors import UserError

# The places of (left, right) in an exam, for each view: found by name, never by count (docs/pitfalls.md#p14).
PAIRS: dict[str, tuple[int, int]] = {
    view: (VIEWS.index(("L", view)), VIEWS.index(("R", view))) for view in ("CC", "MLO")
}
SMALLEST_STD = 1e-6


class Asymmetry(NamedTuple):
    """Output of the detector; P pairs of views, in the order of ``PAIRS``."""

    score: Tensor  # [B, T] float32 in [0, 1] | mean over valid pairs of the normalised asymmetry; 0 without one
    position: (
        Tensor  # [B, T, 2] float32 | row and column, in the heat map, of the stronger pair's maximum; 0 without one
    )
    valid: Tensor  # [B, T] bool | whether both breasts are there in any view
    raw: Tensor  # [B, T, P] float32 >= 0 | asymmetry before the normalisation: 0 for mirror images, and without a pair
    heat: Tensor  # [B, T, P, gh, gw] float32 >= 0 | asymmetry of each block of positions


class AsymmetryDetector(nn.Module):
    """Spatial asymmetry detector (SAD): left against mirrored right features, CC with CC and MLO with MLO.

    |left - right| times a learned factor per channel and view, maximum over blocks of positions, L2 norm over
    channels; the largest block is the view's raw asymmetry. sigmoid((raw - mean) / std), averaged over the views,
    is the exam's score.

    Args:
        channels: C, of the feature maps.
        grid: rows and columns of blocks aimed at; a block has floor(h / rows) x floor(w / columns) positions, at
            least one, so a small map has more blocks, one a position.
        initial_mean: learned mean, at the start.
        initial_std: learned standard deviation, at the start; its absolute value counts.
        mirror_right: mirror the right maps first: for images as they were taken. False for images that already
            show both breasts with the chest wall on the same side.

    Raises:
        UserError: a grid without blocks, or a standard deviation that is not above 0.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int] = (5, 5),
        initial_mean: float = 2000.0,
        initial_std: float = 300.0,
        mirror_right: bool = True,
    ) -> None:
        super().__init__()
        if len(grid) != 2 or min(grid) < 1:
            raise UserError(f"The asymmetry grid needs rows and columns, both at least 1, found {list(grid)}.")
        if not initial_std > 0:
            raise UserError(f"The asymmetry's standard deviation must be above 0, found {initial_std}.")
        self.grid, self.mirror_right = (int(grid[0]), int(grid[1])), mirror_right
        self.stretch_cc = nn.Parameter(torch.ones(channels))
        self.stretch_mlo = nn.Parameter(torch.ones(channels))
        self.mean = nn.Parameter(torch.tensor(float(initial_mean)))
        self.std = nn.Parameter(torch.tensor(float(initial_std)))

    def forward(self, features: Tensor, present: Tensor) -> Asymmetry:
        """Compute the asymmetry of exams.

        Args:
            features: [B, T, V, C, h, w], views in the order of ``VIEWS``.
            present: [B, T, V] bool; a pair counts where both its sides are there.
        """
        pairs = list(PAIRS.values())
        valid = torch.stack([present[:, :, left] & present[:, :, right] for left, right in pairs], -1)  # [B, T, P]
        heat = torch.stack([self.heat(features, view) for view in PAIRS], dim=2)  # [B, T, P, gh, gw]
        heat = torch.where(valid[..., None, None], heat, 0.0)
        raw, place = heat.flatten(3).max(-1)  # [B, T, P, gh, gw] -> [B, T, P]
        normalised = torch.sigmoid((raw - self.mean) / self.std.abs().clamp(min=SMALLEST_STD))
        score = torch.where(valid, normalised, 0.0).sum(-1) / valid.sum(-1).clamp(min=1)  # [B, T, P] -> [B, T]
        stronger = raw.argmax(-1, keepdim=True)  # an absent pair has 0, and place 0
        place = place.gather(-1, stronger).squeeze(-1)  # [B, T, P] -> [B, T]
        columns = heat.shape[-1]
        position = torch.stack([place // columns, place % columns], dim=-1).float()  # [B, T] -> [B, T, 2]
        return Asymmetry(score, position, valid.any(-1), raw, heat)

    def heat(self, features: Tensor, view: str) -> Tensor:
        """Asymmetry of each block in one view, [B, T, V, C, h, w] -> [B, T, gh, gw] float32."""
        left, right = (features[:, :, place].float() for place in PAIRS[view])  # [B, T, V, C, h, w] -> [B, T, C, h, w]
        if self.mirror_right:
            right = right.flip(-1)
        stretch = self.stretch_cc if view == "CC" else self.stretch_mlo
        difference = (left - right).abs() * stretch[:, None, None].abs()
        heat = block_norms(difference.flatten(0, 1), self.grid)  # [B, T, C, h, w] -> [B*T, gh, gw]
        return heat.reshape(*features.shape[:2], *heat.shape[1:])


def block_norms(difference: Tensor, grid: tuple[int, int]) -> Tensor:
    """Per channel the largest value of each block of positions, then the L2 norm over channels.

    Args:
        difference: [N, C, h, w] >= 0.
        grid: rows and columns of blocks aimed at (positions left over at the lower and right edge are ignored).

    Returns:
        [N, gh, gw] float32.
    """
    block = max(difference.shape[-2] // grid[0], 1), max(difference.shape[-1] // grid[1], 1)
    largest = F.max_pool2d(difference.float(), block)  # [N, C, h, w] -> [N, C, gh, gw]
    with torch.autocast(difference.device.type, enabled=False):
        norms: Tensor = torch.linalg.vector_norm(largest, dim=1)
    return norms


class AsymmetryTracker(nn.Module):
    """Longitudinal asymmetry tracker (LAT): weighted mean score of a history; persistent asymmetry counts more.

    Every exam with a score has weight 1. ``persistent_weight`` is added for each neighbour in time whose maximum is
    near its own.

    Args:
        reach: how far a maximum may move from one exam to the next, over the window.
        persistent_weight: added to the weight of both exams.
    """

    def __init__(self, reach: float = 0.4, persistent_weight: float = 1.0) -> None:
        super().__init__()
        self.reach, self.persistent_weight = reach, persistent_weight

    def forward(self, score: Tensor, position: Tensor, valid: Tensor, window: int) -> Tensor:
        """Scores [B, T], positions [B, T, 2] -> [B]; 0 where no exam is ``valid`` [B, T].

        ``window`` is the side of the map of positions, in the positions' unit.
        """
        moved = torch.linalg.vector_norm(position.diff(dim=1), dim=-1)  # [B, T, 2] -> [B, T - 1]
        stays = (moved <= self.reach * window) & valid[:, 1:] & valid[:, :-1]
        bonus = self.persistent_weight * stays.to(score.dtype)
        weight = valid.to(score.dtype) + F.pad(bonus, (1, 0)) + F.pad(bonus, (0, 1))  # [B, T - 1] -> [B, T]
        return (weight * score).sum(1) / weight.sum(1).clamp(min=1.0)
