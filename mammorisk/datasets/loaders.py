"""Loader of batches, with the sampler that orders samples and shares them out to the processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from mammorisk.batch import Batch, collate
from mammorisk.bounds import out_of_bounds
from mammorisk.datasets.loader_failures import explained, send_failures
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.watched_workers import WatchedWorkers
from mammorisk.errors import STOP_SIGNALS, UserError
from mammorisk.runs.logs import LOGGER
from mammorisk.system.worker_limits import check_shared_memory, checked_workers, worker_caveat
from mammorisk.system.worker_pool import end_with

Ints = npt.NDArray[np.int64]


class EpochSampler(Sampler[list[int]]):
    """Sampler of batches of sample numbers, fixed by (seed, epoch) and shared out to the processes.

    A global batch is ``batch_size * world_size`` consecutive samples of the epoch's order; every rank takes each
    ``world_size``-th of them. In training the last global batch is filled up from the start of the order until all
    ranks have equally many samples (metrics count a sample once, by its number). In evaluation no sample is repeated,
    and ranks may differ by one sample.

    Args:
        num_samples: N.
        batch_size: samples per process and step.
        training: shuffle and fill up; else in order, each sample once.
        seed: of the order.
        rank: number of this process.
        world_size: number of processes.
        cases: [N] bool, required for ``class_balance``.
        class_balance: share of cases among the samples of an epoch, whose length stays N: each case (and each
            control, if they must be repeated) is drawn equally often, up to one draw. None: no resampling. The k-th
            draw (from 0) of sample i in an epoch has the number i + k N, so that each draw is augmented differently.
        limit: largest number of samples in an epoch: other ones in each epoch of training, always the same ones,
            evenly spaced, in evaluation. None: all.

    Raises:
        UserError: ``class_balance`` outside (0, 1), or no case or no control to draw.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        training: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        cases: npt.NDArray[np.bool_] | None = None,
        class_balance: float | None = None,
        limit: int | None = None,
    ) -> None:
        given = {"dataset": {"batch_size": batch_size, "class_balance": class_balance}}
        if wrong := list(out_of_bounds(given)):
            raise UserError("\n".join(f"{line}." for line in wrong))
        if class_balance is not None:
            _check_balance(class_balance, cases)
        self.num_samples, self.batch_size, self.training = num_samples, batch_size, training
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.cases, self.class_balance = cases, class_balance
        self.length = num_samples if limit is None else min(limit, num_samples)  # samples of an epoch
        self.epoch = self.start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Set the epoch and its first batch: earlier batches are not read (resuming in mid-epoch)."""
        self.epoch, self.start_batch = epoch, start_batch

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        wide = self.batch_size * self.world_size
        for batch in range(self.start_batch, self.num_batches):
            share = order[batch * wide : (batch + 1) * wide][self.rank :: self.world_size]
            yield share.tolist()

    def __len__(self) -> int:
        """Number of batches in the next iteration."""
        return max(self.num_batches - self.start_batch, 0)

    @property
    def num_batches(self) -> int:
        """Number of batches of a whole epoch on this rank."""
        if self.training:
            return self.most_batches
        mine = len(range(self.rank, self.length, self.world_size))
        return -(-mine // self.batch_size)

    @property
    def most_batches(self) -> int:
        """Number of batches of a whole epoch on the rank with the most."""
        return -(-self.length // (self.batch_size * self.world_size))

    def _order(self) -> Ints:
        """The epoch's samples in order, filled up in training to a multiple of the world size."""
        if not self.training:
            return np.arange(self.length) * self.num_samples // max(self.length, 1)
        random = np.random.default_rng([self.seed, self.epoch])
        if self.class_balance is None or self.cases is None:
            order = random.permutation(self.num_samples)
        else:
            wanted = round(self.class_balance * self.num_samples)
            drawn = _draw_evenly(random, np.flatnonzero(self.cases), wanted)
            controls = _draw_evenly(random, np.flatnonzero(~self.cases), self.num_samples - wanted)
            order = _numbered(random.permutation(np.concatenate([drawn, controls])), self.num_samples)
        filled = -(-self.length // self.world_size) * self.world_size
        return np.resize(order[: self.length], filled)


def make_loader(
    dataset: Dataset[Batch], sampler: EpochSampler, num_workers: int, pin_memory: bool, seed: int
) -> RiskLoader:
    """Build the loader of a dataset's batches in the order of ``sampler``; images are 16-bit until ``Batch.to``.

    Batches are the same, bit for bit, for any number of workers; iterating does not touch torch's global random
    numbers. Workers stay alive between epochs and use one thread each. A user's error in a worker keeps its text,
    without the worker's stack trace. The sampler shares samples out to the ranks itself: do not pass the loader to
    ``accelerator.prepare``.

    Raises:
        UserError: the machine cannot run so many workers, or has no room for their batches.
    """
    _warn(worker_caveat(checked_workers(num_workers)))
    if isinstance(dataset, RiskDataset):
        size = dataset.bytes_of_one * sampler.batch_size
        _warn(check_shared_memory(size, num_workers, sampler.most_batches))
    generator = torch.Generator()
    generator.manual_seed(seed)
    return RiskLoader(
        _Guarded(dataset),
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=_as_it_is,
        worker_init_fn=_init_worker,
        persistent_workers=num_workers > 0,
        generator=generator,
    )


class _Guarded(Dataset[Any]):
    """Dataset that returns a user's error as a value: torch would wrap it in a worker's stack trace."""

    def __init__(self, dataset: Dataset[Batch]) -> None:
        self.dataset = dataset

    def __getitems__(self, indices: Sequence[int]) -> Batch | UserError:
        """Read a whole batch, in one step if the dataset supports that."""
        try:
            if isinstance(self.dataset, RiskDataset):
                return self.dataset.batch(indices)
            return collate([self.dataset[index] for index in indices])
        except (UserError, RuntimeError, OSError, MemoryError) as error:
            why = explained(error) or error  # at the limit of open files, the unreadable file is not at fault
            if isinstance(why, UserError):
                return why
            raise


class RiskLoader(DataLoader[Any]):
    """Loader of batches that raises a worker's user error unchanged and can end its workers.

    Attributes:
        leave: called while the loader waits for a batch; true raises ``WaitAbandoned``.
    """

    leave: Callable[[], bool] = staticmethod(lambda: False)

    def check_worker_number_rationality(self) -> None:
        """Do nothing: ``make_loader`` has already logged a number of workers above the number of cores."""

    def _get_iterator(self) -> Any:
        return WatchedWorkers(self, lambda: self.leave()) if self.num_workers else super()._get_iterator()

    @contextmanager
    def in_use(self, leave: Callable[[], bool]) -> Iterator[None]:
        """Set ``leave`` within the block. Workers that start in the block end with it; earlier ones stay."""
        before, had_workers = self.leave, self._iterator is not None
        self.leave = leave
        try:
            yield
        finally:
            self.leave = before
            if not had_workers:
                self.close()

    def close(self) -> None:
        """End the workers. They ignore the signal by which an exiting process ends its children."""
        if self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined] # torch has no public name for it
            self._iterator = None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


@lru_cache
def _warn(caveat: str | None) -> None:
    """Log a caveat, once per text."""
    if caveat is not None:
        LOGGER.warning("%s", caveat)


def _as_it_is(batch: Any) -> Any:
    return batch


def _init_worker(worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    send_failures()
    end_with(os.getppid())
    # The training process handles a signal to the whole job, and still needs its workers' batches for that.
    for number in (*STOP_SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _check_balance(share: float, cases: npt.NDArray[np.bool_] | None) -> None:
    if cases is None or cases.all() or not cases.any():
        missing = "control" if cases is not None and cases.any() else "case"
        raise UserError(
            f"dataset.class_balance={share}: there is no {missing} among the training samples to draw. Set it to "
            "null, or check the outcomes of the training split."
        )


def _numbered(order: Ints, num_samples: int) -> Ints:
    """Number the draws: sample i at its k-th place in ``order`` becomes i + k * ``num_samples``."""
    by_sample = np.argsort(order, kind="stable")
    first = np.searchsorted(order[by_sample], order[by_sample])  # where the run of equal samples begins
    draw = np.empty_like(order)
    draw[by_sample] = np.arange(len(order)) - first
    return order + draw * num_samples


def _draw_evenly(random: np.random.Generator, members: Ints, wanted: int) -> Ints:
    """Draw ``wanted`` of ``members``: each floor or ceil of wanted / len(members) times."""
    repeats, rest = divmod(wanted, len(members))
    extra = random.choice(members, rest, replace=False)
    return np.concatenate([np.tile(members, repeats), extra])
