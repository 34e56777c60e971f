import math

import pytest
from pydicom.dataset import Dataset

from mammorisk.dicom.elements import number, values, whole, word


@pytest.fixture
def dataset():
    found = Dataset()
    found.Manufacturer, found.ViewPosition = " Maker ", ""
    found.WindowCenter, found.WindowWidth, found.Rows = [100, 200], 30, 16
    found.PatientOrientation, found.RescaleSlope = None, 2.5
    return found


def test_values_of_an_element_are_a_list(dataset):
    assert values(dataset, "WindowCenter") == [100, 200]
    assert values(dataset, "WindowWidth") == [30]
    assert [values(dataset, name) for name in ("ViewPosition", "PatientOrientation", "Columns")] == [[], [], []]


def test_words_and_numbers_have_a_default(dataset):
    assert [word(dataset, name) for name in ("Manufacturer", "ViewPosition", "Modality")] == ["MAKER", "", ""]
    assert (whole(dataset, "Rows"), whole(dataset, "Columns"), whole(dataset, "BitsStored", 12)) == (16, 0, 12)
    assert (number(dataset, "RescaleSlope", 1.0), number(dataset, "RescaleIntercept", 0.0)) == (2.5, 0.0)


def test_a_number_that_is_not_finite_is_the_default(dataset):
    dataset.DiffusionBValue = math.inf  # a binary number, which can be infinite
    assert number(dataset, "DiffusionBValue", 1.0) == 1.0
