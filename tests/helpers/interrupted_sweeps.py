"""Real sweeps that are interrupted, and what they leave."""

from __future__ import annotations

from pathlib import Path

from helpers.training_runs import SECONDS, start, wait_for
from mammorisk.sweeps.record import read_record


def jobs_of(sweep: Path) -> list[Path]:
    """The run directories of a sweep, in the order of its jobs."""
    return [sweep / record.folder for record in read_record(sweep)]


def starts(job: Path) -> int:
    """How often a job was started."""
    (log,) = job.glob("*.log")
    return log.read_text().count(", run directory ")


def interrupted(folder: Path, words: list[str], number: int) -> tuple[str, int]:
    """What a sweep printed that got a signal after the first epoch of its second job, and its status."""
    process = start(folder, *words)
    wait_for(lambda: len(list(folder.glob("outputs/sweep_*/*/metrics.csv"))) == 2, process)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=SECONDS)
    return printed, process.returncode
