import cv2
import numpy as np
from helpers.dicom_files import breast

from mammorisk.dicom.contact_sheets import tile, write_sheet
from mammorisk.dicom.png import write_png

BEFORE, AFTER = breast(300, 240, 16, marker=True), breast(300, 240, 16)


def image(out, name, **note):
    write_png(out / name, AFTER, {"laterality": "L", "view": "CC", **note}, tile(BEFORE, AFTER))
    return name, ""


def test_a_tile_shows_the_file_before_and_after():
    drawn = cv2.imdecode(np.frombuffer(tile(BEFORE, AFTER), np.uint8), cv2.IMREAD_GRAYSCALE).astype(int)
    before, after = np.split(drawn, 2, axis=1)
    assert (before[5:25, 80:110] > 240).sum() > 100  # the marker
    assert (after[5:25, 80:110] > 240).sum() == 0
    assert np.abs(before[40:, 2:-2] - after[40:, 2:-2]).mean() < 4


def test_a_sheet_has_ten_in_a_row(tmp_path):
    entries = [image(tmp_path, f"{number}.png") for number in range(12)]
    path = write_sheet(tmp_path, 0, entries)
    assert path == tmp_path / "contact_sheets" / "sheet_00001.png"
    sheet = cv2.imread(str(path))
    height, width = sheet.shape[0] // 2, sheet.shape[1] // 10
    cells = [sheet[row * height :, column * width :][:140, :240] for row in range(2) for column in range(10)]
    assert [cell.mean() > 20 for cell in cells] == [True] * 12 + [False] * 8
    assert np.array_equal(cells[0], cells[11])


def test_refused_files_stand_in_red_with_their_reason(tmp_path):
    sheet = cv2.imread(str(write_sheet(tmp_path, 3, [image(tmp_path, "a.png"), ("b.png", "multi-frame: é")])))
    blue, _, red = (sheet[:140, 252:, channel].astype(int) for channel in range(3))
    assert ((red - blue) > 100).sum() > 300
    assert np.abs(sheet[:140, :240, 2].astype(int) - sheet[:140, :240, 0]).max() < 8


def test_a_sheet_is_drawn_again_only_if_something_has_changed(tmp_path):
    entries = [image(tmp_path, "a.png", key="1")]
    path = write_sheet(tmp_path, 0, entries)
    before = path.stat().st_mtime_ns
    write_sheet(tmp_path, 0, entries)
    assert path.stat().st_mtime_ns == before
    image(tmp_path, "a.png", key="2")
    write_sheet(tmp_path, 0, entries)
    assert path.stat().st_mtime_ns > before


def test_odd_shapes_and_long_names_fit(tmp_path):
    thin, flat = np.full((2000, 3), 65535, np.uint16), np.full((2, 900), 65535, np.uint16)
    write_png(tmp_path / "a.png", AFTER, {"view": "MLO", "mirrored": True, "remark": "look"}, tile(thin, flat))
    (tmp_path / "a.png").rename(tmp_path / ("n" * 90 + ".png"))
    path = write_sheet(tmp_path, 0, [("n" * 90 + ".png", "")])
    assert cv2.imread(str(path)).shape[1] < 400
