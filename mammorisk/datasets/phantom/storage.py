"""Folder of a phantom on disk: created atomically, once, by one process at a time."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mammorisk.errors import UserError
from mammorisk.system.printing import print_error

_UNFINISHED = ".phantom-unfinished"


def make_folder(folder: Path, is_made: Callable[[], bool], fill: Callable[[Path], None]) -> bool:
    """Let ``fill`` write into a temporary folder that is renamed to ``folder`` when it is whole.

    Args:
        folder: missing, empty or (``is_made``) already complete.
        is_made: whether ``folder`` is complete; called again after a wait for another process.
        fill: writes all files into the given folder.

    Returns:
        Whether it was made now.

    Raises:
        UserError: the disk is full, or cannot be written to.
    """
    try:
        return not is_made() and _make(folder, is_made, fill)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk of {folder.parent} is full. Nothing was kept of {folder}.") from error
        raise UserError(
            f"{folder} cannot be written to: {error}.\nA phantom cohort needs a writable folder: name another folder, "
            "or make this one writable."
        ) from error


def _make(folder: Path, is_made: Callable[[], bool], fill: Callable[[Path], None]) -> bool:
    """Make the folder as ``make_folder``; raises OSError if the disk refuses it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if is_made():
            return False
        remove_leftovers(folder.parent, folder.name)
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}-{os.urandom(3).hex()}{_UNFINISHED}")
        unfinished.mkdir()
        try:
            fill(unfinished)
            unfinished.replace(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return True


def remove_leftovers(parent: Path, own: str | None = None) -> None:
    """Delete unfinished folders of killed processes in ``parent``; this process holds the lock of the name ``own``."""
    for leftover in parent.glob(f".*{_UNFINISHED}"):
        name = leftover.name[1 : -len(_UNFINISHED)].rpartition(".")[0]
        if name == own:
            shutil.rmtree(leftover, ignore_errors=True)
            continue
        lock = FileLock(_lock_file(parent / name))
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)
        except Timeout:  # its writer is alive
            continue


def require_space(folder: Path, needed: int, advice: str) -> None:
    """Raise UserError unless the disk of ``folder`` has ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"The phantom cohort may need {needed / 1e9:.1f} GB, but {folder.parent} has {free / 1e9:.1f} GB free.\n"
            f"{advice}"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``; the system releases it if this process is killed."""
    lock = FileLock(_lock_file(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print_error(f"Another process is writing {folder}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")
