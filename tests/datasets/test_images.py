from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.cohorts import SIZE, write_png
from helpers.png_files import FAULTY, NOISE, WHOLE, chunk, header, png, rows, whole
from PIL import Image

from mammorisk.datasets.images import decode_image, image_faults, read_image, read_pixels, unreadable_images
from mammorisk.errors import UserError


def test_values_are_sixteen_bit_over_65535(tmp_path):
    pixels = np.array([[0, 1], [256, 65535]], dtype=np.uint16)
    image = read_image(str(write_png(tmp_path / "a.png", pixels)), (2, 2))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, (pixels / 65535)[None], rtol=1e-6)


def test_pitfall_16_every_grey_level_survives(tmp_path):
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = read_image(str(write_png(tmp_path / "a.png", pixels)), (256, 256))
    np.testing.assert_array_equal(np.rint(image[0] * 65535), pixels)


def test_shrinking_averages_areas(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (12, 20))
    image = read_image(str(write_png(tmp_path / "a.png", pixels)), (4, 5))
    expected = pixels.reshape(4, 3, 5, 4).mean(axis=(1, 3)) / 65535
    np.testing.assert_allclose(image[0], expected, rtol=0, atol=0.51 / 65535)


@pytest.mark.parametrize("size", [(4, 5), (7, 3), (24, 40), (5, 40)])
def test_resized_values_are_grey_levels_the_nearest_to_exact_ones(tmp_path, size):
    pixels = np.random.default_rng(0).integers(0, 65536, (12, 20))
    levels = read_image(str(write_png(tmp_path / "a.png", pixels)), size)[0] * np.float64(65535)
    np.testing.assert_allclose(levels, np.rint(levels), rtol=0, atol=0.01)
    how = cv2.INTER_AREA if size[0] <= 12 and size[1] <= 20 else cv2.INTER_LINEAR
    exact = cv2.resize(pixels.astype(np.float64), size[::-1], interpolation=how)
    assert 0.4 < np.abs(levels - exact).max() < 0.52


def test_enlarging_interpolates_between_neighbours(tmp_path):
    pixels = np.array([[0, 60000], [0, 60000]])
    image = read_image(str(write_png(tmp_path / "a.png", pixels)), (2, 4))
    np.testing.assert_allclose(image[0, 0] * 65535, [0, 15000, 45000, 60000], atol=0.01)


@pytest.mark.parametrize("size", [(7, 3), (5, 9), (33, 31), (12, 10)])
def test_white_stays_within_one_and_the_shape_is_rows_by_columns(tmp_path, size):
    image = read_image(str(write_png(tmp_path / "a.png", 65535)), size)
    assert image.shape == (1, *size)
    assert image.max() <= 1
    np.testing.assert_allclose(image, 1, atol=1e-6)


def test_mirror_exchanges_left_and_right_exactly(tmp_path):
    path = str(write_png(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_image(path, (5, 7), mirror=True), read_image(path, (5, 7))[..., ::-1])


@pytest.mark.parametrize("keep", [0, 4, 8, 20, 33, 0.5, -16, -12, -6, -1])
def test_truncated_files_are_refused_wherever_they_end(tmp_path, keep):
    data = write_png(tmp_path / "a.png").read_bytes()
    cut = int(len(data) * keep) if isinstance(keep, float) else keep
    path = tmp_path / "cut.png"
    path.write_bytes(data[:cut])
    with pytest.raises(UserError, match=r"cut\.png is (truncated|empty)"):
        read_image(str(path), SIZE)


def test_one_changed_byte_anywhere_is_refused(tmp_path):
    data = write_png(tmp_path / "a.png").read_bytes()
    path = tmp_path / "spoilt.png"
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(UserError, match=r"spoilt\.png"):
            read_image(str(path), SIZE)


@pytest.mark.parametrize(
    ("mode", "found"),
    [("L", "8-bit grey"), ("RGB", "8-bit RGB"), ("P", "-bit palette"), ("RGBA", "with alpha"), ("1", "1-bit grey")],
)
def test_other_kinds_of_png_are_refused_by_name(tmp_path, mode, found):
    Image.new(mode, (10, 12)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=rf"Expected a 16-bit greyscale PNG, found .*{found}"):
        read_image(str(tmp_path / "a.png"), SIZE)


def test_what_is_no_png_is_refused(tmp_path):
    Image.new("L", (10, 12)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(UserError, match="is not a PNG"):
        read_image(str(tmp_path / "a.png"), SIZE)
    with pytest.raises(UserError, match="cannot be read"):
        read_image(str(tmp_path / "no.png"), SIZE)


def test_image_without_pixels_is_refused(tmp_path):
    data = bytearray(write_png(tmp_path / "a.png").read_bytes())
    data[16:20] = bytes(4)  # width
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(UserError, match="12 x 0 pixels"):
        read_image(str(tmp_path / "a.png"), SIZE)


def test_unreadable_images_are_found_in_order(tmp_path):
    files = [str(write_png(tmp_path / f"{n}.png")) for n in range(6)]
    for n in (1, 4):
        data = (tmp_path / f"{n}.png").read_bytes()
        (tmp_path / f"{n}.png").write_bytes(data[:-1])
    assert unreadable_images([*files, "no.png"]) == [files[1], files[4], "no.png"]
    faults = image_faults([*files, "no.png"])
    assert list(faults) == [files[1], files[4], "no.png"]
    assert "cannot be read" in faults["no.png"]


@pytest.mark.parametrize("name", FAULTY)
def test_pixel_data_that_are_not_exactly_the_rows_are_refused_by_every_reader(tmp_path, name):
    path, (data, message) = tmp_path / "a.png", FAULTY[name]
    path.write_bytes(data())
    with pytest.raises(UserError, match=rf"a\.png.*{message}"):
        read_image(str(path), SIZE)
    with pytest.raises(UserError, match=message):
        read_pixels(str(path))
    with pytest.raises(UserError, match=message):
        decode_image(str(path), path.read_bytes(), (3, 3))
    assert unreadable_images([str(path)]) == [str(path)]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read_however_they_are_written(tmp_path, name):
    (tmp_path / "a.png").write_bytes(WHOLE[name]())
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "a.png")), NOISE)


def test_a_file_that_changed_is_looked_at_anew_even_if_size_and_time_stay(tmp_path):
    path = tmp_path / "a.png"
    long = png(zlib.compress(rows(NOISE), 0))
    head, short = header(NOISE.shape), chunk(b"IDAT", zlib.compress(rows(NOISE[:5]), 0))
    short = whole(head, short, chunk(b"zzZz", bytes(len(long) - len(whole(head, short)) - 12)))
    assert len(short) == len(long)
    for data, is_read in ((long, True), (short, False), (long, True)):
        path.write_bytes(data)
        os.utime(path, (0, 0))
        assert (image_faults([str(path)]) == {}) is is_read
