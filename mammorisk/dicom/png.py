"""16-bit PNGs with a note about their origin, and a small picture of the file before and after.

Both are chunks that other readers skip. By the note a second run finds what is done already, whenever the first one was
killed.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from mammorisk.system.atomic_files import whole_file
from mammorisk.system.regular_files import open_regular

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 25  # IHDR: length, name, 13 bytes, check sum
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_KEYWORD = b"mammorisk\x00"  # of the tEXt chunk
_PICTURE = b"mmTn"  # ancillary, private, safe to copy
_LONGEST = 2**20  # bytes of a chunk of ours
_LEVEL = [cv2.IMWRITE_PNG_COMPRESSION, 3]
Note = dict[str, Any]


def write_png(path: Path, pixels: NDArray[np.generic], note: Note, picture: bytes = b"") -> None:
    """Write an image; the file appears whole or not at all.

    Args:
        path: in an existing folder.
        pixels: 16-bit grey [H, W], or 8-bit blue, green, red [H, W, 3].
        note: plain values.
        picture: a JPEG, or nothing.

    Raises:
        OSError: it cannot be written, or a PNG cannot hold it.
    """
    is_made, encoded = cv2.imencode(".png", np.asarray(pixels), _LEVEL)
    if not is_made:
        raise OSError(f"{path}: no PNG can be made of an array {list(pixels.shape)}")
    data = encoded.tobytes()
    text = _KEYWORD + json.dumps(note, sort_keys=True).encode("ascii")
    chunks = _chunk(b"tEXt", text) + _chunk(_PICTURE, picture)
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data[:_HEADER_END] + chunks + data[_HEADER_END:])


def read_note(path: Path) -> tuple[Note, bytes] | None:
    """Read note and small picture of an image that ``write_png`` wrote; None for any other or damaged file."""
    try:
        with open_regular(path) as file:
            if not file.read(_HEADER_END).startswith(_SIGNATURE):
                return None
            text, picture = _next_chunk(file, b"tEXt"), _next_chunk(file, _PICTURE)
            file.seek(-len(_END), 2)
            is_whole = file.read() == _END
        note = json.loads(text.removeprefix(_KEYWORD))
    except (OSError, ValueError, struct.error, RecursionError):
        return None
    return (note, picture) if is_whole and isinstance(note, dict) else None


def _next_chunk(file: BinaryIO, wanted: bytes) -> bytes:
    length, name = struct.unpack(">I4s", file.read(8))
    if name != wanted or length > _LONGEST:
        raise ValueError("not a chunk of ours")
    data = file.read(length)
    if file.read(4) != struct.pack(">I", zlib.crc32(name + data)):
        raise ValueError("a chunk that is damaged or cut off")
    return data


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
