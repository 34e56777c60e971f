"""Opening what a table, a configuration or a folder names: regular files alone.

A named pipe makes ``open`` wait for a writer that may never come, and a device may do anything when opened.
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
    """A path that leads to something else than a regular file; it was not opened."""

    def __init__(self, path: str | os.PathLike[str], mode: int) -> None:
        kind = next((kind for test, kind in _KINDS if test(mode)), "no file")
        advice = "; write what comes out of it into a file first" if kind == "a pipe" else ""
        super().__init__(errno.EINVAL, f"expected a regular file, found {kind}{advice}", os.fspath(path))

    def __reduce__(self) -> str | tuple[object, ...]:
        return OSError, self.args  # across processes

    def __str__(self) -> str:
        return str(self.strerror)


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """What the system knows of a file, links followed; for readers that open it by its path.

    Raises:
        NotRegular: it is a folder, a pipe, a socket or a device.
        OSError: there is none, or it cannot be reached.
        ValueError: no possible path.
    """
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise NotRegular(path, found.st_mode)
    return found


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """A file opened for reading; what stands in its place by then is neither waited for nor read.

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
    """The bytes of a file.

    Raises:
        NotRegular, OSError, ValueError: as ``check_regular``.
    """
    with open_regular(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        NotRegular, OSError: as ``check_regular``.
        ValueError: it is no UTF-8, or no possible path.
    """
    return read_regular(path).decode("utf-8")
