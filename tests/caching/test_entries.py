from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from mammorisk.caching.entries import HEADER, DamagedEntry, Entries
from mammorisk.errors import UserError

NAME = "ab" + 30 * "0"


class Numbers(Entries[np.ndarray]):
    """Whole numbers; odd counts are no value of it."""

    setting, advice = "some.cache", "some.cache=null"
    suffix, record_name = ".numbers", "numbers.json"

    def encode(self, value):
        return value.astype("<i4").tobytes()

    def decode(self, body):
        numbers = np.frombuffer(body, "<i4")
        if len(numbers) % 2:
            raise ValueError("an odd count")
        return numbers


def kept(folder: Path, **record: object) -> Numbers:
    return Numbers(folder, {"format": 1, **record})


def numbers(count: int = 10) -> np.ndarray:
    return np.arange(count)


def test_what_is_written_is_read(tmp_path):
    entries = kept(tmp_path)
    assert entries.read(NAME) is None
    assert entries.find_missing([NAME]) == ([NAME], [])
    entries.write(NAME, numbers())
    np.testing.assert_array_equal(entries.read(NAME), numbers())
    assert entries.find_missing([NAME]) == ([], [])
    assert entries.path(NAME).parent.name == "ab"
    assert [path.name for path in entries.path(NAME).parent.iterdir()] == [f"{NAME}.numbers"]


@pytest.mark.parametrize(
    "damage", ["cut off", "empty", "only a header", "one bit", "longer", "another record", "no value", "a folder"]
)
def test_a_damaged_entry_is_not_read(tmp_path, damage):
    entries = kept(tmp_path)
    entries.write(NAME, numbers())
    path = entries.path(NAME)
    content = path.read_bytes()
    if damage == "another record":
        other = kept(tmp_path / "other", size=3)
        other.write(NAME, numbers())
        shutil.copyfile(other.path(NAME), path)
    elif damage == "no value":
        entries.write(NAME, numbers(3))
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = content[:40] + bytes([content[40] ^ 4]) + content[41:]
        spoilt = {"cut off": content[:-3], "empty": b"", "longer": content + b"00", "one bit": flipped}
        path.write_bytes(spoilt.get(damage, content[: HEADER.size]))
    with pytest.raises(DamagedEntry, match=str(path)):
        entries.read(NAME)
    assert entries.find_missing([NAME]) == ([], [NAME])


def test_incomplete_keeps_the_order_of_many_names(tmp_path):
    entries, names = kept(tmp_path), [f"{i:032x}" for i in range(1100)]
    for name in names[::2]:
        entries.write(name, numbers())
    assert entries.find_missing(names) == (names[1::2], [])


def test_large_entries_are_looked_at_by_their_length_and_read_with_care(tmp_path):
    entries, names = kept(tmp_path), [f"{i:032x}" for i in range(5)]
    for name in names[:4]:
        entries.write(name, numbers(2**16))
    spoilt = [entries.path(name) for name in names]
    spoilt[1].write_bytes(spoilt[1].read_bytes()[:-2])
    spoilt[2].write_bytes(b"no mark" + spoilt[2].read_bytes()[7:])
    content = bytearray(spoilt[3].read_bytes())
    content[1000] ^= 1
    spoilt[3].write_bytes(content)
    assert entries.find_missing(names) == ([names[4]], [names[1], names[2]])
    with pytest.raises(DamagedEntry, match="is damaged"):
        entries.read(names[3])


def test_what_is_gone_or_damaged_is_computed_again_and_kept(tmp_path, caplog):
    entries, computed = kept(tmp_path), list[int]()

    def compute() -> np.ndarray:
        computed.append(1)
        return numbers()

    for turn in range(3):
        np.testing.assert_array_equal(entries.get_or_compute(NAME, compute), numbers())
        assert len(computed) == 1, turn
    entries.path(NAME).write_bytes(b"spoilt")
    logging.getLogger("mammorisk").propagate = True
    with caplog.at_level(logging.WARNING, logger="mammorisk"):
        np.testing.assert_array_equal(entries.get_or_compute(NAME, compute), numbers())
    assert "is damaged; it is computed again" in caplog.text
    np.testing.assert_array_equal(entries.read(NAME), numbers())


def test_each_record_has_a_folder_of_its_own_that_says_what_it_stands_for(tmp_path):
    assert kept(tmp_path).folder == kept(tmp_path).folder
    assert kept(tmp_path, size=[6, 5]).folder != kept(tmp_path).folder
    entries = kept(tmp_path, size=[6, 5])
    entries.reserve("nothing", 0)
    assert json.loads((entries.folder / "numbers.json").read_text()) == {"format": 1, "size": [6, 5]}


def test_too_little_room_is_told(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UserError, match=r"some\.cache=.*: 3 things, are to be kept there, but the disk has .* MB free"):
        kept(tmp_path).reserve("3 things", 2 * free)


def test_what_killed_processes_left_is_removed_after_a_day(tmp_path):
    entries = kept(tmp_path)
    entries.write(NAME, numbers())
    old, new = (entries.path(NAME).with_name(f".{word}.unfinished") for word in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 90000,) * 2)
    entries.reserve("nothing", 0)
    assert not old.exists()
    assert new.exists()
    assert entries.read(NAME) is not None


def test_a_folder_that_cannot_be_written_to_is_a_message(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"some\.cache=.*cannot be written to.*some\.cache=null"):
        kept(tmp_path / "file").write(NAME, numbers())


def test_a_full_disk_is_a_message_and_leaves_nothing_half(tmp_path, monkeypatch):
    """/dev/full stands for a full disk: its error is the disk's own."""
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> None:
        write_bytes(path, content[:9])
        write_bytes(Path("/dev/full"), content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"The disk is full\. What was kept so far stays good"):
        kept(tmp_path).write(NAME, numbers())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def write_many_times(folder: Path) -> None:
    entries = kept(folder)
    for _ in range(100):
        entries.write(NAME, numbers(5000))
        np.testing.assert_array_equal(entries.read(NAME), numbers(5000))


def test_writers_of_one_entry_do_not_disturb_each_other(tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_many_times, args=(tmp_path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{NAME}.numbers"]


@pytest.mark.parametrize("name", ["setting", "advice", "suffix", "record_name"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_subclass_that_leaves_something_open_is_refused(tmp_path, name, value):
    kind = type("Open", (Numbers,), {name: value})
    with pytest.raises(TypeError, match=rf"Open\.{name}: expected a text"):
        kind(tmp_path, {})


@pytest.mark.parametrize("change", [{"suffix": "numbers"}, {"record_name": "../numbers.json"}])
def test_a_subclass_names_files_in_its_folder(tmp_path, change):
    with pytest.raises(TypeError, match="expected a suffix with its dot and a record_name without folders"):
        type("Outside", (Numbers,), change)(tmp_path, {})


@pytest.mark.parametrize("name", ["", "ab", "../../etc", "ab/cd", ".abc"])
def test_a_name_that_could_lead_out_of_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="expected three letters or digits at least"):
        kept(tmp_path).write(name, numbers())
