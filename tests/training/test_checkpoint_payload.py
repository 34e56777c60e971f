"""Damaged checkpoints: each is read whole and equal, or is a message; never another error, in bounded memory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.damaged_checkpoints import OTHERS, changed, cut, places, stepped, whole, written
from helpers.foreign_files import contained
from helpers.training_runs import assert_equal, environment
from hypothesis import given, settings
from hypothesis import strategies as st

from mammorisk.errors import UserError
from mammorisk.training.checkpoint_payload import CONFIG_MOST, OtherFormatError, read_payload


def message(path: Path) -> str | None:
    """What is said of a file that is not read; None if it is."""
    told = None
    try:
        read_payload(path)
    except UserError as error:
        told = str(error)
    assert told is None or (str(path) in told and told.replace("\n", "").isprintable())
    return told


def answer(path: Path) -> str | None:
    """The message of a file, or None if it is read; then it is read as torch reads it."""
    told = message(path)
    if told is None:
        expected = torch.load(path, weights_only=True)
        expected["model"] = dict(expected["model"])
        found = read_payload(path)
        assert_equal(found, {name: expected[name] for name in found}, "")
    return told


def test_a_checkpoint_is_read_as_torch_reads_it():
    assert answer(stepped()) is None
    assert read_payload(stepped())["predictions"][0]["sample"].tolist() == [3, 1]


def test_the_few_tensors_of_the_tests_are_read(tmp_path):
    assert answer(written(cut(), tmp_path / "x.pth")) is None


@pytest.mark.parametrize("place", list(places(cut())), ids=str)
def test_an_entry_that_is_missing_or_of_another_type_is_a_message_or_kept(place, tmp_path):
    path = tmp_path / "x.pth"
    if isinstance(place[-1], str):
        told = answer(written(changed(cut(), place, lambda node, name: node.pop(name)), path))
        if len(place) == 1 or place[0] in ("samples", "random"):
            assert told is not None
            assert place == ("format",) or "it is not there" in told
    for name, other in OTHERS.items():
        content = changed(cut(), place, lambda node, key, other=other: node.__setitem__(key, other))
        told = answer(written(content, path))
        if name in ("complex", "meta", "sparse", "expanded", "keys", "surrogate", "bytes", "huge"):
            assert told is not None, name


@pytest.mark.parametrize("place", [place for place in places(whole()) if len(place) == 1], ids=str)
def test_no_entry_is_read_that_no_checkpoint_has(place, tmp_path):
    content = cut()
    content[f"{place[0]}2"] = content.pop(place[0])
    assert answer(written(content, tmp_path / "x.pth")) is not None


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (("model", next(iter(whole()["model"]))), r"model\..*: 1 of its .* numbers are NaN or infinite"),
        (("optimizer", "state", 0, "exp_avg"), r"optimizer\.state\.0\.exp_avg: 1 of its"),
        (("optimizer", "state", 0, "step"), r"optimizer\.state\.0\.step: 1 of its 1"),
    ],
)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_names_its_tensor(place, told, number, tmp_path):
    content = cut()
    changed(content, place, lambda node, name: node[name].view(-1)[-1:].fill_(number))
    with pytest.raises(UserError, match=told):
        read_payload(written(content, tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": "x" * (CONFIG_MOST + 1)}, "config: expected a text of at most 262,144"),
        ({"config": "ä" * (CONFIG_MOST - 1)}, "config: has more than 262,144 bytes"),
        ({"best_epoch": 4}, "best_epoch: it is an epoch that was not reached"),
        ({"world_size": 2}, "random: expected an entry for each of 2 processes"),
        ({"predictions": [{"sample": torch.zeros(2)}]}, r"predictions\.0\.sample"),
        ({"predictions": [{"sample": torch.zeros(2).long(), "x": torch.zeros(3)}]}, r"predictions\.0\.x"),
        ({"epoch": 1.0}, "epoch: expected a whole number, found a float"),
        ({"version": "1\n2"}, r"version: expected a text that can be printed, found '1\\n2'"),
    ],
)
def test_what_is_wrong_is_told(changes, told, tmp_path):
    with pytest.raises(UserError, match=told):
        read_payload(written(cut() | changes, tmp_path / "x.pth"))


@pytest.mark.parametrize(
    "content",
    [[1], {}, {"format": 10**5000}, {"format": -1}, {"format": True}, {"format": "1"}, "x", None, torch.zeros(3)],
)
def test_what_is_no_checkpoint_of_ours_is_told(content, tmp_path):
    with pytest.raises(UserError, match="is not a checkpoint of this version"):
        read_payload(written(content, tmp_path / "x.pth"))


@pytest.mark.parametrize("other", [1, 3])
def test_a_checkpoint_of_another_version_is_told_with_both_formats(other, tmp_path):
    with pytest.raises(OtherFormatError, match=rf"x\.pth is a checkpoint of format {other}.* reads format 2"):
        read_payload(written(cut() | {"format": other}, tmp_path / "x.pth"))


def test_tensors_may_share_numbers_only_among_weights_and_not_endlessly(tmp_path):
    content = cut()
    tensor = max(content["model"].values(), key=torch.numel)
    content["model"]["again"] = tensor
    assert answer(written(content, tmp_path / "x.pth")) is None
    content["model"] |= {f"a{i}": tensor for i in range(2000)}
    with pytest.raises(UserError, match="more bytes together than the file"):
        read_payload(written(content, tmp_path / "x.pth"))
    moments = (content := cut())["optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg_sq"]
    with pytest.raises(UserError, match="has its numbers in common with"):
        read_payload(written(content, tmp_path / "x.pth"))


def laughs(depth: int, width: int, make: Any = list) -> Any:
    """Lists of lists of lists, all of one object a level: few bytes, and width ** depth elements for who walks them."""
    made: Any = {"x": 1.0}
    for _ in range(depth):
        made = make([made] * width)
    return made


@pytest.mark.parametrize("place", [("history",), ("random",), ("predictions",), ("schedules", "warmup", "base_lrs")])
@pytest.mark.parametrize("make", [list, tuple])
def test_lists_that_name_each_other_are_refused_at_once(place, make, tmp_path):
    content = changed(cut(), place, lambda node, name: node.__setitem__(name, laughs(40, 10, make)))
    assert answer(written(content, tmp_path / "x.pth")) is not None


def test_one_row_named_a_million_times_is_refused(tmp_path):
    row = {f"a{i}": 0.5 for i in range(2000)}
    with pytest.raises(UserError, match="name each other over and over"):
        read_payload(written(cut() | {"history": [row] * 2000}, tmp_path / "x.pth"))


def test_a_list_within_itself_and_one_a_hundred_thousand_deep(tmp_path):
    within: list[Any] = []
    within.append(within)
    assert answer(written(cut() | {"history": within}, tmp_path / "x.pth")) is not None
    deep = b"\x80\x02}(X\x06\x00\x00\x00formatK\x01X\x07\x00\x00\x00history" + b"]" * 100_000 + b"a" * 99_999 + b"u."
    (tmp_path / "x.pth").write_bytes(contained(deep, "zip"))
    with pytest.raises(UserError):
        read_payload(tmp_path / "x.pth")


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("data.pkl"))
        return file.getvalue()
    source = zipfile.ZipFile(stepped())
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if kind == "packed" else zipfile.ZIP_STORED) as packed:
        names = source.namelist() if kind == "packed" else [f"a/{i}" for i in range(30_000)]
        for name in names:
            packed.writestr(name, source.read(name) if kind == "packed" else b"")
    return file.getvalue()


@pytest.mark.parametrize("kind", ["tar", "packed", "members"])
def test_other_archives(kind, tmp_path):
    (tmp_path / "x.pth").write_bytes(archive(kind))
    with pytest.raises(UserError, match=r"x\.pth cannot be read as a checkpoint: the file"):
        read_payload(tmp_path / "x.pth")


def test_the_older_form_of_torch_files_is_read_too(tmp_path):
    torch.save(cut(), tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert answer(tmp_path / "x.pth") is None


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path, told in (
        (tmp_path / "pipe.pth", "expected a regular file"),
        (tmp_path, "expected a regular"),
        (tmp_path / "x", "No such"),
    ):
        with pytest.raises(UserError, match=told):
            read_payload(path)


def test_a_bomb_takes_no_memory(tmp_path):
    """A file of 200 kB that declares 8 GB, under a limit of the address space beside what Python itself has."""
    packed = zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED)
    with packed, packed.open("archive/data.pkl", "w") as member:
        for _ in range(2000):
            member.write(bytes(1 << 20))
    script = """
import resource, sys
from pathlib import Path
from mammorisk.training.checkpoint_payload import read_payload
from mammorisk.errors import UserError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_payload(Path(sys.argv[1]))
except UserError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000)
"""
    line = [sys.executable, "-c", script, str(tmp_path / "x.pth")]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "True", done.stdout + done.stderr
    assert "declares 2,097,152,000 bytes" in done.stdout


DATA = b""


def data() -> bytes:
    """The bytes of the small checkpoint, made once."""
    global DATA
    if not DATA:
        file = io.BytesIO()
        torch.save(cut(), file)
        DATA = file.getvalue()
    return DATA


@settings(max_examples=300, deadline=None)
@given(draw=st.data())
def test_bytes_that_were_changed_or_cut_off(draw, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "flipped.pth"
    found = bytearray(data())
    pickled = found.find(b"\x80\x02}")  # most of the file are arrays: half of the changes are of the pickle
    places_ = st.integers(0, len(found) - 1) | st.integers(pickled, pickled + 20_000)
    for place in draw.draw(st.lists(places_, min_size=1, max_size=4)):
        found[place] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        del found[draw.draw(st.integers(0, len(found))) :]
    path.write_bytes(found)
    told = message(path)
    assert told is None or str(path) in told


@settings(max_examples=200, deadline=None)
@given(draw=st.data())
def test_pickles_that_were_changed(draw, tmp_path_factory):
    """As above, with the sums of the archive made right again."""
    path = tmp_path_factory.getbasetemp() / "pickled.pth"
    source = zipfile.ZipFile(io.BytesIO(data()))
    with zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            member = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                for place in draw.draw(st.lists(st.integers(0, len(member) - 1), min_size=1, max_size=3)):
                    member[place] = draw.draw(st.integers(0, 255))
            archive.writestr(name, bytes(member))
    told = message(path)
    assert told is None or str(path) in told
