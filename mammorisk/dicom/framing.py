"""Framing of a breast's image: cropped, resized to the wanted size, chest wall at the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mammorisk.dicom.breast import Mask
from mammorisk.dicom.orientation import Side

Pixels = NDArray[np.uint16]


@dataclass(frozen=True)
class Box:
    """Rectangle in an image: rows top..bottom, columns left..right, without the ends."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def around(cls, mask: Mask) -> Box:
        """The smallest box that holds a mask which is not empty."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        return cls(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @classmethod
    def whole(cls, image: NDArray[np.generic]) -> Box:
        """The box of a whole image."""
        return cls(0, 0, image.shape[0], image.shape[1])

    def of(self, image: Pixels) -> Pixels:
        """Crop an image [H, W] to the box."""
        return image[self.top : self.bottom, self.left : self.right]


def fit(image: Pixels, size: Sequence[int] | None, chest: Side) -> tuple[Pixels, float]:
    """Resize an image to fit into ``size``, with its proportions, and pad with black.

    Areas are averaged when shrinking, else pixels are interpolated bilinearly.

    Args:
        image: [h, w].
        size: rows and columns; None: unchanged.
        chest: edge of the chest wall, where the image is placed; it is centred vertically.

    Returns:
        [rows, columns], and the factor of enlargement.
    """
    if size is None:
        return np.ascontiguousarray(image), 1.0
    rows, columns = size
    scale = min(rows / image.shape[0], columns / image.shape[1])
    height = min(rows, max(1, round(image.shape[0] * scale)))
    width = min(columns, max(1, round(image.shape[1] * scale)))
    if (height, width) != image.shape:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        # float32 holds 24 bits: sums of 16-bit values are not truncated
        resized = cv2.resize(image.astype(np.float32), (width, height), interpolation=how)
        image = np.clip(np.rint(resized), 0, 65535).astype(np.uint16)
    canvas = np.zeros((rows, columns), np.uint16)
    top, left = (rows - height) // 2, 0 if chest == "left" else columns - width
    canvas[top : top + height, left : left + width] = image
    return canvas, scale
