"""Identity of an image file's content, without reading the whole file."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import joblib

from mammorisk.errors import UserError
from mammorisk.system.regular_files import open_regular

_HEAD, _TAIL = 33, 32  # bytes | a PNG's signature and header; its last checksums and end mark
_LENGTH = struct.Struct("<Q")


def image_identity(path: str) -> bytes:
    """Length, first and last bytes of a file: a PNG begins with its size and ends with checksums of all its pixels.

    Unlike the path and the time of change, they stay the same if a cohort is copied to a faster disk. Two cohorts
    share the entries of their common images.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            head, length = file.read(_HEAD), file.seek(0, os.SEEK_END)
            file.seek(max(0, length - _TAIL))
            return _LENGTH.pack(length) + head + file.read()
    except (OSError, ValueError) as error:  # ValueError: no possible path
        raise UserError(f"{path} cannot be read: {error}.") from error


def identity_of_bytes(data: bytes) -> bytes:
    """Identity of a file with this content."""
    return _LENGTH.pack(len(data)) + data[:_HEAD] + data[-_TAIL:]


def image_identities(files: Sequence[str]) -> dict[str, bytes]:
    """Identity of each file, read in parallel threads.

    Raises:
        UserError: a file cannot be read.
    """
    looks = joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(_identities)(files[start : start + 64]) for start in range(0, len(files), 64)
    )
    return dict(zip(files, (each for look in looks for each in look), strict=True))


def length_and_size(identity: bytes) -> tuple[int, tuple[int, int]]:
    """Bytes of a file and (rows, columns) of its image; (0, 0) if it is not a PNG."""
    (length,) = _LENGTH.unpack_from(identity)
    head = identity[_LENGTH.size :]
    if len(head) < _HEAD or head[12:16] != b"IHDR":
        return length, (0, 0)
    columns, rows = struct.unpack_from(">II", head, 16)
    return length, (rows, columns)


def _identities(files: Sequence[str]) -> list[bytes]:
    return [image_identity(file) for file in files]
