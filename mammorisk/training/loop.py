"""The training loop: epochs of training and validation, checkpoints, early stopping."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, nullcontext

import torch
from torch import Tensor

from mammorisk.batch import Batch, RiskOutput
from mammorisk.config import TrainerConfig
from mammorisk.distributed.collectives import broadcast_buffers, share_of_known_years
from mammorisk.distributed.errors import raise_on_all_ranks
from mammorisk.distributed.signals import StopSignals
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import LOGGER
from mammorisk.runs.progress import EpochProgress
from mammorisk.training.checkpoint import TrainingState, resume, save
from mammorisk.training.predictions import Predictions, measures
from mammorisk.training.seeding import random_state
from mammorisk.training.setup import TrainingContext
from mammorisk.training.step_control import StepControl
from mammorisk.training.task import Task
from mammorisk.training.tracking import Tracker

LOOK_AT_LOSS_EVERY = 50  # steps on a GPU; a look waits for the device


def fit(context: TrainingContext, files: RunFiles, tracker: Tracker) -> TrainingState:
    """Train until the last epoch, or until the monitored measure stops rising. Collective.

    Raises:
        UserError: a loss is not finite, an image cannot be read, a checkpoint cannot be written …
        Stopped: SIGTERM, SIGUSR1 or SIGUSR2 came, and the training was saved.
    """
    trainer = context.trainer
    state = resume(context, files)
    tracker.log(state.history)  # a training that continues in another folder brings its rows
    with StopSignals() as signals, ExitStack() as loaders:
        step_control = StepControl(signals, trainer.save_every_minutes)
        for loader in (context.train.loader, context.val.loader):
            loaders.enter_context(loader.in_use(step_control.should_leave))
        while not is_finished(state, trainer):
            started = time.monotonic()
            train_epoch(context, state, files, step_control)
            validation = predict_epoch(context, state, files, step_control)
            end_epoch(context, state, files, validation)
            tracker.log(state.history)
            _log_epoch(context.task, state, trainer.num_epochs, time.monotonic() - started)
    final = [files.last_epoch]
    if state.epochs_without_improvement >= trainer.patience:
        LOGGER.info(
            "stopped early: no better %s for %d epochs",
            context.task.monitor_key.lower(),
            state.epochs_without_improvement,
        )
        final.append(files.early_stopping)
    save(context, state, files, also=final)
    return state


def is_finished(state: TrainingState, trainer: TrainerConfig) -> bool:
    """Whether all epochs are done, or ``trainer.patience`` epochs went by without a better one."""
    return bool(state.epoch >= trainer.num_epochs or state.epochs_without_improvement >= trainer.patience)


def train_epoch(context: TrainingContext, state: TrainingState, files: RunFiles, step_control: StepControl) -> None:
    """Train on what is left of the epoch; outputs are added to ``state.predictions``. Collective."""
    sampler, group = context.train.sampler, context.trainer.gradient_accumulation_steps
    sampler.set_epoch(state.epoch, state.batch)
    batches, left = sampler.num_batches, sampler.num_batches - state.batch
    losses = LossWatch(context.accelerator.device)
    context.model.train()

    def save_checked() -> None:
        raise_on_all_ranks(losses.look())
        save(context, state, files)

    steps = step_control.batches(
        context.train.loader,
        rounds=left,
        save=save_checked,
        can_stop=lambda: state.batch % group == 0 or state.batch == batches,
    )
    with EpochProgress(f"epoch {state.epoch + 1} training", batches, state.batch) as progress:
        for batch in steps:
            ends_group = (state.batch + 1) % group == 0 or state.batch + 1 == batches
            size = min(group, batches - state.batch // group * group)
            output, loss = train_step(context, batch, state.epoch, size, ends_group)
            state.predictions.add(batch, output)
            state.batch += 1
            step_control.error = losses.add(loss, batch.sample_id, last=state.batch == batches)
            progress.advance(len(batch), losses.latest)
    broadcast_buffers(context.unwrapped_model)


def train_step(
    context: TrainingContext, batch: Batch, epoch: int, group_size: int, ends_group: bool
) -> tuple[RiskOutput, Tensor]:
    """Forward, backward and, at the end of a group of accumulated batches, an optimiser step.

    Args:
        context: of the training.
        batch: on the host.
        epoch: number of the epoch, for the augmentation.
        group_size: batches whose gradients are averaged into one step.
        ends_group: whether this is the last of them.

    Returns:
        The output and the loss, a scalar without gradient; both on the device.
    """
    batch = context.augment(batch.to(context.accelerator.device), context.seed, epoch)
    with nullcontext() if ends_group else context.accelerator.no_sync(context.model):
        with context.accelerator.autocast():
            output = context.model(batch)
        loss = context.unwrapped_model.loss(output, batch, share_of_known_years(batch.target_mask))
        context.accelerator.backward(loss / group_size)
    if ends_group:
        if context.max_grad_norm is not None:
            context.accelerator.clip_grad_norm_(context.model.parameters(), context.max_grad_norm)
        context.optimizer.step()
        context.optimizer.zero_grad()
        # fp16 skips a step that overflows; a fused optimiser does not report that.
        if not context.accelerator.optimizer_step_was_skipped:
            context.schedules.step()
    return output, loss.detach()


class LossWatch:
    """Check for losses that are not finite, without waiting for a GPU at every step.

    Args:
        device: of the losses; on a CPU each is checked at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._every = 1 if device.type == "cpu" else LOOK_AT_LOSS_EVERY
        self._pending: list[tuple[Tensor, list[str]]] = []
        self.latest: float | None = None  # mean of the losses checked last

    def add(self, loss: Tensor, sample_id: list[str], last: bool) -> UserError | None:
        """Record a step's loss and samples; return the error to raise if a loss checked now is not finite.

        Args:
            loss: scalar on the device.
            sample_id: of the step.
            last: check all pending losses.
        """
        self._pending.append((loss, sample_id))
        return self.look() if last or len(self._pending) >= self._every else None

    def look(self) -> UserError | None:
        """Wait for the device and check the pending losses; return the error to raise, or None."""
        if not self._pending:
            return None
        values = torch.stack([each for each, _ in self._pending]).tolist()
        pending, self._pending = self._pending, []
        self.latest = sum(values) / len(values)
        for value, (_, names) in zip(values, pending, strict=True):
            if not math.isfinite(value):
                return UserError(
                    f"The training loss is {value} for the batch of the samples {', '.join(names)}.\nNothing was saved "
                    "after it. Look at these images, lower optim.learning_rate or set optim.max_grad_norm=1; "
                    "trainer.resume_from=auto goes on from the last checkpoint."
                )
        return None


@torch.no_grad()
def predict_epoch(
    context: TrainingContext, state: TrainingState, files: RunFiles, step_control: StepControl
) -> Predictions:
    """The model's outputs for this process's validation samples, each sample once. Collective.

    A signal to stop saves the training as it was before the validation; the resumed training repeats it.
    """
    before = random_state()
    predictions = Predictions()
    context.unwrapped_model.eval()
    steps = step_control.batches(
        context.val.loader,
        rounds=context.val.sampler.most_batches,
        save=lambda: save(context, state, files, random=before),
        can_stop=lambda: True,
    )
    with EpochProgress(f"epoch {state.epoch + 1} validation", context.val.sampler.num_batches) as progress:
        for batch in steps:
            batch = batch.to(context.accelerator.device)
            with context.accelerator.autocast():
                # The unwrapped model: processes may have different numbers of batches, with nothing to synchronise.
                predictions.add(batch, context.unwrapped_model(batch))
            progress.advance(len(batch))
    return predictions


def end_epoch(context: TrainingContext, state: TrainingState, files: RunFiles, validation: Predictions) -> None:
    """Measure, record a new best, step the plateau schedule, write checkpoints. Collective; rank 0's numbers count."""
    training = measures(context.task, context.unwrapped_model, context.train.samples, state.predictions)
    measured = measures(context.task, context.unwrapped_model, context.val.samples, validation)
    row = {
        "epoch": float(state.epoch + 1),
        **{_name("Training", "Train", name): value for name, value in training.items()},
        **{_name("Validation", "Val", name): value for name, value in measured.items()},
        "Learning Rate": context.schedules.learning_rate,
    }
    state.history.append(row)
    state.epoch, state.batch = state.epoch + 1, 0
    state.predictions.clear()
    also, reached = [], row[context.task.monitor_key]
    if reached > state.best or (math.isnan(state.best) and not math.isnan(reached)):
        state.best, state.best_epoch, state.epochs_without_improvement = reached, state.epoch, 0
        also.append(files.best)
    else:
        state.epochs_without_improvement += 1
    context.schedules.end_epoch(reached)
    if state.epoch % context.trainer.checkpoint_every == 0:
        also.append(files.periodic(state.epoch))
    save(context, state, files, also)


def _name(long: str, short: str, measure: str) -> str:
    """The column in metrics.csv (docs/training.md#files-of-a-run): Training C-index, but Train Year 1 AUC."""
    return f"{short if measure.endswith('AUC') else long} {measure}"


def _log_epoch(task: Task, state: TrainingState, num_epochs: int, seconds: float) -> None:
    row = state.history[-1]
    LOGGER.info(
        "epoch %d/%d  loss %.4f training, %.4f validation  %s %.3f training, %.3f validation%s  "
        "learning rate %.3g  %.1f s",
        state.epoch,
        num_epochs,
        row[f"Training {task.loss}"],
        row[f"Validation {task.loss}"],
        task.monitor,
        row[f"Training {task.monitor}"],
        row[task.monitor_key],
        " (best)" if state.best_epoch == state.epoch else "",
        row["Learning Rate"],
        seconds,
    )
