"""``mammorisk-train``: train a risk model from a configuration, or resume its training."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mammorisk.cli.main import run_command
from mammorisk.config import plain_settings
from mammorisk.config_check import check_config
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles, forget_run


def train(config: DictConfig) -> float:
    """Train a risk model; return the best validation C-index, which a sweep optimises.

    Raises:
        UserError: anything that a user has to correct.
        Stopped: a signal came, and the training was saved.
    """
    files = RunFiles(Path(HydraConfig.get().runtime.output_dir), config.id_training)
    try:
        check_config(config)
    except UserError:
        if is_main_rank():
            forget_run(files.folder)
        raise
    # imported late: help and errors of the configuration need not wait for torch
    from mammorisk.distributed.errors import run_main_first
    from mammorisk.runs.logs import run_log
    from mammorisk.training.loop import fit
    from mammorisk.training.risk import RISK, true_risk_measures
    from mammorisk.training.setup import build_training
    from mammorisk.training.summary import report_training
    from mammorisk.training.tracking import Tracker

    with run_log(OmegaConf.to_yaml(config), files):
        context = build_training(config, files, RISK)
        true_risk = true_risk_measures(context.val.samples)
        settings = plain_settings(config, resolve=True)
        with run_main_first(
            lambda: Tracker(config.tracking, files, settings, RISK, true_risk.get("C-index"))
        ) as tracker:
            state = fit(context, files, tracker)
        return report_training(state, files, true_risk, config.dataset.name, context.unwrapped_model.notes())


def main() -> None:
    """Entry point."""
    run_command(train, "train")


if __name__ == "__main__":
    main()
