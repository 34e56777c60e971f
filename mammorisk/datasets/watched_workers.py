"""Supervision of a loader's worker processes: messages for dead workers, waits that can be abandoned, a safe end."""

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
_EXIT_SECONDS = 1.0  # time that all workers together have to end by themselves
_DEATH_SECONDS = 1.0  # time until a worker that broke its connection is known to be dead
_alive: weakref.WeakSet[WatchedWorkers] = weakref.WeakSet()


class WaitAbandoned(Exception):  # noqa: N818  not an error
    """End of a wait for a batch, because the process that waits has to stop."""


class WatchedWorkers(_MultiProcessingDataLoaderIter):
    """torch's iterator over the batches of worker processes, with an end to every wait.

    torch raises the death of a worker wherever the training is at that moment, in one process of several. This class
    raises it as a message when the next batch is requested.

    Args:
        loader: of the batches.
        leave: called while a batch is waited for; true abandons the wait.

    Raises:
        UserError: the workers cannot be started.
    """

    def __init__(self, loader: DataLoader[Any], leave: Callable[[], bool]) -> None:
        self._leave, self._lost, self._owner = leave, False, os.getpid()
        _alive.add(self)
        get_temp_dir()  # created here, because this process removes it; killed workers would leave theirs
        if loader.pin_memory:
            threading.excepthook = _record_thread_error
        try:
            super().__init__(loader)
        except (OSError, RuntimeError, MemoryError) as error:
            self._shutdown_workers()
            message = explained_start(error) or self._explained(error)
            raise error if message is None else message from error
        except BaseException:
            self._shutdown_workers()
            raise
        self._forget_pids()

    def _forget_pids(self) -> None:
        """Stop torch's handler of SIGCHLD from raising errors for these workers."""
        if getattr(self, "_worker_pids_set", False):
            signal_handling._remove_worker_pids(id(self))  # type: ignore[attr-defined]
            self._worker_pids_set = False

    def _get_data(self) -> Any:
        """Receive the next result of a worker.

        Raises:
            UserError: a worker has died, or its result cannot be received.
            WaitAbandoned: ``leave`` returned true.
        """
        while True:
            try:
                success, data = self._try_get_data(LOOK_EVERY)  # type: ignore[no-untyped-call]
            except (RuntimeError, OSError, EOFError, MemoryError) as error:
                message = self._explained(error)
                raise error if message is None else message from error
            if success:
                # A worker that sends an error may lack the resources to end by itself.
                self._lost = self._lost or isinstance(data[1], UserError)
                return data
            thread = getattr(self, "_pin_memory_thread", None)
            if thread is not None and not thread.is_alive():
                last = _thread_errors.pop(thread, RuntimeError("the thread that pins memory has ended"))
                raise self._explained(last) or last
            if self._leave():
                raise WaitAbandoned

    def _explained(self, error: BaseException) -> UserError | None:
        """Translate a broken exchange with the workers into a message; None for a defect."""
        until = time.monotonic() + _DEATH_SECONDS
        while True:
            for worker in getattr(self, "_workers", []):
                if worker.exitcode is not None:
                    self._lost = True
                    return death(worker.pid, worker.exitcode)
            if not isinstance(error, OSError | EOFError) or time.monotonic() > until:
                return explained_break(error)
            time.sleep(0.05)

    def _shutdown_workers(self) -> None:
        """End the workers within seconds, even if some hang or a dead one left the queues in a bad state."""
        _alive.discard(self)
        if getattr(self, "_ended", False) or self._owner != os.getpid():  # a forked worker of another loader
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

    def _mark_worker_as_unavailable(self, worker_id: int, shutdown: bool = False) -> None:
        """Note a dead worker. torch also looks at the shared event, whose lock the worker may have died with."""
        self._workers_status[worker_id] = False

    def _ask_to_end(self, workers: list[BaseProcess]) -> None:
        event: Any = self._workers_done_event
        if not event._cond.acquire(timeout=_EXIT_SECONDS):  # its lock died with a worker: the others can only be killed
            return
        event._flag.acquire(False)
        event._flag.release()  # what event.set() does, without a second wait for the lock; nobody waits for the event
        event._cond.release()
        for queue in self._index_queues:
            queue.put(None)
        until = time.monotonic() + _EXIT_SECONDS
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))

    def _end_pinning(self) -> None:
        thread = getattr(self, "_pin_memory_thread", None)
        if thread is not None:
            self._pin_memory_thread_done_event.set()
            with suppress(ValueError, OSError, RuntimeError):  # RuntimeError: no thread can be started at the exit
                self._worker_result_queue.put((None, None))
            thread.join(_EXIT_SECONDS)


def end(workers: list[BaseProcess]) -> None:
    """Kill the workers that still run, and wait for their end. They ignore all other signals."""
    for worker in workers:
        if worker.is_alive():
            worker.kill()
    for worker in workers:
        worker.join(_EXIT_SECONDS)


@atexit.register  # runs before multiprocessing's own handler, which waits for a worker that hangs
def _end_all() -> None:
    for each in list(_alive):
        each._shutdown_workers()


_thread_errors: dict[threading.Thread, BaseException] = {}  # of threads that pin memory
_original_excepthook = threading.excepthook


def _record_thread_error(args: threading.ExceptHookArgs) -> None:
    """Keep the error of a thread that pins memory for the process that waits for its batches; print all others."""
    pinning = [getattr(each, "_pin_memory_thread", None) for each in _alive]
    if args.thread is not None and args.thread in pinning and args.exc_value is not None:
        _thread_errors[args.thread] = args.exc_value
    else:
        _original_excepthook(args)
