"""Displacement fields kept on disk: one small file a pair, in a folder named by all that its fields depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from mammorisk.entries import HEADER, Entries

Floats = npt.NDArray[np.float32]
FORMAT = 2  # of the entries, and of how fields are computed: raise it when either changes
_BLOCK = 4096  # bytes a small file takes at least


class FieldCache(Entries[Floats]):
    """The kept fields [2, h, w] of one registration, (dy, dx) in pixels of h x w.

    float16: rounding is at most 1/2048 of a displacement, 0.03 pixels of 64, where a registration errs by whole ones.

    Args:
        folder: base folder, which fields of several registrations may share.
        meaning: everything the fields depend on but the images, as plain values.
        size: (h, w) of the fields.
    """

    setting, advice = "registration.cache", "registration.cache=null to find fields anew for each batch"
    suffix, record_name = ".field", "fields.json"

    def __init__(self, folder: str | Path, meaning: Mapping[str, Any], size: tuple[int, int]) -> None:
        super().__init__(folder, {"format": FORMAT, **meaning, "size": list(size)})
        self.size = size

    @property
    def entry_bytes(self) -> int:
        """What an entry takes on the disk."""
        return -(-(HEADER.size + 2 * 2 * self.size[0] * self.size[1]) // _BLOCK) * _BLOCK

    def encode(self, value: Floats) -> bytes:
        """A field as float16."""
        if value.shape != (2, *self.size):
            raise ValueError(f"expected a field {[2, *self.size]}, got {list(value.shape)}")
        return np.ascontiguousarray(value, dtype="<f2").tobytes()

    def decode(self, body: memoryview) -> Floats:
        """The field of its float16 values."""
        return np.frombuffer(body, dtype="<f2").reshape(2, *self.size).astype(np.float32)


def meaning_of(registration: nn.Module, image_size: tuple[int, int]) -> dict[str, Any]:
    """What the fields of a registration depend on besides the pair: class, settings, weights and images' size.

    Args:
        registration: has ``settings``, as MammoRegNet; its weights are hashed.
        image_size: (H, W) of the images it is given.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(registration.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    kind = type(registration)
    return {
        "registration": f"{kind.__module__}.{kind.__qualname__}",
        "settings": registration.settings,
        "weights": digest.hexdigest(),
        "image_size": list(image_size),
    }


def entry_name(current: bytes, prior: bytes, mirror: bool) -> str:
    """The name of a pair's entry: a hash of both images' identities and of whether they are mirrored."""
    parts = b"|".join((len(current).to_bytes(2, "little") + current, prior, b"mirrored" if mirror else b"native"))
    return hashlib.sha256(parts).hexdigest()[:32]
