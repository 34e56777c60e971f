"""Reading of a mammogram, a 16-bit grey PNG; an incomplete file is refused."""

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
    """Source of decoded images, equal to their files to the last bit; loader workers read from it."""

    def pixels(self, file: str) -> Pixels:
        """Read the 16-bit values of a mammogram, [H, W].

        Raises:
            UserError: they cannot be read.
        """
        ...


def read_image(path: str, size: tuple[int, int], mirror: bool = False) -> Floats:
    """Read a mammogram as float32 in [0, 1]: 16-bit value / 65535.

    Args:
        path: a 16-bit greyscale PNG.
        size: rows and columns of the result; shrinking averages areas, enlarging interpolates bilinearly, and the
            values are rounded to 16 bits.
        mirror: exchange left and right.

    Returns:
        [1, H, W].

    Raises:
        UserError: the file is missing, truncated, damaged, incomplete, too large, or another kind of image
            (docs/pitfalls.md#p16).
    """
    return as_floats(decode_image(path, read_file(path), size), mirror)


def read_file(path: str) -> bytes:
    """Read the bytes of an image file.

    Raises:
        UserError: it cannot be read, is not a regular file, or is longer than any mammogram's.
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
    """Decode and resize a mammogram to pixels [H, W], rounded to whole grey levels.

    Args:
        path: of the file, for messages.
        data: its bytes.
        size: rows and columns of the result, as in ``read_image``.

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
    """Convert pixels [H, W] to float32 in [0, 1], [1, H, W]: value / 65535; ``mirror`` exchanges left and right."""
    seen = cv2.flip(pixels, 1) if mirror else pixels
    return np.divide(seen, np.float32(65535), dtype=np.float32)[np.newaxis]


def read_pixels(path: str) -> Pixels:
    """Read the pixels [h, w] of a mammogram in the file's own size.

    Raises:
        UserError: as ``read_image``.
    """
    return _decode(path, read_file(path))


def unreadable_images(files: Sequence[str]) -> list[str]:
    """List the files that ``read_image`` refuses, in their order; each is decoded once, in parallel threads.

    For ``on_error=skip``: unreadable files are known before training, so every epoch and every process has the same
    samples.
    """
    return list(image_faults(files))


def image_faults(files: Sequence[str]) -> dict[str, str]:
    """Map each file that ``read_image`` refuses to its problem, in their order; the others are left out."""
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
        raise UserError(f"{path} is damaged: {error}. Create the file again.") from error
    del stream  # frees memory for the copy
    return np.asarray(image)
