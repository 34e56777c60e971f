"""Atomic file writes: a file appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 255  # bytes of a file's name


@contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; at the end of the block its file is flushed and renamed to ``path``.

    An exception or a killed process in between leaves the previous file unchanged.

    Args:
        path: the file.
        durable: wait until the file is on disk. False is for files that can be computed again: many times faster for
            small files, but a power cut may leave an empty one.
    """
    unfinished = _beside(path)
    try:
        yield unfinished
        if durable:
            _flush(unfinished)
        unfinished.replace(path)
        if durable:
            _flush(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def same_file_as(source: Path, path: Path) -> None:
    """Give a finished file a second name by a hard link, or by a copy without hard links; replaces ``path`` whole."""
    unfinished = _beside(path)
    try:
        unfinished.unlink(missing_ok=True)
        try:
            os.link(source, unfinished)
        except OSError:  # the file system has no hard links
            shutil.copyfile(source, unfinished)
            _flush(unfinished)
        unfinished.replace(path)
        _flush(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete the unfinished files of killed processes in ``folder``."""
    for leftover in folder.glob(".*.unfinished"):
        leftover.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    # Random, because two machines that share a folder may have processes of the same number.
    mark = f".{os.getpid()}-{secrets.token_hex(3)}.unfinished"
    room = _LONGEST - 1 - len(mark)  # a name of maximal length is cut to make room for the mark
    name = os.fsencode(path.name)[:room].decode("utf-8", "ignore") if len(os.fsencode(path.name)) > room else path.name
    return path.with_name(f".{name}{mark}")


def _flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
