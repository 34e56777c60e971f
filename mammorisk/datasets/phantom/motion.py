"""Motion of a breast between its reference position and an exam, and the true displacement between two exams."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mammorisk.datasets.phantom.noise import Floats, Grid, cubic
from mammorisk.datasets.phantom.phantom_settings import MotionSettings
from mammorisk.datasets.phantom.woman import IMAGE_HEIGHT, IMAGE_WIDTH

_ITERATIONS = 12  # of the fixed point; the map contracts to a few percent each time


@dataclass(frozen=True)
class Motion:
    """Map from positions in an exam's image to positions in the reference breast, in cm: affine plus smooth."""

    matrix: Floats  # [2, 2] | of (x, y) about the centre
    translation: Floats  # [2] | (x, y) cm
    centre: float  # cm | fixed point's row; its column is the chest wall
    knots: Floats  # [K, L, 2] | (x, y) cm | smooth part

    def places(self, grid: Grid) -> Floats:
        """Position in the reference breast of each pixel, [H, W, 2] as (x, y) in cm."""
        y, x = grid.axes()
        step = self.knots.shape[0] - 3, self.knots.shape[1] - 3  # cells along the picture, one knot around it
        rows = (grid.rows, grid.pixel / IMAGE_HEIGHT * step[0], 1.0)
        columns = (grid.columns, grid.pixel / IMAGE_WIDTH * step[1], 1.0)
        places = cubic(self.knots, rows, columns)
        down = y - np.float32(self.centre)
        for axis, origin in ((0, 0.0), (1, self.centre)):
            shift = np.float32(origin + self.translation[axis])
            places[..., axis] += self.matrix[axis, 0] * x + self.matrix[axis, 1] * down + shift
        return places


def draw_motion(draw: np.random.Generator, settings: MotionSettings, centre: float) -> Motion:
    """Draw the position of one breast in one view at one exam."""
    shape = (settings.grid + 4, settings.grid + 3, 2)
    knots = settings.displacement_rms * draw.standard_normal(shape, dtype=np.float32)
    angle = np.deg2rad(settings.rotation_sd * draw.standard_normal())
    scale = np.exp(settings.scale_sd * draw.standard_normal(2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    translation = settings.translation_sd * draw.standard_normal(2, dtype=np.float32)
    return Motion((turn * scale).astype(np.float32), translation.astype(np.float32), centre, knots.astype(np.float32))


def true_displacement(current: Floats, prior: Floats, grid: Grid) -> Floats:
    """Compute the true displacement from the current to the prior image.

    The position p in the prior image shows the same tissue: prior(p) = current(pixel).

    Args:
        current: positions in the reference breast, [H, W, 2] as (x, y) in cm.
        prior: the same of the prior exam.
        grid: pixels of both images.

    Returns:
        [2, H, W], (dy, dx) in pixels.
    """
    y, x = grid.axes()
    own = np.empty_like(prior)
    own[..., 0], own[..., 1] = x, y
    motion = prior - own
    place = own + current - prior
    for _ in range(_ITERATIONS):
        pixel = place / np.float32(grid.pixel) - np.float32(0.5)
        there = cv2.remap(motion, pixel, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        place = current - there
    displacement = (place - own) / np.float32(grid.pixel)
    return np.ascontiguousarray(displacement[..., ::-1].transpose(2, 0, 1))  # (x, y) -> (dy, dx)
