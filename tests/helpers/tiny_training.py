"""Context of a tiny training, built in this process from its composed configuration."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from helpers.composed_configs import composed
from helpers.training_runs import TINY
from mammorisk.distributed.signals import StopSignals
from mammorisk.runs.directory import RunFiles
from mammorisk.training.checkpoint import TrainingState, resume, save
from mammorisk.training.loop import train_epoch
from mammorisk.training.risk import RISK
from mammorisk.training.setup import TrainingContext, build_training
from mammorisk.training.step_control import StepControl

logging.getLogger("mammorisk").addHandler(logging.NullHandler())


def tiny_config(*overrides: str) -> DictConfig:
    """The configuration of a tiny run, as the command line composes it."""
    return composed(*TINY, *overrides)


def tiny_parts(folder: Path, *overrides: str) -> tuple[TrainingContext, RunFiles]:
    """Training context and files of a tiny run with ``folder`` as run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    files = RunFiles(folder)
    return build_training(tiny_config(*overrides), files, RISK), files


def assert_goes_on_with(folder: Path, kept: list[str], *others: list[str]) -> tuple[TrainingContext, RunFiles]:
    """Context and files of a training of one epoch with the settings ``kept``, resumed with each of ``others``."""
    context, files = tiny_parts(folder / "one", *kept)
    state = TrainingState()
    train_epoch(context, state, files, undisturbed())
    save(context, state, files)
    for words in others:
        again, other_files = tiny_parts(folder / "two", *words, f"trainer.resume_from={files.resume}")
        assert resume(again, other_files).batch == state.batch > 0
    return context, files


def undisturbed() -> StepControl:
    """Step control that never requests a save or a stop."""
    return StepControl(StopSignals(), save_every_minutes=1e9)
