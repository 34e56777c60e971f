"""Limits of this machine for the number of worker processes or threads, checked before any starts.

torch is not imported, so that mistakes in a configuration are reported at once.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mammorisk.errors import UserError

KEY = "dataset.num_workers"
PER_CORE = 16  # more processes per core are surely a mistake
SHARED_MEMORY = Path("/dev/shm")  # used by torch and Python on Linux
PREFETCH = 2  # batches that each process of a loader prepares ahead: torch's default
_OF_A_WORKER = 8  # descriptors of a process in each of two loaders: a queue, and the pipes that signal its end
_OF_A_BATCH = 32  # descriptors of the tensors of one batch in transfer, at both ends


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_problem(num_workers: int, key: str = KEY) -> str | None:
    """Describe why this machine cannot run a number of processes; None if it can.

    Args:
        num_workers: processes that this process starts.
        key: the setting of the number.
    """
    most = PER_CORE * cores()
    if num_workers > most:
        return f"{key}={num_workers}: expected at most {most}, {PER_CORE} for each of the {cores()} cores here"
    limit, needed = _descriptor_limit(), _OF_A_WORKER * num_workers + _OF_A_BATCH
    if key == KEY and num_workers > 0 and limit is not None and _open_now() + needed > limit:
        return (
            f"{key}={num_workers} needs {needed} open files beside the {_open_now()} of now, and the limit is {limit}: "
            "raise it with `ulimit -n 4096` before the command, or load with fewer processes, dataset.num_workers=0 "
            "with none"
        )
    return None


def checked_workers(num_workers: int, key: str = KEY) -> int:
    """Return ``num_workers`` if this machine can run so many.

    Raises:
        UserError: they are too many for the cores or the limit of open files.
    """
    problem = worker_problem(num_workers, key)
    if problem is not None:
        raise UserError(f"{problem}.")
    return num_workers


def worker_caveat(num_workers: int) -> str | None:
    """Caveat about a number of processes that is possible but does not help; None if there is none."""
    if num_workers <= cores():
        return None
    return (
        f"{KEY}={num_workers} processes share {cores()} core{'s' if cores() > 1 else ''}: {KEY}={cores()} is as fast "
        "and takes less memory"
    )


def check_shared_memory(batch_bytes: int, num_workers: int, batches: int) -> str | None:
    """Compare the size of a loader's batches with the free shared memory.

    Args:
        batch_bytes: of one batch.
        num_workers: processes of the loader.
        batches: of an epoch.

    Returns:
        A caveat: the first batches fit, but not all that can be in transfer at a time. None if all fit, or if the
        system keeps shared memory elsewhere.

    Raises:
        UserError: not even one batch of each process fits.
    """
    if num_workers == 0 or not SHARED_MEMORY.is_dir():
        return None
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # training processes that share it, from torchrun
    least = here * batch_bytes * min(num_workers, batches)
    most = here * batch_bytes * min(PREFETCH * num_workers + 1, batches)
    free = shutil.disk_usage(SHARED_MEMORY).free
    need = f"{KEY}={num_workers}: batches of {_megabytes(batch_bytes)} pass through shared memory"
    room = f"{SHARED_MEMORY} has {_megabytes(free)} free"
    if least > free:
        raise UserError(f"{need}, {_megabytes(least)} at a time at least, and {room}.\n{more_shared_memory()}")
    if most > free:
        return f"{need}, up to {_megabytes(most)} at a time, and {room}: the run may end there. {more_shared_memory()}"
    return None


def more_shared_memory() -> str:
    """Remedies for a lack of shared memory, for messages."""
    return (
        "Give the container more (docker run --shm-size=8g), set a smaller dataset.batch_size or fewer "
        f"{KEY}; {KEY}=0 needs none."
    )


def descriptors() -> str:
    """Limit of open files as text, for messages."""
    limit = _descriptor_limit()
    return "no limit is set" if limit is None else f"the limit is {limit}"


def _descriptor_limit() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _open_now() -> int:
    """Number of files that this process has open; 0 if the system does not report it."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1  # noqa: PTH208  the listing itself is one
        except OSError:
            continue
    return 0


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"
