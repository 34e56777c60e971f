"""Pixel grids in centimetres, and band-limited noise that is the same at any pixel size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_CUBIC = -0.75  # slope of the cubic kernel at its first zero, as in OpenCV
# Octaves start at different places of their lattices: these fractions of a cell fill it evenly.
_SHIFT_ROWS, _SHIFT_COLUMNS = 0.7548777, 0.5698403


@dataclass(frozen=True)
class Grid:
    """Grid of square pixels whose first pixel has its corner at (top, left)."""

    rows: int
    columns: int
    pixel: float  # cm
    top: float = 0.0  # cm
    left: float = 0.0  # cm

    def axes(self) -> tuple[Floats, Floats]:
        """Positions of the pixel centres: y [H, 1] down and x [1, W] away from the chest wall, cm."""
        y = (np.arange(self.rows, dtype=np.float32) + np.float32(0.5)) * self.pixel + self.top
        x = (np.arange(self.columns, dtype=np.float32) + np.float32(0.5)) * self.pixel + self.left
        return y[:, None], x[None, :]


@dataclass(frozen=True)
class Region:
    """Part of the plane that noise covers, independent of the pixels."""

    height: float  # cm
    width: float
    top: float = 0.0
    left: float = 0.0


def band_noise(
    key: Sequence[int], grid: Grid, region: Region, cell: float, slope: float = 3.0, octaves: int = 99
) -> Floats:
    """Draw noise whose power falls as frequency^-slope; smaller pixels only add finer octaves.

    Args:
        key: of the random stream, non-negative.
        grid: pixels to fill.
        region: place of the noise; further out it repeats its edge.
        cell: size of the coarsest lumps, cm.
        slope: of the power spectrum.
        octaves: largest number, each half as coarse as the one before, down to the pixel.

    Returns:
        [H, W].
    """
    return mixed_noise([key], np.ones((1, 1)), grid, region, cell, slope, octaves)[0]


def mixed_noise(
    keys: Sequence[Sequence[int]],
    mix: NDArray[np.float64],
    grid: Grid,
    region: Region,
    cell: float,
    slope: float = 3.0,
    octaves: int = 99,
) -> list[Floats]:
    """Draw sums of independent noises, each as of ``band_noise``.

    Args:
        keys: of S noises.
        mix: [S, C] weights of each noise in each sum.
        grid: pixels to fill.
        region: place of the noise.
        cell: size of the coarsest lumps, cm.
        slope: of the power spectrum.
        octaves: largest number.

    Returns:
        C arrays [H, W].
    """
    draws = [np.random.default_rng(list(key)) for key in keys]
    total, power, octave = np.zeros((grid.rows, grid.columns, mix.shape[1]), np.float32), 1e-12, 0
    while cell > grid.pixel and octave < octaves:
        knots = math.ceil(region.height / cell) + 4, math.ceil(region.width / cell) + 4
        values = np.zeros((*knots, mix.shape[1]), np.float32)
        amplitude = 2.0 ** (-octave * (slope - 2) / 2)
        for draw, weights in zip(draws, (amplitude * mix).astype(np.float32), strict=True):
            values += draw.standard_normal((*knots, 1), dtype=np.float32) * weights
        first = 1.0 + _SHIFT_ROWS * (octave + 1) % 1, 1.0 + _SHIFT_COLUMNS * (octave + 1) % 1
        rows = (grid.rows, grid.pixel / cell, (grid.top - region.top) / cell + first[0])
        columns = (grid.columns, grid.pixel / cell, (grid.left - region.left) / cell + first[1])
        total += cubic(values, rows, columns)
        power += amplitude**2
        cell, octave = cell / 2, octave + 1
    total /= np.float32(math.sqrt(power) * 0.75)  # a standard deviation of 1.17, to which the images are tuned
    return [np.ascontiguousarray(total[..., each]) for each in range(mix.shape[1])]


def cubic(knots: Floats, rows: tuple[int, float, float], columns: tuple[int, float, float]) -> Floats:
    """Interpolate values on a coarse lattice at the pixels of a raster, with exact cubic weights.

    OpenCV rounds positions to 1/32 of a cell, which makes visible steps in large cells.

    Args:
        knots: [K, L, C] values.
        rows: number of pixels, their pitch in knots, and the corner of the first in knots.
        columns: the same along the other axis.

    Returns:
        [H, W, C].
    """
    height, width = knots.shape[:2]
    across = _along_first(np.ascontiguousarray(knots.swapaxes(0, 1)), *_taps(width, *columns))  # [W, K, C]
    return _along_first(np.ascontiguousarray(across.swapaxes(0, 1)), *_taps(height, *rows))  # [H, W, C]


def _along_first(values: Floats, index: NDArray[np.intp], weight: Floats) -> Floats:
    result: Floats = values.take(index[0], axis=0)
    result *= weight[0]
    for tap in range(1, 4):
        part = values.take(index[tap], axis=0)
        part *= weight[tap]
        result += part
    return result


@lru_cache(maxsize=256)
def _taps(knots: int, count: int, pitch: float, start: float) -> tuple[NDArray[np.intp], Floats]:
    """Index [4, count] and weight [4, count, 1, 1] of the four knots around each pixel's centre."""
    place = start + (np.arange(count) + 0.5) * pitch
    below = np.floor(place)
    t, a = place - below, _CUBIC
    near, far = t + 1, 2 - t
    weight = np.stack(
        [
            a * (near**3 - 5 * near**2 + 8 * near - 4),
            (a + 2) * t**3 - (a + 3) * t**2 + 1,
            (a + 2) * (1 - t) ** 3 - (a + 3) * (1 - t) ** 2 + 1,
            a * (far**3 - 5 * far**2 + 8 * far - 4),
        ]
    )
    index = np.clip(below + np.arange(-1, 3)[:, None], 0, knots - 1)
    return index.astype(np.intp), weight.astype(np.float32)[:, :, None, None]
