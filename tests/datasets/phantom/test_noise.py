import cv2
import numpy as np
import pytest

from mammorisk.datasets.phantom.noise import Grid, Region, band_noise, cubic, mixed_noise

AREA = Region(20.0, 16.0)


def noise(pixel, key=(3,), **settings):
    return band_noise(key, Grid(round(20 / pixel), round(16 / pixel), pixel), AREA, 5.0, **settings)


def test_axes_are_pixel_centres():
    y, x = Grid(4, 3, 0.5, top=-1.0, left=2.0).axes()
    np.testing.assert_allclose(y[:, 0], [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(x[0], [2.25, 2.75, 3.25])


def test_same_noise_at_any_pixel_size():
    fine = cv2.resize(noise(0.05, octaves=3), (80, 100), interpolation=cv2.INTER_AREA)
    coarse = noise(0.2, octaves=3)
    assert np.corrcoef(fine.ravel(), coarse.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(fine, coarse, atol=0.05)


def test_deviation_and_independence_of_other_keys():
    drawn = np.stack([noise(0.2, key=(k,)).ravel() for k in range(40)])
    assert drawn.std() == pytest.approx(1.17, abs=0.1)
    between = np.corrcoef(drawn)[np.triu_indices(40, 1)]
    assert abs(between.mean()) < 0.05


def test_steeper_spectrum_is_smoother():
    roughness = [np.abs(np.diff(noise(0.1, slope=slope), axis=1)).mean() for slope in (2.0, 3.0, 4.0)]
    assert roughness[0] > roughness[1] > roughness[2]


def test_mixed_noise_is_the_mixture_of_its_parts():
    grid, mix = Grid(50, 40, 0.4), np.array([[0.6, 0.6], [0.8, 0.0], [0.0, 0.8]])
    common, right, left = (band_noise((key,), grid, AREA, 5.0) for key in (1, 2, 3))
    mixed = mixed_noise([(1,), (2,), (3,)], mix, grid, AREA, 5.0)
    np.testing.assert_allclose(mixed[0], 0.6 * common + 0.8 * right, atol=1e-5)
    np.testing.assert_allclose(mixed[1], 0.6 * common + 0.8 * left, atol=1e-5)


def test_place_of_the_raster_decides_not_its_size():
    whole = band_noise((7,), Grid(100, 80, 0.2), AREA, 5.0)
    part = band_noise((7,), Grid(30, 20, 0.2, top=4.0, left=2.0), AREA, 5.0)
    np.testing.assert_allclose(part, whole[20:50, 10:30], atol=1e-5)


@pytest.mark.parametrize("pitch", [0.01, 0.25, 1.0])
def test_cubic_follows_a_plane(pitch):
    rows, columns = np.mgrid[0:12, 0:14].astype(np.float32)
    knots = np.stack([rows, columns, np.ones_like(rows)], axis=-1)
    found = cubic(knots, (8, pitch, 2.0), (9, pitch, 3.0))
    np.testing.assert_allclose(found[..., 2], 1, atol=1e-5)
    # The sharp kernel (a = -0.75) leaves a plane by up to 0.05 cells between knots.
    np.testing.assert_allclose(found[:, 0, 0], 2 + (np.arange(8) + 0.5) * pitch, atol=0.05)
    np.testing.assert_allclose(found[0, :, 1], 3 + (np.arange(9) + 0.5) * pitch, atol=0.05)


def test_cubic_hits_its_knots():
    knots = np.random.default_rng(0).standard_normal((9, 9, 1), dtype=np.float32)
    found = cubic(knots, (5, 1.0, 1.5), (5, 1.0, 1.5))
    np.testing.assert_allclose(found, knots[2:7, 2:7], atol=1e-6)
