"""``mammorisk-register``: train a registration network, score one, or precompute its displacements."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mammorisk.cli.main import run_command
from mammorisk.config import plain_settings
from mammorisk.config_check import check_config
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles, forget_run

ACTIONS, SPLITS = ("train", "evaluate"), ("train", "val", "test")
FILL = "cache"
FILL_RUN = ("hydra.job.name=Displacements_${hydra.runtime.choices.registration}_for_${hydra.runtime.choices.model}",)


def register(config: DictConfig) -> float:
    """Train (returns the best validation NCC, which a sweep optimises) or evaluate (returns NCC after registration).

    Raises:
        UserError: anything that a user has to correct.
        Stopped: a signal came, and the training was saved.
    """
    files = RunFiles(Path(HydraConfig.get().runtime.output_dir), config.id_training, "registration")
    try:
        check_config(config)
        for key, choices in (("action", ACTIONS), ("split", SPLITS)):
            if config[key] not in choices:
                raise UserError(f"{key}={config[key]}: expected {' or '.join(choices)}.")
    except UserError:
        if is_main_rank():
            forget_run(files.folder)
        raise
    # imported late: help and errors of the configuration need not wait for torch
    from mammorisk.distributed.errors import run_main_first
    from mammorisk.runs.logs import run_log
    from mammorisk.training.loop import fit
    from mammorisk.training.registration import REGISTRATION
    from mammorisk.training.setup import build_training
    from mammorisk.training.summary import report_registration
    from mammorisk.training.tracking import Tracker

    with run_log(OmegaConf.to_yaml(config), files):
        if config.action == "evaluate":
            return _evaluate(config, files)
        context = build_training(config, files, REGISTRATION)
        settings = plain_settings(config, resolve=True)
        with run_main_first(lambda: Tracker(config.tracking, files, settings, REGISTRATION)) as tracker:
            state = fit(context, files, tracker)
        return report_registration(state, files, context.unwrapped_model.notes())


def _evaluate(config: DictConfig, files: RunFiles) -> float:
    from mammorisk.distributed.launch import world_size
    from mammorisk.evaluation.registration import ScoringSettings, evaluate_registration
    from mammorisk.runs.logs import LOGGER
    from mammorisk.system.consoles import show
    from mammorisk.training.setup import make_accelerator

    if config.registration.checkpoint is None:
        raise UserError(
            "registration.checkpoint is not set: give the network to evaluate, registration.checkpoint=PATH"
        )
    if world_size() > 1:
        raise UserError("mammorisk-register evaluate works in one process: start it without torchrun.")
    device = make_accelerator("no", config.trainer.cpu).device
    network = hydra.utils.instantiate(config.registration)
    settings = ScoringSettings(config.split, config.pictures, config.bootstrap_samples, config.seed)
    table, scores = evaluate_registration(network, config.dataset, settings, files.folder, device)
    written = f"{files.folder}: scores.json, pair_scores.csv, pairs.png"
    show(table, written, width=110, log=LOGGER)  # intervals are wide, and must not be folded
    return scores["ncc_after"].estimate


def precompute(config: DictConfig) -> int:
    """Compute all displacements that a risk training and its evaluation read; return how many were missing.

    Raises:
        UserError: anything that a user has to correct, a model or registration without a cache included.
    """
    files = RunFiles(Path(HydraConfig.get().runtime.output_dir), config.id_training, "displacements")
    try:
        check_config(config)
        if OmegaConf.select(config, "registration.cache") is None:
            raise UserError(
                "registration.cache is not set: give registration=mammoregnet registration.checkpoint=PATH and the "
                "folder to fill, registration.cache=FOLDER."
            )
    except UserError:
        if is_main_rank():
            forget_run(files.folder)
        raise
    from mammorisk.distributed.errors import run_main_first
    from mammorisk.runs.logs import LOGGER, run_log
    from mammorisk.training.precompute import fill_all_splits
    from mammorisk.training.seeding import seed_everything
    from mammorisk.training.setup import make_accelerator

    with run_log(OmegaConf.to_yaml(config), files):
        device = make_accelerator("no", config.trainer.cpu).device
        seed_everything(config.seed, config.trainer.deterministic)
        model = run_main_first(lambda: hydra.utils.instantiate(config.model))
        count = fill_all_splits(model, config.dataset, files, device)
        LOGGER.info(
            "%d displacements computed; trainings with registration.cache=%s read them",
            count,
            config.registration.cache,
        )
    return count


def main() -> None:
    """Entry point."""
    words = sys.argv[1:]
    if FILL in words:  # displacements depend on model and cohort, so this is the configuration of the risk training
        sys.argv[1:] = [*FILL_RUN, *(word for word in words if word != FILL)]
        run_command(precompute, "train")
        return
    sys.argv[1:] = [f"action={word}" if word in ACTIONS else word for word in words]
    run_command(register, "register")


if __name__ == "__main__":
    main()
