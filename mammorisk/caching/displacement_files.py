"""Displacement cache on disk: one small file per image pair, in a folder named after the registration's record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mammorisk.caching.arrays import ArrayEntries, network_meaning

FORMAT = 3  # of the entries and of their computation: raise it when either changes


class DisplacementCache(ArrayEntries):
    """Cached displacements [2, h, w] of one registration, (dy, dx) in pixels of h x w.

    float16: rounding is at most 1/2048 of a displacement, 0.03 of 64 pixels; a registration errs by whole pixels.

    Args:
        folder: base folder, which several registrations may share.
        meaning: everything the displacements depend on except the images, as plain values.
        size: (h, w) of the displacements.
    """

    setting, advice = "registration.cache", "registration.cache=null to compute displacements for each batch"
    suffix, record_name = ".field", "fields.json"  # as before 0.1.0: caches stay good
    dtype, what, of = "<f2", "displacement fields", "pairs"

    def __init__(self, folder: str | Path, meaning: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__(folder, {"format": FORMAT, **meaning, "size": list(size)}, (2, *size))
        self.size = size

    @property
    def form(self) -> str:
        """Grid as text, for messages."""
        return f"{self.size[0]} x {self.size[1]}"


def meaning_of(registration: nn.Module, image_size: tuple[int, int]) -> dict[str, Any]:
    """Describe a registration as plain values: class, settings, a hash of its weights, and the images' size.

    Args:
        registration: with ``settings``, as MammoRegNet.
        image_size: (H, W) of its input images.
    """
    meaning = network_meaning(registration)
    return {"registration": meaning.pop("class"), **meaning, "image_size": list(image_size)}


def entry_name(current: bytes, prior: bytes, mirror: bool) -> str:
    """Name of a pair's entry: a hash of both images' identities and of whether they are mirrored."""
    parts = b"|".join((len(current).to_bytes(2, "little") + current, prior, b"mirrored" if mirror else b"native"))
    return hashlib.sha256(parts).hexdigest()[:32]
