"""Checkpoints of a training: atomic writing, choice of the one to resume from, exact resumption.

The files: ``checkpoint.py``: write, choose, resume. ``checkpoint_payload.py``: FORMAT and safe reading.
``checkpoint_fields.py``: types of entries. ``checkpoint_restore.py``: put back into a training. ``stored_config.py``:
check of the stored configuration.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf

from mammorisk.config import plain_settings
from mammorisk.distributed.collectives import all_gather_objects
from mammorisk.distributed.errors import run_main_first, run_on_main_rank
from mammorisk.distributed.launch import is_main_rank, world_size
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles, comparable, wants_newest
from mammorisk.runs.logs import LOGGER
from mammorisk.system.atomic_files import same_file_as, whole_file
from mammorisk.system.strict_yaml import read_strict_yaml
from mammorisk.training.checkpoint_payload import FORMAT, OtherFormatError, Payload, read_payload
from mammorisk.training.checkpoint_restore import restore
from mammorisk.training.predictions import Predictions
from mammorisk.training.seeding import random_state
from mammorisk.training.stored_config import storable_config
from mammorisk.version import __version__

if TYPE_CHECKING:
    from mammorisk.training.setup import TrainingContext

# A resumed training may be longer, more patient, and write elsewhere; everything else would make it another one.
_MAY_CHANGE = ("trainer.num_epochs", "trainer.patience", "out_dir", "id_training")


@dataclass
class TrainingState:
    """Progress of a training."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches done of the epoch under way
    best: float = float("nan")  # best value of the monitored measure: validation C-index, or NCC of a registration
    best_epoch: int = 0  # the epoch it was reached in; 0 for none
    epochs_without_improvement: int = 0  # epochs since
    history: list[dict[str, float]] = field(default_factory=list)  # a row per epoch
    predictions: Predictions = field(default_factory=Predictions)  # of the epoch under way, this process's


def save(
    context: TrainingContext,
    state: TrainingState,
    files: RunFiles,
    also: Sequence[Path] = (),
    random: Any | None = None,
) -> None:
    """Write ``resume.pth``, and the same under the names ``also``. Collective; the main process writes.

    ``resume.pth`` gets its name last, so that a resumed training finds all other files of that moment.

    Args:
        context: of the training.
        state: how far it has come.
        files: of the run.
        also: further names.
        random: state of the random number generators to store; None: the present one.

    Raises:
        UserError: the disk is full or not writable; earlier files stay whole.
    """
    payload = _payload(context, state, random)
    run_on_main_rank(lambda: _write(payload, files, also))


def _write(payload: Payload, files: RunFiles, also: Sequence[Path]) -> None:
    try:
        with whole_file(files.resume) as unfinished:
            with unfinished.open("wb") as file:
                torch.save(payload, file)
                file.flush()
                os.fsync(file.fileno())
            for path in also:
                same_file_as(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise UserError(
            f"The checkpoint cannot be written to {files.folder}: {error}.\nEarlier files are whole. Free disk "
            "space (or make the folder writable) and continue with trainer.resume_from=auto."
        ) from error


def _payload(context: TrainingContext, state: TrainingState, random: Any | None) -> Payload:
    scaler = context.accelerator.scaler
    return {
        "format": FORMAT,
        "version": __version__,
        "config": OmegaConf.to_yaml(storable_config(context.config)),
        "model": context.unwrapped_model.state_dict(),
        "optimizer": context.optimizer.state_dict(),
        "schedules": context.schedules.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "epoch": state.epoch,
        "batch": state.batch,
        "global_step": context.schedules.steps,
        "best": float(state.best),
        "best_epoch": state.best_epoch,
        "epochs_without_improvement": state.epochs_without_improvement,
        "history": [{name: float(value) for name, value in row.items()} for row in state.history],
        "world_size": world_size(),
        "samples": {"train": context.train.samples.digest, "val": context.val.samples.digest},
        "random": all_gather_objects(random_state() if random is None else random),
        "predictions": all_gather_objects(state.predictions.state_dict()),
    }


def load_payload(path: Path) -> Payload:
    """A checkpoint's content on the CPU, each entry checked (see ``checkpoint_payload``).

    Raises:
        UserError: no such file, cut off, no checkpoint of ours, or an invalid entry, which the message names.
    """
    return read_payload(path)


def resume(context: TrainingContext, files: RunFiles) -> TrainingState:
    """Restore a training from the checkpoint of ``trainer.resume_from``, or begin a new one. Collective.

    Raises:
        UserError: the checkpoint cannot be read, was made with another configuration or number of processes.
    """
    path = run_on_main_rank(lambda: _wanted(context.trainer.resume_from, files))
    if path is None:
        if wants_newest(context.trainer.resume_from):
            LOGGER.info("no checkpoint in this run directory yet: a new training (hydra.sweep.dir=OLD resumes a sweep)")
        return TrainingState()
    payload = run_main_first(lambda: load_payload(path))
    _check_same_training(path, payload, context)
    run_main_first(lambda: restore(context, payload, path))
    names = ("epoch", "batch", "best", "best_epoch", "epochs_without_improvement", "history")
    state = TrainingState(**{name: payload[name] for name in names})
    state.predictions.load_state_dict(payload["predictions"][context.accelerator.process_index])
    if is_main_rank():
        _bring_best(path, state, files)
    LOGGER.info("resumed from %s: %d epochs and %d batches are done", path, state.epoch, state.batch)
    return state


def _wanted(resume_from: str | None, files: RunFiles) -> Path | None:
    """The checkpoint to go on from, or None for a new training."""
    if wants_newest(resume_from) and (newest := newest_checkpoint(files.folder)) is not None:
        return newest
    if resume_from in (None, "auto"):
        return None
    path = Path(str(resume_from)).expanduser()
    if not path.is_file():
        raise UserError(f"trainer.resume_from: expected a checkpoint's path or auto, but there is no file {path}.")
    return path


def newest_checkpoint(folder: Path) -> Path | None:
    """Choose the checkpoint of a run directory to resume from; None if none can be read.

    It is ``resume.pth`` if that can be read, else the readable ``*.pth`` with the highest (epoch, batch), whatever the
    file's time. The log names those that cannot be read.

    Raises:
        UserError: one is of another version: to begin anew would overwrite a training.
    """
    rolling = folder / "resume.pth"
    usable: list[tuple[int, int, Path]] = []
    for path in [rolling, *sorted(folder.glob("*.pth"))]:
        if path == rolling and usable:
            continue
        try:
            payload = load_payload(path) if path.exists() else None
        except OtherFormatError:
            raise
        except UserError as error:
            LOGGER.warning("%s; looking for an earlier one", error)
            continue
        if payload is not None and path == rolling:
            return path
        if payload is not None:
            usable.append((payload["epoch"], payload["batch"], path))
    return max(usable)[-1] if usable else None


def _check_same_training(path: Path, payload: Payload, context: TrainingContext) -> None:
    if payload["world_size"] != world_size():
        raise UserError(
            f"{path} was written by {payload['world_size']} processes, and this run has {world_size()}. A training "
            "resumes exactly only with as many as before: each has its own random numbers and samples."
        )
    saved = read_strict_yaml(payload["config"], str(path))
    wanted = plain_settings(storable_config(context.config))
    before, now = (_leaves(comparable(each, _MAY_CHANGE)) for each in (saved, wanted))
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if keys:
        lines = "\n".join(f"  {key}: {before.get(key)} then, {now.get(key)} now" for key in keys[:10])
        raise UserError(
            f"{path} was written with another configuration:\n{lines}\nTo continue it, give these values again; for "
            "a new training, leave trainer.resume_from null."
        )
    for name, split in (("train", context.train), ("val", context.val)):
        if payload["samples"][name] != split.samples.digest:
            raise UserError(
                f"{path} was written with other samples in the split '{name}': the cohort has changed since, or other "
                "images could be read. Restore the cohort, or start a new training."
            )


def _leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix.removesuffix("."): node}
    return {key: value for name, part in node.items() for key, value in _leaves(part, f"{prefix}{name}.").items()}


def _bring_best(path: Path, state: TrainingState, files: RunFiles) -> None:
    """Bring the best model along when a training continues in another folder."""
    if not state.best_epoch or files.best.exists():
        return
    for candidate in (path, *path.parent.glob("best_model_*_id-*.pth")):
        found = load_payload(candidate)
        if (found["epoch"], found["batch"], found["best_epoch"]) == (state.best_epoch, 0, state.best_epoch):
            same_file_as(candidate, files.best)
            return
    LOGGER.warning("the best model of epoch %d is not beside %s and could not be brought along", state.best_epoch, path)
