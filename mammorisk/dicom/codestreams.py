"""Codestreams of compressed images: their declared size, and the decoders for them."""

from __future__ import annotations

import struct

from pydicom.uid import UID

from mammorisk.dicom.refusals import Refused

_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_RLE = ("1.2.840.10008.1.2.5",)
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
# pydicom's plug-ins by compression; the first is the most careful with damaged files.
PLUGINS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_JPEG_2000, ("pylibjpeg", "pillow", "gdcm")),
    **dict.fromkeys(_HTJ2K, ("pylibjpeg",)),
    **dict.fromkeys(_JPEG_LS, ("pyjpegls", "gdcm")),
    **dict.fromkeys(_JPEG_LOSSY, ("pillow", "gdcm")),
    **dict.fromkeys(_JPEG_LOSSLESS, ("gdcm", "pylibjpeg")),
    **dict.fromkeys(_RLE, ("pydicom",)),
}
_NO_FRAME_HEADER = (0xC4, 0xC8, 0xCC)  # DHT, JPG, DAC are among the markers of frames


def check_codestream(frame: bytes, transfer_syntax: str, rows: int, columns: int) -> None:
    """Compare the size in a compressed frame with the header's: decoders allocate what the frame declares.

    Raises:
        Refused: they differ, or the frame is not of the transfer syntax.
    """
    if transfer_syntax in _RLE:
        return
    is_wavelet = transfer_syntax in _JPEG_2000 + _HTJ2K
    size = _wavelet_size(frame) if is_wavelet else _jpeg_size(frame)
    if size is None:
        name = UID(transfer_syntax).name
        raise Refused("damaged_pixels", f"the pixels do not begin as {name} does: damaged, or mislabelled.")
    if size != (rows, columns):
        found = f"{size[0]} x {size[1]}"
        raise Refused("damaged_pixels", f"the header declares {rows} x {columns} pixels, the compressed image {found}.")


def _wavelet_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG 2000 codestream, bare or in a JP2 file."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(frame) < start + 42:
        return None
    width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
    tile_width, tile_height = struct.unpack_from(">2I", frame, start + 24)
    is_possible = width > left and height > top and tile_width and tile_height
    return (height - top, width - left) if is_possible else None


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG or JPEG-LS frame header."""
    if not frame.startswith(b"\xff\xd8"):
        return None
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER) or marker == 0xF7:
            rows, columns = struct.unpack_from(">2H", frame, place + 5)
            return rows, columns
        place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None
