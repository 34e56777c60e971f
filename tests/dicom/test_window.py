import numpy as np
import pytest
from helpers.dicom_files import breast, dataset
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.window import Window, read_windows


def windows(**changed):
    return read_windows(dataset(breast(16, 12), **changed))


def test_windows_of_a_file():
    found = windows(WindowCenter=[100, 200], WindowWidth=[10, 20], VOILUTFunction="SIGMOID")
    assert found == (Window(100, 10, "SIGMOID"), Window(200, 20, "SIGMOID"))
    assert windows(WindowCenter=100, WindowWidth=[]) == ()
    assert windows(WindowCenter=100.5, WindowWidth=3) == (Window(100.5, 3, "LINEAR"),)
    assert windows(WindowCenter=[1, 2], WindowWidth=[3]) == (Window(1, 3),)
    assert windows(WindowCenter=1, WindowWidth=3, VOILUTFunction="LINEAR_EXACT")[0].function == "LINEAR_EXACT"
    assert windows() == read_windows(Dataset()) == ()


def test_the_standards_own_examples_of_windows():
    """PS3.3 C.11.2.1.2.1: centre 2048, width 4096 takes 0..4095 to the whole range; centre 2048, width 1 is a step."""
    assert Window(2048, 4096).apply(np.array([0.0, 4095.0])).tolist() == [0, 1]
    assert Window(2048, 1).apply(np.array([2047.0, 2047.5, 2048.0])).tolist() == [0, 0, 1]
    assert Window(0, 100).apply(np.array([-50.0, 49.0])).tolist() == [0, 1]
    assert Window(0, 100, "LINEAR_EXACT").apply(np.array([-50.0, 0.0, 50.0])).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2000, 3000), (100.5, 1.5), (-20, 900), (4000, 17)])
def test_windows_are_pydicoms(function, centre, width):
    describe = Dataset()
    describe.PhotometricInterpretation, describe.BitsStored, describe.PixelRepresentation = "MONOCHROME2", 12, 0
    describe.WindowCenter, describe.WindowWidth, describe.VOILUTFunction = centre, width, function
    values = np.arange(4096)
    with np.errstate(over="ignore"):
        theirs = apply_windowing(values, describe) / 4095
    assert Window(centre, width, function).apply(values.astype(float)) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    "window", [Window(1, 0.5), Window(1, 0, "SIGMOID"), Window(1, float("nan")), Window(1, 5, "CUBIC"), Window(1, -4)]
)
def test_windows_that_are_not_defined_are_refused(window):
    with pytest.raises(Refused, match=r"conversion\.voi=none") as caught:
        window.apply(np.zeros(3))
    assert caught.value.kind == "grey_scale"


def test_a_narrow_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        assert Window(1000, 1e-3, "SIGMOID").apply(np.array([0.0, 1000.0, 4095.0])) == pytest.approx([0, 0.5, 1])
