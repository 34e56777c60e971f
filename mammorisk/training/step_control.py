"""Synchronise all ranks before each batch: raise a user error, stop on a signal, or save.

All ranks know each decision before any of them continues, so none waits for one that has left (docs/pitfalls.md#p6).
The exchange is one small reduction between hosts; it does not wait for a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mammorisk.batch import Batch
from mammorisk.datasets.watched_workers import WaitAbandoned
from mammorisk.distributed.errors import raise_on_all_ranks
from mammorisk.distributed.launch import is_main_rank, world_size
from mammorisk.distributed.signals import StopSignals
from mammorisk.errors import Stopped, UserError

T = TypeVar("T")
PATIENCE = 10.0  # seconds to wait, after a signal, for the rest of a group of accumulated batches


class StepControl:
    """The exchange between the ranks of a training.

    Args:
        signals: of this process.
        save_every_minutes: how often the main process asks for a save; 0 asks before every batch.
    """

    def __init__(self, signals: StopSignals, save_every_minutes: float) -> None:
        self._signals, self._interval = signals, 60.0 * save_every_minutes
        self._last_save = time.monotonic()
        self.error: UserError | None = None  # found by this process; the next exchange raises it everywhere
        self._can_stop: Callable[[], bool] = lambda: False
        self._abandoned = False  # a wait for a batch

    def batches(
        self, loader: Iterable[Batch], rounds: int, save: Callable[[], None], can_stop: Callable[[], bool]
    ) -> Iterator[Batch]:
        """The batches of ``loader``, with an exchange before each one.

        Args:
            loader: this process's batches.
            rounds: number of exchanges, the same on all processes and at least the number of batches.
            save: saves the training as it stands. Collective.
            can_stop: whether a save or a stop is possible before the coming batch; the same on all processes.

        Raises:
            UserError: any process had one; the same on all.
            Stopped: a signal came, and the training was saved.
        """
        iterator, self._can_stop = iter(loader), can_stop
        for _ in range(rounds):
            batch = self._next(iterator)
            self.sync(save, can_stop())
            if batch is not None:
                yield batch
        self.sync(save, can_stop())

    def should_leave(self) -> bool:
        """Whether to stop waiting for a batch: a signal came, and no group of batches is incomplete.

        The training cannot be saved within a group of accumulated batches; there the wait lasts ``PATIENCE`` seconds.
        """
        since = self._signals.since
        return since is not None and (self._can_stop() or time.monotonic() - since > PATIENCE)

    def sync(self, save: Callable[[], None], can_stop: bool = True) -> None:
        """Exchange once: raise the error of any rank; save or stop if one asks for it. Collective."""
        due = is_main_rank() and time.monotonic() - self._last_save >= self._interval
        own = (self.error is not None, self._signals.received or 0, due, self._abandoned)
        failed, signal_number, save_now, abandoned = self._highest(*own)
        if failed:
            raise_on_all_ranks(self.error)
        if can_stop and (save_now or signal_number):
            save()
            self._last_save = time.monotonic()
        if signal_number and (can_stop or abandoned):
            raise Stopped(signal_number, saved=can_stop)

    def _next(self, iterator: Iterator[Batch]) -> Batch | None:
        try:
            return next(iterator, None)
        except UserError as error:
            self.error = error
        except WaitAbandoned:
            self._abandoned = True
        return None

    @staticmethod
    def _highest(*values: int) -> list[int]:
        if world_size() == 1:
            return list(values)
        import torch

        highest = torch.tensor([int(value) for value in values])
        torch.distributed.all_reduce(highest, torch.distributed.ReduceOp.MAX)
        return [int(value) for value in highest]
