"""Messages for failures of a loader's processes, each with the setting that avoids it.

torch and multiprocessing report such failures in many ways, some only on the terminal. If a worker cannot send a
batch, they print the error and drop the batch, and the training waits for it forever.
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
_NO_DESCRIPTORS = 71  # exit status of a worker that lacks file descriptors to send a batch
_BROKEN = (ConnectionError, EOFError)
_FEWER = f"Load with fewer processes, {KEY}=0 with none"


def explained(error: BaseException) -> UserError | None:
    """Translate an error of a loader or its workers into a message for the user; None for a defect."""
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
    """Translate an error, as ``explained``, that occurred while a loader's processes started."""
    found = explained(error)
    if found is not None:
        return found
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC:  # the semaphores of queues need shared memory
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
    """Translate an error, as ``explained``, in receiving batches from workers that are all alive."""
    found = explained(error)
    if found is None and isinstance(error, _BROKEN):
        return UserError(
            f"The connection to a process of the loader broke ({type(error).__name__}). It may be short of open files "
            f"({descriptors()}; `ulimit -n 4096` raises it) or of memory.\n{_FEWER}."
        )
    return found


def too_many_files() -> UserError:
    """Message for a loader that has reached the limit of open files."""
    return UserError(
        f"Images cannot be loaded: too many files are open ({descriptors()}).\nEach process of the loader and each "
        f"batch on its way takes some: raise the limit with `ulimit -n 4096` before the command. {_FEWER}."
    )


def shared_memory_is_full() -> UserError:
    """Message for a loader that finds shared memory full."""
    return UserError(
        f"Images cannot be loaded: the shared memory through which the loader's processes hand over their batches is "
        f"full ({SHARED_MEMORY}).\n{more_shared_memory()}"
    )


def death(pid: int | None, status: int) -> UserError:
    """Message for a worker that has ended unexpectedly.

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
            f"A process of the loader (process {pid}) was killed: most often because the memory ran out (see dmesg, "
            f"or Slurm's sacct).\n{_FEWER}; a smaller dataset.batch_size needs less memory. "
            "trainer.resume_from=auto goes on from a training's last checkpoint."
        )
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
    return UserError(
        f"A process of the loader (process {pid}) has ended {how}.\n{_FEWER}: the error then shows in the training "
        "itself. trainer.resume_from=auto goes on from a training's last checkpoint."
    )


def send_failures() -> None:
    """Make this worker process send the error in place of a batch that cannot be sent."""
    Queue._on_queue_feeder_error = _send_instead  # type: ignore[attr-defined] # the hook of concurrent.futures
    sys.excepthook = _end_of_handing_out


def _send_instead(queue: Queue[Any], error: Exception, item: tuple[Any, Any]) -> None:
    cause = (type(error), error, error.__traceback__)
    why = explained(error) or ExceptionWrapper(cause, "in a worker, sending a batch")  # type: ignore[no-untyped-call]
    queue.put((item[0], why))


def _end_of_handing_out(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Handle an error in the thread that sends file descriptors to the receiver of a batch.

    Without free descriptors it would try again forever, and the receiver would wait for it.
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        os._exit(_NO_DESCRIPTORS)
    if not isinstance(error, _BROKEN):  # the receiver has ended, and has reported why
        sys.__excepthook__(kind, error, trace)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
