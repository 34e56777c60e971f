"""Restoring a training from a checkpoint; each part is checked before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mammorisk.errors import UserError
from mammorisk.training.checkpoint_fields import BadEntry
from mammorisk.training.checkpoint_payload import Payload
from mammorisk.training.optimizer_state import alike, fitting_state
from mammorisk.training.seeding import restore_random_state
from mammorisk.weights.loading import load_weights
from mammorisk.weights.pickle_records import printable

if TYPE_CHECKING:
    from mammorisk.training.setup import TrainingContext


def restore(context: TrainingContext, payload: Payload, path: Path) -> None:
    """Fill model, optimiser, schedules, loss scaler and random generators from a checkpoint.

    Args:
        context: of the training that goes on.
        payload: of the checkpoint, as ``read_payload`` gives it.
        path: of the checkpoint, for messages.

    Raises:
        UserError: an entry does not fit its part of the training; the message names it.
    """
    load_weights(context.unwrapped_model, payload["model"], str(path))
    try:
        _check_progress(context, payload)
        _restore_optimizer(context, payload)
        _restore_random(payload, context.accelerator.process_index)
    except BadEntry as error:
        raise UserError(
            f"The training cannot go on from {path}. {printable(str(error), 300)}.\nTake another checkpoint of it, or "
            "start a new training, trainer.resume_from=null."
        ) from error


def _check_progress(context: TrainingContext, payload: Payload) -> None:
    """Check that epochs, batches and samples exist, and that each epoch has a row with the task's measures."""
    history, task = payload["history"], context.task
    if [row.get("epoch") for row in history] != list(range(1, payload["epoch"] + 1)):
        raise BadEntry(f"history: expected a row for each of {payload['epoch']} epochs, found {len(history)} rows")
    measures = [f"Training {task.loss}", f"Validation {task.loss}", f"Training {task.monitor}", task.monitor_key]
    for i, row in enumerate(history):
        if missing := [name for name in [*measures, "Learning Rate", *history[-1]] if name not in row]:
            raise BadEntry(f"history.{i}.{missing[0]}: it is not there")
        if len(row) != len(history[-1]):
            raise BadEntry(f"history.{i}: expected the measures of the other epochs")
    if payload["batch"] > context.train.sampler.num_batches:
        raise BadEntry(f"batch: expected at most {context.train.sampler.num_batches}, found more")
    for rank, predicted in enumerate(payload["predictions"]):
        seen = predicted["sample"].tolist() if predicted else []
        if seen and not 0 <= min(seen) <= max(seen) < len(context.train.samples):
            raise BadEntry(f"predictions.{rank}.sample: expected numbers below {len(context.train.samples)}")


def _restore_optimizer(context: TrainingContext, payload: Payload) -> None:
    scaler = context.accelerator.scaler
    optimizer = fitting_state(context.schedules.optimizer, payload["optimizer"])
    schedules = alike(context.schedules.state_dict(), payload["schedules"], "schedules")
    context.optimizer.load_state_dict(optimizer)
    context.schedules.load_state_dict(schedules)
    if scaler is not None and payload["scaler"] is not None:
        scaler.load_state_dict(alike(scaler.state_dict(), payload["scaler"], "scaler"))


def _restore_random(payload: Payload, rank: int) -> None:
    try:
        restore_random_state(payload["random"][rank])
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise BadEntry(f"random.{rank}: {str(error).splitlines()[0]}") from error
