"""Reading one mammogram: a 16-bit grey PNG, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import cv2
import joblib
import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.progress import track

from mammorisk.datasets.png_data import MOST_PIXELS, checked_png
from mammorisk.errors import UserError
from mammorisk.system.consoles import PlainConsole
from mammorisk.system.regular_files import open_regular

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint16]
_MOST_BYTES = 4 * MOST_PIXELS  # of a file | pixels of two bytes, and as much for all that stands beside them


class ImageSource(Protocol):
    """Decoded images that are read in place of their files, the same to the last bit; loader workers use it."""

    def pixels(self, file: str) -> Pixels:
        """The 16-bit values of a mammogram, [H, W].

        Raises:
            UserError: they cannot be read.
        """
        ...


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
        UserError: the file is missing, truncated, damaged, incomplete, too large, or another kind of image
        (docs/pitfalls.md#p16).
    """
    return as_floats(decode_image(path, read_file(path), size), mirror)


def read_file(path: str) -> bytes:
    """The bytes of an image's file.

    Raises:
        UserError: it cannot be read, is no ordinary file, or is longer than any mammogram's.
    """
    try:
        with open_regular(path) as file:
            length = os.fstat(file.fileno()).st_size
            if length > _MOST_BYTES:
                raise ValueError(f"expected at most {_MOST_BYTES:,} bytes, found {length:,}; no mammogram is so large")
            return file.read()
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
    header, stream = checked_png(path, data)
    image = Image.new("I;16", (header.columns, header.rows), None)
    try:
        image.frombytes(stream, "zip", ("I;16B", int(header.is_interlaced)))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}. Make the file anew.") from error
    del stream  # its memory serves for the copy
    return np.asarray(image)
