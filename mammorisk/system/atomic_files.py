"""Files that appear whole or not at all, whatever happens while they are written."""

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
    """A path beside ``path`` to write to; at the end of the block it is flushed and takes the name ``path``.

    A process killed in between, or an exception, leaves the previous file as it was.

    Args:
        path: the file.
        durable: wait until the disk has it. False, for what can be computed again: many times faster for small files,
            but a power cut may leave an empty one.
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
    """Give a finished file a second name, at no cost where the file system has hard links; replaces ``path`` whole."""
    unfinished = _beside(path)
    try:
        unfinished.unlink(missing_ok=True)
        try:
            os.link(source, unfinished)
        except OSError:  # no hard links here
            shutil.copyfile(source, unfinished)
            _flush(unfinished)
        unfinished.replace(path)
        _flush(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what killed processes left half-written in ``folder``."""
    for leftover in folder.glob(".*.unfinished"):
        leftover.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    # Machines that share a folder may give one number to two processes.
    mark = f".{os.getpid()}-{secrets.token_hex(3)}.unfinished"
    room = _LONGEST - 1 - len(mark)  # the longest names have none for a mark
    name = os.fsencode(path.name)[:room].decode("utf-8", "ignore") if len(os.fsencode(path.name)) > room else path.name
    return path.with_name(f".{name}{mark}")


def _flush(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
