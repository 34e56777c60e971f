import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.dicom_files import BIG, DEFLATED, LITTLE, breast, dataset, every_value, write, write_lossless_jpeg
from helpers.training_runs import environment

from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.reading import read_dicom
from mammorisk.dicom.refusals import KINDS, Refused

DEFAULT = Conversion()
RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def refusal(path, conversion=DEFAULT):
    with pytest.raises(Refused) as caught:
        read_dicom(path, conversion)
    return caught.value


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("syntax", [LITTLE, BIG, DEFLATED, "1.2.840.10008.1.2", RLE, JPEG_LS, JPEG_2000])
def test_stored_values_come_back_exactly(syntax, bits, tmp_path):
    pixels = every_value(bits)
    tags, found = read_dicom(write(tmp_path / "a.dcm", pixels, bits, syntax), DEFAULT)
    assert tags.transfer_syntax == syntax
    assert found.dtype == np.uint16
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("bits", [12, 14, 16])
@pytest.mark.parametrize("first_order", [True, False])
def test_lossless_jpeg_comes_back_exactly(first_order, bits, tmp_path):
    path = write_lossless_jpeg(tmp_path / "a.dcm", breast(160, 120, bits), bits, first_order)
    tags, found = read_dicom(path, DEFAULT)
    assert tags.transfer_syntax == f"1.2.840.10008.1.2.4.{70 if first_order else 57}"
    assert np.array_equal(found, breast(160, 120, bits))


@pytest.mark.parametrize("syntax", [LITTLE, BIG, RLE, JPEG_2000])
def test_signed_values_come_as_two_s_complement(syntax, tmp_path):
    pixels = every_value(12, signed=True)
    _, found = read_dicom(write(tmp_path / "a.dcm", pixels, syntax=syntax), DEFAULT)
    assert np.array_equal(found.view(np.int16), pixels)


def test_bits_above_the_stored_ones_do_not_count(tmp_path):
    pixels = every_value(12)
    _, found = read_dicom(write(tmp_path / "a.dcm", pixels | 0xA000), DEFAULT)
    assert np.array_equal(found, pixels)


def test_files_of_8_bits_are_read_where_allowed(tmp_path):
    path = write(tmp_path / "a.dcm", breast(31, 25, 8), bits=8)
    assert refusal(path).kind == "bit_depth"
    _, found = read_dicom(path, Conversion(allow=["bit_depth"]))
    assert np.array_equal(found, breast(31, 25, 8))


def bundled():
    return sorted(path for path in TEST_FILES.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def test_pydicoms_own_files_are_read_or_refused_with_a_reason():
    anything = Conversion(allow=["other_modality", "for_processing", "bit_depth"])
    read, refusals = [], []
    for path in bundled():
        try:
            tags, pixels = read_dicom(path, anything)
            assert pixels.shape == (tags.rows, tags.columns)
            read.append(path.name)
        except Refused as refused:
            refusals.append(refused)
    assert len(bundled()) > 50
    assert {"MR_small.dcm", "MR_small_RLE.dcm", "CT_small.dcm", "JPEG2000.dcm", "image_dfl.dcm"} <= set(read)
    assert {"MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "examples_overlay.dcm"} <= set(read)
    assert all(refused.reason and "\n" not in refused.reason for refused in refusals)
    kinds = {refused.kind for refused in refusals}
    assert {"unreadable", "transfer_syntax", "no_pixels", "colour", "multi_frame", "bit_depth"} <= kinds <= set(KINDS)


def test_without_leave_no_bundled_file_is_taken_for_a_mammogram():
    for path in bundled():
        with pytest.raises(Refused):
            read_dicom(path, DEFAULT)


def test_what_is_no_file_or_no_dicom_is_told(tmp_path):
    assert refusal(tmp_path / "gone.dcm").kind == "missing"
    (tmp_path / "text.dcm").write_text("not an image")
    assert refusal(tmp_path / "text.dcm").reason == "not a DICOM file: it does not hold DICM at byte 128."
    (tmp_path / "empty.dcm").touch()
    assert refusal(tmp_path / "empty.dcm").kind == "unreadable"
    assert refusal(tmp_path).kind == "not_a_file"


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_told(share, tmp_path):
    path = write(tmp_path / "a.dcm", breast())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refusal(path).kind in ("unreadable", "damaged_pixels", "no_pixels")


def test_a_file_without_pixels_is_told(tmp_path):
    assert refusal(write(tmp_path / "a.dcm", breast(), PixelData=None)).kind == "no_pixels"
    assert refusal(write(tmp_path / "b.dcm", breast(), PixelData=None, Rows=None, Columns=None)).kind == "no_pixels"


def test_a_video_is_no_mammogram(tmp_path):
    made = dataset(breast())
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    made.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.save_as(tmp_path / "a.dcm")
    assert refusal(tmp_path / "a.dcm").kind == "transfer_syntax"


@pytest.mark.parametrize("syntax", [LITTLE, RLE, JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("size", [(60000, 60000), (8000, 9000), (65535, 1)])
def test_a_header_that_claims_a_huge_image_allocates_nothing(syntax, size, tmp_path):
    path = write(tmp_path / "a.dcm", breast(), syntax=syntax)
    made = pydicom.dcmread(path)
    made.Rows, made.Columns = size
    made.save_as(path)
    tracemalloc.start()
    try:
        assert refusal(path).kind in ("too_large", "damaged_pixels")
        assert tracemalloc.get_traced_memory()[1] < 400e6
    finally:
        tracemalloc.stop()


def test_a_deflated_bomb_is_not_inflated(tmp_path):
    path = write(tmp_path / "a.dcm", breast(), syntax=DEFLATED)
    data = path.read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = data.find(b"DICM") + 4
    length = int(pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength) + 12
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(12)) + packer.flush()
    path.write_bytes(data[: start + length] + bomb)
    tracemalloc.start()
    try:
        assert refusal(path).kind == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_without_a_decoder_the_message_says_what_to_install(tmp_path):
    path = write_lossless_jpeg(tmp_path / "a.dcm", breast())
    program = (
        "import sys; sys.modules['gdcm'] = None; from pathlib import Path;"
        "from mammorisk.dicom.reading import read_dicom;"
        "from mammorisk.dicom.conversion_settings import Conversion; read_dicom(Path(sys.argv[1]), Conversion())"
    )
    answer = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, env=environment())
    assert answer.stderr.splitlines()[-1].endswith(
        "(1.2.840.10008.1.2.4.70): pip install 'mammorisk[dicom]' brings decoders."
    )


def test_reading_leaves_pydicoms_settings_as_they_were(tmp_path):
    before = pydicom.config.settings.reading_validation_mode
    refusal(tmp_path / "gone.dcm")
    assert pydicom.config.settings.reading_validation_mode == before
