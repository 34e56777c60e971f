"""Logging of a run: one console for lines and progress bars, and the log file of the run directory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from rich.text import Text

from mammorisk.distributed.errors import run_on_main_rank
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import Stopped, UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.system.atomic_files import remove_unfinished, whole_file
from mammorisk.system.consoles import PlainConsole
from mammorisk.system.printing import give_up, printable
from mammorisk.version import __version__

CONSOLE = PlainConsole(stderr=True)
LOGGER = logging.getLogger("mammorisk")


class _ConsoleLines(logging.Handler):
    """Handler for log lines on the console, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "bold red" if record.levelno >= logging.ERROR else "yellow" if record.levelno >= logging.WARNING else ""
        try:
            CONSOLE.print(Text(self.format(record), style=style), soft_wrap=True)
        except OSError:  # a full disk behind standard error must not end a training
            give_up(sys.stderr)


class _PlainLines(logging.Formatter):
    """Formatter of a log file, without control characters that a terminal would execute."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def run_log(settings: str, files: RunFiles) -> Iterator[None]:
    """Open a run directory; within the block, the main process logs to the console and appends to the log file.

    Unfinished files of a killed process are removed, and the whole configuration is written.

    Args:
        settings: the run's configuration as YAML.
        files: of the run.
    """
    handlers: list[logging.Handler] = [logging.NullHandler()]
    lock = FileLock(files.folder / ".lock", timeout=1)  # the report of a sweep holds it for a moment to test it
    run_on_main_rank(lambda: _open(settings, files, lock))
    if is_main_rank():
        to_file, to_console = logging.FileHandler(files.log, encoding="utf-8"), _ConsoleLines(logging.INFO)
        to_file.setFormatter(_PlainLines("%(asctime)s %(levelname)s %(message)s"))
        to_console.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        handlers = [to_file, to_console]
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False
    for handler in handlers:
        LOGGER.addHandler(handler)
    try:
        LOGGER.info("mammorisk %s, run directory %s", __version__, files.folder)
        yield
    except (UserError, Stopped) as error:
        LOGGER.debug("ended by: %s", error)
        raise
    except BaseException:
        LOGGER.debug("ended by an exception", exc_info=True)
        raise
    finally:
        lock.release()
        for handler in handlers:
            LOGGER.removeHandler(handler)
            handler.close()


def _open(settings: str, files: RunFiles, lock: FileLock) -> None:
    try:
        lock.acquire()
        remove_unfinished(files.folder)
        with whole_file(files.config) as unfinished:
            unfinished.write_text(settings, encoding="utf-8")
    except Timeout as error:
        raise UserError(
            f"Another process is training in {files.folder} right now. Wait for it, or start a new run without "
            "trainer.resume_from=auto."
        ) from error
    except OSError as error:
        raise UserError(f"The run directory {files.folder} cannot be written to: {error}.") from error
