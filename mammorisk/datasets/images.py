"""Reading one mammogram: a 16-bit grey PNG, whole or not at all."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

import cv2
import joblib
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

from mammorisk.consoles import PlainConsole
from mammorisk.errors import UserError
from mammorisk.regular_files import read_regular

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint16]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_WANTED = "Expected a 16-bit greyscale PNG"


def read_image(path: str, size: tuple[int, int], mirror: bool = False) -> Floats:
    """Read a mammogram as float32 in [0, 1]: 16-bit value / 65535.

    Args:
        path: a 16-bit greyscale PNG.
        size: rows and columns wanted; areas are averaged when shrinking, else interpolated bilinearly, and the values
            rounded to 16 bits.
        mirror: exchange left and right.

    Returns:
        [1, H, W].

    Raises:
        UserError: the file is missing, truncated, damaged, or another kind of image (specs: pitfall 16).
    """
    return as_floats(decode_image(path, read_file(path), size), mirror)


def read_file(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return read_regular(path)
    except (OSError, ValueError) as error:  # ValueError: no possible path
        raise UserError(f"{path} cannot be read: {error}.") from error


def decode_image(path: str, data: bytes, size: tuple[int, int]) -> Pixels:
    """The pixels [H, W] of a mammogram, resized; values between two grey levels are rounded to one.

    Args:
        path: of the file, for messages.
        data: its bytes.
        size: rows and columns wanted, as in ``read_image``.

    Raises:
        UserError: as ``read_image``.
    """
    pixels, (height, width) = _decode(path, data), size
    if pixels.shape == (height, width):
        return pixels
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), dtype=np.uint16)


def as_floats(pixels: Pixels, mirror: bool = False) -> Floats:
    """Pixels [H, W] as float32 in [0, 1], [1, H, W]: 16-bit value / 65535; ``mirror`` exchanges left and right."""
    seen = cv2.flip(pixels, 1) if mirror else pixels
    return np.divide(seen, np.float32(65535), dtype=np.float32)[np.newaxis]


def read_pixels(path: str) -> Pixels:
    """Pixels [h, w] of a mammogram, as they are in the file.

    Raises:
        UserError: as ``read_image``.
    """
    return _decode(path, read_file(path))


def unreadable_images(files: Sequence[str]) -> list[str]:
    """Files that ``read_image`` would refuse, in their order: each is decoded once, in parallel threads.

    For ``on_error=skip``: what cannot be read is known before training, so every epoch and every process sees the same
    samples.
    """
    return list(image_faults(files))


def image_faults(files: Sequence[str]) -> dict[str, str]:
    """What is wrong with the files that ``read_image`` would refuse, in their order; the others are left out."""
    calls = (joblib.delayed(_fault)(file) for file in files)
    faults = joblib.Parallel(n_jobs=-1, prefer="threads", return_as="generator")(calls)
    console = PlainConsole(stderr=True)
    shown = track(faults, "checking images", len(files), console=console, disable=not console.is_terminal)
    return {file: fault for file, fault in zip(files, shown, strict=True) if fault}


def _fault(path: str) -> str:
    try:
        _decode(path, read_file(path))
    except UserError as error:
        return str(error)
    return ""


def _decode(path: str, data: bytes) -> Pixels:
    """Pixels [h, w] of a whole 16-bit grey PNG."""
    _check_whole(path, data)
    try:
        with Image.open(BytesIO(data), formats=("PNG",)) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is damaged: {error}. Make the file anew.") from error
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise UserError(f"{path}: {_WANTED}, found {pixels.dtype} of shape {pixels.shape}.")
    return pixels


def _check_whole(path: str, data: bytes) -> None:
    """Walk the PNG's chunks: kind of image, every check sum, and the end mark (decoders stop before the last bytes)."""
    if not data:
        raise UserError(f"{path} is empty (0 bytes). {_WANTED}; make the file anew.")
    if not data.startswith(_SIGNATURE):
        if _SIGNATURE.startswith(data[:8]):
            raise UserError(f"{path} is truncated: {len(data)} bytes. Make the file anew.")
        raise UserError(f"{path} is not a PNG: it starts with {data[:8]!r}. {_WANTED}.")
    view, position, kind = memoryview(data), len(_SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise UserError(f"{path} is truncated: it ends after {len(data)} bytes. Make the file anew.")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise UserError(f"{path} is truncated: it ends after {len(data)} bytes. Make the file anew.")
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise UserError(f"{path} is damaged: wrong check sum at byte {position}. Make the file anew.")
        if position == len(_SIGNATURE):
            _check_header(path, kind, data[position + 8 : end])
        position = end + 4


def _check_header(path: str, kind: bytes, header: bytes) -> None:
    if kind != b"IHDR" or len(header) != 13:
        raise UserError(f"{path} is damaged: its first chunk is no PNG header. Make the file anew.")
    width, height, bits, colour = struct.unpack_from(">IIBB", header)
    if width == 0 or height == 0:
        raise UserError(f"{path}: {_WANTED}, found an image of {height} x {width} pixels.")
    if bits != 16 or colour != 0:
        found = f"{bits}-bit {_COLOUR_TYPES.get(colour, f'colour type {colour}')}"
        raise UserError(
            f"{path}: {_WANTED}, found {found}. Mammograms have more than 256 grey levels; convert the original again "
            "with its full bit depth."
        )
