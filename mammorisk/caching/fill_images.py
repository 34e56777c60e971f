"""Filling of the image cache before the first epoch; every process decodes a share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import joblib
import numpy as np
import pandas as pd

from mammorisk.caching.images import ImageStore
from mammorisk.config import DatasetConfig
from mammorisk.datasets.image_identity import image_identities
from mammorisk.datasets.samples import SampleTable
from mammorisk.distributed.errors import run_on_all_ranks, run_on_main_rank
from mammorisk.distributed.launch import rank, world_size
from mammorisk.errors import UserError
from mammorisk.runs.logs import LOGGER
from mammorisk.runs.progress import EpochProgress
from mammorisk.system.worker_limits import checked_workers

BATCH = 16  # images between two steps of the progress bar


def precomputed_images(dataset: DatasetConfig, *splits: tuple[SampleTable, pd.DataFrame]) -> ImageStore | None:
    """Fill the image cache ``dataset.cache`` with all images of some splits; None for ``none``. Collective.

    Args:
        dataset: folder, size of the images, and ``num_workers``, the number of threads that fill it.
        splits: samples and the cohort table they were built from.

    Raises:
        UserError: an image cannot be read, the disk is or would become full, or this machine cannot run so many
            threads.
    """
    if dataset.cache in (None, "none"):
        return None
    threads = run_on_all_ranks(lambda: max(1, checked_workers(dataset.num_workers)))
    files = sorted({file for samples, table in splits for file in _files(samples, table)})
    identities = run_on_main_rank(lambda: image_identities(files))
    store = ImageStore(dataset.cache, (int(dataset.image_size[0]), int(dataset.image_size[1])), identities)
    precompute_images(store, threads)
    return store


def precompute_images(store: ImageStore, threads: int = 1) -> int:
    """Decode the images that a store lacks and write them to it. Collective.

    Args:
        store: to be filled with all of its images.
        threads: number of threads that decode.

    Returns:
        Number of images that were missing, of all processes.

    Raises:
        UserError: an image cannot be read, or the disk is or would become full.
    """
    todo = run_on_main_rank(lambda: _wanted(store))
    run_on_all_ranks(lambda: _fill_share(store, todo[rank() :: world_size()], threads))
    return len(todo)


def _files(samples: SampleTable, table: pd.DataFrame) -> list[str]:
    rows = np.unique(samples.images[samples.images >= 0])
    files: list[str] = table["file"].to_numpy(dtype=object)[rows].tolist()
    return files


def _wanted(store: ImageStore) -> list[str]:
    """List the files whose entries are missing, and log the space they need."""
    files = {store.name(file): file for file in store.identities}  # equal images have one entry
    missing, damaged = store.find_missing(list(files))
    if damaged:
        LOGGER.warning("%d damaged images in %s are decoded again, as %s", len(damaged), store.folder, damaged[0])
        for name in damaged:
            with suppress(OSError):
                store.path(name).unlink()
    todo = [files[name] for name in (*missing, *damaged)]
    if not todo:
        LOGGER.info("all %d images are in %s", len(files), store.folder)
        return todo
    needed = sum(store.bytes_needed(file) for file in todo)
    what = f"{len(todo)} of {len(files)} images of {store.size[0]} x {store.size[1]}, about {needed / 1e6:.1f} MB"
    store.reserve(what, needed)
    LOGGER.info("%s, are decoded and kept in %s", what, store.folder)
    return todo


def _fill_share(store: ImageStore, files: Sequence[str], threads: int) -> None:
    # In random order, so that jobs that fill one store at the same time share the work.
    files = random.Random().sample(files, len(files))
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    work = joblib.Parallel(threads, prefer="threads", return_as="generator_unordered")
    with EpochProgress("decoding images", len(batches)) as progress:
        for done in work(joblib.delayed(_keep)(store, batch) for batch in batches):
            progress.advance(done)


def _keep(store: ImageStore, files: Sequence[str]) -> int:
    for file in files:
        if store.path(store.name(file)).is_file():
            continue  # another job has written it
        try:
            pixels = store.decoded(file)
        except UserError as error:
            advice = "dataset.on_error=skip leaves out images that cannot be read, and counts them."
            raise UserError(f"{error}\n{advice}") from error
        store.write(store.name(file), pixels)
    return len(files)
