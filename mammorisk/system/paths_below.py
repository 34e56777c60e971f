"""Writing below a folder: names that stay in it, whatever a table says and whatever links lie there."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME_MOST, _PATH_MOST = 255, 4095  # bytes, where the file system does not say


class BadName(ValueError):  # noqa: N818
    """A name under which nothing can be written below a folder; the text says why."""


class LeadsOut(BadName):
    """A name that leads out of the folder through a symbolic link."""


def check_name(folder: Path, name: str) -> None:
    """Check a relative name under which a file is to be made; nothing is looked up below ``folder``.

    Raises:
        BadName: it is no UTF-8, holds a control character, is longer than the file system takes, or leads out of the
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
        raise BadName(f"the name has {longest} bytes, and the file system takes {most}: give a shorter one")
    if (length := len(os.fsencode(folder / name))) > _PATH_MOST:
        raise BadName(f"the path has {length} bytes, and the system takes {_PATH_MOST}: give a shorter one")


def check_inside(folder: Path, path: Path) -> None:
    """Check that what is written at ``path`` lands below ``folder``; ``folder`` itself may be a link.

    Raises:
        LeadsOut: a folder between them is a symbolic link that leads elsewhere.
        OSError: a loop of links.
    """
    parent = os.path.realpath(path.parent)
    if not Path(parent).is_relative_to(os.path.realpath(folder)):
        raise LeadsOut(f"leads out of {folder} through a symbolic link, to {parent}")


def _limit(folder: Path, name: str, otherwise: int) -> int:
    """What the file system of a folder, which need not be there yet, says of its names."""
    for place in (folder, *folder.parents):
        try:
            return os.pathconf(place, name) if os.pathconf(place, name) > 0 else otherwise
        except (OSError, ValueError):
            continue
    return otherwise
