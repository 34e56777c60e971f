"""Opening of regular files only, for paths from a table, a configuration or a folder.

A named pipe makes ``open`` wait for a writer that may never come, and opening a device may have any effect.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegular(OSError):  # noqa: N818  an OSError like others of a path
    """Path that does not lead to a regular file; it was not opened."""

    def __init__(self, path: str | os.PathLike[str], mode: int) -> None:
        kind = next((kind for test, kind in _KINDS if test(mode)), "no file")
        advice = "; write what comes out of it into a file first" if kind == "a pipe" else ""
        super().__init__(errno.EINVAL, f"expected a regular file, found {kind}{advice}", os.fspath(path))

    def __reduce__(self) -> str | tuple[object, ...]:
        return OSError, self.args  # across processes

    def __str__(self) -> str:
        return str(self.strerror)


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """Return the status of a regular file, links followed; for readers that open it by its path.

    Raises:
        NotRegular: it is a folder, a pipe, a socket or a device.
        OSError: it does not exist or cannot be reached.
        ValueError: the path is impossible.
    """
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise NotRegular(path, found.st_mode)
    return found


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading; a pipe or device put in its place meanwhile is not waited for or read.

    Raises:
        NotRegular, OSError, ValueError: as ``check_regular``.
    """
    check_regular(path)
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            raise NotRegular(path, mode)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Read the bytes of a regular file.

    Raises:
        NotRegular, OSError, ValueError: as ``check_regular``.
    """
    with open_regular(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """Read the text of a regular file in UTF-8.

    Raises:
        NotRegular, OSError: as ``check_regular``.
        ValueError: it is not UTF-8, or the path is impossible.
    """
    return read_regular(path).decode("utf-8")
