"""Displacement fields: the project's only warp, and resizing and affine maps in its convention.

A displacement [N, 2, H, W] gives the sampling offset of each output pixel, in pixels of the sampled grid:
``out(r, c) = image(r + displacement[0], c + displacement[1])``; channel 0 is dy (rows), channel 1 is dx (columns), as
MammoRegNet produces it. A positive dy samples further down, so the image content moves up.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(image: Tensor, displacement: Tensor, outside: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Sample an image or feature map bilinearly at the displaced positions.

    The arithmetic is at least float32, because a position in half precision is off by pixels. A zero displacement
    returns the image up to rounding (6e-8 of the image's extent, in pixels).

    Args:
        image: the moving image, which is sampled, [N, C, H, W].
        displacement: (dy, dx) in pixels, [N, 2, H, W].
        outside: values outside the image: ``zeros``, or the nearest value of the ``border``.

    Returns:
        [N, C, H, W] in the image's dtype.

    Raises:
        ValueError: the two differ in N, H or W, or the displacement does not have two channels.
    """
    count, _, rows, columns = image.shape
    if displacement.shape != (count, 2, rows, columns):
        raise ValueError(f"expected a displacement {[count, 2, rows, columns]}, got {list(displacement.shape)}")
    precise = torch.promote_types(image.dtype, torch.float32)
    field = displacement.to(precise)
    r = torch.arange(rows, device=image.device, dtype=precise).unsqueeze(1)  # [H, 1]
    c = torch.arange(columns, device=image.device, dtype=precise)  # [W]
    # grid_sample wants (x, y) in [-1, 1] with -1 and 1 on the centres of the outermost pixels
    y = (r + field[:, 0]) * (2.0 / max(rows - 1, 1)) - 1.0  # [N, H, W]
    x = (c + field[:, 1]) * (2.0 / max(columns - 1, 1)) - 1.0
    grid = torch.stack((x, y), dim=-1)  # [N, H, W, 2]
    sampled = F.grid_sample(image.to(precise), grid, mode="bilinear", padding_mode=outside, align_corners=True)
    return sampled.to(image.dtype)


def resize_displacement(displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample a displacement on a grid of another size: bilinear, dy scaled by h/H and dx by w/W.

    Corners lie on corners (align_corners), because the weights of MammoRegNet and BCRBench were trained so. BCRBench
    scales each axis by the other's factor, as if the channels were (dx, dy); here each has its own
    (docs/pitfalls.md#p3).

    Args:
        displacement: (dy, dx) in pixels of its own grid, [N, 2, H, W].
        size: (h, w) of the new grid.

    Returns:
        (dy, dx) in pixels of the new grid, [N, 2, h, w].
    """
    rows, columns = displacement.shape[-2:]
    if (rows, columns) == tuple(size):
        return displacement
    resized = F.interpolate(displacement, size=size, mode="bilinear", align_corners=True)
    return resized * _per_axis(size[0] / rows, size[1] / columns, displacement)


def affine_displacement(matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Displacement field of an affine map from output positions to sampled positions.

    Positions are (x, y) with -1 and 1 on the centres of the outermost pixels, as in ``torch.nn.functional.affine_grid``
    with align_corners: the output pixel at (x, y) shows the image at ``matrix @ (x, y, 1)``. So [[s, 0, t], ...]
    magnifies by 1/s about the centre, and t = 2 samples one image width to the right.

    Args:
        matrix: [N, 2, 3].
        size: (H, W) of the field.

    Returns:
        (dy, dx) in pixels, [N, 2, H, W]; exactly zero for the identity.
    """
    rows, columns = size
    # Sums of products, not affine_grid: autocast and TF32 would round its matrix product to whole pixels.
    # The identity is subtracted from the map, not the position from its result: this avoids cancellation.
    offset = matrix - torch.eye(2, 3, device=matrix.device, dtype=matrix.dtype)
    x = torch.linspace(-1, 1, columns, device=matrix.device, dtype=matrix.dtype)  # [W]
    y = torch.linspace(-1, 1, rows, device=matrix.device, dtype=matrix.dtype).unsqueeze(1)  # [H, 1]
    a, b, c = offset.flip(1)[..., None, None].unbind(2)  # rows (y, x): 3 x [N, 2, 1, 1]
    return (a * x + b * y + c) * _per_axis((rows - 1) / 2, (columns - 1) / 2, matrix)


def _per_axis(dy: float, dx: float, like: Tensor) -> Tensor:
    return torch.stack((like.new_full((1, 1), dy), like.new_full((1, 1), dx)))
