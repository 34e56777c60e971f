"""Loaders of small batches with one sample that makes its worker process fail."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable

import torch
from torch.utils.data import Dataset

from helpers.model_cases import random_batch
from mammorisk.batch import Batch, InputSpec
from mammorisk.datasets.loaders import EpochSampler, RiskLoader, make_loader

ODD = 7  # the sample


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs() -> None:
    time.sleep(1e6)


def ends() -> None:
    os._exit(3)


def breaks_memory() -> None:
    os.kill(os.getpid(), signal.SIGBUS)  # as the kernel where a page of shared memory is not to be had


def opens_no_more() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_descriptor(), most))


def next_descriptor() -> int:
    """Number of the next file that this process opens; with gaps it is less than how many are open."""
    lowest = os.dup(0)
    os.close(lowest)
    return lowest


def is_wrong() -> None:
    raise ZeroDivisionError("a defect")


class Odd(Dataset[Batch]):
    """20 samples."""

    def __init__(self, does: Callable[[], None] | None) -> None:
        self.does = does

    def __getitem__(self, index: int) -> Batch:
        if index == ODD and self.does is not None:
            self.does()
        batch = random_batch(InputSpec("image", exams=1), samples=1, size=(2, 2))
        tensors = {name: value[0] for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
        return Batch(**{**vars(batch), **tensors, "sample": torch.tensor(index)})


def odd_loader(does: Callable[[], None] | None, num_workers: int = 2) -> RiskLoader:
    """A loader of batches of two samples in order, by processes that stay."""
    sampler = EpochSampler(20, 2, training=False)
    return make_loader(Odd(does), sampler, num_workers, pin_memory=False, seed=1)
