"""The parts of a training, built from its configuration: accelerator, model, data, optimiser, schedules."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from omegaconf import DictConfig
from torch import nn

from mammorisk.agreement import from_main, together
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.fields import FieldRequest, FieldSource, last_pairs
from mammorisk.datasets.image_filling import filled_store
from mammorisk.datasets.image_store import ImageStore
from mammorisk.datasets.loaders import EpochSampler, RiskLoader, make_loader
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.distributed import check_world_size, is_main_rank, world_size
from mammorisk.errors import UserError
from mammorisk.logs import LOGGER
from mammorisk.models.base import RiskModel, is_frozen, parameter_count
from mammorisk.optim.groups import parameter_groups
from mammorisk.optim.schedules import Schedules
from mammorisk.randomness import seed_everything
from mammorisk.registration.cached import CachedFields, field_source, fill
from mammorisk.run_directory import RunFiles
from mammorisk.task import Task


@dataclass
class Split:
    """The samples of one split and how they are read."""

    samples: SampleTable
    sampler: EpochSampler
    loader: RiskLoader


@dataclass
class Parts:
    """What a training works with."""

    config: DictConfig
    accelerator: Accelerator
    model: nn.Module  # as prepared for several processes; trains
    learner: RiskModel  # the model itself; for registration a PairRegistration, which offers the same
    task: Task
    optimizer: Any  # AcceleratedOptimizer
    schedules: Schedules
    augment: Any  # (batch, seed, epoch) -> batch
    train: Split
    val: Split


def build_parts(config: DictConfig, files: RunFiles, task: Task) -> Parts:
    """Build everything, the model before the data: a mistake in it shows at once. Collective.

    Raises:
        UserError: a part cannot be built as configured.
    """
    accelerator = make_accelerator(config.trainer.mixed_precision, config.trainer.cpu)
    check_world_size(config.trainer.num_processes)
    seed_everything(config.seed, config.trainer.deterministic)
    learner = together(lambda: hydra.utils.instantiate(config.model))
    groups = parameter_groups(learner, config.optim.learning_rate, config.optim.encoder_lr_scale)
    augment = hydra.utils.instantiate(config.augment)
    train, val = load_splits(config, learner, accelerator, files, task)
    optimizer = hydra.utils.instantiate(config.optim.optimizer)(groups)
    model, optimizer = accelerator.prepare(learner, optimizer)
    optim = config.optim
    # Schedules belong to the optimiser itself: prepared ones step once per process (specs: pitfall 7).
    schedules = Schedules(
        optimizer.optimizer,
        optim.warmup_steps,
        optim.use_scheduler,
        optim.patience_lr_scheduler,
        optim.lr_decay,
        optim.min_lr,
    )
    _log_parts(accelerator, learner, groups)
    _warn_of_encoder(learner, config.dataset.orientation)
    # Dropout differs between processes, initial weights do not.
    seed_everything(config.seed + accelerator.process_index, config.trainer.deterministic)
    return Parts(config, accelerator, model, learner, task, optimizer, schedules, augment, train, val)


def make_accelerator(mixed_precision: str, cpu: bool) -> Accelerator:
    """The accelerator of this process: GPU where there is one and ``cpu`` is false.

    Raises:
        UserError: the device cannot compute in that precision.
    """
    gpus = torch.cuda.device_count()
    if not cpu and 0 < gpus <= int(os.environ.get("LOCAL_RANK", "0")):
        raise UserError(f"There are more processes than GPUs ({gpus}): start as many, or set trainer.cpu=true.")
    without_gpu = not gpus and (world_size() > 1 or torch.backends.mps.is_available())
    AcceleratorState._reset_state(reset_partial_state=True)  # of the job before this one in a sweep
    accelerator = Accelerator(cpu=cpu or without_gpu, mixed_precision=mixed_precision)
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":  # it would compute in float32 without a word
        raise UserError("trainer.mixed_precision=fp16 does not work on a CPU: choose bf16 or no.")
    return accelerator


def load_splits(
    config: DictConfig, model: RiskModel, accelerator: Accelerator, files: RunFiles, task: Task
) -> tuple[Split, Split]:
    """Training and validation samples of the cohort, in the form the model asks for; logs who was left out. Collective.

    With ``dataset.cache`` the images that it lacks are decoded; where the registration has a cache, the fields that it
    lacks are computed.

    Raises:
        UserError: anything about the cohort that a user has to mend.
    """
    cohort = from_main(lambda: load_cohort(config.dataset))  # the same table for all, whatever a disk does
    tables = {name: cohort.split(name) for name in ("train", "val")}
    samples = {name: build_samples(table, model.inputs, cohort.attrition) for name, table in tables.items()}
    fields = together(lambda: {name: _fields(samples[name], tables[name], config, model) for name in tables})
    if is_main_rank():
        cohort.attrition.to_csv(files.attrition)
    LOGGER.info("cohort %s: %s\n%s", cohort.name, cohort.csv_file, str(cohort.attrition).rstrip())
    store = filled_store(config.dataset, *((samples[name], tables[name]) for name in tables))
    train, val = (_split(samples[name], tables[name], fields[name], store, config, accelerator) for name in tables)
    for name, split in (("train", train), ("val", val)):
        cases = int(split.samples.cases.sum())
        LOGGER.info("%s: %d samples, %d of them cases", name, len(split.samples), cases)
    without = [split.samples.note(name) for name, split in (("train", train), ("val", val)) if task.needs_cases]
    for note in (*cohort.notes, *without):
        if note:
            LOGGER.warning("%s", note)
    _fill_cache([source for source in fields.values() if isinstance(source, CachedFields)], config, model, accelerator)
    return train, val


def _fields(samples: SampleTable, table: pd.DataFrame, config: DictConfig, model: RiskModel) -> FieldSource | None:
    """Where the displacements of a split's samples are read, if the model need not look for them itself."""
    size = (int(config.dataset.image_size[0]), int(config.dataset.image_size[1]))
    pairs = last_pairs(samples) if model.aligns_by is not None else np.empty((0, 2), dtype=np.int64)
    request = FieldRequest(table, pairs, size, config.dataset.orientation, model.field_size(size))
    return field_source(model.aligns_by, request)


def _fill_cache(sources: list[CachedFields], config: DictConfig, model: RiskModel, accelerator: Accelerator) -> None:
    if sources:
        assert model.aligns_by is not None
        pairs = [pair for source in sources for pair in source.pairs]
        size, threads = sources[0].image_size, max(1, config.dataset.num_workers)
        fill(sources[0].cache, model.aligns_by, pairs, size, accelerator.device, threads)


def _split(
    samples: SampleTable,
    table: pd.DataFrame,
    fields: FieldSource | None,
    store: ImageStore | None,
    config: DictConfig,
    accelerator: Accelerator,
) -> Split:
    dataset, training = config.dataset, bool(table["split"].iloc[0] == "train")
    sampler = EpochSampler(
        len(samples),
        dataset.batch_size,
        training=training,
        seed=config.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        cases=samples.cases,
        class_balance=dataset.class_balance if training else None,
        limit=config.trainer.samples_per_epoch if training else config.trainer.validation_samples,
    )
    images = RiskDataset(samples, table, tuple(dataset.image_size), dataset.orientation, fields, store)
    pin_memory = accelerator.device.type == "cuda"
    return Split(samples, sampler, make_loader(images, sampler, dataset.num_workers, pin_memory, config.seed))


def _log_parts(accelerator: Accelerator, model: RiskModel, groups: list[dict[str, Any]]) -> None:
    count = parameter_count(model)
    LOGGER.info(
        "%s with %s parameters (%s trained), %d process(es) on %s, precision %s",
        type(model).__name__,
        f"{count['total']:,}",
        f"{count['trainable']:,}",
        accelerator.num_processes,
        accelerator.device,
        accelerator.mixed_precision,
    )
    for group in groups:
        LOGGER.info("  %s modules: %d tensors at learning rate %g", group["name"], len(group["params"]), group["lr"])
    for note in model.notes():
        LOGGER.info("  %s", note)


def _warn_of_encoder(model: nn.Module, orientation: str) -> None:
    """Pretrained weights see images as they were trained to (specs: pitfall 31), and random ones have to learn."""
    encoder = getattr(model, "encoder", None)
    known = getattr(encoder, "orientation", None)
    if known is not None and known != orientation:
        LOGGER.warning(
            "the image encoder's weights were trained with orientation %s, and the images come in orientation %s: set "
            "dataset.orientation=%s",
            known,
            orientation,
            known,
        )
    if is_frozen(encoder) and getattr(encoder, "pretrained", "") is None:
        LOGGER.warning(
            "the image encoder is frozen at random weights: give it trained ones, model.encoder.pretrained=PATH, or "
            "train it, model.encoder.freeze=false"
        )
