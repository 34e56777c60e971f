"""Facts about one image for a check: readable, size, bit depth, blank, side of the chest wall."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammorisk.datasets.images import read_pixels
from mammorisk.errors import UserError
from mammorisk.system.regular_files import open_regular

_PNG_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_GREY_LEVELS, _MANY_PIXELS = 256, 20_000  # a small image has few levels anyway
_BLANK_BAND, _BLANK_SHARE = 64, 0.999  # of 65536 levels; of the pixels
_CLEARLY_BRIGHTER = 1.5


@dataclass(frozen=True)
class ImageFacts:
    """Facts about one image file.

    Attributes:
        problem: "" or the kind of problem: image_unreadable, image_depth, image_blank.
        message: about it.
        size: rows, columns; (0, 0) if it cannot be read.
        digest: of its pixels, "" if it cannot be read or is blank.
        side: L or R, the edge with the chest wall, "" if unknown.
    """

    problem: str
    message: str
    size: tuple[int, int] = (0, 0)
    digest: str = ""
    side: str = ""


def look_at(path: str) -> ImageFacts:
    """Read an image and return facts about it; a bad file raises nothing."""
    try:
        pixels = read_pixels(path)
    except UserError as error:
        return ImageFacts("image_depth" if _is_other_png(path) else "image_unreadable", str(error))
    size = (pixels.shape[0], pixels.shape[1])
    levels = np.bincount(pixels.ravel(), minlength=65536)
    if _is_blank(levels):
        return ImageFacts("image_blank", f"{path} is blank: its grey levels are {_span(levels)}.", size)
    digest = hashlib.blake2b(pixels.tobytes() + str(size).encode(), digest_size=16).hexdigest()
    count = int(np.count_nonzero(levels))
    problem = message = ""
    if count <= _GREY_LEVELS and pixels.size >= _MANY_PIXELS:
        problem, message = "image_depth", f"{path} has {count} grey levels: its 16 bits went through 8."
    return ImageFacts(problem, message, size, digest, chest_wall(pixels))


def chest_wall(pixels: npt.NDArray[np.uint16]) -> str:
    """Edge that the breast touches, L or R: the clearly brighter outer fifth; "" if neither is.

    Args:
        pixels: [h, w], air dark.
    """
    width = max(pixels.shape[1] // 5, 1)
    left, right = float(pixels[:, :width].mean()), float(pixels[:, -width:].mean())
    if left > _CLEARLY_BRIGHTER * right:
        return "L"
    return "R" if right > _CLEARLY_BRIGHTER * left else ""


def _is_blank(levels: npt.NDArray[np.int64]) -> bool:
    """Whether nearly all pixels lie in a narrow band of grey levels."""
    below = np.concatenate([[0], np.cumsum(levels)])
    return bool((below[_BLANK_BAND:] - below[:-_BLANK_BAND]).max() >= _BLANK_SHARE * below[-1])


def _span(levels: npt.NDArray[np.int64]) -> str:
    present = np.flatnonzero(levels)
    return f"{present[0]} to {present[-1]}"


def _is_other_png(path: str) -> bool:
    """Whether a file is a PNG, but not 16-bit grey."""
    try:
        with open_regular(path) as file:
            header = file.read(26)
    except (OSError, ValueError):
        return False
    return header.startswith(_PNG_HEADER) and len(header) == 26 and header[24:26] != b"\x10\x00"
