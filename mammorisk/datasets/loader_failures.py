"""The errors around a loader's processes in words: what happened, and the setting that mends it.

torch and multiprocessing tell of them in many ways, some on the terminal alone: what keeps a worker from sending a
batch is printed and the batch forgotten, for which the training then waits for ever.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Iterator
from multiprocessing.queues import Queue
from types import TracebackType
from typing import Any

from torch._utils import ExceptionWrapper

from mammorisk.errors import UserError
from mammorisk.system.worker_limits import KEY, SHARED_MEMORY, descriptors, more_shared_memory

_SHARED = re.compile(r"shared memory|/torch_\w+>|bus error", re.I)
_FULL = re.compile(r"No space left on device|unable to (allocate|resize|write|open|mmap)|bus error", re.I)
_FILES = re.compile(r"Too many open files|received 0 items of ancdata", re.I)
_MEMORY = re.compile(r"Cannot allocate memory|can't allocate memory|not enough memory", re.I)
_NO_DESCRIPTORS = 71  # exit status of a worker that cannot open what it needs to hand out a batch
_BROKEN = (ConnectionError, EOFError)
_FEWER = f"Load with fewer processes, {KEY}=0 with none"


def explained(error: BaseException) -> UserError | None:
    """The message that an error of a loader or one of its workers is for the user; None where it is a defect."""
    for each in _chain(error):
        number = each.errno if isinstance(each, OSError) else None
        text = str(each)
        if number in (errno.EMFILE, errno.ENFILE) or _FILES.search(text):
            return too_many_files()
        if isinstance(each, MemoryError) or number == errno.ENOMEM or _MEMORY.search(text):
            return UserError(
                f"Images cannot be loaded: the memory has run out.\n{_FEWER}; a smaller dataset.batch_size needs less."
            )
        if _SHARED.search(text) and _FULL.search(text):
            return shared_memory_is_full()
    return None


def explained_start(error: BaseException) -> UserError | None:
    """``explained``, of an error that came while a loader's processes were started."""
    found = explained(error)
    if found is not None:
        return found
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC:  # the semaphores of queues lie in shared memory
        return shared_memory_is_full()
    if number == errno.EAGAIN:
        return UserError(
            f"The loader's processes cannot be started: this user or container may have no more.\n{_FEWER}, or raise "
            "the limit (`ulimit -u`, docker run --pids-limit)."
        )
    if number is not None:
        return UserError(f"The loader's processes cannot be started: {error}.\n{_FEWER}.")
    return None


def explained_break(error: BaseException) -> UserError | None:
    """``explained``, of an error that came while batches were received from workers that are all alive."""
    found = explained(error)
    if found is None and isinstance(error, _BROKEN):
        return UserError(
            f"The connection to a process of the loader broke ({type(error).__name__}). It may be short of open files "
            f"({descriptors()}; `ulimit -n 4096` raises it) or of memory.\n{_FEWER}."
        )
    return found


def too_many_files() -> UserError:
    """The message for a loader that may open no more files."""
    return UserError(
        f"Images cannot be loaded: too many files are open ({descriptors()}).\nEach process of the loader and each "
        f"batch on its way takes some: raise the limit with `ulimit -n 4096` before the command. {_FEWER}."
    )


def shared_memory_is_full() -> UserError:
    """The message for a loader that found no room in shared memory."""
    return UserError(
        f"Images cannot be loaded: the shared memory through which the loader's processes hand over their batches is "
        f"full ({SHARED_MEMORY}).\n{more_shared_memory()}"
    )


def death(pid: int | None, status: int) -> UserError:
    """The message for a worker that ended by itself.

    Args:
        pid: of the worker.
        status: its exit status, negative for a signal.
    """
    if status == _NO_DESCRIPTORS:
        return too_many_files()
    if status == -signal.SIGBUS:
        return shared_memory_is_full()
    if status == -signal.SIGKILL:
        return UserError(
            f"A process of the loader (process {pid}) was killed: most often because the memory ran out (dmesg, or "
            f"Slurm's sacct, tells).\n{_FEWER}; a smaller dataset.batch_size needs less memory. "
            "trainer.resume_from=auto goes on from a training's last checkpoint."
        )
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
    return UserError(
        f"A process of the loader (process {pid}) has ended {how}.\n{_FEWER}: the error then shows in the training "
        "itself. trainer.resume_from=auto goes on from a training's last checkpoint."
    )


def send_failures() -> None:
    """Have this process, a worker, send what keeps a batch from being sent in the place of the batch."""
    Queue._on_queue_feeder_error = _send_instead  # type: ignore[attr-defined] # the hook of concurrent.futures
    sys.excepthook = _end_of_handing_out


def _send_instead(queue: Queue[Any], error: Exception, item: tuple[Any, Any]) -> None:
    cause = (type(error), error, error.__traceback__)
    why = explained(error) or ExceptionWrapper(cause, "in a worker, sending a batch")  # type: ignore[no-untyped-call]
    queue.put((item[0], why))


def _end_of_handing_out(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What becomes of an error in the thread that hands out descriptors to the receiver of a batch.

    Without descriptors it would try again for ever, and the receiver wait for it.
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        os._exit(_NO_DESCRIPTORS)
    if not isinstance(error, _BROKEN):  # the receiver has gone, and has said why
        sys.__excepthook__(kind, error, trace)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
