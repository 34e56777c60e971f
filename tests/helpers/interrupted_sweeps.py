"""Interrupted real sweeps and their directories."""

from __future__ import annotations

from pathlib import Path

from helpers.training_runs import disturbed, start
from mammorisk.sweeps.record import read_record


def jobs_of(sweep: Path) -> list[Path]:
    """The run directories of a sweep, in the order of its jobs."""
    return [sweep / record.folder for record in read_record(sweep)]


def starts(job: Path) -> int:
    """Number of starts of a job."""
    (log,) = job.glob("*.log")
    return log.read_text().count(", run directory ")


def interrupted(folder: Path, words: list[str], number: int) -> str:
    """End a sweep by a signal after the first epoch of its second job; return its output."""
    return disturbed(
        start(folder, *words), lambda: len(list(folder.glob("outputs/sweep_*/*/metrics.csv"))) == 2, number
    )
