import numpy as np
import pytest
from helpers.dicom_files import table
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi

from mammorisk.dicom.refusals import Refused
from mammorisk.dicom.tables import LookupTable, read_tables


def test_values_outside_a_table_get_its_ends():
    found = LookupTable(10, np.array([5, 6, 7]), 8).apply(np.array([-4.0, 10.0, 11.9, 12.0, 900.0]))
    assert found.tolist() == [5, 5, 6, 7, 7]


def test_tables_are_pydicoms_where_those_are_right():
    describe = Dataset()
    describe.VOILUTSequence = table([(7 * i) % 4096 for i in range(3000)], 500, 12)
    values = np.arange(4096, dtype=np.uint16)
    (ours,) = read_tables(describe.VOILUTSequence, little_endian=True)
    assert ours.apply(values.astype(float)).tolist() == [((7 * min(max(v - 500, 0), 2999)) % 4096) for v in range(4096)]
    describe.VOILUTSequence[0]["LUTData"].VR = "US"
    describe.VOILUTSequence[0].LUTData = [(7 * i) % 4096 for i in range(3000)]
    assert apply_voi(values, describe).tolist() == ours.apply(values.astype(float)).tolist()


def test_how_tables_are_stored():
    item = table([1, 2, 3], 0, 12)[0]
    assert read_tables([item], True)[0].entries.tolist() == [1, 2, 3]
    item.LUTData = bytes([1, 2, 3, 0])
    item.LUTDescriptor = [3, 0, 8]
    assert read_tables([item], True)[0].entries.tolist() == [1, 2, 3]
    item.LUTDescriptor, item.LUTData = [0, 0, 16], np.arange(65536, dtype="<u2").tobytes()
    assert len(read_tables([item], True)[0].entries) == 65536
    item.LUTDescriptor, item.LUTData = [2, 0, 16], b"\x01\x00\x02\x00"
    assert read_tables([item], False)[0].entries.tolist() == [256, 512]
    assert read_tables(None, True) == ()


@pytest.mark.parametrize(
    ("descriptor", "told"),
    [
        ([5, 0, 12], "declares 5 entries of 12 bits, but holds 3"),
        ([3, 0, 17], "17 bits"),
        ([3, 0, 1], "1-bit entries holds 3"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(descriptor, told):
    (item,) = table([1, 2, 3], 0, 12)
    item.LUTDescriptor = descriptor
    with pytest.raises(Refused, match=told) as caught:
        read_tables([item], True)
    assert caught.value.kind == "grey_scale"
