"""Safe printing: control characters of untrusted text are escaped, and a closed or full stream ends no command.

Everything this package prints goes through ``print_out``, ``print_error`` or ``print_result`` (or
``mammorisk.system.consoles``).
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
    r"""Escape all control, direction, zero-width and surrogate characters, as ``\x1b`` for ESC; line ends stay.

    A byte of a file name that is not UTF-8 (a lone surrogate in Python) becomes ``\xff``.
    """
    return _UNUSUAL.sub(lambda found: found[0] if found[0] in _LINES else _shown(found[0]), text)


def cited(value: object, most: int | None = None) -> str:
    """Format a value from a file for a message: in one line, all characters visible, cut after ``most`` characters."""
    text = str(value)
    cut = text if most is None or len(text) <= most else f"{text[:most]}…"
    return _UNUSUAL.sub(lambda found: _shown(found[0]), cut)


def _shown(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) == "Zs":
        return letter
    code = ord(letter)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else letter.encode("unicode_escape").decode()


def prepare_streams() -> None:
    """Prepare the process's streams so that no text ends it; every command starts with this.

    Characters that the encoding lacks are escaped. A closed stream is opened on the null device: otherwise the next
    opened file would get its descriptor, and the printed text. Stack traces and warnings become printable, too. New
    files are not readable by other users of the machine, because they hold data of patients.
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
    """Print a result that files also hold; a full or closed standard output does not end the command."""
    write_safe(printable(text) + "\n")


def print_error(text: str) -> None:
    """Print on standard error, if it is writable."""
    _write(sys.stderr, printable(text) + "\n")


def print_result(text: str) -> None:
    """Print a result that no file holds.

    Raises:
        UserError: standard output is full or closed.
    """
    print_result_safely(printable(text))


def write_safe(text: str) -> None:
    """Print like ``print_out`` text that is already printable, may hold our ANSI sequences, and has its line ends."""
    lost = _write(sys.stdout, text)
    if lost:
        print_error(
            f"mammorisk: standard output cannot be written to ({lost}). The files are written, nothing else is lost."
        )


def print_result_safely(text: str) -> None:
    """Print like ``print_result`` text that is already printable.

    Raises:
        UserError: standard output is full or closed.
    """
    lost = _write(sys.stdout, text)
    if lost:
        raise UserError(f"Standard output cannot be written to ({lost}): the result is lost. Redirect it, or set out=.")


def flush_output() -> None:
    """Flush standard output at the end of a command: no file holds Hydra's output (``--cfg job``).

    Raises:
        UserError: as ``print_result``.
    """
    print_result_safely("")


def give_up(stream: TextIO | None) -> None:
    """Redirect a failed stream to the null device: else Python would fail again when the process ends."""
    try:
        number = stream.fileno() if stream is not None else -1
        if number >= 0:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
    except (OSError, ValueError):  # not a stream of the operating system
        return


def _write(stream: TextIO | None, text: str) -> str:
    """Write and flush; return the reason of a failure, or "". A pipe closed by its reader (``| head``) is none."""
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


_FORMATTERS = list[object]()  # the original formatter of warnings


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    formatter = _FORMATTERS[0]
    text = formatter(message, category, filename, lineno, line) if callable(formatter) else str(message)
    return printable(str(text))


def _tell_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print_error("".join(traceback.format_exception(kind, error, trace)).rstrip())
