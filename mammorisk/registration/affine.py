"""The affine part alone of a trained MammoRegNet: what is left when nothing but the whole breast may move."""

from __future__ import annotations

from torch import Tensor

from mammorisk.registration.mammoregnet import MammoRegNet, Registered


class AffineRegistration(MammoRegNet):
    """MammoRegNet's coarsest level; takes the same checkpoint and settings, and leaves the finer levels out."""

    def register(self, fixed: Tensor, moving: Tensor, images: bool = False) -> Registered:
        """As MammoRegNet's; the displacement is the affine one."""
        return self._registered(fixed, moving, images, only_affine=True)
