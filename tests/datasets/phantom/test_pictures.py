import cv2
import numpy as np
import pytest

from mammorisk.datasets.images import read_image
from mammorisk.datasets.phantom.pictures import Album, Printing, bytes_needed, field_file, write_albums
from mammorisk.datasets.phantom.render import PictureRules, render_woman
from mammorisk.datasets.phantom.woman import LATERALITIES, VIEWS, Settings, draw_woman

PRINTING = Printing(PictureRules(), 32, displacements=True)
TIMES = (0.0, 1.5)


def album(index):
    files = tuple(
        f"images/{index}/{exam}_{side}_{view}.png" for exam in range(2) for side in LATERALITIES for view in VIEWS
    )
    return Album(draw_woman(Settings(), 1, index), TIMES, files)


def write(folder, women, workers):
    folder.mkdir()
    done = list(write_albums([album(index) for index in range(women)], folder, PRINTING, workers))
    assert sum(done) == women
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_files_from_any_number_of_processes(tmp_path):
    alone, together = write(tmp_path / "1", 6, 1), write(tmp_path / "2", 6, 2)
    assert len(alone) == 6 * (8 + 4)  # images, and fields of the second exam
    assert alone == together


def test_files_hold_the_right_pictures(tmp_path):
    write(tmp_path / "1", 2, None)
    woman = album(1).woman
    for picture in render_woman(woman, TIMES, PRINTING.rules, 32, displacements=True):
        file = f"images/1/{picture.exam}_{picture.laterality}_{picture.view}.png"
        pixels = read_image(str(tmp_path / "1" / file), (32, 26))[0]
        np.testing.assert_allclose(pixels * 65535, picture.pixels, atol=0.01)
        if picture.displacement is None:
            assert not (tmp_path / "1" / field_file(file)).exists()
        else:
            field = np.load(tmp_path / "1" / field_file(file))
            assert field.shape == (2, 32, 26)
            np.testing.assert_allclose(field, picture.displacement, atol=0.01)


def test_estimate_of_bytes_is_above_what_is_written(tmp_path):
    for displacements in (False, True):
        folder = tmp_path / str(displacements)
        folder.mkdir()
        list(write_albums([album(0)], folder, Printing(PictureRules(), 128, displacements), 1))
        taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert taken < bytes_needed(8, 128, 104, displacements) < 4 * taken


def test_threads_of_opencv_are_as_before(tmp_path):
    before = cv2.getNumThreads()
    write(tmp_path / "1", 1, 1)
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_process_is_not_silent(tmp_path, workers):
    wrong = Album(album(0).woman, TIMES, album(0).files[:3])
    with pytest.raises(IndexError):
        list(write_albums([wrong, wrong], tmp_path, PRINTING, workers))
