import json

import numpy as np
import pytest
from helpers.dicom_files import breast, write

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.convert import convert
from mammorisk.dicom.refusals import Refused

SMALL = {"image_size": (64, 52)}
CROPPED = Conversion(image_size=None)


def test_the_breast_fills_the_image_and_the_grey_scale(tmp_path):
    made = convert(write(tmp_path / "a.dcm", breast()), Conversion(**SMALL))
    assert made.pixels.shape == (64, 52)
    assert made.pixels.dtype == np.uint16
    cropped = convert(tmp_path / "a.dcm", CROPPED).pixels
    assert (cropped.min(), cropped.max()) == (0, 65535)
    assert cropped[:, :-3].any(axis=0).all()  # the last ones are the rim
    assert cropped[:, 0].any()


def test_intensity_is_that_of_the_breast_with_formula(tmp_path):
    pixels = breast() // 2 + 100 * (breast() > 0)
    made = convert(write(tmp_path / "a.dcm", pixels.astype(np.uint16)), CROPPED)
    top, left, bottom, right = made.facts["crop"]
    part = pixels[top:bottom, left:right].astype(np.float64)
    wanted = np.rint(part / part.max() * 65535)
    inside = made.pixels > 0
    assert inside.mean() > 0.5
    assert np.array_equal(made.pixels[inside], wanted[inside])


def test_markers_change_no_pixel(tmp_path):
    one = convert(write(tmp_path / "a.dcm", breast()), Conversion(**SMALL))
    other = convert(write(tmp_path / "b.dcm", breast(marker=True)), Conversion(**SMALL))
    assert np.array_equal(one.pixels, other.pixels)
    assert one.facts == other.facts
    kept = convert(tmp_path / "b.dcm", Conversion(**SMALL, mask=False, crop="none"))
    assert kept.pixels[4:9, 36:43].min() == 65535  # the marker, where nothing is removed


@pytest.mark.parametrize("marker", [False, True])
def test_both_photometric_interpretations_give_one_image(marker, tmp_path):
    pixels = breast(marker=marker)
    one = convert(write(tmp_path / "a.dcm", pixels), CROPPED)
    inverse = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    other = convert(write(tmp_path / "b.dcm", 4095 - pixels, **inverse), CROPPED)
    assert np.array_equal(one.pixels, other.pixels)
    assert (one.facts["inverted"], other.facts["inverted"]) == (False, True)


@pytest.mark.parametrize("is_right_way", [True, False])
def test_left_and_right_breasts_mirror_each_other(is_right_way, tmp_path):
    left = convert(write(tmp_path / "a.dcm", breast()), Conversion(**SMALL))
    pixels = breast(laterality="R" if is_right_way else "L")
    right = convert(write(tmp_path / "b.dcm", pixels, ImageLaterality="R"), Conversion(**SMALL))
    assert np.array_equal(left.pixels, right.pixels[:, ::-1])
    assert right.facts["mirrored"] is not is_right_way
    same = convert(tmp_path / "b.dcm", Conversion(**SMALL, orientation="left"))
    assert np.array_equal(left.pixels, same.pixels)


def test_an_image_turned_by_half_is_turned_back(tmp_path):
    pixels = breast()
    pixels[20:90] = (pixels[20:90] * 0.7).astype(np.uint16)  # top and bottom differ
    one = convert(write(tmp_path / "a.dcm", pixels, PatientOrientation=["A", "R"]), Conversion(**SMALL))
    turned = np.ascontiguousarray(pixels[::-1, ::-1])
    other = convert(write(tmp_path / "b.dcm", turned, PatientOrientation=["P", "L"]), Conversion(**SMALL))
    assert (other.facts["mirrored"], other.facts["upside_down"]) == (True, True)
    assert np.abs(one.pixels.astype(int) - other.pixels).mean() < 200  # the small copy is cut otherwise at the rim
    assert not np.array_equal(
        one.pixels, convert(tmp_path / "b.dcm", Conversion(**SMALL, patient_orientation="ignore"))
    )


def test_the_table_s_words_win_over_the_tags(tmp_path):
    made = convert(write(tmp_path / "a.dcm", breast(laterality="R")), Conversion(**SMALL), "R", "MLO")
    assert (made.laterality, made.view, made.facts["mirrored"]) == ("R", "MLO", False)
    assert made.facts["remark"] == "table R, ImageLaterality L"


def test_percentiles_and_the_window_s_scale(tmp_path):
    path = write(tmp_path / "a.dcm", breast(), WindowCenter=2048, WindowWidth=4096)
    whole = convert(path, Conversion(image_size=None, intensity="window"))
    inside = whole.pixels > 0
    top, left, bottom, right = whole.facts["crop"]
    wanted = np.rint(breast()[top:bottom, left:right] / 4095 * 65535)
    assert np.array_equal(whole.pixels[inside], wanted[inside])
    clipped = convert(path, Conversion(image_size=None, percentiles=(5, 90)))
    shares = [(clipped.pixels[inside] == value).mean() for value in (0, 65535)]
    assert shares[1] == pytest.approx(0.1, abs=0.04)
    assert clipped.pixels[inside].mean() > convert(path, CROPPED).pixels[inside].mean()


def test_facts_are_plain_and_name_nobody(tmp_path):
    made = convert(write(tmp_path / "a.dcm", breast()), Conversion(**SMALL))
    text = json.dumps(made.facts)
    assert "ecret" not in text
    assert made.facts["rows"] == 160
    assert made.facts["millimetres"][0] == pytest.approx(0.07 / made.facts["scale"], rel=1e-5)
    assert made.before.shape == (160, 120)


def test_pixels_of_the_padding_value_are_black(tmp_path):
    pixels = breast()
    pixels[pixels == 0] = 4095
    pixels[60:70, 10:20] = 3000
    made = convert(write(tmp_path / "a.dcm", pixels, PixelPaddingValue=4095), CROPPED)
    assert made.pixels[0, -1] == 0
    assert made.pixels.max() == 65535


def test_what_is_refused_is_refused(tmp_path):
    with pytest.raises(Refused, match="FOR PROCESSING"):
        convert(write(tmp_path / "a.dcm", breast(), PresentationIntentType="FOR PROCESSING"), Conversion())
    with pytest.raises(Refused, match="no breast"):
        convert(write(tmp_path / "b.dcm", np.zeros((64, 52), np.uint16)), Conversion())
    with pytest.raises(Refused, match="seems inverted"):
        convert(write(tmp_path / "c.dcm", 4095 - breast()), Conversion())
