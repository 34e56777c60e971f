"""``mammorisk-compare``: models on the same exams, measure by measure, with paired intervals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mammorisk.cli.evaluate import as_overrides, settings_of
from mammorisk.cli.main import run_command
from mammorisk.config import quoted
from mammorisk.config_check import check_numbers
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import forget_run

_EXAMPLE = "mammorisk-compare outputs/RUN_A outputs/RUN_B"


def compare(config: DictConfig) -> float:
    """Compare, write all files and print the differences; returns the last model's C-index less the first's.

    Raises:
        UserError: anything that a user has to correct.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        check_numbers(config)
        if len(config.runs) < 2:
            raise UserError(
                f"Expected two run directories or more; found {list(config.runs)}. For example\n  {_EXAMPLE}"
            )
        for place in config.runs:
            if not Path(place).expanduser().exists():
                raise UserError(
                    f"{place}: expected the run directory of an evaluation or training; found nothing there."
                )
        # imported late: help and errors of the configuration need not wait for torch
        from mammorisk.distributed.errors import run_main_first, run_on_main_rank
        from mammorisk.evaluation.compared_models import load_compared_model, named, on_same_samples
        from mammorisk.evaluation.evaluation_files import ComparisonFiles
        from mammorisk.evaluation.settings import check_split
        from mammorisk.runs.logs import run_log

        check_split(config.split)
        settings = settings_of(config)
    except UserError:
        if is_main_rank():
            forget_run(folder)
        raise
    files = ComparisonFiles(folder)
    with run_log(OmegaConf.to_yaml(config), files):
        found = named([load_compared_model(place, config.split, settings) for place in config.runs], config.names)
        found = run_main_first(lambda: on_same_samples(found, config.common))
        comparison: dict[str, Any] = run_on_main_rank(lambda: _compare(found, settings, folder))
    last = comparison["differences"][found[-1].name]["all"]["measures"]["C-index"]["estimate"]
    return float("nan") if last is None else float(last)


def _compare(compared_models: list[Any], settings: Any, folder: Path) -> dict[str, Any]:
    """Measure, write and print."""
    from mammorisk.evaluation.comparison_document import comparison_document, comparison_table
    from mammorisk.evaluation.evaluation_files import PAGE, write_json, write_table
    from mammorisk.evaluation.terminal_tables import caveats, comparison_tables, print_lines
    from mammorisk.report.page import write_comparison_page

    comparison = comparison_document(compared_models, settings)
    try:
        write_table(folder / "comparison.csv", comparison_table(comparison))
        write_json(folder / "comparison.json", comparison)
    except OSError as error:
        raise UserError(f"The files of the comparison cannot be written to {folder}: {error}.") from error
    write_comparison_page(comparison, folder / PAGE)
    notes = caveats(comparison["groups"][comparison["reference"]]["all"])
    print_lines(
        comparison_tables(comparison),
        *notes,
        f"{folder}: comparison.csv, comparison.json, compare.log",
        f"  open {folder / PAGE}",
    )
    return comparison


def main() -> None:
    """Entry point."""
    places, others = as_overrides(sys.argv[1:])
    runs = [f"runs=[{','.join(map(quoted, places))}]"] if places else []
    sys.argv[1:] = [*runs, *others]
    run_command(compare, "compare")


if __name__ == "__main__":
    main()
