from __future__ import annotations

import io
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from helpers.png_files import FAULTY, NOISE, WHOLE, interlaced, png, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mammorisk.datasets.images import decode_image
from mammorisk.datasets.png_data import MOST_PIXELS, PngHeader, checked_png
from mammorisk.errors import UserError

PICTURES = arrays(np.uint16, st.tuples(st.integers(1, 40), st.integers(1, 40)))
SMOOTH = PICTURES.map(lambda pixels: np.cumsum(pixels // 4096, axis=1).astype(np.uint16))  # filters are chosen by these


def written_by_pillow(pixels: np.ndarray, level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=level)
    return file.getvalue()


def written_by_opencv(pixels: np.ndarray, level: int, strategy: int) -> bytes:
    how = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy]
    return cv2.imencode(".png", pixels, how)[1].tobytes()


def read(data: bytes, pixels: np.ndarray) -> np.ndarray:
    return decode_image("a.png", data, pixels.shape)


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_refused_by_name(name):
    data, message = FAULTY[name]
    with pytest.raises(UserError, match=rf"^a\.png.*{message}.*[Cc]reate the file again"):
        checked_png("a.png", data())


@pytest.mark.parametrize("name", WHOLE)
def test_uncommon_files_that_are_whole_are_accepted(name):
    data = WHOLE[name]()
    np.testing.assert_array_equal(read(data, NOISE), NOISE)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), NOISE)


@pytest.mark.parametrize("lines", range(12))
def test_any_lacking_row_is_told(lines):
    with pytest.raises(UserError, match=f"after {lines} of 12 rows"):
        checked_png("a.png", png(zlib.compress(rows(NOISE[:lines]))))


@pytest.mark.parametrize("name", ["bomb", "huge", "broad"])
def test_what_a_file_asks_for_is_not_allocated(name):
    data = FAULTY[name][0]()
    tracemalloc.start()
    with pytest.raises(UserError):
        checked_png("a.png", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(data) + 2**20


def test_pixel_data_come_as_a_stream_of_the_same_bytes():
    noise = np.random.default_rng(0).integers(0, 65536, (300, 257)).astype(np.uint16)  # more than a stored block
    data = written_by_pillow(noise, 6)
    header, stream = checked_png("a.png", data)
    assert header == PngHeader(300, 257, is_interlaced=False)
    pixels = zlib.decompress(stream)
    assert len(pixels) == header.data_length == 300 * 515
    assert len(stream) == len(pixels) + 2 + 4 + 5 * 3
    np.testing.assert_array_equal(read(data, noise), noise)


@pytest.mark.parametrize("shape", [(1, 1), (255, 128), (510, 128), (254, 128), (256, 128)])  # 255 x 257 bytes: a block
def test_stored_blocks_fit_whatever_the_size(shape):
    noise = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    np.testing.assert_array_equal(read(written_by_pillow(noise, 1), noise), noise)


@settings(deadline=None, max_examples=60)
@given(pixels=PICTURES | SMOOTH, level=st.integers(0, 9))
def test_all_that_pillow_writes_is_accepted_with_the_same_pixels(pixels, level):
    np.testing.assert_array_equal(read(written_by_pillow(pixels, level), pixels), pixels)


@settings(deadline=None, max_examples=60)
@given(pixels=PICTURES | SMOOTH, level=st.integers(0, 9), strategy=st.integers(0, 4))
def test_all_that_opencv_writes_is_accepted_with_the_same_pixels(pixels, level, strategy):
    np.testing.assert_array_equal(read(written_by_opencv(pixels, level, strategy), pixels), pixels)


@settings(deadline=None, max_examples=60)
@given(pixels=PICTURES)
def test_interlaced_images_are_accepted_with_the_same_pixels(pixels):
    data = png(zlib.compress(interlaced(pixels)), pixels.shape, interlace=1)
    np.testing.assert_array_equal(read(data, pixels), pixels)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), pixels)
    assert checked_png("a.png", data)[0].data_length == len(interlaced(pixels))


@settings(deadline=None, max_examples=60)
@given(pixels=PICTURES, filters=st.integers(0, 4), cut=st.integers(-60, 60).filter(bool))
def test_any_other_number_of_bytes_is_refused(pixels, filters, cut):
    data = rows(pixels, filters)
    data = data + bytes(cut) if cut > 0 else data[:cut]
    with pytest.raises(UserError, match=r"is incomplete|surplus pixel data"):
        checked_png("a.png", png(zlib.compress(data), pixels.shape))


def test_the_bound_is_the_number_of_pixels_not_the_shape():
    for shape in ((8192, 8192), (1, MOST_PIXELS), (MOST_PIXELS, 1)):
        with pytest.raises(UserError, match="is incomplete"):
            checked_png("a.png", png(zlib.compress(b""), shape))
    for shape in ((8192, 8193), (1, MOST_PIXELS + 1)):
        with pytest.raises(UserError, match="expected at most 67,108,864 pixels"):
            checked_png("a.png", png(zlib.compress(b""), shape))
