from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from cohorts import write_png
from model_cases import SMALL_REGISTRATION, small_registration

from mammorisk.errors import UserError
from mammorisk.registration.affine import AffineRegistration
from mammorisk.registration.cache import (
    RECORD,
    DamagedEntry,
    FieldCache,
    entry_name,
    image_identity,
    meaning_of,
)

NAME, SIZE = "ab" + 30 * "0", (6, 5)


def cache(folder, meaning=None, size=SIZE) -> FieldCache:
    return FieldCache(folder, meaning or {"registration": "some"}, size)


def field(scale=1.0, size=SIZE):
    return (scale * np.random.default_rng(0).standard_normal((2, *size))).astype(np.float32)


def test_what_is_written_is_read_to_half_precision(tmp_path):
    kept = cache(tmp_path)
    for scale in (0.01, 1.0, 300.0):
        kept.write(NAME, field(scale))
        found = kept.read(NAME)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, field(scale), rtol=1 / 2048, atol=1e-7)
        np.testing.assert_array_equal(found, field(scale).astype(np.float16).astype(np.float32))
    assert kept.path(NAME).parent.name == "ab"
    assert [path.name for path in kept.path(NAME).parent.iterdir()] == [kept.path(NAME).name]


def test_an_entry_that_is_not_there_is_none(tmp_path):
    assert cache(tmp_path).read(NAME) is None
    assert cache(tmp_path).incomplete([NAME]) == ([NAME], [])


@pytest.mark.parametrize("damage", ["cut off", "empty", "one bit", "longer", "another size", "a folder"])
def test_a_damaged_entry_is_not_read(tmp_path, damage):
    kept = cache(tmp_path)
    kept.write(NAME, field())
    path = kept.path(NAME)
    content = path.read_bytes()
    if damage == "cut off":
        path.write_bytes(content[:-3])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "one bit":
        path.write_bytes(content[:40] + bytes([content[40] ^ 4]) + content[41:])
    elif damage == "longer":
        path.write_bytes(content + b"\0\0")
    elif damage == "another size":
        other = cache(tmp_path / "other", size=(5, 6))
        other.write(NAME, field(size=(5, 6)))
        shutil.copyfile(other.path(NAME), path)
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(DamagedEntry, match=str(path)):
        kept.read(NAME)
    assert kept.incomplete([NAME]) == ([], [NAME])


def test_incomplete_keeps_the_order_of_many_names(tmp_path):
    kept, names = cache(tmp_path), [f"{i:032x}" for i in range(1100)]
    for name in names[::2]:
        kept.write(name, field())
    assert kept.incomplete(names) == (names[1::2], [])


def test_large_entries_are_looked_at_by_their_length_and_read_with_care(tmp_path):
    size = (256, 160)
    kept, names = cache(tmp_path, size=size), [f"{i:032x}" for i in range(5)]
    for name in names[:4]:
        kept.write(name, field(size=size))
    spoilt = [kept.path(name) for name in names]
    spoilt[1].write_bytes(spoilt[1].read_bytes()[:-2])
    spoilt[2].write_bytes(b"no mark" + spoilt[2].read_bytes()[7:])
    content = bytearray(spoilt[3].read_bytes())
    content[1000] ^= 1
    spoilt[3].write_bytes(content)
    assert kept.incomplete(names) == ([names[4]], [names[1], names[2]])
    with pytest.raises(DamagedEntry, match="is damaged"):
        kept.read(names[3])


@pytest.mark.parametrize(
    "other", [{"registration": "another"}, {"registration": "some", "weights": "1"}, {"registration": "some", "x": [1]}]
)
def test_every_part_of_the_meaning_has_a_folder_of_its_own(tmp_path, other):
    assert cache(tmp_path).folder == cache(tmp_path).folder
    assert cache(tmp_path, other).folder != cache(tmp_path).folder
    assert cache(tmp_path, size=(5, 6)).folder != cache(tmp_path).folder


def test_the_folder_says_what_it_stands_for(tmp_path):
    kept = cache(tmp_path)
    kept.describe()
    record = json.loads((kept.folder / RECORD).read_text(encoding="utf-8"))
    assert record == {"format": 1, "registration": "some", "size": [6, 5]}


def test_the_meaning_of_a_network_follows_its_weights_settings_and_class():
    torch.manual_seed(0)
    network = small_registration()
    meaning = meaning_of(network, (64, 52))
    assert meaning == meaning_of(small_registration(), (64, 52))
    assert json.loads(json.dumps(meaning)) == meaning
    affine = AffineRegistration(**SMALL_REGISTRATION)
    affine.load_state_dict(network.state_dict())
    others = [
        meaning_of(network, (64, 56)),
        meaning_of(small_registration(image_size=(32, 24)), (64, 52)),
        meaning_of(small_registration(shift=1), (64, 52)),  # no weight shows it
        meaning_of(affine, (64, 52)),
    ]
    with torch.no_grad():
        network.fine["1"].head.bias[0] += 1e-6
    others.append(meaning_of(network, (64, 52)))
    texts = {json.dumps(each) for each in [meaning, *others]}
    assert len(texts) == 6


def test_where_the_cache_is_does_not_change_its_meaning(tmp_path):
    one, other = small_registration(cache=str(tmp_path), cache_size="registration"), small_registration()
    assert meaning_of(one, (64, 52)) == meaning_of(other, (64, 52))


def test_an_image_is_known_by_its_content_wherever_it_lies(tmp_path):
    noise = np.random.default_rng(1).integers(0, 65536, (40, 30))
    changed = noise.copy()
    changed[3, 4] ^= 1
    one, moved, other = (tmp_path / name for name in ("a.png", "b/c.png", "d.png"))
    write_png(one, noise)
    write_png(moved, noise)
    write_png(other, changed)
    assert image_identity(str(one)) == image_identity(str(moved))
    assert image_identity(str(one)) != image_identity(str(other))
    with pytest.raises(UserError, match=r"nowhere\.png cannot be read"):
        image_identity(str(tmp_path / "nowhere.png"))


def test_a_pair_has_an_order_and_an_orientation():
    names = {entry_name(a, b, m) for a, b in ((b"x", b"y"), (b"y", b"x"), (b"xy", b"")) for m in (False, True)}
    assert len(names) == 6
    assert all(len(name) == 32 for name in names)


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\[2, 6, 5\]"):
        cache(tmp_path).write(NAME, field(size=(5, 6)))


def test_a_folder_that_cannot_be_written_to_is_a_message(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"registration\.cache=.*cannot be written to.*registration\.cache=null"):
        cache(tmp_path / "file").write(NAME, field())


def test_a_full_disk_is_a_message_and_leaves_nothing_half(tmp_path):
    """/dev/full stands for a full disk: its error is the disk's own."""
    script = """
import errno, sys
from pathlib import Path
from mammorisk import files
from mammorisk.registration import cache
import numpy as np
real = Path.write_bytes
def full(path, content):
    if path.name.endswith(".unfinished"):
        real(path, content[:9])
        open("/dev/full", "wb", buffering=0).write(b"x")
    return real(path, content)
Path.write_bytes = full
kept = cache.FieldCache(sys.argv[1], {}, (6, 5))
try:
    kept.write("ab" * 16, np.zeros((2, 6, 5), np.float32))
except cache.UserError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert "The disk is full. What was kept so far stays good." in run.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_writers_of_one_entry_do_not_disturb_each_other(tmp_path):
    script = """
import sys
import numpy as np
from mammorisk.registration.cache import FieldCache
kept = FieldCache(sys.argv[1], {}, (64, 52))
field = np.random.default_rng(0).standard_normal((2, 64, 52)).astype(np.float32)
for turn in range(60):
    kept.write("ab" * 16, field)
    assert kept.read("ab" * 16) is not None
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 3
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".field"]
