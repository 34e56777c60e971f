"""Checks of paths below a folder: a name from a table, or a symbolic link, must not lead out of the folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME_MOST, _PATH_MOST = 255, 4095  # bytes, if the file system gives no limit


class BadName(ValueError):  # noqa: N818
    """Name under which no file can be written below a folder; the text gives the reason."""


class LeadsOut(BadName):
    """Name that leads out of the folder through a symbolic link."""


def check_name(folder: Path, name: str) -> None:
    """Check a relative name for a new file, without a look at the files below ``folder``.

    Raises:
        BadName: it is not UTF-8, holds a control character, is too long for the file system, or leads out of the
            folder by itself.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadName("the name is not UTF-8, and no table could name it: rename the file") from None
    if re.search(r"[\x00-\x1f\x7f]", name):
        raise BadName("the name holds a control character: rename the file")
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BadName("expected a name below the folder")
    most = _limit(folder, "PC_NAME_MAX", _NAME_MOST)
    longest = max(len(os.fsencode(part)) for part in path.parts)
    if longest > most:
        raise BadName(f"the name has {longest} bytes, and the file system allows {most}: give a shorter one")
    if (length := len(os.fsencode(folder / name))) > _PATH_MOST:
        raise BadName(f"the path has {length} bytes, and the system allows {_PATH_MOST}: give a shorter one")


def check_inside(folder: Path, path: Path) -> None:
    """Check that a file written at ``path`` is below ``folder``; ``folder`` itself may be a link.

    Raises:
        LeadsOut: a folder between them is a symbolic link that leads elsewhere.
        OSError: the links form a loop.
    """
    parent = os.path.realpath(path.parent)
    if not Path(parent).is_relative_to(os.path.realpath(folder)):
        raise LeadsOut(f"leads out of {folder} through a symbolic link, to {parent}")


def _limit(folder: Path, name: str, otherwise: int) -> int:
    """Limit of the file system of a folder, which need not exist yet."""
    for place in (folder, *folder.parents):
        try:
            return os.pathconf(place, name) if os.pathconf(place, name) > 0 else otherwise
        except (OSError, ValueError):
            continue
    return otherwise
