"""PNGs of 16-bit grey built byte by byte: faulty ones by name, and uncommon ones that are valid."""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
NOISE = np.random.default_rng(7).integers(0, 65536, (12, 10)).astype(np.uint16)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Length, name, content and check sum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(shape: tuple[int, int], compression: int = 0, filtering: int = 0, interlace: int = 0) -> bytes:
    """The IHDR chunk of rows x columns of 16-bit grey."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], 16, 0, compression, filtering, interlace))


def rows(pixels: np.ndarray, kind: int = 0) -> bytes:
    """Rows as they are compressed: a filter byte each, then the pixels as they are."""
    return b"".join(bytes([kind]) + row.astype(">u2").tobytes() for row in pixels)


def whole(*chunks: bytes) -> bytes:
    """A file of these chunks and the end mark."""
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND")


def png(data: bytes, shape: tuple[int, int] = NOISE.shape, **methods: int) -> bytes:
    """A file with one IDAT chunk of this content."""
    return whole(header(shape, **methods), chunk(b"IDAT", data))


def interlaced(pixels: np.ndarray) -> bytes:
    """Rows of all seven passes."""
    return b"".join(rows(pixels[y::down, x::right]) for y, x, down, right in ADAM7 if pixels[y::down, x::right].size)


def _packed(data: bytes) -> bytes:
    return zlib.compress(data)


def _interlaced_png(data: bytes) -> bytes:
    return png(_packed(data), interlace=1)


@functools.cache
def _bomb() -> bytes:
    """A gigabyte of zeros in a megabyte."""
    work = zlib.compressobj(9)
    piece = bytes(2**24)
    return b"".join([*(work.compress(piece) for _ in range(64)), work.flush()])


_GOOD, _DATA, _PASSES = rows(NOISE), _packed(rows(NOISE)), interlaced(NOISE)
_HEAD, _IDAT = header(NOISE.shape), chunk(b"IDAT", _DATA)
_BROKEN_SUM = _DATA[:-1] + bytes([_DATA[-1] ^ 1])

FAULTY: dict[str, tuple[Callable[[], bytes], str]] = {  # name: the file, and a pattern of its message
    "short rows": (lambda: png(_packed(rows(NOISE[:7]))), r"is incomplete: .*after 7 of 12 rows, 147 of 252 bytes"),
    "no row": (lambda: png(_packed(b"")), "is incomplete: .*after 0 of 12 rows"),
    "half a row short": (lambda: png(_packed(_GOOD[:-9])), "is incomplete: .*after 11 of 12 rows"),
    "one byte short": (lambda: png(_packed(_GOOD[:-1])), "is incomplete: .*251 of 252 bytes"),
    "stream cut off": (lambda: png(_DATA[: len(_DATA) // 2]), "is incomplete: .* of 12 rows"),
    "empty IDAT": (lambda: png(b""), "is incomplete: .*after 0 of 12 rows"),
    "surplus row": (lambda: png(_packed(_GOOD + _GOOD[:21])), "expected 12 rows .* found surplus pixel data"),
    "surplus byte": (lambda: png(_packed(_GOOD + b"\0")), "found surplus pixel data"),
    "bomb": (lambda: png(_bomb(), (32, 32)), "expected 32 rows .* found surplus pixel data"),
    "compression method": (lambda: png(_DATA, compression=1), "expected 0 as the compression method .* found 1"),
    "filter method": (lambda: png(_DATA, filtering=64), "expected 0 as the filter method .* found 64"),
    "interlace method": (lambda: png(_DATA, interlace=2), "expected 0 or 1 as the interlace method .* found 2"),
    "filter type": (lambda: png(_packed(rows(NOISE[:5]) + rows(NOISE[5:], 5))), "filter 0 to 4, found 5 in row 5"),
    "filter type of a pass": (lambda: _interlaced_png(_PASSES[:-21] + b"\x09" + bytes(20)), "found 9 in row 5"),
    "garbage behind": (lambda: png(_DATA + b"garbage"), "7 bytes follow the end of its compressed pixel data"),
    "two streams": (lambda: png(_packed(rows(NOISE[:6])) + _packed(rows(NOISE[6:]))), "is incomplete: .*after 6 of 12"),
    "stream twice": (lambda: png(_DATA + _DATA), "bytes follow the end of its compressed pixel data"),
    "no check sum": (lambda: png(_DATA[:-4]), "end without their check sum"),
    "half a check sum": (lambda: png(_DATA[:-2]), "end without their check sum"),
    "wrong check sum": (lambda: png(_BROKEN_SUM), "cannot be decompressed .*incorrect data check"),
    "no zlib stream": (lambda: png(_GOOD), "cannot be decompressed"),
    "raw deflate": (lambda: png(_DATA[2:-4]), "cannot be decompressed"),
    "preset dictionary": (lambda: png(b"\x78\xbb" + _DATA[2:]), "cannot be decompressed"),
    "interlaced, short": (lambda: _interlaced_png(_PASSES[:-21]), "is incomplete: .*242 of 263 bytes"),
    "interlaced, but plain data": (lambda: png(_DATA, interlace=1), "is incomplete: .*252 of 263 bytes"),
    "plain, but interlaced data": (lambda: png(_packed(_PASSES)), "found surplus pixel data"),
    "huge": (lambda: png(_DATA, (100_000, 100_000)), "expected at most 67,108,864 pixels, found 100,000 x 100,000"),
    "broad": (lambda: png(_DATA, (1, 2**31 - 1)), "expected at most 67,108,864 pixels"),
    "no IDAT": (lambda: whole(_HEAD), "has no pixel data"),
    "no header": (lambda: whole(_IDAT), "first chunk is no PNG header"),
    "two headers": (lambda: whole(_HEAD, _HEAD, _IDAT), "chunk b'IHDR' of 13 bytes has no place"),
    "palette": (lambda: whole(_HEAD, chunk(b"PLTE", bytes(3)), _IDAT), "chunk b'PLTE' of 3 bytes has no place"),
    "unknown critical chunk": (lambda: whole(_HEAD, chunk(b"ABCD"), _IDAT), "chunk b'ABCD' of 0 bytes has no place"),
    "IDAT in two places": (
        lambda: whole(_HEAD, chunk(b"IDAT", _DATA[:50]), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", _DATA[50:])),
        "other chunks stand between its pixel data",
    ),
    "end mark with content": (lambda: SIGNATURE + _HEAD + _IDAT + chunk(b"IEND", b"x"), "chunk b'IEND' of 1 bytes"),
    "bytes behind the end": (lambda: whole(_HEAD, _IDAT) + b"more", "4 bytes stand behind its end mark"),
}  # fmt: skip

WHOLE: dict[str, Callable[[], bytes]] = {  # of the pixels NOISE
    "plain": lambda: png(_DATA),
    "a byte an IDAT": lambda: whole(_HEAD, *(chunk(b"IDAT", _DATA[i : i + 1]) for i in range(len(_DATA)))),
    "empty IDATs": lambda: whole(_HEAD, chunk(b"IDAT"), _IDAT, chunk(b"IDAT")),
    "not compressed": lambda: png(zlib.compress(_GOOD, 0)),
    "a small window": lambda: png((work := zlib.compressobj(9, wbits=9)).compress(_GOOD) + work.flush()),
    "other chunks": lambda: whole(
        _HEAD, chunk(b"gAMA", bytes(4)), chunk(b"tRNS", b"\0\1"), _IDAT, chunk(b"tEXt", b"a\0b"), chunk(b"zzZz")
    ),
    "interlaced": lambda: _interlaced_png(_PASSES),
}
