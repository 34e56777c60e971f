"""Filling of a cache of a frozen network's outputs before a training; every process computes a share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from mammorisk.caching.arrays import ArrayEntries
from mammorisk.distributed.errors import run_on_all_ranks, run_on_main_rank
from mammorisk.distributed.launch import rank, world_size
from mammorisk.runs.logs import LOGGER
from mammorisk.runs.progress import EpochProgress


class Source(Protocol):
    """Image or images that an entry is computed from."""

    @property
    def name(self) -> str:
        """Name of the entry."""
        ...

    def load(self, image_size: tuple[int, int]) -> Tensor:
        """Load the images as the models get them, [..., 1, H, W].

        Raises:
            UserError: an image cannot be read.
        """
        ...


@dataclass(frozen=True)
class Computation:
    """Computation of entries from images."""

    network: nn.Module  # frozen; moved to the device
    compute: Callable[[Tensor], Tensor]  # uses the network: images of N sources, [N, ..., 1, H, W] -> [N, *shape]
    image_size: tuple[int, int]  # (H, W) of the images
    batch_size: int  # sources computed together


def precompute(
    cache: ArrayEntries, sources: Sequence[Source], computation: Computation, device: torch.device, threads: int = 1
) -> int:
    """Compute the entries that a cache lacks; each process computes a share. Collective.

    Args:
        cache: to be filled.
        sources: all sources of the training.
        computation: of the entries.
        device: of the computation.
        threads: number of threads that read images.

    Returns:
        Number of entries computed by all processes.

    Raises:
        UserError: an image cannot be read, or the disk is or would become full.
    """
    names = run_on_main_rank(lambda: _wanted(cache, sources, type(computation.network).__name__))
    wanted = set(names)
    todo = list({source.name: source for source in sources if source.name in wanted}.values())
    run_on_all_ranks(lambda: _fill_share(cache, todo, computation, device, threads))
    return len(todo)


def _wanted(cache: ArrayEntries, sources: Sequence[Source], by: str) -> list[str]:
    """List the names of the entries to compute, and log the space they need."""
    missing, damaged = cache.find_missing(list(dict.fromkeys(source.name for source in sources)))
    if damaged:
        LOGGER.warning(
            "%d damaged %s in %s are computed again, as %s", len(damaged), cache.what, cache.folder, damaged[0]
        )
    names = [*missing, *damaged]
    if not names:
        LOGGER.info("%s of all %d %s are in %s", cache.what, len(sources), cache.of, cache.folder)
        return names
    needed = len(names) * cache.entry_bytes
    what = f"{len(names)} of {len(sources)} {cache.what} of {cache.form}, {needed / 1e6:.1f} MB"
    cache.reserve(what, needed)
    LOGGER.info("%s computes %s, to be kept in %s", by, what, cache.folder)
    return names


def _fill_share(
    cache: ArrayEntries, todo: Sequence[Source], computation: Computation, device: torch.device, threads: int
) -> None:
    computation.network.to(device)
    share, size = todo[rank() :: world_size()], computation.batch_size
    batches = [share[start : start + size] for start in range(0, len(share), size)]
    with (
        ThreadPoolExecutor(max(1, threads)) as readers,
        EpochProgress(cache.what, len(batches)) as progress,
    ):
        for batch, images in zip(batches, _read_ahead(batches, computation.image_size, readers), strict=True):
            values = cache.kept(computation.compute(images.to(device)))
            for source, value in zip(batch, values, strict=True):
                cache.write(source.name, value)
            progress.advance(len(batch))


def _read_ahead(
    batches: Sequence[Sequence[Source]], image_size: tuple[int, int], readers: ThreadPoolExecutor
) -> Iterator[Tensor]:
    """Yield the images of each batch, [N, ..., 1, H, W], while the next batch is read."""

    def start(batch: Sequence[Source]) -> list[Future[Tensor]]:
        return [readers.submit(source.load, image_size) for source in batch]

    coming = start(batches[0]) if batches else []
    for after in range(1, len(batches) + 1):
        images, coming = coming, start(batches[after]) if after < len(batches) else []
        yield torch.stack([each.result() for each in images])
