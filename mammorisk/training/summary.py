"""Summary at the end of a training: measures of the best epoch, files, and next commands."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence

from rich.table import Table

from mammorisk.batch import MAX_FOLLOWUP
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import LOGGER
from mammorisk.system.consoles import show
from mammorisk.training.checkpoint import TrainingState

MEASURES = {"C-index": "Validation C-index"} | {
    f"AUC, year {year}": f"Val Year {year} AUC" for year in range(1, MAX_FOLLOWUP + 1)
}


def report_training(
    state: TrainingState, files: RunFiles, true_risk: Mapping[str, float], cohort: str, notes: Sequence[str] = ()
) -> float:
    """Print the table of the best epoch to the terminal and the log; return its validation C-index.

    Args:
        state: of the finished training.
        files: of the run.
        true_risk: measures of the true risk, empty if it is not known.
        cohort: its name.
        notes: sentences about the model that belong beside its figures (``RiskModel.notes``).

    Raises:
        UserError: no epoch had a validation C-index that could be computed, so that there is no best model.
    """
    if not state.best_epoch:
        raise UserError(
            f"No validation C-index could be computed in {state.epoch} epochs: the validation split has no case, or no "
            f"control to compare it with. There is no best model; the last one is {files.last_epoch}."
        )
    _print(validation_table(state.history[state.best_epoch - 1], true_risk), notes, next_steps(files, cohort))
    return state.best


def report_registration(state: TrainingState, files: RunFiles, notes: Sequence[str] = ()) -> float:
    """Print the best epoch's measures of a registration network and how to use it; return its validation NCC."""
    row = state.history[state.best_epoch - 1]
    table = Table(title=f"Validation, best epoch ({int(row['epoch'])})", title_justify="left")
    for column in ("", "before", "affine", "after"):
        table.add_column(column, justify="right" if column else "left")
    values = [row[f"Validation {name}"] for name in ("NCC before", "NCC affine", "NCC")]
    table.add_row("NCC", *map(_number, values))
    table.add_row("folded pixels, %", "", "", f"{row['Validation Folded']:.3f}")
    following = [
        f"Run directory: {files.folder}",
        f"  {files.best.name} (best), {files.metrics.name}, {files.curve.name}, {files.log.name}",
        "Next, with the same dataset:",
        f"  mammorisk-register evaluate registration.checkpoint={files.best}",
        f"  mammorisk-train model=lmv_net registration=mammoregnet registration.checkpoint={files.best}",
    ]
    _print(table, notes, "\n".join(following))
    return state.best


def _print(table: Table, notes: Sequence[str], following: str) -> None:
    """Print a table with its notes to the terminal and the log, on the main process."""
    if not is_main_rank():
        return
    show(table, *(f"  {note}" for note in notes), following, log=LOGGER)


def validation_table(row: Mapping[str, float], true_risk: Mapping[str, float]) -> Table:
    """Measures of one epoch, beside those of the true risk if it is known."""
    table = Table(title=f"Validation, best epoch ({int(row['epoch'])})", title_justify="left")
    table.add_column("")
    table.add_column("model", justify="right")
    if true_risk:
        table.add_column("true risk", justify="right")
    for label, name in MEASURES.items():
        best = [_number(true_risk[label if label == "C-index" else _true_risk_name(name)])] if true_risk else []
        table.add_row(label, _number(row[name]), *best)
    return table


def next_steps(files: RunFiles, cohort: str) -> str:
    """The run directory and the next commands."""
    command = "mammorisk-train" if shutil.which("mammorisk-train") else ".venv/bin/mammorisk-train"
    lines = [
        f"Run directory: {files.folder}",
        f"  {files.best.name} (best), {files.metrics.name}, {files.curve.name}, {files.log.name}",
        "Next:",
        f"  add optim.learning_rate=3e-4, or any key of `{command} … --cfg job`",
        "  add -m seed=1,2,3 for a sweep",
    ]
    if cohort == "phantom":
        lines += [
            f"  {command} model=mirai experiment=quickstart for another model on the same cohort",
            f"  {command} model=lmv_net dataset=embed dataset.csv_file=… dataset.data_root=… for your own",
        ]
    return "\n".join(lines)


def _true_risk_name(name: str) -> str:
    return name.removeprefix("Val ")


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.3f}"
