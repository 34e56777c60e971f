"""Precomputing the displacements of a registration, once for all jobs of a sweep."""

from __future__ import annotations

import torch

from mammorisk.config import DatasetConfig
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import LOGGER
from mammorisk.training.data_module import precompute_split_displacements, read_splits


def fill_all_splits(model: RiskModel, dataset: DatasetConfig, files: RunFiles, device: torch.device) -> int:
    """Compute the displacements of train, val and test that the cache of the model's registration lacks. Collective.

    Args:
        model: of the risk training that reads them; it sets the grid of the displacements.
        dataset: settings of the cohort.
        files: of the run.
        device: where the registration computes.

    Returns:
        How many were computed.

    Raises:
        UserError: the model aligns nothing, or anything about the cohort that a user has to correct.
    """
    if model.registration_module is None:
        raise UserError(f"{type(model).__name__} aligns no exams: there are no displacements to compute for it.")
    cohort, splits = read_splits(dataset, model)
    if is_main_rank():
        cohort.attrition.to_csv(files.attrition)
    for name, split in splits.items():
        LOGGER.info("%s: %d samples", name, len(split.samples))
    return precompute_split_displacements(splits.values(), dataset, model, device)
