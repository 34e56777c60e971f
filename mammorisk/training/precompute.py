"""Filling the cache of a registration's fields before any training: once, for all jobs of a sweep."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from mammorisk.distributed.errors import together
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import LOGGER
from mammorisk.training.data_module import fill_field_cache, read_splits
from mammorisk.training.seeding import seed_everything
from mammorisk.training.setup import make_accelerator


def fill_all_splits(config: DictConfig, files: RunFiles) -> int:
    """Compute the fields that the cache of ``config.registration`` lacks, of training, validation and test. Collective.

    Args:
        config: of the risk training that will read them: its model says on which grid it warps.
        files: of the run.

    Returns:
        How many were computed.

    Raises:
        UserError: the model aligns nothing, or anything about the cohort that a user has to mend.
    """
    accelerator = make_accelerator("no", config.trainer.cpu)
    seed_everything(config.seed, config.trainer.deterministic)
    model = together(lambda: hydra.utils.instantiate(config.model))
    if model.aligns_by is None:
        raise UserError(f"{type(model).__name__} aligns no exams: there are no fields to keep for it.")
    cohort, splits = read_splits(config, model)
    if is_main_rank():
        cohort.attrition.to_csv(files.attrition)
    for name, split in splits.items():
        LOGGER.info("%s: %d samples", name, len(split.samples))
    count = fill_field_cache(splits.values(), config, model, accelerator.device)
    LOGGER.info("%d fields computed; trainings with registration.cache=%s read them", count, config.registration.cache)
    return count
