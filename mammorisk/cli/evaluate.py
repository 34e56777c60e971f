"""``mammorisk-evaluate``: all measures of a trained model on a split of a cohort, with files and a page."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mammorisk.cli.main import run_command
from mammorisk.config import quoted
from mammorisk.config_check import check_numbers
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import forget_run
from mammorisk.system.printing import print_error

_EXAMPLE = "mammorisk-evaluate outputs/RUN"


def evaluate(config: DictConfig) -> float:
    """Evaluate, write all files and print the headline numbers; returns the C-index.

    Raises:
        UserError: anything that a user has to correct.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        check_numbers(config)
        place = _place(config)
        # imported late: help and errors of the configuration need not wait for torch
        from mammorisk.distributed.errors import run_main_first
        from mammorisk.evaluation.api import evaluate_trained
        from mammorisk.evaluation.evaluation_files import PAGE, EvaluationFiles
        from mammorisk.evaluation.settings import check_split
        from mammorisk.evaluation.terminal_tables import caveats, evaluation_tables, print_lines
        from mammorisk.evaluation.trained_checkpoint import load_trained
        from mammorisk.runs.logs import run_log

        check_split(config.split)
        settings = settings_of(config)
        trained = run_main_first(lambda: load_trained(place, config.which, settings.allow_modules))
    except UserError:
        if is_main_rank():
            forget_run(folder)
        raise
    number = trained.config.id_training if config.id_training is None else config.id_training
    files = EvaluationFiles(folder, number, split=config.split)
    with run_log(OmegaConf.to_yaml(config), files):
        metrics, _ = evaluate_trained(trained, config.split, settings, folder)
        if is_main_rank():
            names = ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix in (".csv", ".json")))
            notes = caveats(metrics["groups"]["all"])
            print_lines(
                evaluation_tables(metrics), *notes, f"{folder}: {names}, {files.log.name}", f"  open {folder / PAGE}"
            )
    found = metrics["groups"]["all"]["measures"]["C-index"]["estimate"]
    return float("nan") if found is None else float(found)


def settings_of(config: DictConfig) -> Any:
    """The settings of an evaluation among those of a command.

    Raises:
        UserError: one is out of range.
    """
    from mammorisk.evaluation.settings import EvaluationSettings

    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    known = {each.name for each in fields(EvaluationSettings)}
    return EvaluationSettings.of({str(key): value for key, value in plain.items() if key in known})


def as_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into paths (no ``=``) and other words; ``dataset=NAME`` becomes ``cohort=NAME``."""
    places = [word for word in words if "=" not in word and not word.startswith(("-", "~"))]
    after_option = {words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--cfg", "-c", "--package", "-p")}
    places = [word for word in places if word not in after_option]
    others = [re.sub(r"^dataset=", "cohort=", word) for word in words if word not in places]
    return places, others


def main() -> None:
    """Entry point."""
    places, others = as_overrides(sys.argv[1:])
    if len(places) > 1:
        print_error(f"\nExpected one run or checkpoint; found {' '.join(places)}.\n")
        print_error("mammorisk-compare RUN_A RUN_B compares runs.")
        sys.exit(1)
    kind = "checkpoint" if places and places[0].endswith(".pth") else "run"
    sys.argv[1:] = [*(f"{kind}={quoted(place)}" for place in places), *others]
    run_command(evaluate, "evaluate")


def _place(config: DictConfig) -> str:
    given = [value for value in (config.checkpoint, config.run) if value is not None]
    if len(given) != 1:
        found = "neither" if not given else "both"
        raise UserError(f"Expected checkpoint=PATH or run=RUN_DIR, found {found}. For example\n  {_EXAMPLE}")
    return str(given[0])


if __name__ == "__main__":
    main()
