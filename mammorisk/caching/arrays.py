"""Cache entries of one array shape, computed by a frozen network: displacement fields or features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from mammorisk.caching.entries import HEADER, Entries

Floats = npt.NDArray[np.float32]
_BLOCK = 4096  # bytes a small file takes at least


class ArrayEntries(Entries[Floats]):
    """Cache entries that are float arrays of one shape.

    Args:
        folder: base folder, which several caches may share.
        record: everything the entries depend on besides their names, as plain values.
        shape: of each array.

    Raises:
        TypeError: the subclass lacks a class attribute, or its dtype is not a little-endian float.
    """

    dtype: str  # of the values on disk, numpy's name
    what: str  # plural noun for the entries, for messages
    of: str  # plural noun for their sources
    needed = (*Entries.needed, "dtype", "what", "of")

    def __init__(self, folder: str | Path, record: Mapping[str, Any], shape: tuple[int, ...]) -> None:
        super().__init__(folder, record)
        if self.dtype not in ("<f2", "<f4", "<f8"):  # the same bytes on every machine
            raise TypeError(f"{type(self).__name__}.dtype: expected <f2, <f4 or <f8, found {self.dtype!r}")
        self.shape = shape

    @property
    def form(self) -> str:
        """Shape as text, for messages."""
        return " x ".join(map(str, self.shape))

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry on disk."""
        values = int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize
        return -(-(HEADER.size + values) // _BLOCK) * _BLOCK

    def encode(self, value: Floats) -> bytes:
        """Encode an array as its values one after the other."""
        if value.shape != self.shape:
            raise ValueError(f"expected {self.what} {list(self.shape)}, got {list(value.shape)}")
        return np.ascontiguousarray(value, dtype=self.dtype).tobytes()

    def decode(self, body: memoryview) -> Floats:
        """Decode an array from its values."""
        return np.frombuffer(body, dtype=self.dtype).reshape(self.shape).astype(np.float32)

    def kept(self, values: Tensor) -> Floats:
        """Round computed arrays [N, *shape] as the cache does, so that both agree to the last bit.

        Raises:
            ValueError: they have another shape.
        """
        if tuple(values.shape[1:]) != self.shape:
            raise ValueError(f"expected {self.what} {['N', *self.shape]}, got {list(values.shape)}")
        return values.float().cpu().numpy().astype(self.dtype).astype(np.float32)


def network_meaning(network: nn.Module) -> dict[str, Any]:
    """Describe a frozen network as plain values: class, settings and a hash of its weights.

    Args:
        network: with ``settings``, plain values.
    """
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    kind = type(network)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "settings": network.settings,
        "weights": digest.hexdigest(),
    }
