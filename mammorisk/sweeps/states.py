"""States of trainings, read from their run directories alone, also while a training runs."""

from __future__ import annotations

import csv
import fcntl
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

from mammorisk.system.regular_files import open_regular

FINISHED, RUNNING, PREEMPTED, FAILED, NOT_STARTED = "finished", "running", "preempted", "failed", "not started"
STATES = (FINISHED, RUNNING, PREEMPTED, FAILED, NOT_STARTED)
MONITORS = ("Validation C-index", "Validation NCC")  # the monitored measures of risk and of registration
_TAIL = 65536  # bytes of a log that are looked at
_LINE = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ ", re.MULTILINE)


@dataclass(frozen=True)
class Progress:
    """State and metrics of a training.

    Attributes:
        state: one of ``STATES``.
        reason: why it is not finished, if known.
        rows: of ``metrics.csv``, by column.
        monitor: the column that decides on the best epoch.
    """

    state: str
    reason: str = ""
    rows: Sequence[dict[str, float]] = field(default_factory=list)
    monitor: str = MONITORS[0]

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch: the first with the highest monitored measure; empty if there is none."""
        known = [row for row in self.rows if math.isfinite(row.get(self.monitor, math.nan))]
        return max(known, key=lambda row: row[self.monitor], default={})


def progress_of(folder: Path) -> Progress:
    """The progress of the training in a run directory, which need not exist or be complete."""
    if not folder.is_dir():
        return Progress(NOT_STARTED)
    rows = _rows(folder / "metrics.csv")
    monitor = next((each for each in MONITORS if rows and each in rows[0]), MONITORS[0])
    found = Progress(FINISHED, "", rows, monitor)
    if is_running(folder):
        return Progress(RUNNING, "", rows, monitor)
    if any(folder.glob("model_*_last_epoch.pth")):  # written last of all
        return found if found.best else Progress(FAILED, "no epoch had a validation measure", rows, monitor)
    started, ending = _ending(folder)
    if not started:
        return Progress(NOT_STARTED, "", rows, monitor)
    if not ending:
        return Progress(PREEMPTED, "killed without a message", rows, monitor)
    return Progress(PREEMPTED if ending.startswith("stopped by") else FAILED, ending, rows, monitor)


def is_running(folder: Path) -> bool:
    """Whether a process trains in a run directory: it holds the lock of the log.

    A shared lock is tried and released at once; a training that starts at this moment waits for it.
    """
    try:
        with open_regular(folder / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or it is not ours to open
        return False
    return False


def _rows(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file; those that cannot be read, and all after them, are left out."""
    found: list[dict[str, float]] = []
    try:
        with TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.append({name: float(value) for name, value in row.items()})
    except (OSError, ValueError, TypeError, csv.Error):  # none yet, or half of one that was copied while it was written
        pass
    return found


def _ending(folder: Path) -> tuple[bool, str]:
    """Whether a training was started, and the first line of the end of its last start; empty if it wrote none."""
    logs = sorted(folder.glob("train_*.log"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return False, ""
    with open_regular(logs[-1]) as file:
        file.seek(max(0, logs[-1].stat().st_size - _TAIL))
        text = file.read().decode("utf-8", errors="replace")
    entries = [entry.strip() for entry in _LINE.split(text) if entry.strip()]
    last = entries[-1] if entries else ""
    if last.startswith("ended by an exception"):
        return True, last.splitlines()[-1]
    return True, last.removeprefix("ended by: ").splitlines()[0] if last.startswith("ended by: ") else ""
