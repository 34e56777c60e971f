"""Samples of a cohort's splits for a model, and its caches of images, displacements and features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from mammorisk.caching.displacements import CachedDisplacements, displacement_source, precompute_displacements
from mammorisk.caching.features import CachedFeatures, feature_source, precompute_features
from mammorisk.caching.fill_images import precomputed_images
from mammorisk.caching.images import ImageStore
from mammorisk.config import DatasetConfig
from mammorisk.datasets.cohort import Cohort, load_cohort
from mammorisk.datasets.displacements import DisplacementRequest, DisplacementSource, last_pairs
from mammorisk.datasets.features import FeatureRequest, FeatureSource, shown_rows
from mammorisk.datasets.loaders import EpochSampler, RiskLoader, make_loader
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.distributed.errors import run_main_first, run_on_all_ranks, run_on_main_rank
from mammorisk.models.base import RiskModel
from mammorisk.registration.identity import IdentityRegistration, ZeroDisplacement
from mammorisk.system.worker_limits import checked_workers

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitData:
    """One split of a cohort."""

    table: pd.DataFrame  # of its images
    samples: SampleTable
    displacements: DisplacementSource | None  # where displacements are read; None: the model finds them, or needs none
    features: FeatureSource | None = None  # where features are read; None: the model encodes images
    needs_images: bool = True  # whether the model needs images as well


def read_splits(
    dataset: DatasetConfig, model: RiskModel, names: Sequence[str] = SPLITS
) -> tuple[Cohort, dict[str, SplitData]]:
    """The cohort of ``dataset``, and the samples for ``model`` of each split of ``names``. Collective.

    Raises:
        UserError: anything about the cohort that a user has to correct, a split without samples included.
    """
    cohort = run_on_main_rank(lambda: load_cohort(dataset))  # one table for all ranks, even if the file changes
    tables = {name: cohort.split(name) for name in names}
    samples = {name: build_samples(table, model.inputs, cohort.attrition) for name, table in tables.items()}
    return cohort, run_main_first(
        lambda: {name: with_sources(tables[name], samples[name], dataset, model) for name in names}
    )


def with_sources(table: pd.DataFrame, samples: SampleTable, dataset: DatasetConfig, model: RiskModel) -> SplitData:
    """Samples with the sources of the displacements and features that ``model`` needs.

    Raises:
        UserError: the cohort has no true displacements, features are wanted of an encoder that is trained, or an image
            cannot be read.
    """
    plain = SplitData(table, samples, _displacements(samples, table, dataset, model))
    request = FeatureRequest(table, shown_rows(samples), _size(dataset), dataset.orientation)
    features = feature_source(model, request)
    if features is None:
        return plain
    displacements = plain.displacements
    if displacements is None and isinstance(model.registration_module, IdentityRegistration):
        displacements = ZeroDisplacement(model.field_size(_size(dataset)))
    needs_images = model.registration_module is not None and displacements is None
    return replace(plain, displacements=displacements, features=features, needs_images=needs_images)


def decode_images(splits: Iterable[SplitData], dataset: DatasetConfig) -> ImageStore | None:
    """Decode the images that the store of ``dataset.cache`` lacks, if there is a store. Collective.

    Raises:
        UserError: an image cannot be read, or the disk is or would become full.
    """
    wanted = [(split.samples, split.table) for split in splits if split.needs_images]
    return precomputed_images(dataset, *wanted) if wanted else None


def fill_caches(splits: Iterable[SplitData], dataset: DatasetConfig, model: RiskModel, device: torch.device) -> None:
    """Compute the displacements and features that the caches of registration and encoder lack. Collective.

    Raises:
        UserError: an image cannot be read, or the disk is or would become full.
    """
    splits = list(splits)
    precompute_split_displacements(splits, dataset, model, device)
    sources = [split.features for split in splits if isinstance(split.features, CachedFeatures)]
    if sources:
        encoder = cast(nn.Module, model.encoder_module)  # cached features have one
        precompute_features(sources, encoder, device, _threads(dataset))


def precompute_split_displacements(
    splits: Iterable[SplitData], dataset: DatasetConfig, model: RiskModel, device: torch.device
) -> int:
    """Compute the displacements that the cache of the model's registration lacks, if it has one. Collective.

    Returns:
        How many were computed.

    Raises:
        UserError: an image cannot be read, or the disk is or would become full.
    """
    sources = [split.displacements for split in splits if isinstance(split.displacements, CachedDisplacements)]
    if not sources:
        return 0
    pairs = [pair for source in sources for pair in source.pairs]
    registration = cast(nn.Module, model.registration_module)  # cached displacements have one
    return precompute_displacements(
        sources[0].cache, registration, pairs, sources[0].image_size, device, _threads(dataset)
    )


def split_loader(
    split: SplitData,
    sampler: EpochSampler,
    dataset: DatasetConfig,
    seed: int,
    device: torch.device,
    store: ImageStore | None = None,
) -> RiskLoader:
    """Loader of the split's batches in the order of ``sampler``, for a model on ``device``.

    Args:
        split: the samples.
        sampler: the order of the samples.
        dataset: settings of data and loader.
        seed: of the loader's workers.
        device: of the model.
        store: of decoded images (``decode_images``); None: PNGs are read.
    """
    images = RiskDataset(
        split.samples,
        split.table,
        _size(dataset),
        dataset.orientation,
        split.displacements,
        store,
        split.features,
        split.needs_images,
    )
    return make_loader(images, sampler, dataset.num_workers, device.type == "cuda", seed)


def _displacements(
    samples: SampleTable, table: pd.DataFrame, dataset: DatasetConfig, model: RiskModel
) -> DisplacementSource | None:
    """The source of a split's displacements; None: the model computes them, or needs none."""
    pairs = last_pairs(samples) if model.registration_module is not None else np.empty((0, 2), dtype=np.int64)
    size = _size(dataset)
    request = DisplacementRequest(table, pairs, size, dataset.orientation, model.field_size(size))
    return displacement_source(model.registration_module, request)


def _threads(dataset: DatasetConfig) -> int:
    """Threads that read images. Collective."""
    return run_on_all_ranks(lambda: max(1, checked_workers(dataset.num_workers)))


def _size(dataset: DatasetConfig) -> tuple[int, int]:
    rows, columns = dataset.image_size
    return int(rows), int(columns)
