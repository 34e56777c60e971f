"""Cases of an untrusted file: a folder with the file and traps, and assertions on a command that reads it."""

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
    """Assert that a command did nothing that it does not do with a benign file, and leaked nothing.

    Args:
        done: the command with the untrusted file.
        benign: the same or a similar command with benign files.
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
    """Assert that a command ended with a message that names the refused part, without any action or written file.

    Args:
        done: the command with the untrusted file.
        benign: as for ``assert_nothing_ran``.
        told: text of the message.
        leaves: files written anyway: a log of the refusal.
        allowed: as for ``assert_nothing_ran``.
    """
    assert done.status == 1, done.printed
    assert told in done.printed, done.printed
    assert_nothing_ran(done, *benign, allowed=allowed)
    assert done.written == set(leaves), done.written


def assert_as_good(done: Audited, benign: Audited, allowed: Iterable[str] = ()) -> None:
    """Assert that a command acted as with a benign file, wrote the same files, and followed no path of the file."""
    assert done.status == benign.status == 0, done.printed
    assert_nothing_ran(done, benign, allowed=allowed)
    assert done.written == benign.written, done.written ^ benign.written
