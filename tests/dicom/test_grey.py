import math

import numpy as np
import pytest
from helpers.dicom_files import every_value, table, write

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.convert import convert
from mammorisk.dicom.grey import grey_table, interest_name
from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tables import LookupTable
from mammorisk.dicom.tags import Tags
from mammorisk.dicom.window import Window

# Nothing but the grey scale: the pixels are the values of the table, rounded.
PLAIN = {"image_size": None, "orientation": "as_is", "crop": "none", "mask": False, "intensity": "window"}
SLOPE, INTERCEPT = 0.5, 100.0
LUT_FIRST, LUT_BITS = 300, 13
LUT = [(37 * i * i // 1000 + i) % 2**LUT_BITS for i in range(1500)]


def window(function, bits):
    """Centre and width in modality values: some lie below it, some above."""
    full = 2**bits * SLOPE
    return 0.4 * full + INTERCEPT, 0.5 * full, function


def expected(stored, bits, voi, inverse):
    """The standard's formulas, one value at a time, in the order modality, VOI, presentation."""
    x = stored * SLOPE + INTERCEPT
    if voi == "none":
        y = (x - INTERCEPT) / ((2**bits - 1) * SLOPE)
    elif voi == "lut":
        place = math.floor(x) - LUT_FIRST
        y = LUT[min(max(place, 0), len(LUT) - 1)] / (2**LUT_BITS - 1)
    else:
        c, w, _ = window(voi, bits)
        if voi == "SIGMOID":
            y = 1 / (1 + math.exp(-4 * (x - c) / w))
        elif voi == "LINEAR":
            if x <= c - 0.5 - (w - 1) / 2:
                y = 0.0
            elif x > c - 0.5 + (w - 1) / 2:
                y = 1.0
            else:
                y = (x - (c - 0.5)) / (w - 1) + 0.5
        elif x <= c - w / 2:
            y = 0.0
        elif x > c + w / 2:
            y = 1.0
        else:
            y = (x - c) / w + 0.5
    return round((1 - y if inverse else y) * 65535)


def tags_of(voi, bits):
    if voi == "lut":
        return {"VOILUTSequence": table(LUT, LUT_FIRST, LUT_BITS)}
    if voi == "none":
        return {}
    centre, width, function = window(voi, bits)
    return {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}


@pytest.mark.parametrize("bits", [12, 14, 16])
@pytest.mark.parametrize("voi", ["none", "lut", "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_pitfall_16_golden_pixels(photometric, voi, bits, tmp_path):
    pixels = every_value(bits)
    tags = {"RescaleSlope": SLOPE, "RescaleIntercept": INTERCEPT, "PhotometricInterpretation": photometric}
    path = write(tmp_path / "a.dcm", pixels, bits, **tags, **tags_of(voi, bits))
    found = convert(path, Conversion(**PLAIN)).pixels
    assert found.dtype == np.uint16
    some = np.arange(0, 2**bits, 1 if bits == 12 else 11)
    wanted = [expected(int(value), bits, voi, photometric == "MONOCHROME1") for value in some]
    assert found.ravel()[some].tolist() == wanted


@pytest.mark.parametrize("bits", [12, 14, 16])
def test_pitfall_16_no_grey_level_is_lost(bits, tmp_path):
    path = write(tmp_path / "a.dcm", every_value(bits), bits)
    assert len(np.unique(convert(path, Conversion(**PLAIN)).pixels)) == 2**bits


@pytest.mark.parametrize(
    ("photometric", "shape", "inverse"),
    [
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
def test_pitfall_16_an_image_is_inverted_once(photometric, shape, inverse, tmp_path):
    tags = {"PhotometricInterpretation": photometric, **({"PresentationLUTShape": shape} if shape else {})}
    path = write(tmp_path / "a.dcm", every_value(12), **tags)
    first, last = convert(path, Conversion(**PLAIN)).pixels.ravel()[[0, -1]]
    assert (first, last) == ((65535, 0) if inverse else (0, 65535))
    first, last = convert(path, Conversion(**PLAIN, invert="never")).pixels.ravel()[[0, -1]]
    assert (first, last) == (0, 65535)
    first, last = convert(path, Conversion(**PLAIN, invert="always")).pixels.ravel()[[0, -1]]
    assert (first, last) == (65535, 0)


def test_signed_values_keep_their_sign(tmp_path):
    path = write(tmp_path / "a.dcm", every_value(12, signed=True), WindowCenter=0, WindowWidth=2000)
    found = convert(path, Conversion(**PLAIN)).pixels.ravel()
    for stored in (-2048, -1001, -1000, -999, -1, 0, 1, 998, 999, 2047):
        y = min(max((stored + 0.5) / 1999 + 0.5, 0), 1)
        assert found[stored + 2048] == round(y * 65535), stored


def test_a_modality_table_comes_before_the_window(tmp_path):
    entries = [4095 - i for i in range(4096)]
    tags = {"ModalityLUTSequence": table(entries, 0, 12), "WindowCenter": 1000.5, "WindowWidth": 1001}
    path = write(tmp_path / "a.dcm", every_value(12), **tags)
    found = convert(path, Conversion(**PLAIN)).pixels.ravel()
    assert found[4095 - 1000] == round(65535 / 2)
    assert (found[4095 - 500], found[4095 - 1500]) == (0, 65535)


def test_a_table_whose_input_is_signed():
    entries = np.arange(100, dtype=np.int64)
    tags = Tags(bits_stored=12, slope=1, intercept=-1024, voi_luts=(LookupTable(65536 - 50, entries, 8),))
    grey = grey_table(tags, Conversion())
    assert grey[1024 - 50] == 0
    assert grey[1024] == 50 / 255
    assert grey[1024 + 49] == grey[4095] == 99 / 255


def test_the_choice_among_alternatives():
    luts = (LookupTable(0, np.array([0, 200]), 8),)
    windows = (Window(100, 100), Window(2000, 1000, "SIGMOID"))
    tags = Tags(bits_stored=12, voi_luts=luts, windows=windows)
    assert interest_name(tags, Conversion()) == "lut"
    assert interest_name(tags, Conversion(voi="window")) == "window LINEAR"
    assert interest_name(tags, Conversion(voi="window", voi_index=1)) == "window SIGMOID"
    assert interest_name(tags, Conversion(voi="none")) == "none"
    assert grey_table(tags, Conversion())[1] == 200 / 255
    assert grey_table(tags, Conversion(voi="window", voi_index=1))[2000] == 0.5
    with pytest.raises(Refused, match="the file has 2, counted from 0"):
        grey_table(tags, Conversion(voi="window", voi_index=2))
    with pytest.raises(Refused, match="voi=lut: the file has none"):
        grey_table(Tags(bits_stored=12, windows=windows), Conversion(voi="lut"))
    with pytest.raises(Refused, match="leaves no range"):
        grey_table(Tags(bits_stored=12, slope=0), Conversion())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_whichever_way_the_scale_runs(photometric):
    tags = Tags(bits_stored=12, photometric=photometric, padding=(4000, 4095))
    grey = grey_table(tags, Conversion())
    assert grey[4000] == grey[4095] == 0
    assert grey[3999] == pytest.approx(3999 / 4095 if photometric == "MONOCHROME2" else 96 / 4095)
    assert grey_table(tags, Conversion(padding="as_pixel"))[4000] != 0


def test_padding_of_signed_values_may_be_written_unsigned():
    tags = Tags(bits_stored=12, signed=True, padding=(63536, 63536))  # -2000
    grey = grey_table(tags, Conversion())
    assert grey[np.array([-2000], np.int16).view(np.uint16)[0]] == 0
    assert grey[np.array([-1999], np.int16).view(np.uint16)[0]] > 0
