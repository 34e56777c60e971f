"""Objectives of registration: dissimilarity of the images, roughness and folding of the displacement field.

Each objective gives one number per pair, [N], in float32 at least; callers average over pairs. All are pure, and finite
with finite gradients for flat images too. A displacement is (dy, dx) in pixels, as in ``warping.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOLDING_WEIGHT = 5.24  # published: 1e-5 times the *sum* over 1024 x 512 pixels, 1e-5 * 524288 times the mean
_FLAT = 1e-5  # contrast over brightness, below which an image is flat: what float32 leaves of a constant is 1e-7


def ncc(one: Tensor, other: Tensor, where: Tensor | None = None) -> Tensor:
    """Normalised cross-correlation of whole images: Pearson's r over the pixels of each pair.

    r = sum (a - mean a)(b - mean b) / sqrt(sum (a - mean a)^2 * sum (b - mean b)^2): independent of the brightness and
    contrast of either image.

    Args:
        one: images, [N, C, H, W] in any unit.
        other: images, [N, C, H, W].
        where: weight of each pixel, such as a breast mask, [N, 1 or C, H, W] in 0 ... 1; None: all count.

    Returns:
        [N] in [-1, 1]; 0, with zero gradient, where an image is flat or ``where`` is empty.

    Raises:
        ValueError: the images differ in shape.
    """
    if one.shape != other.shape:
        raise ValueError(f"expected images of one shape, got {list(one.shape)} and {list(other.shape)}")
    first, second = (_precise(image).flatten(1) for image in (one, other))  # [N, C, H, W] -> [N, C*H*W]
    weight = torch.ones_like(first) if where is None else where.to(first.dtype).expand_as(one).flatten(1)
    total = weight.sum(1, keepdim=True)
    weight = weight / torch.where(total > 0, total, 1)  # sums to 1, or to 0 where nothing counts
    a, a_flat = _standardised(first, weight)
    b, b_flat = _standardised(second, weight)
    r = (weight * a * b).sum(1).clamp(-1, 1)  # [N]
    return torch.where(a_flat | b_flat, 0, r)


def smoothness(displacement: Tensor) -> Tensor:
    """Mean squared gradient of the field: the mean of (d dy/dr)^2, (d dx/dr)^2, (d dy/dc)^2 and (d dx/dc)^2.

    Differences of neighbours, in pixels of displacement per pixel of distance. They have no unit, so the same motion
    has the same value on a grid twice as fine in both directions. If only one side grows, pixels are no longer
    square, and the value of a shear depends on their shape.

    Args:
        displacement: (dy, dx) in pixels, [N, 2, H, W], H and W at least 2.

    Returns:
        [N], 0 for a field that shifts everything alike.

    Raises:
        ValueError: not two channels, or a side below 2.
    """
    field = _checked(displacement)
    down, along = field.diff(dim=2), field.diff(dim=3)  # [N, 2, H-1, W], [N, 2, H, W-1]
    return (down.square().mean((1, 2, 3)) + along.square().mean((1, 2, 3))) / 2


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Jacobian determinant of the map (r, c) -> (r + dy, c + dx).

    det = (1 + d dy/dr)(1 + d dx/dc) - (d dy/dc)(d dx/dr), by differences to the next row and column: 1 where area
    is kept, 0 or less where the map folds. Differences across two pixels would miss the narrowest folds.

    Args:
        displacement: (dy, dx) in pixels, [N, 2, H, W], H and W at least 2.

    Returns:
        [N, H-1, W-1], of the cells between pixels.

    Raises:
        ValueError: not two channels, or a side below 2.
    """
    field = _checked(displacement)
    corner = field[:, :, :-1, :-1]
    down = field[:, :, 1:, :-1] - corner  # [N, 2, H-1, W-1]
    along = field[:, :, :-1, 1:] - corner
    return (1 + down[:, 0]) * (1 + along[:, 1]) - along[:, 0] * down[:, 1]


def folding(displacement: Tensor) -> Tensor:
    """Mean of max(0, -det) over the field: folding per pixel.

    Published as a sum over the field, which grows with its resolution; the mean does not (see ``FOLDING_WEIGHT``).

    Args:
        displacement: (dy, dx) in pixels, [N, 2, H, W], H and W at least 2.

    Returns:
        [N], 0 where nothing folds.

    Raises:
        ValueError: not two channels, or a side below 2.
    """
    return F.relu(-jacobian_determinant(displacement)).mean((1, 2))


def registration_loss(
    fixed: Tensor,
    affine_warped: Tensor,
    warped: Tensor,
    displacement: Tensor,
    smoothness_weight: float = 1.0,
    folding_weight: float = FOLDING_WEIGHT,
) -> Tensor:
    """(1 - NCC(fixed, affine warped)) + (1 - NCC(fixed, warped)) + smoothness + folding, as MammoRegNet is trained.

    Source: Thrun et al., MICCAI 2025 (arXiv 2506.19363).

    Args:
        fixed: the current exam's images, [N, 1, H, W].
        affine_warped: the prior exam's, warped by the affine part alone, [N, 1, H, W].
        warped: the prior exam's, warped by the whole field, [N, 1, H, W].
        displacement: the whole field, (dy, dx) in pixels, [N, 2, H, W].
        smoothness_weight: of the mean squared gradient.
        folding_weight: of the folding per pixel.

    Returns:
        [N], at least 0.

    Raises:
        ValueError: the images differ in shape, or as ``smoothness``.
    """
    unlike = 2 - ncc(fixed, affine_warped) - ncc(fixed, warped)
    return unlike + smoothness_weight * smoothness(displacement) + folding_weight * folding(displacement)


def _precise(values: Tensor) -> Tensor:
    """Convert to float32 at least; autocast lowers no operation that is used here."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _standardised(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Image [N, P] with weighted mean 0 and standard deviation 1, and whether it is flat, [N]."""
    centred = image - (weight * image).sum(1, keepdim=True)
    variance = (weight * centred.square()).sum(1, keepdim=True)
    flat = variance <= _FLAT**2 * (weight * image.square()).sum(1, keepdim=True)  # also where both are 0
    # The division is by 1 where the image is flat: where() alone would pass a gradient of 0 * inf.
    return centred / torch.where(flat, 1, variance).sqrt(), flat.squeeze(1)


def _checked(displacement: Tensor) -> Tensor:
    if displacement.ndim != 4 or displacement.shape[1] != 2 or min(displacement.shape[2:]) < 2:
        raise ValueError(
            f"expected a displacement [N, 2, H, W] with H and W at least 2, got {list(displacement.shape)}"
        )
    return _precise(displacement)
