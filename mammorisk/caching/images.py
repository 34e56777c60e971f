"""Image cache (``dataset.cache``): decoded and resized mammograms, in files that are faster to read than PNG.

Blosc2 (zstd, level 1) with byte shuffle and byte delta. Of the formats measured, only this one is both smaller than
PNG and several times faster (docs/image_cache.md).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from mammorisk.caching.entries import HEADER, Entries
from mammorisk.datasets.image_identity import identity_of_bytes, length_and_size
from mammorisk.datasets.images import Pixels, decode_image, read_file
from mammorisk.errors import UserError

FORMAT = 2  # of the entries and of decoding and resizing: raise it when either changes
_BLOCK = 4096  # bytes of a disk block
_CHUNK = 32  # bytes of a chunk's header
_STEPS = slice(16, 31)  # of the header: filters, codec, and their settings
_SAME_VALUES = 0b0111_0000  # bits of the header's last byte: all pixels are the same; other bits mean outside data
_AT_ONCE = 2**18  # bytes compressed together: they fit a core's cache


class ImageStore(Entries[Pixels]):
    """Cache of mammograms [H, W] of one size, equal to the last bit to the output of ``decode_image``.

    Args:
        folder: base folder, which stores of several sizes may share.
        size: (H, W) that images are resized to.
        identities: of each image file (``image_identities``).
    """

    setting, advice = "dataset.cache", "dataset.cache=none to read the images' own files"
    suffix, record_name = ".b2", "images.json"

    def __init__(self, folder: str | Path, size: tuple[int, int], identities: Mapping[str, bytes]) -> None:
        super().__init__(folder, {"format": FORMAT, "pixels": "uint16", "size": list(size)})
        self.size = size
        self.identities = identities

    def pixels(self, file: str) -> Pixels:
        """Read the 16-bit values of a mammogram, [H, W]; a missing or damaged entry is decoded again.

        Args:
            file: one of those with an identity.

        Raises:
            UserError: the entry is missing and the file cannot be decoded or has changed since its identity was taken.
        """
        return self.get_or_compute(self.name(file), lambda: self.decoded(file))

    def name(self, file: str) -> str:
        """Name of a file's entry: a hash of its identity and, if it is resized, of the resizing."""
        return self._name(self.identities[file])

    def decoded(self, file: str) -> Pixels:
        """Decode the pixels of a file as the store keeps them, [H, W].

        Raises:
            UserError: it cannot be read, or has changed since its identity was taken.
        """
        data = read_file(file)
        if self._name(identity_of_bytes(data)) != self.name(file):
            raise UserError(f"{file} has changed since this run began. Start again when the images stay as they are.")
        return decode_image(file, data, self.size)

    def bytes_needed(self, file: str) -> int:
        """Estimate the bytes of an entry on disk: as many per pixel as the PNG, at most two."""
        length, (rows, columns) = length_and_size(self.identities[file])
        pixels = self.size[0] * self.size[1]
        share = length * pixels // (rows * columns) if rows * columns else 2 * pixels
        return -(-(HEADER.size + min(2 * pixels, share)) // _BLOCK) * _BLOCK

    def encode(self, value: Pixels) -> bytes:
        """Encode pixels as a Blosc2 chunk."""
        return _compressed(value)

    def decode(self, body: memoryview) -> Pixels:
        """Decode the pixels of a chunk."""
        pixels = np.empty(self.size, dtype="<u2")
        # Untrusted chunks: Blosc2 writes as many bytes as the chunk declares, even beyond the array. For an unknown
        # codec it starts a shell that looks for the codec's library, and so runs a module in the working folder.
        if not _is_of_ours(body) or _blosc2().get_cbuffer_sizes(body)[0] != pixels.nbytes:
            raise ValueError(f"no image of {self.size[0]} x {self.size[1]} pixels")
        try:
            _blosc2().decompress2(body, dst=pixels, nthreads=1)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        return pixels

    def _name(self, identity: bytes) -> str:
        is_resized = length_and_size(identity)[1] != self.size
        by = f"|OpenCV {cv2.__version__}".encode() if is_resized else b""
        return hashlib.sha256(identity + by).hexdigest()[:32]


def _compressed(pixels: Pixels) -> bytes:
    b2 = _blosc2()
    steps = [b2.Filter.NOFILTER] * 4 + [b2.Filter.SHUFFLE, b2.Filter.BYTEDELTA]  # low, high bytes; differences
    meta = [0] * 5 + [2]  # bytes of a pixel
    how = {"codec": b2.Codec.ZSTD, "clevel": 1, "filters": steps, "filters_meta": meta, "blocksize": _AT_ONCE}
    return bytes(b2.compress2(np.ascontiguousarray(pixels, dtype="<u2"), typesize=2, nthreads=1, **how))


def _is_of_ours(chunk: memoryview) -> bool:
    """Whether a chunk has this store's codec and filters and refers to no data outside of itself."""
    return len(chunk) >= _CHUNK and chunk[_STEPS] == _our_steps() and chunk[_CHUNK - 1] & ~_SAME_VALUES == 0


@functools.cache
def _our_steps() -> bytes:
    return _compressed(np.zeros((1, 1), dtype="<u2"))[_STEPS]


@functools.cache
def _blosc2() -> ModuleType:
    """Import the library at the first use of a store; it releases the GIL while it works."""
    import blosc2

    blosc2.set_releasegil(True)
    library: ModuleType = blosc2
    return library
