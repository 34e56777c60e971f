"""Requeueing of a stopped training by Slurm: ``mammorisk-requeue STATUS``, the last line of a batch script.

A training that a signal stopped (a preemption, a coming time-out) saves itself and ends with status 128 + the
signal's number. The batch script passes that status to this command. A job that Slurm already cancels or requeues is
not requeued.
"""

from __future__ import annotations

import os
import subprocess
import sys

from mammorisk.errors import STOP_SIGNALS
from mammorisk.system.printing import prepare_streams, print_error

STATUSES = tuple(128 + number for number in STOP_SIGNALS)
_SECONDS = 60
_MAX_REQUEUES = 1000


def requeue(status: int, max_requeues: int = _MAX_REQUEUES) -> str | None:
    """Requeue this Slurm job if its training was stopped by a signal.

    Args:
        status: the training's exit status.
        max_requeues: limit of restarts of a job.

    Returns:
        Line for the job's log; None if there was nothing to do.
    """
    job = job_id()
    if status not in STATUSES or job is None:
        return None
    state = _ask(["squeue", "--noheader", "--jobs", job, "--format", "%T"])
    if state.stdout.strip() != "RUNNING":  # a user cancels it, or Slurm itself requeues it
        return f"not requeued: Slurm is ending job {job} already ({state.stdout.strip() or state.stderr.strip()})"
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if restarts >= max_requeues:
        return f"not requeued: job {job} has been started again {restarts} times; submit it again with sbatch"
    done = _ask(["scontrol", "requeue", job])
    if done.returncode:
        return f"job {job} could not be requeued: {done.stderr.strip()}\nIts training is saved: submit it again."
    return f"requeued job {job}: the training goes on in the same run directory"


def job_id() -> str | None:
    """Number of this Slurm job for ``scontrol``; in a job array, that of this task alone."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)


def main() -> None:
    """Entry point."""
    prepare_streams()
    numbers = sys.argv[1:]
    if not 1 <= len(numbers) <= 2 or not all(number.isdigit() for number in numbers):
        print_error("usage: mammorisk-requeue STATUS [MAX_REQUEUES]   (the last line of a batch script)")
        sys.exit(2)
    said = requeue(*map(int, numbers))
    if said is not None:
        print_error(f"mammorisk: {said}")


if __name__ == "__main__":
    main()
