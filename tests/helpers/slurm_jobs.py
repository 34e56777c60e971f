"""Jobs of a real Slurm for tests: submission, states, requeues and signals."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd

T = TypeVar("T")
SECONDS = 240


def slurm(*command: str) -> str:
    """Run a command of Slurm, which must succeed; return its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def job_field(job: str, name: str) -> str:
    """An entry of ``scontrol show job``, such as JobState or Restarts."""
    found = re.search(rf"\b{name}=(\S+)", slurm("scontrol", "show", "job", "--oneliner", job))
    assert found is not None, name
    return found.group(1)


def state(job: str) -> str:
    """State of a job: RUNNING, PENDING, COMPLETED, …"""
    return job_field(job, "JobState")


def wait_until(what: str, look: Callable[[], T | None], seconds: float = SECONDS) -> T:
    """Call ``look`` until it returns a true value, and return that."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"after {seconds:g} s still not: {what}"
        time.sleep(0.1)
    return found


def hurry(job: str) -> None:
    """Wait until a requeued job runs again; Slurm would let it wait for two minutes."""
    wait_until(f"job {job} waits", lambda: state(job) == "PENDING")
    time.sleep(3)  # started at once, it would be refused: its credential was revoked in the same second

    def runs() -> bool:
        now = state(job)
        if now == "PENDING":
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], capture_output=True, timeout=60)
            time.sleep(0.5)
        return now == "RUNNING"

    wait_until(f"job {job} runs again", runs)


def epochs_done(run: Path) -> int:
    """Rows of a run's metrics.csv so far."""
    return len(pd.read_csv(run / "metrics.csv")) if (run / "metrics.csv").exists() else 0


def disturb(job: str, how: str) -> None:
    """Have Slurm requeue a running job, or send it a signal; returns when it runs again."""
    before = int(job_field(job, "Restarts"))
    command = ["scontrol", "requeue", job] if how == "requeue" else ["scancel", f"--signal={how}", job]
    sent = subprocess.Popen(command)
    wait_until(f"job {job} is started again after {how}", lambda: int(job_field(job, "Restarts")) > before)
    sent.kill()  # scancel goes on trying where Slurm is just about to end the job
    sent.wait()
    hurry(job)
