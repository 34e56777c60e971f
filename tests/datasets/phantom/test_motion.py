import numpy as np
import pytest

from mammorisk.datasets.phantom.anatomy import picture_grid
from mammorisk.datasets.phantom.motion import Motion, draw_motion, true_displacement
from mammorisk.datasets.phantom.phantom_settings import MotionSettings

GRID = picture_grid(64)
STILL = Motion(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), 12.0, np.zeros((9, 8, 2), np.float32))


def drawn(seed, **settings):
    return draw_motion(np.random.default_rng(seed), MotionSettings(**settings), 12.0)


def test_no_motion_leaves_every_place():
    y, x = GRID.axes()
    places = STILL.places(GRID)
    np.testing.assert_allclose(places[..., 0], np.broadcast_to(x, (64, 52)), atol=1e-5)
    np.testing.assert_allclose(places[..., 1], np.broadcast_to(y, (64, 52)), atol=1e-5)


def test_shift_between_exams_in_pixels_and_order():
    """The prior shows at p what lies at p + (0.75, -1.5) cm; so the current pixel lies (4, -2) pixels away in it."""
    shifted = Motion(STILL.matrix, np.array([0.75, -1.5], np.float32), 12.0, STILL.knots)  # x, y
    field = true_displacement(STILL.places(GRID), shifted.places(GRID), GRID)
    assert field.shape == (2, 64, 52)
    np.testing.assert_allclose(field[0], 4, atol=1e-3)  # dy
    np.testing.assert_allclose(field[1], -2, atol=1e-3)  # dx


def test_both_ends_of_the_true_displacement_show_the_same_tissue():
    current, prior = drawn(1).places(GRID), drawn(2).places(GRID)
    dy, dx = true_displacement(current, prior, GRID)
    rows, columns = np.mgrid[0:64, 0:52]
    there = rows + dy, columns + dx
    inside = (there[0] >= 0) & (there[0] <= 63) & (there[1] >= 0) & (there[1] <= 51)
    for axis in range(2):
        found = bilinear(prior[..., axis], *(place[inside] for place in there))
        np.testing.assert_allclose(found, current[..., axis][inside], atol=0.02)  # cm


def bilinear(values, row, column):
    r, c = np.minimum(row.astype(int), 62), np.minimum(column.astype(int), 50)
    t, s = row - r, column - c
    upper = values[r, c] * (1 - s) + values[r, c + 1] * s
    lower = values[r + 1, c] * (1 - s) + values[r + 1, c + 1] * s
    return upper * (1 - t) + lower * t


def test_size_of_the_motion_is_that_of_the_settings():
    smooth = {"translation_sd": 0.0, "rotation_sd": 0.0, "scale_sd": 0.0}
    moved = [drawn(seed, displacement_rms=0.5, **smooth).places(GRID) - STILL.places(GRID) for seed in range(50)]
    assert np.std(moved) == pytest.approx(0.5 * 0.88, rel=0.1)  # interpolation smooths
    still = drawn(3, displacement_rms=0.0, **smooth)
    np.testing.assert_allclose(still.places(GRID), STILL.places(GRID), atol=1e-5)
    turned = [drawn(seed, rotation_sd=3.0).matrix for seed in range(300)]
    angle = np.rad2deg([np.arctan2(m[1, 0], m[0, 0]) for m in turned])
    assert np.std(angle) == pytest.approx(3.0, rel=0.15)


def test_same_motion_at_any_pixel_size():
    fine, coarse = drawn(4).places(picture_grid(256)), drawn(4).places(GRID)
    mean = fine.reshape(64, 4, 52, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(mean, coarse, atol=0.01)
