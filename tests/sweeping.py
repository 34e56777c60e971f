"""Real sweeps that are interrupted, and what they leave."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from runs import SECONDS, start

from mammorisk.sweeps.record import read_record


def jobs_of(sweep: Path) -> list[Path]:
    """The run directories of a sweep, in the order of its jobs."""
    return [sweep / record.folder for record in read_record(sweep)]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so while a process runs."""
    for _ in range(10 * SECONDS):
        if condition():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.kill()
    raise AssertionError("it did not come to this")


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
