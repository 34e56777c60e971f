"""No registration: exams are taken as they lie."""

from __future__ import annotations

from torch import Tensor, nn


class IdentityRegistration(nn.Module):
    """The registration that moves nothing; the baseline to compare registered models with."""

    def __init__(self) -> None:  # nn.Module's own would take any keyword of the YAML without a word
        super().__init__()

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """A displacement of zero.

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
