"""Scores of registered pairs; ``metrics/bootstrap.py`` averages them with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammorisk.registration.objectives import jacobian_determinant, ncc
from mammorisk.warping import warp

_BREAST = 0.05  # of the brightest tissue; film and detector background lies below


@dataclass(frozen=True)
class PairScores:
    """Scores of N pairs, each [N] float32; NaN where one is not defined. Breast: that of the fixed image."""

    ncc_before: Tensor  # of the images before registration
    ncc_affine: Tensor  # of the fixed image and the moving one, warped by the affine part
    ncc_after: Tensor  # warped by the whole field
    breast_ncc_before: Tensor  # the same inside the breast
    breast_ncc_affine: Tensor
    breast_ncc_after: Tensor
    folded: Tensor  # % | share of the field with a determinant of 0 or less
    dice_before: Tensor  # overlap of the breasts, 0 ... 1
    dice_after: Tensor
    error: Tensor  # pixels | mean distance to the true displacement inside the breast
    identity_error: Tensor  # pixels | the same without registration: mean length of the true displacement

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Scores by name, [N] float64; without those that are NaN for all pairs."""
        arrays = {name: value.double().cpu().numpy() for name, value in vars(self).items()}
        return {name: values for name, values in arrays.items() if not np.isnan(values).all()}


@torch.no_grad()
def pair_scores(
    fixed: Tensor,
    moving: Tensor,
    displacement: Tensor,
    affine_displacement: Tensor | None = None,
    true_displacement: Tensor | None = None,
) -> PairScores:
    """Score displacement fields of pairs.

    Args:
        fixed: the current exam's images, [N, 1, H, W], background close to 0.
        moving: the prior exam's images, [N, 1, H, W].
        displacement: (dy, dx) in pixels of the images, [N, 2, H, W].
        affine_displacement: its affine part, [N, 2, H, W]; None: no such scores.
        true_displacement: of the phantom, [N, 2, H, W]; None: no end-point error.

    Returns:
        Scores on the device of the images.

    Raises:
        ValueError: shapes differ.
    """
    breast, other = breast_mask(fixed), breast_mask(moving)
    warped = warp(moving, displacement)
    moved = warp(other.float(), displacement) > 0.5  # the mask, not a mask of the warped image: its zeros blur the edge
    nothing = torch.full_like(ncc(fixed, moving), float("nan"))
    affine = [nothing, nothing]
    if affine_displacement is not None:
        affine_warped = warp(moving, affine_displacement)
        affine = [ncc(fixed, affine_warped), ncc(fixed, affine_warped, breast)]
    errors = [nothing, nothing]
    if true_displacement is not None:
        still = torch.zeros_like(displacement)
        errors = [end_point_error(field, true_displacement, breast) for field in (displacement, still)]
    return PairScores(
        ncc_before=ncc(fixed, moving),
        ncc_affine=affine[0],
        ncc_after=ncc(fixed, warped),
        breast_ncc_before=ncc(fixed, moving, breast),
        breast_ncc_affine=affine[1],
        breast_ncc_after=ncc(fixed, warped, breast),
        folded=folded_percent(displacement),
        dice_before=dice(breast, other),
        dice_after=dice(breast, moved),
        error=errors[0],
        identity_error=errors[1],
    )


def folded_percent(displacement: Tensor) -> Tensor:
    """Share of the field that folds: cells with a Jacobian determinant of 0 or less (docs/pitfalls.md#p19), in %.

    Args:
        displacement: (dy, dx) in pixels, [N, 2, H, W].

    Returns:
        [N] in 0 ... 100.

    Raises:
        ValueError: as ``jacobian_determinant``.
    """
    determinant = jacobian_determinant(displacement)
    unfolded = determinant > 0  # false for NaN too: a network that diverged must not pass for smooth
    return 100 * (1 - unfolded.to(determinant.dtype).mean((1, 2)))


def end_point_error(displacement: Tensor, true_displacement: Tensor, where: Tensor) -> Tensor:
    """Mean distance between the ends of found and true displacements, |u - u_true|.

    Args:
        displacement: (dy, dx) in pixels, [N, 2, H, W].
        true_displacement: (dy, dx) in the same pixels, [N, 2, H, W].
        where: pixels that count, [N, 1, H, W] bool.

    Returns:
        [N] in pixels; NaN where no pixel counts.

    Raises:
        ValueError: shapes differ.
    """
    if displacement.shape != true_displacement.shape:
        raise ValueError(
            f"expected displacements of one shape, got {list(displacement.shape)} and {list(true_displacement.shape)}"
        )
    distance = (displacement.float() - true_displacement.float()).norm(dim=1)  # [N, 2, H, W] -> [N, H, W]
    inside = where.squeeze(1)  # [N, 1, H, W] -> [N, H, W]
    return torch.where(inside, distance, 0).sum((1, 2)) / inside.sum((1, 2))


def percent_of_identity(error: NDArray[np.float64], identity_error: NDArray[np.float64]) -> float:
    """End-point error in % of that before registration: 100 mean(error) / mean(identity_error).

    A ratio of means, not a mean of ratios, which pairs with little motion would dominate. For its interval:
    ``patient_bootstrap(lambda rows: percent_of_identity(error[rows], identity_error[rows]), patient_id)``.

    Args:
        error: [N] pixels.
        identity_error: [N] pixels, of the same pairs.

    Returns:
        %, below 100 where registration helps; NaN where nothing moved.
    """
    before = float(identity_error.mean())
    return 100 * float(error.mean()) / before if before else float("nan")


def dice(one: Tensor, other: Tensor) -> Tensor:
    """Overlap of two masks, 2 |A and B| / (|A| + |B|) (Dice, Ecology 1945).

    Args:
        one: [N, 1, H, W] bool.
        other: [N, 1, H, W] bool.

    Returns:
        [N] in 0 ... 1; NaN where both are empty.
    """
    both = (one & other).sum((1, 2, 3))
    return 2 * both / (one.sum((1, 2, 3)) + other.sum((1, 2, 3)))


def breast_mask(image: Tensor) -> Tensor:
    """Mask of the breast: the largest connected bright region, with its holes filled; pectoral muscle included.

    Bright is above 5 % of the 99th percentile. Made for images whose background is close to 0, as the phantom's and
    preprocessed mammograms' are; labels beside the breast are smaller regions and not part of it. Computed on the CPU.

    Args:
        image: [N, 1, H, W], 0 or more, in any unit.

    Returns:
        [N, 1, H, W] bool on the image's device; empty for an image that is 0 everywhere.
    """
    pictures = image.squeeze(1).float().cpu().numpy()  # [N, 1, H, W] -> [N, H, W]
    masks = np.stack([_largest_region(picture > _BREAST * np.percentile(picture, 99)) for picture in pictures])
    return torch.from_numpy(masks).unsqueeze(1).to(image.device)  # [N, H, W] -> [N, 1, H, W]


def _largest_region(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    outlines, _ = cv2.findContours(bright.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(bright.shape, np.uint8)
    if outlines:
        areas = [cv2.contourArea(outline) for outline in outlines]
        cv2.drawContours(filled, outlines, int(np.argmax(areas)), 1, cv2.FILLED)
    return filled.astype(np.bool_)
