"""The processes of a loader, watched: one that dies is a message, a wait can be given up, and all can be ended."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from mammorisk.datasets.loader_failures import death, explained_break, explained_start
from mammorisk.errors import UserError

LOOK_EVERY = 0.5  # seconds between looks at workers and signals while a batch is waited for
_POLITE = 1.0  # seconds that all workers together have to end by themselves
_DYING = 1.0  # seconds in which a worker that broke its connection is seen to be dead
_alive: weakref.WeakSet[WatchedWorkers] = weakref.WeakSet()


class WaitAbandoned(Exception):  # noqa: N818  it is no error
    """A batch was waited for in vain, and whoever waited has been told to stop."""


class WatchedWorkers(_MultiProcessingDataLoaderIter):
    """torch's iterator over the batches of worker processes, with an end to every wait.

    torch raises the death of a worker wherever the training is at that moment, in one process of several. Here it is
    raised where the batch is asked for, and as a message.

    Args:
        loader: whose batches.
        leave: asked while a batch is waited for: whether the wait is to be given up.

    Raises:
        UserError: the workers cannot be started.
    """

    def __init__(self, loader: DataLoader[Any], leave: Callable[[], bool]) -> None:
        self._leave, self._lost, self._owner = leave, False, os.getpid()
        _alive.add(self)
        get_temp_dir()  # of this process, which removes it; killed workers would leave theirs
        if loader.pin_memory:
            threading.excepthook = _note_last_words
        try:
            super().__init__(loader)
        except (OSError, RuntimeError, MemoryError) as error:
            self._shutdown_workers()
            why = explained_start(error) or self._why(error)
            raise error if why is None else why from error
        except BaseException:
            self._shutdown_workers()
            raise
        self._forget_pids()

    def _forget_pids(self) -> None:
        """From now on torch's handler of SIGCHLD raises nothing."""
        if getattr(self, "_worker_pids_set", False):
            signal_handling._remove_worker_pids(id(self))  # type: ignore[attr-defined]
            self._worker_pids_set = False

    def _get_data(self) -> Any:
        """The next answer of a worker.

        Raises:
            UserError: a worker has died, or what it sent cannot be received.
            WaitAbandoned: ``leave`` says so.
        """
        while True:
            try:
                success, data = self._try_get_data(LOOK_EVERY)  # type: ignore[no-untyped-call]
            except (RuntimeError, OSError, EOFError, MemoryError) as error:
                why = self._why(error)
                raise error if why is None else why from error
            if success:
                self._lost = self._lost or isinstance(data[1], UserError)  # its worker may lack what a good end takes
                return data
            thread = getattr(self, "_pin_memory_thread", None)
            if thread is not None and not thread.is_alive():
                last = _last_words.pop(thread, RuntimeError("the thread that pins memory has ended"))
                raise self._why(last) or last
            if self._leave():
                raise WaitAbandoned

    def _why(self, error: BaseException) -> UserError | None:
        """The message for a broken exchange with the workers; None where it is a defect."""
        until = time.monotonic() + _DYING
        while True:
            for worker in getattr(self, "_workers", []):
                if worker.exitcode is not None:
                    self._lost = True
                    return death(worker.pid, worker.exitcode)
            if not isinstance(error, OSError | EOFError) or time.monotonic() > until:
                return explained_break(error)
            time.sleep(0.05)

    def _shutdown_workers(self) -> None:
        """End the workers within seconds, also those that hang, whatever state a dead one left the queues in."""
        _alive.discard(self)
        if getattr(self, "_ended", False) or self._owner != os.getpid():  # a worker of another loader has a copy
            return
        self._ended = self._shutdown = True
        workers: list[BaseProcess] = getattr(self, "_workers", [])
        self._forget_pids()
        if workers and not self._lost and all(worker.exitcode is None for worker in workers):
            self._ask_to_end(workers)
        end(workers)
        self._end_pinning()
        for queue in [*getattr(self, "_index_queues", []), getattr(self, "_worker_result_queue", None)]:
            if queue is not None:
                queue.cancel_join_thread()
                queue.close()

    def _ask_to_end(self, workers: list[BaseProcess]) -> None:
        self._workers_done_event.set()
        for queue in self._index_queues:
            queue.put(None)
        until = time.monotonic() + _POLITE
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))

    def _end_pinning(self) -> None:
        thread = getattr(self, "_pin_memory_thread", None)
        if thread is not None:
            self._pin_memory_thread_done_event.set()
            with suppress(ValueError, OSError):
                self._worker_result_queue.put((None, None))
            thread.join(_POLITE)


def end(workers: list[BaseProcess]) -> None:
    """Kill the workers that still run, and take note of their end. They heed no other signal."""
    for worker in workers:
        if worker.is_alive():
            worker.kill()
    for worker in workers:
        worker.join(_POLITE)


@atexit.register  # runs before multiprocessing's own, which waits for a worker that hangs
def _end_all() -> None:
    for each in list(_alive):
        each._shutdown_workers()


_last_words: dict[threading.Thread, BaseException] = {}  # of threads that pin memory
_others = threading.excepthook  # as it was


def _note_last_words(words: threading.ExceptHookArgs) -> None:
    """Keep the error of a thread that pins memory for whoever waits for its batches; print all others."""
    pinning = [getattr(each, "_pin_memory_thread", None) for each in _alive]
    if words.thread is not None and words.thread in pinning and words.exc_value is not None:
        _last_words[words.thread] = words.exc_value
    else:
        _others(words)
