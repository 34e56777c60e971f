import numpy as np
import pytest

from mammorisk.datasets.phantom.anatomy import build_anatomies, on_canvas, picture_grid
from mammorisk.datasets.phantom.woman import VIEWS, Settings, draw_woman

WOMEN = [draw_woman(Settings(), 3, index) for index in range(8)]
PIXEL = 24 / 64


def build(woman, view, pixel=PIXEL, shared=0.75):
    return build_anatomies(woman, view, pixel, shared)


def test_picture_grid_has_square_pixels_of_the_film():
    grid = picture_grid(2048)
    assert (grid.rows, grid.columns) == (2048, 1664)
    assert grid.pixel == pytest.approx(24 / 2048)


def test_on_canvas_finds_pixel_centres():
    anatomy = build(WOMEN[0], "CC")["L"]
    y, x = anatomy.grid.axes()
    place = np.array([[[x[0, 10], y[20, 0]]]], np.float32)
    np.testing.assert_allclose(on_canvas(place, anatomy.grid)[0, 0], [10, 20], atol=1e-4)


@pytest.mark.parametrize("view", VIEWS)
def test_breast_lies_at_the_chest_wall_and_ends_at_the_nipple(view):
    for woman in WOMEN:
        anatomy = build(woman, view)["L"]
        _, x = anatomy.grid.axes()
        inside = (anatomy.depth > 0) & (x > 0)
        assert inside[:, np.argmin(np.abs(x[0] - 0.5))].sum() * PIXEL > 8  # a broad base
        assert x[0, inside.any(axis=0)].max() == pytest.approx(woman.shapes[view].depth + 0.4, abs=1.2)


def test_share_of_glandular_tissue_is_the_percent_density():
    for woman in WOMEN:
        for side, anatomy in build(woman, "CC").items():
            _, x = anatomy.grid.axes()
            inside = (anatomy.depth > 0.3) & (x > 0)
            plain = build_anatomies(without_benign(woman), "CC", PIXEL, 0.75)[side]
            share = (plain.gland > 0.31)[inside].mean()  # half of the tissue's height
            assert share == pytest.approx(woman.density_of(side), abs=0.1)


def without_benign(woman):
    return type(woman)(**{**vars(woman), "benign": {"L": (), "R": ()}})


def test_only_mlo_shows_the_pectoral_muscle():
    woman = WOMEN[0]
    assert build(woman, "CC")["R"].is_muscle is None
    is_muscle = build(woman, "MLO")["R"].is_muscle
    grid = build(woman, "MLO")["R"].grid
    y, x = grid.axes()
    upper = is_muscle[(y[:, 0] > 1) & (y[:, 0] < 2)][:, (x[0] > 0) & (x[0] < 2)]
    lower = is_muscle[y[:, 0] > 17][:, x[0] > 0]
    assert upper.mean() > 0.95
    assert lower.max() < 0.05


def test_breasts_share_texture_as_told():
    def similarity(shared):
        pairs = [build(without_benign(woman), "CC", shared=shared) for woman in WOMEN]
        return np.mean([np.corrcoef(pair["L"].fat.ravel(), pair["R"].fat.ravel())[0, 1] for pair in pairs])

    assert similarity(0.0) < 0.2
    assert similarity(0.75) > 0.4
    assert similarity(1.0) > 0.9


@pytest.mark.parametrize("view", VIEWS)
def test_focal_density_lies_where_it_is_said(view):
    woman = WOMEN[1]
    anatomy, focus = build(woman, view)["L"], woman.precursor.focus
    where, values = anatomy.focus(focus, 1.5)
    y, x = anatomy.grid.axes()
    weight = values / values.sum()
    centre = (weight * x[:, where[1]]).sum(), (weight * y[where[0]]).sum()
    np.testing.assert_allclose(centre, anatomy.place(focus), atol=0.5)
    assert 0.8 < values.max() < 1.6
    area = (values > 0.5).sum() * PIXEL**2
    assert area == pytest.approx(np.pi * 1.5**2, rel=0.35)


def test_both_views_show_a_density_at_the_same_share_of_the_depth():
    for woman in WOMEN:
        share = [build(woman, view)["L"].place(woman.precursor.focus)[0] / woman.shapes[view].depth for view in VIEWS]
        assert share[0] == pytest.approx(share[1])
