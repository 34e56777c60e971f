"""Cases of a stranger's file: a folder with the file and with traps, a command over it, and what it must not do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from helpers.audit_hooks import Audited, leaks
from helpers.hostile_checkpoints import mark, prepared

STRANGER = "stranger.pth"  # the file, in the working folder


def new_place() -> Path:
    """The folder of a case, with the working folder ``work`` and traps in it."""
    place = Path(tempfile.mkdtemp(prefix="mammorisk-untrusted-")) / "case"
    prepared(place)
    return place


def assert_nothing_ran(done: Audited, *benign: Audited, allowed: Iterable[str] = ()) -> None:
    """It did nothing that the same command does not do with a benign file, and gave nothing away.

    Args:
        done: the command with the stranger's file.
        benign: the same, or the like, with files that are as they should be.
        allowed: more facts that are expected.
    """
    assert not mark(done.place).exists(), f"a part of the file was run:\n{done.printed}"
    found = leaks(done)
    assert not found, found
    assert "Traceback" not in done.printed, done.printed
    known = set().union(allowed, *(each.facts for each in benign))
    news = "\n".join(sorted(done.facts - known))
    assert not news, f"{news}\n{done.printed}"
    assert not done.removed, done.removed


def assert_refused(
    done: Audited, *benign: Audited, told: str, leaves: Iterable[str] = (), allowed: Iterable[str] = ()
) -> None:
    """It ended with a message that names what was refused, having done and written nothing.

    Args:
        done: the command with the stranger's file.
        benign: as for ``assert_nothing_ran``.
        told: in the message.
        leaves: what is written all the same: a log that tells of it.
        allowed: as for ``assert_nothing_ran``.
    """
    assert done.status == 1, done.printed
    assert told in done.printed, done.printed
    assert_nothing_ran(done, *benign, allowed=allowed)
    assert done.written == set(leaves), done.written


def assert_as_good(done: Audited, benign: Audited, allowed: Iterable[str] = ()) -> None:
    """It did what it does with a benign file, wrote the same files, and followed nothing that the stranger's names."""
    assert done.status == benign.status == 0, done.printed
    assert_nothing_ran(done, benign, allowed=allowed)
    assert done.written == benign.written, done.written ^ benign.written
