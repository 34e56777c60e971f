"""Identity registration: no alignment, a displacement of zero."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from mammorisk.datasets.displacements import Floats


class IdentityRegistration(nn.Module):
    """Registration without any displacement; the baseline of comparisons."""

    def __init__(self) -> None:  # nn.Module's own would ignore any keyword of the YAML
        super().__init__()

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return a displacement of zero.

        Args:
            fixed: the current exam's images, [N, 1, H, W].
            moving: the prior exam's images, [N, 1, H, W].

        Returns:
            (dy, dx) in pixels, [N, 2, H, W].

        Raises:
            ValueError: the images differ in shape.
        """
        if fixed.shape != moving.shape:
            raise ValueError(f"expected images of one shape, got {list(fixed.shape)} and {list(moving.shape)}")
        return fixed.new_zeros(fixed.shape[0], 2, *fixed.shape[-2:])


class ZeroDisplacement:
    """Source of zero displacements, for a loader that reads no images.

    Args:
        size: (h, w) of the grid on which the model warps.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def read(self, current: int, prior: int) -> Floats:
        """Zeros [2, h, w]; see ``DisplacementSource``."""
        return np.zeros((2, *self.size), dtype=np.float32)
