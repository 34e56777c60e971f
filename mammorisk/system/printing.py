"""Text for people: what other people's files say reaches a terminal or a log as text, and a lost stream ends no work.

Everything this package prints goes through ``print_out``, ``tell`` or ``deliver`` (or ``mammorisk.system.consoles``).
"""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
import unicodedata
import warnings
from pathlib import Path
from types import TracebackType
from typing import TextIO

from mammorisk.errors import UserError

_UNUSUAL = re.compile(r"[^\x20-\x7e]")
_LINES = "\n\t"


def printable(text: str) -> str:
    r"""The text with its lines, and ``\x1b`` for ESC: no control, direction, zero-width or half character is left.

    A byte of a file name that is no UTF-8 (half a surrogate, in Python) becomes ``\xff``.
    """
    return _UNUSUAL.sub(lambda found: found[0] if found[0] in _LINES else _shown(found[0]), text)


def cited(value: object, most: int | None = None) -> str:
    """A value of a file's, for a message: in one line, no character of it hidden, cut after ``most`` letters."""
    text = str(value)
    cut = text if most is None or len(text) <= most else f"{text[:most]}…"
    return _UNUSUAL.sub(lambda found: _shown(found[0]), cut)


def _shown(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) == "Zs":
        return letter
    code = ord(letter)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else letter.encode("unicode_escape").decode()


def prepare_streams() -> None:
    """Make the process's streams such that no text ends it; the start of every command.

    What their encoding lacks is escaped. A stream that was closed is one to nowhere: else the next file that is opened
    would get its number, and what is printed. Stack traces and warnings are made printable, too. Nothing that the
    process creates is for all users of the machine: files tell of patients.
    """
    os.umask(os.umask(0o077) | 0o007)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _tell_defect
    if warnings.formatwarning is not _format_warning:
        _FORMATTERS.append(warnings.formatwarning)
        warnings.formatwarning = _format_warning


def print_out(text: str) -> None:
    """Print what a command has done, which its files hold; standard output that is full or closed ends nothing."""
    write_safe(printable(text) + "\n")


def tell(text: str) -> None:
    """Print on standard error, if it can be written to."""
    _write(sys.stderr, printable(text) + "\n")


def deliver(text: str) -> None:
    """Print what was asked for and stands nowhere else.

    Raises:
        UserError: standard output is full or closed.
    """
    deliver_safe(printable(text))


def write_safe(text: str) -> None:
    """As ``print_out``, of text that is printable already, ANSI sequences of our own included; no line end is added."""
    lost = _write(sys.stdout, text)
    if lost:
        tell(f"mammorisk: standard output cannot be written to ({lost}). The files are written, nothing else is lost.")


def deliver_safe(text: str) -> None:
    """As ``deliver``, of text that is printable already.

    Raises:
        UserError: standard output is full or closed.
    """
    lost = _write(sys.stdout, text)
    if lost:
        raise UserError(f"Standard output cannot be written to ({lost}): what was asked for is lost. Mend it, or out=.")


def flush_output() -> None:
    """Have standard output written, at the end of a command: Hydra's answers (``--cfg job``) stand nowhere else.

    Raises:
        UserError: as ``deliver``.
    """
    deliver_safe("")


def give_up(stream: TextIO | None) -> None:
    """Send what goes to a stream that failed to nowhere: Python would try again, and fail, as the process ends."""
    try:
        number = stream.fileno() if stream is not None else -1
        if number >= 0:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
    except (OSError, ValueError):  # no stream of the system's
        return


def _write(stream: TextIO | None, text: str) -> str:
    """Write and flush; why that failed, or nothing. A reader that has enough (``| head``) is no failure."""
    if stream is None or getattr(stream, "name", "") == os.devnull:
        return "it is closed" if text else ""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        give_up(stream)
    except (OSError, ValueError) as error:  # ValueError: closed by this process
        give_up(stream)
        return str(getattr(error, "strerror", None) or error)
    return ""


_FORMATTERS = list[object]()  # warnings' own


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    formatter = _FORMATTERS[0]
    text = formatter(message, category, filename, lineno, line) if callable(formatter) else str(message)
    return printable(str(text))


def _tell_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    tell("".join(traceback.format_exception(kind, error, trace)).rstrip())
