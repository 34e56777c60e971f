"""Affine part of a trained MammoRegNet: the breast moves as a whole."""

from __future__ import annotations

from torch import Tensor

from mammorisk.registration.mammoregnet import MammoRegNet, Registered


class AffineRegistration(MammoRegNet):
    """MammoRegNet's coarsest level, with the same checkpoint and settings and without the finer levels."""

    def register(self, fixed: Tensor, moving: Tensor, images: bool = False) -> Registered:
        """Register as MammoRegNet does; the displacement is the affine one."""
        return self._registered(fixed, moving, images, only_affine=True)
