import numpy as np
import pytest
from PIL import Image

from mammorisk.datasets.images import read_image
from mammorisk.dicom.png import read_note, write_png

NOTE = {"key": "abc", "crop": [1, 2], "remark": "é\n", "none": None}
PIXELS = np.random.default_rng(0).integers(0, 65536, (40, 30)).astype(np.uint16)


@pytest.fixture
def path(tmp_path):
    write_png(tmp_path / "a.png", PIXELS, NOTE, b"a jpeg")
    return tmp_path / "a.png"


def test_the_pixels_are_what_every_reader_sees(path):
    assert np.array_equal(np.asarray(Image.open(path)), PIXELS)
    assert np.array_equal(read_image(str(path), (40, 30))[0], (PIXELS / 65535).astype(np.float32))


def test_note_and_picture_come_back(path):
    assert read_note(path) == (NOTE, b"a jpeg")


def test_the_same_image_is_the_same_file(path, tmp_path):
    write_png(tmp_path / "b.png", PIXELS, dict(reversed(NOTE.items())), b"a jpeg")
    assert (tmp_path / "b.png").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_other_files_have_no_note(path, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "other.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    for name in ("other.png", "text.png", "empty.png", "gone.png"):
        assert read_note(tmp_path / name) is None


def test_a_file_that_was_cut_off_has_no_note(path):
    data = path.read_bytes()
    for length in (20, 40, 80, 200, len(data) - 1):
        path.write_bytes(data[:length])
        assert read_note(path) is None


def test_a_damaged_note_or_picture_is_none(path):
    data = path.read_bytes()
    for where in (data.index(b"abc"), data.index(b"jpeg")):
        path.write_bytes(data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :])
        assert read_note(path) is None


def test_what_no_png_can_hold_is_not_written(tmp_path):
    with pytest.raises(OSError, match=r"no PNG can be made of an array \[1, 2000000\]"):
        write_png(tmp_path / "a.png", np.zeros((1, 2_000_000), np.uint16), NOTE)
    assert not list(tmp_path.iterdir())


def test_colour_pictures_may_have_notes_too(tmp_path):
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 200  # blue
    write_png(tmp_path / "sheet.png", picture, {"content": "x"})
    assert read_note(tmp_path / "sheet.png") == ({"content": "x"}, b"")
    assert Image.open(tmp_path / "sheet.png").getpixel((0, 0)) == (0, 0, 200)
