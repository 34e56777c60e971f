"""Segmentation of the breast in a mammogram: the largest bright region, without labels, view markers and noise.

It works on a small copy of the image, and does not depend on brightness or place of a label: the background comes from
the darkest part of the image's border, the brightness of the breast from the breast's own region.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mammorisk.dicom.refusals import Refused

Mask = NDArray[np.bool_]
_Small = NDArray[np.float32]
_ROWS = 512  # of the small copy, at most
_NOISE = 6.0  # standard deviations above the background
_FAINTEST = 4e-4  # above the background, of the whole range
_SHARE = 0.04  # of the breast's brightness: glow around it is darker than that
_SMALLEST = 0.01  # of the frame; a smaller region is no breast
_WHITE = 0.9  # of the brightest: a border that is brighter throughout is no dark background


def find_breast(grey: NDArray[np.uint16]) -> Mask:
    """Find the breast in an image [H, W], with a rim of background around the skin.

    Raises:
        Refused: there is no breast, or the background is bright.
    """
    factor = max(1.0, grey.shape[0] / _ROWS)
    size = (max(1, round(grey.shape[1] / factor)), max(1, round(grey.shape[0] / factor)))
    small = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.float32) / np.float32(65535)
    mask = _find(small).astype(np.uint8) * np.uint8(255)
    return np.asarray(cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)) > 127


def _find(small: _Small) -> Mask:
    level, spread = _background(small)
    threshold = level + max(_NOISE * spread, _FAINTEST)
    bright = small > threshold
    region = _largest(_opened(bright))
    if not region.any():
        raise Refused("no_breast", "no breast found: nothing is brighter than the background.")
    own = float(np.percentile(small[region], 90))
    mask = _filled(_largest(_opened(region & (small > max(threshold, level + _SHARE * (own - level))))))
    if mask.mean() < _SMALLEST:
        raise Refused("no_breast", f"no breast found: the largest bright region is {mask.mean():.2%} of the image.")
    return _with_rim(mask, bright)


def _background(small: _Small) -> tuple[float, float]:
    """Background level and noise, from the darkest block along the border."""
    rows, columns = small.shape
    side = max(2, min(rows, columns) // 16)
    blocks = [
        small[top : top + side, left : left + side]
        for top in (*range(0, rows - side, side), rows - side)
        for left in (*range(0, columns - side, side), columns - side)
        if top in (0, rows - side) or left in (0, columns - side)
    ]
    medians = [float(np.median(block)) for block in blocks]
    brightest = float(np.percentile(small, 99.5))
    if brightest > 0 and float(np.median(medians)) >= _WHITE * brightest and min(medians) < _WHITE * brightest:
        raise Refused(
            "inverted",
            "the border is as bright as anything in the image: the grey scale seems inverted. See the tag "
            "PhotometricInterpretation; conversion.invert=always or never overrules it.",
        )
    darkest = int(np.argmin(medians))
    level = medians[darkest]
    return level, 1.4826 * float(np.median(np.abs(blocks[darkest] - level)))


def _disc(small: Mask, share: float) -> NDArray[np.uint8]:
    radius = max(1, round(share * small.shape[0]))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), dtype=np.uint8)


def _opened(mask: Mask) -> Mask:
    """Remove what is thin: rulers, lines, single bright pixels."""
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(mask, 0.005))) > 0


def _largest(mask: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _filled(mask: Mask) -> Mask:
    """Fill holes."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED)) > 0


def _with_rim(mask: Mask, bright: Mask) -> Mask:
    """Widen the mask by a rim for the skin, which does not reach into other bright regions."""
    _, labels = cv2.connectedComponents(bright.astype(np.uint8), connectivity=8)
    is_own = np.isin(labels, np.unique(labels[mask & bright]))
    others = cv2.dilate((bright & ~is_own).astype(np.uint8), _disc(mask, 0.005)) > 0
    wide = cv2.dilate(mask.astype(np.uint8), _disc(mask, 0.01)) > 0
    return np.asarray(mask | (wide & ~np.asarray(others)))
