import pytest
from helpers.dicom_files import breast, dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from mammorisk.dicom.codestreams import NATIVE, PLUGINS, check_codestream
from mammorisk.dicom.refusals import Refused

JPEG_2000, JPEG_LS = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"
SOF3 = b"\xff\xd8\xff\xdb\x00\x04ab\xff\xff\xc3\x00\x0b\x0c" + b"\x00\x28\x00\x1e" + b"\x01\x01\x11\x00"


def frame(syntax):
    return get_frame(dataset(breast(120, 80), syntax=syntax).PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("syntax", [JPEG_2000, JPEG_LS, "1.2.840.10008.1.2.5"])
def test_a_frame_of_the_right_size_passes(syntax):
    assert check_codestream(frame(syntax), syntax, 120, 80) is None


@pytest.mark.parametrize("syntax", [JPEG_2000, JPEG_LS])
def test_another_size_than_the_headers_is_refused(syntax):
    with pytest.raises(Refused, match="header declares 120 x 81 pixels, the compressed image 120 x 80") as caught:
        check_codestream(frame(syntax), syntax, 120, 81)
    assert caught.value.kind == "damaged_pixels"


def test_the_frame_header_of_a_lossless_jpeg_is_found_behind_other_segments():
    check_codestream(SOF3, "1.2.840.10008.1.2.4.70", 40, 30)
    with pytest.raises(Refused, match="the compressed image 40 x 30"):
        check_codestream(SOF3, "1.2.840.10008.1.2.4.70", 30, 40)


@pytest.mark.parametrize("syntax", [JPEG_2000, JPEG_LS, "1.2.840.10008.1.2.4.50"])
@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"\xff\x4f\xff\x51\0\0", b"abcdefgh" * 9])
def test_what_is_no_codestream_is_refused(syntax, data):
    with pytest.raises(Refused, match="do not begin as"):
        check_codestream(data, syntax, 4, 4)


def test_everything_said_to_be_decoded_has_a_decoder_in_the_extra():
    missing = [
        syntax for syntax, names in PLUGINS.items() if not set(names) & set(get_decoder(UID(syntax)).available_plugins)
    ]
    assert missing == []
    assert not set(NATIVE) & set(PLUGINS)
