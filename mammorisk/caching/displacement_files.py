"""Displacement fields kept on disk: one small file a pair, in a folder named by all that its fields depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from mammorisk.caching.arrays import ArrayEntries, network_meaning

FORMAT = 3  # of the entries, and of how fields are computed: raise it when either changes


class DisplacementCache(ArrayEntries):
    """The kept fields [2, h, w] of one registration, (dy, dx) in pixels of h x w.

    float16: rounding is at most 1/2048 of a displacement, 0.03 pixels of 64, where a registration errs by whole ones.

    Args:
        folder: base folder, which fields of several registrations may share.
        meaning: everything the fields depend on but the images, as plain values.
        size: (h, w) of the fields.
    """

    setting, advice = "registration.cache", "registration.cache=null to find fields anew for each batch"
    suffix, record_name = ".field", "fields.json"
    dtype, what, of = "<f2", "displacement fields", "pairs"

    def __init__(self, folder: str | Path, meaning: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__(folder, {"format": FORMAT, **meaning, "size": list(size)}, (2, *size))
        self.size = size

    @property
    def form(self) -> str:
        """Their grid in words."""
        return f"{self.size[0]} x {self.size[1]}"


def meaning_of(registration: nn.Module, image_size: tuple[int, int]) -> dict[str, Any]:
    """What the fields of a registration depend on besides the pair: class, settings, weights and images' size.

    Args:
        registration: has ``settings``, as MammoRegNet; its weights are hashed.
        image_size: (H, W) of the images it is given.
    """
    meaning = network_meaning(registration)
    return {"registration": meaning.pop("class"), **meaning, "image_size": list(image_size)}


def entry_name(current: bytes, prior: bytes, mirror: bool) -> str:
    """The name of a pair's entry: a hash of both images' identities and of whether they are mirrored."""
    parts = b"|".join((len(current).to_bytes(2, "little") + current, prior, b"mirrored" if mirror else b"native"))
    return hashlib.sha256(parts).hexdigest()[:32]
