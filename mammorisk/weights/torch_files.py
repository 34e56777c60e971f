"""Safe reader of torch files: zip archives, and the older form (a sequence of pickles, then the arrays).

``torch.load`` with ``weights_only`` runs nothing either, but allocates what a file declares and unpacks what is packed.
Here every size is compared with the bytes that the file has before anything is allocated.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import torch
from torch import Tensor

from mammorisk.errors import UserError
from mammorisk.weights.pickle_records import Storage, TensorView, UnsafePickle, printable
from mammorisk.weights.safe_pickle import PICKLE_MOST, Pickle, read_pickle

FILE_MOST = 4 << 30  # bytes; the networks of this field have some 50 MB
DIRECTORY_MOST = 8 << 20  # bytes of a zip archive's directory
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@dataclass
class TorchFile:
    """A torch file that has passed the checks; its arrays are read on demand, while the file is open."""

    content: object  # as the pickle has it, see pickle_records
    container: str  # zip | legacy
    size: int  # bytes of the file
    tensor: Callable[[TensorView], Tensor]  # makes a tensor of its record
    left_out: int = 0  # entries of dicts that were not read, by their keys


class _Arrays(Protocol):
    def read(self, storage: Storage) -> bytearray: ...


def open_torch_file(
    file: BinaryIO, path: Path, refused: Callable[[Path, Exception], UserError] | None = None, numbered: bool = False
) -> TorchFile:
    """Check an open file, and read its pickle.

    Args:
        file: at its beginning, and open as long as tensors are read.
        path: of the file, for messages.
        refused: makes the message for a refused file; ``refusal`` if not given.
        numbered: see ``read_pickle``.

    Raises:
        UserError: it is empty, cut off, no torch file, declares more than it has, or would run code; names which.
    """
    refused = refused or refusal
    try:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise UnsafePickle("is empty (0 bytes)")
        if size > FILE_MOST:
            raise UnsafePickle(f"has {size:,} bytes; a network's file has at most {FILE_MOST:,}")
        is_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        arrays: _ZipArrays | _LegacyArrays = (_ZipArrays if is_zip else _LegacyArrays)(file, size, numbered)
    except (UnsafePickle, OSError) as error:
        raise refused(path, error) from error
    tensors = _tensors_of(arrays, lambda error: refused(path, error))
    return TorchFile(arrays.pickle.content, "zip" if is_zip else "legacy", size, tensors, arrays.pickle.left_out)


def refusal(path: Path, error: Exception) -> UserError:
    """Message for a refused file."""
    return UserError(
        f"Expected a checkpoint (torch or .safetensors) at {path}. This file {error}.\nDownload or copy it again if it "
        "should be a network's weights, and do not use it if it comes from someone you do not know."
    )


class _ZipArrays:
    """The archive torch.save writes: NAME/data.pkl, and the arrays as NAME/data/KEY, all of them uncompressed."""

    def __init__(self, file: BinaryIO, size: int, numbered: bool) -> None:
        self._capped = _Capped(file, DIRECTORY_MOST)
        with _zip_trouble("its directory"):
            self._zip = zipfile.ZipFile(cast(BinaryIO, self._capped))
        self._capped.most = size
        self._members = {info.filename: info for info in self._zip.infolist()}
        self._check_sizes(size)
        found = [name for name in self._members if name.rpartition("/")[2] == "data.pkl"]
        if len(found) != 1:
            raise UnsafePickle("is a zip archive, but not one of torch's (expected one data.pkl in it)")
        self._root = found[0].removesuffix("data.pkl")
        order = self._members.get(f"{self._root}byteorder")
        if order is not None and self._bytes(order) != b"little":
            raise UnsafePickle("was written on a big-endian machine; save it again on another")
        self.pickle = self._read_pickle(self._members[found[0]], numbered)
        for storage in self.pickle.storages.values():
            self._member(storage)

    def read(self, storage: Storage) -> bytearray:
        return self._bytes(self._member(storage))

    def _check_sizes(self, size: int) -> None:
        for name, info in self._members.items():
            if max(info.file_size, info.compress_size) > size:
                raise UnsafePickle(
                    f"is inconsistent: its member {printable(name)} declares {info.file_size:,} bytes, and the "
                    f"whole file has {size:,}"
                )
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
                raise UnsafePickle(f"has a compressed or encrypted member, {printable(name)}; torch writes none")
        total = sum(info.file_size for info in self._zip.infolist())
        if total > size:
            raise UnsafePickle(f"is inconsistent: its members declare {total:,} bytes, and it has {size:,}")

    def _read_pickle(self, info: zipfile.ZipInfo, numbered: bool) -> Pickle:
        if info.file_size > PICKLE_MOST:
            raise UnsafePickle(f"has a pickle of {info.file_size:,} bytes; a network's has a few thousand")
        with _zip_trouble("its pickle"), self._zip.open(info) as member:
            return read_pickle(cast(BinaryIO, member), numbered)

    def _member(self, storage: Storage) -> zipfile.ZipInfo:
        info = self._members.get(f"{self._root}data/{storage.key}")
        wanted = storage.total * storage.dtype.itemsize
        if info is None or info.file_size != wanted:
            has = "it is not there" if info is None else f"it has {info.file_size:,}"
            raise UnsafePickle(f"is damaged (array {printable(storage.key)} should have {wanted:,} bytes, and {has})")
        return info

    def _bytes(self, info: zipfile.ZipInfo) -> bytearray:
        data, at = bytearray(info.file_size), 0
        with _zip_trouble(f"its member {printable(info.filename)}"), self._zip.open(info) as member:
            while chunk := member.read(1 << 20):  # reading to the end checks the check sum
                data[at : at + len(chunk)] = chunk
                at += len(chunk)
        if at != info.file_size:
            raise UnsafePickle(f"is cut off (in its member {printable(info.filename)})")
        return data


class _LegacyArrays:
    """The older form: four pickles (magic number, protocol, machine, content), array keys, then the arrays."""

    def __init__(self, file: BinaryIO, size: int, numbered: bool) -> None:
        self._file = file
        first = read_pickle(file).content
        if first != LEGACY_MAGIC or read_pickle(file).content != LEGACY_PROTOCOL:
            raise UnsafePickle("is no checkpoint of torch's (it lacks torch's first bytes)")
        machine = read_pickle(file).content
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise UnsafePickle("was written on a big-endian machine; save it again on another")
        self.pickle = read_pickle(file, numbered)
        self._places = self._find(read_pickle(file).content, size)

    def read(self, storage: Storage) -> bytearray:
        self._file.seek(self._places[storage.key])
        data = bytearray(storage.total * storage.dtype.itemsize)
        if self._file.readinto(data) != len(data):  # type: ignore[attr-defined]
            raise UnsafePickle("is cut off (its arrays are not all there)")
        return data

    def _find(self, keys: object, size: int) -> dict[str, int]:
        """Where each array begins, from the sizes before them."""
        storages, places = self.pickle.storages, {}
        if not isinstance(keys, list) or len(keys) > len(storages):
            raise UnsafePickle("is damaged (its list of arrays is no list, or too long)")
        for key in keys:
            storage, count = storages.get(key) if isinstance(key, str) else None, self._file.read(8)
            if storage is None or len(count) < 8 or struct.unpack("<q", count)[0] != storage.total:
                raise UnsafePickle("is cut off or damaged (its arrays do not have the sizes in its pickle)")
            places[storage.key] = self._file.tell()
            end = self._file.seek(storage.total * storage.dtype.itemsize, os.SEEK_CUR)
            if end > size:
                raise UnsafePickle(f"is cut off (array {printable(storage.key)} ends at byte {end:,} of {size:,})")
        if places.keys() != storages.keys():
            raise UnsafePickle("is cut off or damaged (some of its arrays are not there)")
        return places


class _Capped:
    """A file for a reader that trusts the sizes it finds: no read of more than ``most`` bytes."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        if count > self.most:
            raise UnsafePickle(f"is inconsistent: a part of it declares {count:,} bytes")
        return self._file.read(self.most if count < 0 else count)


@contextmanager
def _zip_trouble(where: str) -> Iterator[None]:
    """Turn what Python's zip reader raises for damaged archives into one refusal."""
    try:
        yield
    except UnsafePickle:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ArithmeticError) as error:
        raise UnsafePickle(f"is cut off or damaged ({where}: {printable(str(error))})") from error
    except (ValueError, RuntimeError, LookupError, MemoryError, AttributeError, TypeError) as error:
        raise UnsafePickle(f"is damaged ({where}: {printable(str(error))})") from error


def _tensors_of(arrays: _Arrays, refused: Callable[[Exception], UserError]) -> Callable[[TensorView], Tensor]:
    """Function that makes a tensor of its record; tensors of one storage share memory, as in the module."""
    flat: dict[str, Tensor] = {}

    def tensor(view: TensorView) -> Tensor:
        storage = view.storage
        if storage.key not in flat:
            try:
                flat[storage.key] = _array(arrays.read(storage), storage.dtype)
            except (UnsafePickle, OSError) as error:
                raise refused(error) from error
        if not prod(view.size):
            return torch.empty(view.size, dtype=storage.dtype)
        return flat[storage.key].as_strided(view.size, view.stride, storage.start + view.offset)

    return tensor


def _array(data: bytearray, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    if dtype == torch.bool:  # a byte of a file may be neither 0 nor 1
        return torch.frombuffer(data, dtype=torch.uint8) != 0
    return torch.frombuffer(data, dtype=dtype)
