"""Opening what is to be an ordinary file: nothing that keeps its reader waiting, or never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe: without its writer


def open_regular(path: str | Path) -> BinaryIO:
    """An ordinary file, opened for reading.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a socket or a device.
        ValueError: no possible path.
    """
    descriptor = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("expected an ordinary file, found a folder, a pipe or a device")
    return os.fdopen(descriptor, "rb")
