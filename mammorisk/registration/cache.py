"""Displacement fields kept on disk: one small file a pair, in a folder named by all that its fields depend on.

Any number of workers, processes and jobs may read and fill a folder at once: an entry appears whole, two that compute
the same one write the same, and one that is damaged counts as missing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
from torch import nn

from mammorisk.errors import UserError
from mammorisk.files import whole_file

Floats = npt.NDArray[np.float32]
FORMAT = 1  # of the entries, and of how fields are computed: raise it when either changes
RECORD = "fields.json"  # what the folder's name stands for
_HEADER = struct.Struct("<4sHHI")  # mark, rows, columns, check sum of what follows
_MARK = b"MRF1"
_BLOCK = 4096  # bytes a small file takes at least
_SMALL = 2**17  # bytes | entries up to this are read whole when all are looked at
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DamagedEntry(Exception):  # noqa: N818
    """An entry of the cache is cut off, altered, or of another size."""


class FieldCache:
    """The kept fields of one registration, at one size.

    float16: rounding is at most 1/2048 of a displacement, 0.03 pixels of 64, where a registration errs by whole ones.

    Args:
        folder: base folder, which fields of several registrations may share.
        meaning: everything the fields depend on but the images, as plain values.
        size: (h, w) of the fields.
    """

    def __init__(self, folder: str | Path, meaning: Mapping[str, Any], size: tuple[int, int]) -> None:
        self.size = size
        self._record = {"format": FORMAT, **meaning, "size": list(size)}
        key = hashlib.sha256(json.dumps(self._record, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = Path(folder).expanduser().absolute() / key

    @property
    def entry_bytes(self) -> int:
        """What an entry takes on the disk."""
        return -(-self._length // _BLOCK) * _BLOCK

    @property
    def _length(self) -> int:
        return _HEADER.size + 2 * 2 * self.size[0] * self.size[1]

    def path(self, name: str) -> Path:
        """The file of an entry; its first two letters name one of 256 folders."""
        return self.folder / name[:2] / f"{name}.field"

    def read(self, name: str) -> Floats | None:
        """The field [2, h, w] of an entry, (dy, dx) in pixels of h x w; None where there is none.

        Raises:
            DamagedEntry: there is one, but not whole.
        """
        path = self.path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedEntry(f"{path}: {error}") from error
        body = memoryview(content)[_HEADER.size :]
        expected = _HEADER.pack(_MARK, *self.size, zlib.crc32(body))
        if not content.startswith(expected) or len(content) != self._length:
            raise DamagedEntry(f"{path} is damaged")
        return np.frombuffer(body, dtype="<f2").reshape(2, *self.size).astype(np.float32)

    def write(self, name: str, field: Floats) -> None:
        """Keep a field [2, h, w], (dy, dx) in pixels of h x w.

        Raises:
            UserError: the folder cannot be written to, or the disk is full.
        """
        if field.shape != (2, *self.size):
            raise ValueError(f"expected a field {[2, *self.size]}, got {list(field.shape)}")
        body = np.ascontiguousarray(field, dtype="<f2").tobytes()
        self._write(self.path(name), _HEADER.pack(_MARK, *self.size, zlib.crc32(body)) + body)

    def describe(self) -> None:
        """Note down in the folder, for people, what its name stands for.

        Raises:
            UserError: as ``write``.
        """
        self._write(self.folder / RECORD, (json.dumps(self._record, indent=2) + "\n").encode())

    def incomplete(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Which entries are missing and which damaged, in their order; looks at all in parallel threads.

        Of large entries (terabytes together) only the beginning and the length are looked at; the rest shows when they
        are read.
        """
        looks = joblib.Parallel(n_jobs=-1, prefer="threads")(
            joblib.delayed(self._look)(names[start : start + 512]) for start in range(0, len(names), 512)
        )
        found = [each for look in looks for each in look]
        pairs = list(zip(names, found, strict=True))
        return [n for n, f in pairs if f == "missing"], [n for n, f in pairs if f == "damaged"]

    def _look(self, names: Sequence[str]) -> list[str]:
        look = self._glance if self._length > _SMALL else self.read
        found = []
        for name in names:
            try:
                found.append("missing" if look(name) is None else "whole")
            except DamagedEntry:
                found.append("damaged")
        return found

    def _glance(self, name: str) -> int | None:
        """Length of an entry of which the beginning is right, None where there is none."""
        path, begin = self.path(name), _HEADER.pack(_MARK, *self.size, 0)[:-4]
        try:
            with path.open("rb") as file:
                is_whole = file.read(len(begin)) == begin and file.seek(0, os.SEEK_END) == self._length
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedEntry(f"{path}: {error}") from error
        if not is_whole:
            raise DamagedEntry(f"{path} is damaged")
        return self._length

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path, durable=False) as unfinished:
                unfinished.write_bytes(content)
        except OSError as error:
            what = "The disk is full" if error.errno in _FULL else f"It cannot be written to ({error})"
            raise UserError(
                f"registration.cache={self.folder.parent}: {what}. What was kept so far stays good. Make room, name "
                "another folder, or set registration.cache=null to find fields anew for each batch."
            ) from error


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


def image_identity(path: str) -> bytes:
    """What tells an image's content without reading it: its length and its last bytes.

    A PNG ends with check sums, one of them of all its pixels. Unlike path and time of change, they stay when a cohort
    is copied to a faster disk, and two cohorts share what they have in common.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - 32))
            return length.to_bytes(8, "little") + file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def entry_name(current: bytes, prior: bytes, mirror: bool) -> str:
    """The name of a pair's entry: a hash of both images' identities and of whether they are mirrored."""
    parts = b"|".join((len(current).to_bytes(2, "little") + current, prior, b"mirrored" if mirror else b"native"))
    return hashlib.sha256(parts).hexdigest()[:32]
