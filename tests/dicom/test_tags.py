import numpy as np
import pytest
from helpers.dicom_files import breast, dataset, table
from pydicom.dataset import Dataset

from mammorisk.dicom.tags import Tags, read_tags, side
from mammorisk.dicom.window import Window

LITTLE = "1.2.840.10008.1.2.1"


def tags(**changed):
    return read_tags(dataset(breast(16, 12), **changed), LITTLE)


def test_what_a_plain_mammogram_says():
    found = tags()
    assert (found.modality, found.intent, found.photometric) == ("MG", "FOR PRESENTATION", "MONOCHROME2")
    assert (found.rows, found.columns, found.bits_stored, found.high_bit, found.signed) == (16, 12, 12, 11, False)
    assert (found.laterality, found.view, found.frames, found.samples) == ("L", "CC", 1, 1)
    assert (found.slope, found.intercept, found.modality_lut, found.voi_luts, found.windows) == (1, 0, None, (), ())
    assert found.spacing == (0.07, 0.07)
    assert found.stored_range == (0, 4095)


def test_an_empty_file_says_nothing():
    assert read_tags(Dataset(), "") == Tags(high_bit=-1)


def test_windows_and_tables():
    found = tags(
        WindowCenter=[100, 200], WindowWidth=[10, 20], VOILUTFunction="SIGMOID", VOILUTSequence=table([1], 0, 8)
    )
    assert found.windows == (Window(100, 10, "SIGMOID"), Window(200, 20, "SIGMOID"))
    assert found.voi_luts[0].entries.tolist() == [1]
    assert tags(WindowCenter=100, WindowWidth=[]).windows == ()
    assert tags(ModalityLUTSequence=table([5], 0, 8)).modality_lut.entries.tolist() == [5]
    assert tags(RescaleSlope=2, RescaleIntercept=-3).intercept == -3


@pytest.mark.parametrize(("code", "view"), [("R-10242", "CC"), ("399368009", "MLO"), ("R-10224", "")])
def test_the_view_may_be_a_code(code, view):
    item = Dataset()
    item.CodeValue = code
    assert tags(ViewPosition=None, ViewCodeSequence=[item]).view == view
    assert tags(ViewPosition="ML", ViewCodeSequence=[item]).view == "ML"


def test_laterality_is_that_of_the_image_then_of_the_series():
    assert tags(ImageLaterality="R").laterality == "R"
    assert tags(ImageLaterality=None, Laterality="R").laterality == "R"
    assert tags(ImageLaterality="B").laterality == ""
    assert [side(word) for word in ("left", " Right ", "l", "both", "")] == ["L", "R", "L", "", ""]


def test_padding_is_a_value_or_a_range():
    assert tags().padding is None
    assert tags(PixelPaddingValue=7).padding == (7, 7)
    found = tags(PixelPaddingValue=4095)
    assert found.padding == (4095, 4095)
    both = dataset(breast(16, 12), PixelPaddingValue=4095)
    both.add_new("PixelPaddingRangeLimit", "US", 4000)
    assert read_tags(both, LITTLE).padding == (4000, 4095)


def test_signed_values():
    found = read_tags(dataset(np.zeros((4, 4), np.int16), PatientOrientation=["A", "FL"]), LITTLE)
    assert found.stored_range == (-2048, 2047)
    assert found.patient_orientation == ("A", "FL")


def test_spacing_that_cannot_be_is_not_known():
    assert tags(ImagerPixelSpacing=None).spacing is None
    assert tags(ImagerPixelSpacing=[0, 0]).spacing is None
    assert tags(ImagerPixelSpacing=None, PixelSpacing=[0.1, 0.2]).spacing == (0.1, 0.2)
