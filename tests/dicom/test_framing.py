import numpy as np
import pytest

from mammorisk.dicom.framing import Box, fit


def test_a_box_is_as_small_as_its_mask():
    mask = np.zeros((20, 30), bool)
    mask[3, 4] = mask[9, 17] = True
    box = Box.around(mask)
    assert box == Box(3, 4, 10, 18)
    image = np.arange(600, dtype=np.uint16).reshape(20, 30)
    assert np.array_equal(box.of(image), image[3:10, 4:18])
    assert Box.whole(image) == Box(0, 0, 20, 30)


@pytest.mark.parametrize("factor", [2, 5])
def test_areas_are_averaged_when_shrinking(factor):
    image = np.random.default_rng(0).integers(0, 65536, (40, 30)).astype(np.uint16)
    rows, columns = 40 // factor, 30 // factor
    small, scale = fit(image, (rows, columns), "left")
    wanted = image.reshape(rows, factor, columns, factor).astype(np.float64).mean(axis=(1, 3))
    assert scale == 1 / factor
    assert np.abs(small - wanted).max() <= 0.51


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (30, 30), (300, 200), (7, 5), (1000, 3)])
@pytest.mark.parametrize("chest", ["left", "right"])
def test_proportions_are_kept_and_the_chest_wall_is_at_its_edge(shape, chest):
    size = (64, 52)
    framed, scale = fit(np.full(shape, 40000, np.uint16), size, chest)
    assert framed.shape == size
    assert scale == pytest.approx(min(64 / shape[0], 52 / shape[1]))
    rows, columns = np.flatnonzero(framed.any(axis=1)), np.flatnonzero(framed.any(axis=0))
    height, width = len(rows), len(columns)
    assert (height == 64) or (width == 52)
    assert abs(height - scale * shape[0]) <= 0.5
    assert abs(width - scale * shape[1]) <= (1 if width == 1 else 0.5)
    assert columns[0] == 0 if chest == "left" else columns[-1] == 51
    assert abs(rows[0] - (63 - rows[-1])) <= 1  # centred
    assert set(np.unique(framed)) <= {0, 40000}


def test_without_a_size_nothing_is_resized():
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    same, scale = fit(image[:, 1:], None, "left")
    assert np.array_equal(same, image[:, 1:])
    assert scale == 1
    assert fit(image, (3, 4), "left")[0].tolist() == image.tolist()


def test_white_stays_white():
    assert fit(np.full((99, 77), 65535, np.uint16), (64, 52), "left")[0].max() == 65535
