"""Per-sample inference, so that a prediction does not depend on the other samples of its batch.

A matrix product or convolution adds up in an order that depends on the shape of its input and on the number of threads.
So the last bits of a risk change with the size of the batch, in some models even with the place in it. Here a sample is
a batch of its own, computed by one thread; a CPU computes several samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace

import torch

from mammorisk.batch import Batch, RiskOutput
from mammorisk.models.base import RiskModel

Asked = Iterator[tuple[Batch, RiskOutput]]


@contextmanager
def one_at_a_time(model: RiskModel, device: torch.device, at_once: int) -> Iterator[Callable[[Batch], Asked]]:
    """Provide a function from a batch to its samples, in order, each with the model's output for it alone.

    Args:
        model: on ``device``, in eval mode.
        device: where it computes.
        at_once: samples to compute at the same time on a CPU: as many as fit into memory.
    """

    @torch.inference_mode()
    def predict_one(sample: Batch) -> tuple[Batch, RiskOutput]:
        sample = sample.to(device)
        return sample, model(sample)

    if device.type != "cpu":
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield lambda batch: map(predict_one, single_samples(batch))
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        workers = max(1, min(threads, at_once))
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda batch: pool.map(predict_one, single_samples(batch))
    finally:
        torch.set_num_threads(threads)


def single_samples(batch: Batch) -> Iterator[Batch]:
    """The samples of a batch, each as a batch of one."""
    for index in range(len(batch)):
        own = slice(index, index + 1)
        values = {f.name: getattr(batch, f.name) for f in fields(Batch) if f.name != "complete"}
        parts = {name: value[own] for name, value in values.items() if value is not None}
        yield replace(batch, **parts, complete=bool(batch.view_mask[index].all()))
