"""Checked cache entries on disk: one file each, in a folder named after a hash of the record they depend on.

Any number of workers, processes and jobs may read and fill a folder at once. An entry appears whole or not at all,
two processes that compute one entry write the same bytes, and a damaged entry counts as missing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import joblib
import xxhash

from mammorisk.errors import UserError
from mammorisk.runs.logs import LOGGER
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.regular_files import open_regular, read_regular

T = TypeVar("T")
HEADER = struct.Struct("<4sIQQ")  # mark, checksum of the folder's record, length of the body, checksum of the body
_MARK = b"MRE1"
_SMALL = 2**17  # bytes | entries up to this size are read whole when all are checked
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ABANDONED = 24 * 3600.0  # seconds after which an unfinished file counts as left by a killed process


class DamagedEntry(Exception):  # noqa: N818
    """Entry that is cut off, altered, or copied from another folder."""


class Entries(ABC, Generic[T]):
    """Folder of cache entries; a subclass defines how a value becomes bytes and back.

    Args:
        folder: base folder, which several caches may share.
        record: everything the entries depend on besides their names, as plain values.
    """

    setting: str  # key of the base folder on the command line
    advice: str  # setting that does without the cache
    suffix: str  # of the files, with its dot
    record_name: str  # file in the folder that holds the record
    needed: tuple[str, ...] = ("setting", "advice", "suffix", "record_name")  # texts that a subclass sets

    def __init__(self, folder: str | Path, record: Mapping[str, Any]) -> None:
        kind = type(self)
        for name in self.needed:
            if not isinstance(getattr(kind, name, None), str) or not getattr(kind, name):
                raise TypeError(f"{kind.__name__}.{name}: expected a text; a subclass of Entries sets it")
        if not self.suffix.startswith(".") or Path(self.record_name).name != self.record_name:
            raise TypeError(
                f"{kind.__name__}: expected a suffix with its dot and a record_name without folders, found "
                f"{self.suffix!r} and {self.record_name!r}"
            )
        text = json.dumps(record, sort_keys=True).encode()
        self._record, self._begin = record, (_MARK, zlib.crc32(text))
        self.folder = Path(folder).expanduser().absolute() / hashlib.sha256(text).hexdigest()[:16]

    @abstractmethod
    def encode(self, value: T) -> bytes:
        """Encode a value as bytes."""

    @abstractmethod
    def decode(self, body: memoryview) -> T:
        """Decode a value from bytes whose checksum is right; ValueError if they hold no such value."""

    def path(self, name: str) -> Path:
        """File of an entry; the first two letters of its name are those of one of 256 folders.

        Raises:
            ValueError: the name is not at least three letters or digits and could lead out of the folder.
        """
        if len(name) < 3 or not name.isalnum():
            raise ValueError(f"{type(self).__name__}: expected three letters or digits at least, found {name!r}")
        return self.folder / name[:2] / f"{name}{self.suffix}"

    def read(self, name: str) -> T | None:
        """Read the value of an entry; None if it is missing.

        Raises:
            DamagedEntry: it exists but is not whole.
        """
        path = self.path(name)
        try:
            content = read_regular(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedEntry(f"{path}: {error}") from error
        body = memoryview(content)[HEADER.size :]
        if not content.startswith(HEADER.pack(*self._begin, len(body), xxhash.xxh3_64_intdigest(body))):
            raise DamagedEntry(f"{path} is damaged")
        try:
            return self.decode(body)
        except ValueError as error:
            raise DamagedEntry(f"{path} is damaged: {error}") from error

    def write(self, name: str, value: T) -> None:
        """Write a value.

        Raises:
            UserError: the folder cannot be written to, or the disk is full.
        """
        body = self.encode(value)
        self._write(self.path(name), HEADER.pack(*self._begin, len(body), xxhash.xxh3_64_intdigest(body)) + body)

    def get_or_compute(self, name: str, compute: Callable[[], T]) -> T:
        """Read an entry; a missing or damaged one is computed, and written if that is possible."""
        value: T | None = None
        try:
            value = self.read(name)
        except DamagedEntry as error:
            LOGGER.warning("%s; it is computed again", error)
        if value is None:
            value = compute()
            try:
                self.write(name, value)
            except UserError as error:  # the training goes on with the computed value
                LOGGER.warning("%s", error)
        return value

    def reserve(self, what: str, needed: int) -> None:
        """Prepare the folder: write its record and check the free disk space.

        Args:
            what: description of the entries, for the message.
            needed: bytes.

        Raises:
            UserError: as ``write``; the disk lacks space.
        """
        self._write(self.folder / self.record_name, (json.dumps(self._record, indent=2) + "\n").encode())
        for leftover in self.folder.glob("??/.*.unfinished"):  # of a killed process
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _ABANDONED:
                    leftover.unlink()
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.setting}={self.folder.parent}: {what}, are to be kept there, but the disk has "
                f"{free / 1e6:.1f} MB free. Make room, name another folder, or set {self.advice}."
            )

    def find_missing(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Find the missing and the damaged entries, in their order; parallel threads check all.

        Of large entries (terabytes together) only the header and the length are checked here, the rest when they are
        read.
        """
        looks = joblib.Parallel(n_jobs=-1, prefer="threads")(
            joblib.delayed(self._look)(names[start : start + 512]) for start in range(0, len(names), 512)
        )
        found = [each for look in looks for each in look]
        pairs = list(zip(names, found, strict=True))
        return [n for n, f in pairs if f == "missing"], [n for n, f in pairs if f == "damaged"]

    def _look(self, names: Sequence[str]) -> list[str]:
        found = []
        for name in names:
            try:
                length = self.check_header(name)
                is_there = length is not None and (length > _SMALL or self.read(name) is not None)
                found.append("whole" if is_there else "missing")
            except DamagedEntry:
                found.append("damaged")
        return found

    def check_header(self, name: str) -> int | None:
        """Length of an entry whose header and length are right; None if it is missing."""
        path = self.path(name)
        try:
            with open_regular(path) as file:
                begin, length = file.read(HEADER.size), file.seek(0, os.SEEK_END)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedEntry(f"{path}: {error}") from error
        if len(begin) < HEADER.size or HEADER.unpack(begin)[:3] != (*self._begin, length - HEADER.size):
            raise DamagedEntry(f"{path} is damaged")
        return length

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path, durable=False) as unfinished:
                unfinished.write_bytes(content)
        except OSError as error:
            what = "The disk is full" if error.errno in _FULL else f"It cannot be written to ({error})"
            raise UserError(
                f"{self.setting}={self.folder.parent}: {what}. What was kept so far stays good. Make room, name "
                f"another folder, or set {self.advice}."
            ) from error
