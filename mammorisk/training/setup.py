"""Building a training from its configuration: accelerator, model, data, optimiser, schedules."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import hydra
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from omegaconf import DictConfig
from torch import nn

from mammorisk.caching.features import check_augment
from mammorisk.caching.images import ImageStore
from mammorisk.config import TrainerConfig
from mammorisk.datasets.loaders import EpochSampler, RiskLoader
from mammorisk.datasets.samples import SampleTable
from mammorisk.distributed.errors import raise_on_all_ranks, run_main_first, run_on_all_ranks
from mammorisk.distributed.launch import check_world_size, is_main_rank, world_size
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel, is_frozen, parameter_count
from mammorisk.optim.groups import parameter_groups
from mammorisk.optim.schedules import Schedules
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import LOGGER
from mammorisk.training.cpu_allocator import keep_freed_memory
from mammorisk.training.data_module import SplitData, decode_images, fill_caches, read_splits, split_loader
from mammorisk.training.seeding import seed_everything
from mammorisk.training.stored_config import check_can_be_stored
from mammorisk.training.task import Task


@dataclass
class Split:
    """The samples of one split, their order and their loader."""

    samples: SampleTable
    sampler: EpochSampler
    loader: RiskLoader


@dataclass
class TrainingContext:
    """All objects of a training."""

    config: DictConfig  # of the whole run, for its checkpoints
    trainer: TrainerConfig
    max_grad_norm: float | None  # of the gradients; None: no clipping
    seed: int
    accelerator: Accelerator
    model: nn.Module  # as prepared for several processes; trains
    unwrapped_model: RiskModel  # the model itself; for registration a PairRegistration, which offers the same
    task: Task
    optimizer: Any  # AcceleratedOptimizer
    schedules: Schedules
    augment: Any  # (batch, seed, epoch) -> batch
    train: Split
    val: Split


def build_training(config: DictConfig, files: RunFiles, task: Task) -> TrainingContext:
    """Build all objects, the model before the data, so that its errors show at once. Collective.

    Raises:
        UserError: a part cannot be built as configured.
    """
    accelerator = make_accelerator(config.trainer.mixed_precision, config.trainer.cpu)
    check_world_size(config.trainer.num_processes)
    own = check_can_be_stored(config)
    seed_everything(config.seed, config.trainer.deterministic)
    unwrapped_model = run_main_first(lambda: hydra.utils.instantiate(config.model))
    groups = parameter_groups(unwrapped_model, config.optim.learning_rate, config.optim.encoder_lr_scale)
    augment = hydra.utils.instantiate(config.augment)
    check_augment(unwrapped_model, augment)
    train, val = load_splits(config, unwrapped_model, accelerator, files, task)
    optimizer = hydra.utils.instantiate(config.optim.optimizer)(groups)
    model, optimizer = accelerator.prepare(unwrapped_model, optimizer)
    optim = config.optim
    # Schedules belong to the optimiser itself: prepared ones step once per process (docs/pitfalls.md#p7).
    schedules = Schedules(
        optimizer.optimizer,
        optim.warmup_steps,
        optim.use_scheduler,
        optim.patience_lr_scheduler,
        optim.lr_decay,
        optim.min_lr,
        optim.lr_decay_per_epoch,
    )
    _log_setup(accelerator, unwrapped_model, groups)
    if own:
        LOGGER.info(
            "  its checkpoints name components of your own: they are read with allow_modules=[%s]", ",".join(own)
        )
    _warn_of_encoder(unwrapped_model, config.dataset.orientation)
    for note in step_notes(config, train.sampler):
        LOGGER.warning("%s", note)
    # Dropout differs between processes, initial weights do not.
    seed_everything(config.seed + accelerator.process_index, config.trainer.deterministic)
    return TrainingContext(
        config=config,
        trainer=config.trainer,
        max_grad_norm=optim.max_grad_norm,
        seed=config.seed,
        accelerator=accelerator,
        model=model,
        unwrapped_model=unwrapped_model,
        task=task,
        optimizer=optimizer,
        schedules=schedules,
        augment=augment,
        train=train,
        val=val,
    )


def make_accelerator(mixed_precision: str, cpu: bool) -> Accelerator:
    """The accelerator of this process: a GPU if there is one and ``cpu`` is false. Collective.

    Raises:
        UserError: the device cannot compute in that precision.
    """
    gpus = torch.cuda.device_count()
    too_many = not cpu and 0 < gpus <= int(os.environ.get("LOCAL_RANK", "0"))
    message = f"There are more processes than GPUs ({gpus}): start as many, or set trainer.cpu=true."
    raise_on_all_ranks(UserError(message) if too_many else None)  # an error of one rank alone would not be seen
    without_gpu = not gpus and (world_size() > 1 or torch.backends.mps.is_available())
    AcceleratorState._reset_state(reset_partial_state=True)  # of the job before this one in a sweep
    accelerator = Accelerator(cpu=cpu or without_gpu, mixed_precision=mixed_precision)
    if accelerator.device.type == "cpu":
        if mixed_precision == "fp16":  # Accelerate would silently compute in float32
            raise UserError("trainer.mixed_precision=fp16 does not work on a CPU: choose bf16 or no.")
        keep_freed_memory()
    return accelerator


def load_splits(
    config: DictConfig, model: RiskModel, accelerator: Accelerator, files: RunFiles, task: Task
) -> tuple[Split, Split]:
    """Training and validation samples of the cohort, as the model takes them; logs the attrition. Collective.

    With ``dataset.cache`` the images that it lacks are decoded. If registration or encoder have a cache, the
    displacements and features that it lacks are computed.

    Raises:
        UserError: anything about the cohort that a user has to correct.
    """
    cohort, splits = read_splits(config.dataset, model, ("train", "val"))
    if is_main_rank():
        cohort.attrition.to_csv(files.attrition)
    LOGGER.info("cohort %s: %s\n%s", cohort.name, cohort.csv_file, str(cohort.attrition).rstrip())
    store = decode_images(splits.values(), config.dataset)
    train, val = run_on_all_ranks(
        lambda: [_split(name, data, store, config, accelerator) for name, data in splits.items()]
    )
    for name, split in (("train", train), ("val", val)):
        cases = int(split.samples.cases.sum())
        LOGGER.info("%s: %d samples, %d of them cases", name, len(split.samples), cases)
    without = [split.samples.note(name) for name, split in (("train", train), ("val", val)) if task.needs_cases]
    for note in (*cohort.notes, *without):
        if note:
            LOGGER.warning("%s", note)
    fill_caches(splits.values(), config.dataset, model, accelerator.device)
    return train, val


def _split(name: str, data: SplitData, store: ImageStore | None, config: DictConfig, accelerator: Accelerator) -> Split:
    training = name == "train"
    sampler = EpochSampler(
        len(data.samples),
        config.dataset.batch_size,
        training=training,
        seed=config.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        cases=data.samples.cases,
        class_balance=config.dataset.class_balance if training else None,
        limit=config.trainer.samples_per_epoch if training else config.trainer.validation_samples,
    )
    return Split(
        data.samples, sampler, split_loader(data, sampler, config.dataset, config.seed, accelerator.device, store)
    )


def _log_setup(accelerator: Accelerator, model: RiskModel, groups: list[dict[str, Any]]) -> None:
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


def step_notes(config: DictConfig, sampler: EpochSampler) -> list[str]:
    """Warnings about a batch size, accumulation or warm-up that is larger than the training, and so has no effect."""
    batches, group = sampler.num_batches, config.trainer.gradient_accumulation_steps
    found = []
    if group > batches:
        found.append(
            f"trainer.gradient_accumulation_steps={group} is more than the {batches} batches of an epoch: the "
            "optimiser makes one step an epoch, with the mean gradient of those"
        )
    if sampler.batch_size * sampler.world_size > sampler.length:
        found.append(
            f"dataset.batch_size={sampler.batch_size}, in {sampler.world_size} process(es), is more than the "
            f"{sampler.length} training samples of an epoch: an epoch is one batch"
        )
    steps = -(-batches // group) * config.trainer.num_epochs
    if config.optim.warmup_steps > steps:
        found.append(
            f"optim.warmup_steps={config.optim.warmup_steps} is more than the {steps} steps of this training: its rate "
            "never reaches optim.learning_rate"
        )
    return found


def _warn_of_encoder(model: nn.Module, orientation: str) -> None:
    """Warn if pretrained weights get another orientation (docs/pitfalls.md#p31), or if random ones are frozen."""
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
