from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mammorisk.report.maps import Panel, draw_panels

GREY = np.full((64, 52), 0.3, np.float32)


def drawn(*panels: Panel, columns: int = 1) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(draw_panels(panels, columns, "unit"))).convert("RGB")).astype(int)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (7, 0), (5, 3)])
def test_a_map_lies_where_it_is_over_the_image(row, column):
    values = np.zeros((8, 4), np.float32)
    values[row, column] = 1
    image = np.zeros((64, 52), np.float32)
    picture = drawn(Panel("R CC", image, values))[:, :200]  # without the colour bar
    rows, columns = np.nonzero((picture.max(2) > 90) & (picture.max(2) - picture.min(2) > 60))
    body = np.nonzero(picture.max(2).min(1) < 250)[0]
    dark_rows, dark_columns = np.nonzero(picture.max(2) < 60)
    top, height = dark_rows.min(), np.ptp(dark_rows) + 1
    left, width = dark_columns.min(), np.ptp(dark_columns) + 1
    assert len(body)
    assert (rows.mean() - top) / height == pytest.approx((row + 0.5) / 8, abs=0.1)
    assert (columns.mean() - left) / width == pytest.approx((column + 0.5) / 4, abs=0.1)


def test_four_large_views_stay_small():
    image = np.random.default_rng(0).random((512, 416), np.float32)
    panels = [Panel(name, image, np.eye(16, 13, dtype=np.float32)) for name in ("R CC", "L CC", "R MLO", "L MLO")]
    assert len(draw_panels(panels, 2, "attention")) < 250_000


def test_a_mammogram_without_a_map_stays_grey():
    picture = drawn(Panel("L CC", GREY))
    assert (picture.max(2) - picture.min(2)).max() < 12


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one panel"):
        draw_panels([], 1)
