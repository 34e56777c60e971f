from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.cohorts import SIZE, write_png

from mammorisk.caching import images
from mammorisk.caching.entries import DamagedEntry
from mammorisk.caching.images import ImageStore
from mammorisk.datasets.image_identity import image_identities
from mammorisk.datasets.images import as_floats, read_image
from mammorisk.errors import UserError

SIZES = [(24, 20), (12, 10), (7, 5), (30, 20), (48, 40), (13, 33)]  # as it is, halved, shrunk, stretched, enlarged


def store_of(folder, *files, size=SIZE) -> ImageStore:
    return ImageStore(folder, size, image_identities([str(file) for file in files]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mirror", [False, True])
def test_stored_images_are_those_of_the_files_to_the_last_bit(tmp_path, size, mirror):
    noise = np.random.default_rng(0).integers(0, 65536, (24, 20))
    pictures = [noise, np.zeros((24, 20)), np.full((24, 20), 65535), np.arange(480).reshape(24, 20)]
    files = [write_png(tmp_path / f"{i}.png", picture) for i, picture in enumerate(pictures)]
    store = store_of(tmp_path / "kept", *files, size=size)
    for file in map(str, files):
        expected = read_image(file, size, mirror)
        for turn in ("made", "read"):
            found = as_floats(store.pixels(file), mirror)
            assert (found.dtype, found.shape) == (np.float32, (1, *size)), turn
            np.testing.assert_array_equal(found, expected)
        assert store.path(store.name(file)).is_file()


def test_pitfall_16_every_grey_level_survives(tmp_path):
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    file = str(write_png(tmp_path / "a.png", pixels))
    store = store_of(tmp_path / "kept", file, size=(256, 256))
    store.pixels(file)
    np.testing.assert_array_equal(store.read(store.name(file)), pixels)


def test_an_entry_is_read_instead_of_the_file(tmp_path):
    file = write_png(tmp_path / "a.png")
    store = store_of(tmp_path / "kept", file)
    first = store.pixels(str(file))
    file.unlink()
    np.testing.assert_array_equal(store.pixels(str(file)), first)


def test_copies_share_an_entry(tmp_path):
    one, copy = write_png(tmp_path / "a.png", 5), write_png(tmp_path / "b/c.png", 5)
    store = store_of(tmp_path / "kept", one, copy)
    for file in (one, copy):
        store.pixels(str(file))
    assert len(list((tmp_path / "kept").rglob("*.b2"))) == 1


def test_a_changed_file_is_never_served_from_before(tmp_path):
    file = write_png(tmp_path / "a.png", 5)
    store_of(tmp_path / "kept", file).pixels(str(file))
    write_png(file, 6)
    assert store_of(tmp_path / "kept", file).pixels(str(file)).max() == 6


def test_a_file_that_changes_in_mid_training_is_not_kept_under_its_old_name(tmp_path):
    file = write_png(tmp_path / "a.png", 5)
    store = store_of(tmp_path / "kept", file)
    write_png(file, 6)
    with pytest.raises(UserError, match=r"a\.png has changed since this run began"):
        store.pixels(str(file))
    assert store.read(store.name(str(file))) is None


def test_sizes_have_folders_of_their_own_and_say_so(tmp_path):
    file = write_png(tmp_path / "a.png")
    stores = [store_of(tmp_path / "kept", file, size=size) for size in (SIZE, (6, 5))]
    for store in stores:
        store.reserve("nothing", 0)
        store.pixels(str(file))
    assert len({store.folder for store in stores}) == 2
    record = json.loads((stores[1].folder / "images.json").read_text())
    assert record == {"format": 2, "pixels": "uint16", "size": [6, 5]}


def test_only_what_is_resized_depends_on_the_release_that_resizes(tmp_path, monkeypatch):
    whole, large = write_png(tmp_path / "a.png"), write_png(tmp_path / "b.png", np.zeros((40, 30)))
    store = store_of(tmp_path / "kept", whole, large)
    before = [store.name(str(file)) for file in (whole, large)]
    monkeypatch.setattr(images.cv2, "__version__", "0.1")
    after = [store.name(str(file)) for file in (whole, large)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_a_spoilt_entry_is_decoded_again_with_a_warning(tmp_path, said):
    file = write_png(tmp_path / "a.png")
    store = store_of(tmp_path / "kept", file)
    expected, path = store.pixels(str(file)), store.path(store.name(str(file)))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    np.testing.assert_array_equal(store.pixels(str(file)), expected)
    assert f"{path} is damaged; it is computed again" in said()
    assert path.read_bytes() == content


def test_a_store_that_cannot_be_written_to_still_gives_images(tmp_path, said):
    file = write_png(tmp_path / "a.png")
    (tmp_path / "kept").touch()
    store = store_of(tmp_path / "kept", file)
    np.testing.assert_array_equal(as_floats(store.pixels(str(file))), read_image(str(file), SIZE))
    assert "dataset.cache=" in said()
    assert "cannot be written to" in said()


def test_a_chunk_of_more_pixels_is_refused_before_it_is_unpacked(tmp_path):
    """Blosc2 would write beyond the end of the array."""
    store, larger = store_of(tmp_path), store_of(tmp_path, size=(500, 400))
    for body in (larger.encode(np.zeros((500, 400), np.uint16)), b"", b"short", struct.pack("<16x")):
        with pytest.raises(ValueError, match="no image of 12 x 10 pixels"):
            store.decode(memoryview(body))
    body = bytearray(store.encode(np.arange(120, dtype=np.uint16).reshape(SIZE)))
    name = "ab" * 16
    store.write(name, np.zeros(SIZE, np.uint16))
    store.path(name).write_bytes(bytes(body))
    with pytest.raises(DamagedEntry):
        store.read(name)


@pytest.mark.parametrize(
    ("place", "value"), [(22, 36), (22, 37), (22, 40), (22, 160), (20, 160), (31, 8), (31, 64 + 8)]
)
def test_a_chunk_of_another_codec_starts_no_program_to_look_for_it(place, value, tmp_path, monkeypatch):
    file = str(write_png(tmp_path / "a.png", np.arange(SIZE[0] * SIZE[1]).reshape(SIZE)))
    store = store_of(tmp_path / "kept", file)
    chunk = bytearray(store.encode(store.decoded(file)))
    if place == 22:
        chunk[2] = chunk[2] & 31 | 6 << 5  # a codec by its number
    chunk[place] = value
    for name in ("grok", "htj2k", "openhtj2k"):
        (tmp_path / f"blosc2_{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    with pytest.raises(ValueError, match="no image of"):
        store.decode(memoryview(bytes(chunk)))
    assert not (tmp_path / "ran").exists()


def test_an_unreadable_image_is_the_readers_own_message(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"no png")
    with pytest.raises(UserError, match=r"a\.png is not a PNG"):
        store_of(tmp_path / "kept", file).pixels(str(file))


def test_the_estimate_is_the_png_per_pixel_in_whole_blocks(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65536, (240, 200))
    half_black = np.where(np.arange(240)[:, None] < 120, 0, noise)
    files = [write_png(tmp_path / "a.png", half_black), write_png(tmp_path / "b.png", noise)]
    for file in map(str, files):
        for size in ((240, 200), (120, 100), (480, 400)):
            store = store_of(tmp_path / "kept", file, size=size)
            store.pixels(file)
            takes = store.path(store.name(file)).stat().st_size
            assert 0.9 * takes - 4096 < store.bytes_needed(file) < 1.3 * takes + 4096
            assert store.bytes_needed(file) % 4096 == 0


def mammogram() -> np.ndarray:
    """2048 x 1664 pixels of 12 bits: a bright half disc with structure and noise, black beside it."""
    rows, columns = np.mgrid[-1:1:2048j, 0:1:1664j]
    random = np.random.default_rng(0)
    coarse = cv2.resize(random.normal(0, 300, (64, 52)), (1664, 2048), interpolation=cv2.INTER_CUBIC)
    breast = 2000 + coarse + cv2.GaussianBlur(random.normal(0, 120, (2048, 1664)), (0, 0), 0.7)
    return np.where((rows / 0.95) ** 2 + (columns / 0.6) ** 2 < 1, np.rint(breast) * 65535 / 4095, 0).astype(np.uint16)


def test_it_takes_no_more_room_than_png(tmp_path):
    file, size = str(tmp_path / "a.png"), (2048, 1664)
    cv2.imwrite(file, mammogram(), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    store = store_of(tmp_path / "kept", file, size=size)
    np.testing.assert_array_equal(as_floats(store.pixels(file)), read_image(file, size))
    assert store.path(store.name(file)).stat().st_size < 1.05 * (tmp_path / "a.png").stat().st_size
