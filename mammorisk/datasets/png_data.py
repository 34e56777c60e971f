"""Full check of a 16-bit grey PNG: its chunks and its compressed pixel data, to the last byte.

A decoder stops once it has all rows, and Pillow leaves missing rows black. So this module inflates the pixel data,
counts them, and passes them on as stored (uncompressed) blocks. The decoder then only copies them, so the whole check
costs as much as a copy (docs/image_cache.md).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mammorisk.errors import UserError

MOST_PIXELS = 2**26  # of an image | detectors and film scanners reach 37 million
WANTED = "Expected a 16-bit greyscale PNG"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
# Adam7: first row and column of each pass, and its steps from row to row and column to column.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_STORED = 65535  # bytes of the longest stored block
_REDO = "Create the file again."


@dataclass(frozen=True)
class PngHeader:
    """Header of a 16-bit grey PNG."""

    rows: int
    columns: int
    is_interlaced: bool

    @property
    def passes(self) -> list[tuple[int, int]]:
        """Rows and bytes per row of each pass over the image, in the order of the data; one if not interlaced.

        A row has one byte for its filter and two for each pixel.
        """
        if not self.is_interlaced:
            return [(self.rows, 1 + 2 * self.columns)]
        sizes = [(-(-(self.rows - y) // down), -(-(self.columns - x) // right)) for y, x, down, right in _PASSES]
        return [(rows, 1 + 2 * columns) for rows, columns in sizes if rows > 0 and columns > 0]

    @property
    def data_length(self) -> int:
        """Bytes of the inflated pixel data."""
        return sum(rows * row_bytes for rows, row_bytes in self.passes)


def checked_png(path: str, data: bytes) -> tuple[PngHeader, bytes]:
    """Check that a PNG is whole; return its header, and its pixel data as a zlib stream of stored blocks.

    Args:
        path: of the file, for messages.
        data: its bytes.

    Raises:
        UserError: it is empty, truncated, damaged, too large or another kind of image, or its pixel data are not
            exactly its rows.
    """
    header, parts = _chunks(path, data)
    stream = b"".join(parts)
    return header, _stored(_inflated(path, header, stream), stream[-4:])


def _chunks(path: str, data: bytes) -> tuple[PngHeader, list[memoryview]]:
    """Read the header and the contents of all IDAT chunks; check every checksum and the order of the chunks."""
    header: PngHeader | None = None
    parts: list[memoryview] = []
    for previous, kind, body in _walk(path, data):
        if header is None:
            header = _header(path, kind, bytes(body))
        elif kind == b"IDAT":
            if parts and previous != b"IDAT":
                raise UserError(f"{path} is damaged: other chunks stand between its pixel data. {_REDO}")
            parts.append(body)
        elif not kind[0] & 0x20 and (
            kind != b"IEND" or len(body)
        ):  # a small first letter marks chunks that decoders may skip
            raise UserError(f"{path} is damaged: a chunk {kind!r} of {len(body)} bytes has no place in it. {_REDO}")
    if header is None or not parts:
        raise UserError(f"{path} is damaged: it has no pixel data (IDAT chunks). {_REDO}")
    return header, parts


def _walk(path: str, data: bytes) -> Iterator[tuple[bytes, bytes, memoryview]]:
    """Yield each chunk: name of the chunk before, its own name, content. The end mark must end the file."""
    if not data:
        raise UserError(f"{path} is empty (0 bytes). {WANTED}; create the file again.")
    if not data.startswith(_SIGNATURE):
        if _SIGNATURE.startswith(data[:8]):
            raise UserError(f"{path} is truncated: {len(data)} bytes. {_REDO}")
        raise UserError(f"{path} is not a PNG: it starts with {data[:8]!r}. {WANTED}.")
    view, position, kind = memoryview(data), len(_SIGNATURE), b""
    while kind != b"IEND":
        previous = kind
        if position + 12 > len(data):
            raise UserError(f"{path} is truncated: it ends after {len(data)} bytes. {_REDO}")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise UserError(f"{path} is truncated: it ends after {len(data)} bytes. {_REDO}")
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise UserError(f"{path} is damaged: wrong check sum at byte {position}. {_REDO}")
        yield previous, kind, view[position + 8 : end]
        position = end + 4
    if position != len(data):
        raise UserError(f"{path} is damaged: {len(data) - position:,} bytes stand behind its end mark. {_REDO}")


def _header(path: str, kind: bytes, content: bytes) -> PngHeader:
    if kind != b"IHDR" or len(content) != 13:
        raise UserError(f"{path} is damaged: its first chunk is no PNG header. {_REDO}")
    columns, rows, bits, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", content)
    if columns == 0 or rows == 0:
        raise UserError(f"{path}: {WANTED}, found an image of {rows} x {columns} pixels.")
    if bits != 16 or colour != 0:
        found = f"{bits}-bit {_COLOUR_TYPES.get(colour, f'colour type {colour}')}"
        raise UserError(
            f"{path}: {WANTED}, found {found}. Mammograms have more than 256 grey levels; convert the original again "
            "with its full bit depth."
        )
    methods = (("compression", compression, 0), ("filter", filtering, 0), ("interlace", interlace, 1))
    for name, found, highest in methods:
        if found > highest:
            expected = "0 or 1" if highest else "0"
            raise UserError(
                f"{path} is damaged: expected {expected} as the {name} method of its header, found {found}. {_REDO}"
            )
    if rows * columns > MOST_PIXELS:
        raise UserError(
            f"{path}: expected at most {MOST_PIXELS:,} pixels, found {rows:,} x {columns:,} in its header. No "
            "mammogram is that large: create the file again, in a smaller size."
        )
    return PngHeader(rows, columns, interlace == 1)


def _inflated(path: str, header: PngHeader, stream: bytes) -> bytes:
    """Inflate the pixel data with their filter bytes; never uses more memory than the header implies."""
    expected = header.data_length
    inflater = zlib.decompressobj()
    try:
        pixels = inflater.decompress(stream, expected + 1)
    except zlib.error as error:
        raise UserError(f"{path} is damaged: its pixel data cannot be decompressed ({error}). {_REDO}") from error
    if len(pixels) < expected:
        rows = "" if header.is_interlaced else f"{len(pixels) // header.passes[0][1]:,} of {header.rows:,} rows, "
        raise UserError(
            f"{path} is incomplete: its pixel data end after {rows}{len(pixels):,} of {expected:,} bytes. {_REDO}"
        )
    if len(pixels) > expected:
        raise UserError(
            f"{path} is damaged: expected {header.rows:,} rows as its header says, found surplus pixel data. {_REDO}"
        )
    if not inflater.eof:
        raise UserError(f"{path} is truncated: its pixel data end without their check sum. {_REDO}")
    if inflater.unused_data:
        surplus = len(inflater.unused_data)
        raise UserError(f"{path} is damaged: {surplus:,} bytes follow the end of its compressed pixel data. {_REDO}")
    _check_filters(path, header, pixels)
    return pixels


def _check_filters(path: str, header: PngHeader, pixels: bytes) -> None:
    start = 0
    for rows, row_bytes in header.passes:
        filters = np.frombuffer(pixels, np.uint8, rows * row_bytes, start)[::row_bytes]
        if filters.max() > 4:
            row = int(np.argmax(filters > 4))
            raise UserError(f"{path} is damaged: expected filter 0 to 4, found {filters[row]} in row {row}. {_REDO}")
        start += rows * row_bytes


def _stored(pixels: bytes, check_sum: bytes) -> bytes:
    """Build a zlib stream of uncompressed blocks, with the known checksum (Adler-32) of the same bytes."""
    view = memoryview(pixels)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(pixels), _STORED):
        block = view[start : start + _STORED]
        is_last = start + _STORED >= len(pixels)
        parts += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join([*parts, check_sum])
