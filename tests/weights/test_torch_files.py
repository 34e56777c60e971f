from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch
from helpers.foreign_files import CONTAINERS, Block, contained, evil_pickles, snapshot_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mammorisk.errors import UserError
from mammorisk.weights.pickle_records import TensorView
from mammorisk.weights.snapshots import read_torch_state
from mammorisk.weights.torch_files import FILE_MOST, open_torch_file

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16)
DTYPES += (torch.int8, torch.uint8, torch.bool)
EVIL = evil_pickles(Path("/nowhere"))
SMALL = {container: snapshot_bytes(Block(), container) for container in ("zip", "legacy")}


def content(data: bytes, folder: Path) -> object:
    """The content of a file, tensors of a plain dict read."""
    path = folder / "weights.p"
    path.write_bytes(data)
    with path.open("rb") as file:
        opened = open_torch_file(file, path)
        if not isinstance(opened.content, dict):
            return opened.content
        views = opened.content.items()
        return {key: opened.tensor(view) if isinstance(view, TensorView) else view for key, view in views}


def saved(made: object, container: str) -> bytes:
    file = io.BytesIO()
    torch.save(made, file, _use_new_zipfile_serialization=container == "zip")
    return file.getvalue()


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def declaring(size: int, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A small archive whose directory says that its array has so many bytes, and how they are packed."""
    large = zipfile.ZipInfo("archive/data/0")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr(large, b"\0" * 100)
        large.file_size = large.compress_size = size
        large.compress_type = compression
    return file.getvalue()


def wordy() -> bytes:
    """An archive with a directory of 9 MB, by comments on its members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(140):
            info = zipfile.ZipInfo(f"a/data/{i}")
            info.comment = b"c" * 65535
            archive.writestr(info, b"")
    return file.getvalue()


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_tensors_are_as_torch_reads_them(container, tmp_path):
    made: dict[str, Tensor] = {str(dtype): torch.arange(-3, 9).to(dtype).view(3, 4) for dtype in DTYPES}
    base = torch.rand(40)
    made |= {"t": base[3:15].view(3, 4).t(), "same": base, "none": torch.empty(0, 3), "one": torch.tensor(2.5)}
    made["steps"] = base[1::3]
    found = content(saved(made, container), tmp_path)
    assert isinstance(found, dict)
    for name, tensor in made.items():
        assert torch.equal(found[name], tensor), name
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
    assert found["same"].untyped_storage().data_ptr() == found["t"].untyped_storage().data_ptr()


def test_tensors_of_a_part_of_a_storage(tmp_path):
    """The oldest files name parts of a storage: here the six last of eight numbers, and of them the four last."""
    part = b"(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x000NK\x08X\x01\x00\x00\x00vK\x02K\x06\x87tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + part + b"K\x02K\x02K\x02\x86K\x02K\x01\x86tR"
    array = struct.pack("<q", 8) + bytes(range(8))
    found = content(contained(b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s.", "legacy", {"0": array}), tmp_path)
    assert isinstance(found, dict)
    assert found["w"].tolist() == [[4, 5], [6, 7]]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", EVIL)
def test_pitfall_23_files_that_want_to_run_something_are_refused_by_name(name, container, tmp_path):
    data, told = evil_pickles(tmp_path / "executed")[name]
    with pytest.raises(UserError) as caught:
        content(contained(data, container), tmp_path)
    assert told in str(caught.value)
    assert str(tmp_path / "weights.p") in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_the_first_pickles_of_an_old_file_are_no_better_trusted(tmp_path):
    data, told = evil_pickles(tmp_path / "executed")["os.system, protocol 2"]
    whole = contained(b"\x80\x02N.", "legacy")
    for at in (0, 15, 21, len(whole) - 6):
        with pytest.raises(UserError, match=told.replace(".", r"\.")):
            content(whole[:at] + data + whole[at:], tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "which no checkpoint"),
        (b"hello world", "damaged"),
        (b"\x80\x02N.", "no checkpoint of torch's"),
        (b"PK\x03\x04" + bytes(50), "damaged"),
        (zip_of({"a/b": b"c"}), "not one of torch's"),
        (zip_of({"a/data.pkl": b"\x80\x02N.", "b/data.pkl": b"\x80\x02N."}), "not one of torch's"),
        (zip_of({"a/data.pkl": b"\x80\x02N."}, zipfile.ZIP_DEFLATED), "compressed"),
        (zip_of({"a/data.pkl": b"\x80\x02N.", "a/byteorder": b"big"}), "big-endian"),
        (zip_of({"a/data.pkl": bytes(20 << 20)}), "pickle of 20,971,520 bytes"),
        (declaring(10_000_000_000), r"archive/data/0 declares 10,000,000,000 bytes, and the\s+whole file has"),
        (declaring(len(declaring(1)) - 2), "its members declare"),
        (declaring(100, zipfile.ZIP_DEFLATED), "compressed or encrypted member, archive/data/0"),
        (wordy(), "a part of it declares 9,"),
    ],
)
def test_what_is_wrong_is_told(data, told, tmp_path):
    with pytest.raises(UserError, match=told) as caught:
        content(data, tmp_path)
    assert "weights.p" in str(caught.value)


@pytest.mark.parametrize("count", [0, 99, 1 << 39])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_an_array_of_another_size_than_its_pickle_says(container, count, tmp_path):
    claim = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x08"
    claim += struct.pack("<q", count) + (b"tQ." if container == "zip" else b"NtQ.")
    data = bytes(24) if container == "zip" else struct.pack("<q", 6) + bytes(24)
    with pytest.raises(UserError, match=r"should have|do not have the sizes"):
        content(contained(claim, container, {"0": data}), tmp_path)
    if container == "legacy" and count:
        with pytest.raises(UserError, match="cut off"):
            content(contained(claim, "legacy", {"0": struct.pack("<q", count)}), tmp_path)
        with pytest.raises(UserError, match="not there"):
            content(contained(claim, "legacy"), tmp_path)


def test_a_changed_byte_of_an_archive_is_seen(tmp_path):
    data = bytearray(saved({"w": torch.rand(500)}, "zip"))
    data[len(data) // 2] ^= 1
    with pytest.raises(UserError, match="damaged"):
        content(bytes(data), tmp_path)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_cut_off_files_are_refused_wherever_they_end(container, tmp_path):
    data = SMALL[container]
    for end in range(0, len(data) - 1, max(1, len(data) // 150)):
        with pytest.raises(UserError, match=r"weights\.p"):
            content(data[:end], tmp_path)


def test_a_file_of_many_gigabytes_is_refused_unread(tmp_path):
    (tmp_path / "weights.p").touch()
    os.truncate(tmp_path / "weights.p", FILE_MOST + 1)  # no bytes on the disk
    with (tmp_path / "weights.p").open("rb") as file, pytest.raises(UserError, match="4,294,967,297 bytes"):
        open_torch_file(file, tmp_path / "weights.p")


def test_no_bomb_takes_memory(tmp_path):
    """In a process that may grow by 200 MB: files of a few kB or MB that declare, nest or list far more."""
    view = b"\x80\x02(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x05"
    view += (10_000_000_000).to_bytes(5, "little")
    packed = zip_of({"a/data.pkl": b"\x80\x02N.", "a/data/0": bytes(250_000_000)}, zipfile.ZIP_DEFLATED)
    bombs = {
        "declared": declaring(10_000_000_000),
        "zip storage": contained(view + b"tQ.", "zip", {"0": bytes(100)}),
        "legacy storage": contained(view + b"NtQ.", "legacy", {"0": struct.pack("<q", 10_000_000_000)}),
        "packed": packed,
        "memo": contained(b"\x80\x02Nr\xff\xff\xff\xff.", "zip"),
        "text": contained(b"\x80\x04\x8d" + b"\xff" * 6 + b"\x00\x00", "legacy"),
        "objects": contained(b"\x80\x02" + b"}" * 10_000_000, "raw"),
        "directory": wordy(),
    }
    for name, data in bombs.items():
        (tmp_path / f"{name}.p").write_bytes(data)
    code = f"""
        import resource
        from pathlib import Path
        from mammorisk.errors import UserError
        from mammorisk.weights.snapshots import read_torch_state
        used = int(Path("/proc/self/statm").read_text().split()[0]) * {resource.getpagesize()}
        resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
        for path in sorted(Path({str(tmp_path)!r}).glob("*.p")):
            try:
                read_torch_state(path)
            except UserError as error:
                assert path.name in str(error)
                print(path.stem, "refused")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [f"{name} refused" for name in sorted(bombs)]


EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=6)
Edits = list[tuple[float, int, bytes]]


def edited(data: bytes, edits: Edits) -> bytes:
    """Bytes with some cut out and others put in their place, (where as a share, how many, which)."""
    for place, cut, new in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + cut :]
    return data


def with_edited_pickle(data: bytes, edits: Edits) -> bytes:
    """An archive whose pickle alone is edited, all sums right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return zip_of({k: edited(v, edits) if k.endswith("data.pkl") else v for k, v in members.items()})


def check_read_or_refused(data: bytes, path: Path) -> bool:
    """Whether a file is read; nothing but a UserError comes out, and what is read is a state dict."""
    path.write_bytes(data)
    try:
        state = read_torch_state(path).state
    except UserError:
        return False
    assert all(isinstance(tensor, Tensor) for tensor in state.values())
    return True


@pytest.mark.parametrize("what", ["zip", "legacy", "pickle"])
@settings(max_examples=120, deadline=None)
@given(edits=EDITS)
def test_a_changed_snapshot_is_check_read_or_refusedd(what, edits, tmp_path_factory):
    data = with_edited_pickle(SMALL["zip"], edits) if what == "pickle" else edited(SMALL[what], edits)
    check_read_or_refused(data, tmp_path_factory.getbasetemp() / f"fuzzed-{what}.p")


def test_unchanged_snapshots_are_read(tmp_path):
    for data in (*SMALL.values(), with_edited_pickle(SMALL["zip"], [])):
        assert check_read_or_refused(data, tmp_path / "net.p")
