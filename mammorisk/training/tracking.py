"""Tracking of a run's numbers: metrics.csv, the learning curve, Weights & Biases.

No other module imports W&B. It never holds up a run: there is no login prompt, a run without a key is offline, and
nothing else needs the package (docs/pitfalls.md#p20).
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

from mammorisk.config import TrackingConfig
from mammorisk.distributed.errors import raise_on_all_ranks
from mammorisk.distributed.launch import is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.runs.logs import LOGGER
from mammorisk.system.atomic_files import whole_file
from mammorisk.training.task import Task

Row = Mapping[str, float]


class Tracker:
    """Writer of a run's numbers on the main process; as a context manager it ends the W&B run in any case.

    Args:
        tracking: backend, mode and names.
        files: of the run.
        settings: the whole configuration, resolved, as plain containers, for W&B.
        task: names of loss and monitored measure, for the learning curve.
        true_risk: the monitored measure of the true risk, for the learning curve.
    """

    def __init__(
        self,
        tracking: TrackingConfig,
        files: RunFiles,
        settings: dict[str, Any],
        task: Task,
        true_risk: float | None = None,
    ) -> None:
        self._files, self._task, self._true_risk = files, task, true_risk
        self._logged = 0  # epochs sent to W&B since this start
        self._run = _start_wandb(tracking, files, settings) if is_main_rank() and tracking.backend == "wandb" else None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._send(lambda run: run.finish(exit_code=0 if kind is None else 1))

    def log(self, history: Sequence[Row]) -> None:
        """Write the rows of all epochs so far; W&B gets the new ones, with the epoch as the step. Collective.

        Raises:
            UserError: the run directory cannot be written to.
        """
        if not history:
            return
        error: UserError | None = None
        if is_main_rank():
            # matplotlib only when there is an epoch to draw
            from mammorisk.training.learning_curve import learning_curve

            try:
                write_metrics(history, self._files)
                learning_curve(history, self._files.curve, self._task, true_risk=self._true_risk)
            except OSError as found:
                error = UserError(
                    f"{self._files.folder} cannot be written to: {found}.\nFree disk space, and continue with "
                    "trainer.resume_from=auto."
                )
        raise_on_all_ranks(error)
        new = history[self._logged :]
        self._send(lambda run: [run.log(dict(row), step=int(row["epoch"])) for row in new])
        self._logged = len(history)

    def _send(self, action: Callable[[Any], object]) -> None:
        """Send to W&B; if its process has died (a signal to the whole job, no memory), continue without it."""
        if self._run is None:
            return
        import wandb

        try:
            action(self._run)
        except (OSError, wandb.errors.Error) as error:
            LOGGER.warning(
                "tracking: W&B's own process has died (%r); metrics.csv and the log file hold all numbers, and "
                "the next start of this run sends every epoch to W&B",
                error,
            )
            self._run = None
            with suppress(OSError, wandb.errors.Error):
                wandb.teardown()  # its hook at the exit would print a stack trace


def write_metrics(history: Sequence[Row], files: RunFiles) -> None:
    """``metrics.csv``: a row per epoch, a column per measure, NaN as ``nan``."""
    with whole_file(files.metrics) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[-1]))
        writer.writeheader()
        for row in history:
            writer.writerow({name: int(value) if name == "epoch" else repr(value) for name, value in row.items()})


def _start_wandb(tracking: TrackingConfig, files: RunFiles, settings: dict[str, Any]) -> Any | None:
    try:
        import wandb
    except ImportError:
        LOGGER.warning("tracking: wandb is not installed; metrics.csv and the log file hold all numbers")
        return None
    mode = _mode(tracking.mode)
    # A run and its continuation share it, and no other run does: the folder or its sweep has a time stamp.
    run_id = tracking.wandb_id or hashlib.sha256("/".join(files.folder.parts[-2:]).encode()).hexdigest()[:16]
    arguments: dict[str, Any] = {
        "project": tracking.project,
        "entity": tracking.entity,
        "group": tracking.group,
        "tags": list(tracking.tags) or None,
        "name": files.folder.name,
        "id": run_id,
        "resume": "allow",
        "dir": str(files.folder),
        "config": settings,
        "settings": wandb.Settings(console="off", silent=True, init_timeout=_init_timeout()),
    }
    try:
        run = wandb.init(mode=mode, **arguments)
    except (wandb.errors.UsageError, ValueError) as error:
        raise UserError(f"tracking: W&B does not take these settings: {error}") from error
    except wandb.errors.Error as error:
        LOGGER.warning("tracking: W&B cannot be reached (%s); the run is recorded offline", error)
        wandb.teardown()  # it still holds the run's id
        mode, run = "offline", wandb.init(mode="offline", **arguments)
    run.define_metric("*", step_metric="epoch")
    if mode == "offline":
        LOGGER.info("tracking: W&B offline; later `wandb sync %s`", files.folder / "wandb")
    return run


def _init_timeout() -> float:
    """Seconds that W&B may take to start: its own variable, or 30, a third of its own default.

    Raises:
        UserError: the variable is no number.
    """
    wanted = os.environ.get("WANDB_INIT_TIMEOUT", "30")
    try:
        return float(wanted)
    except ValueError:
        raise UserError(f"WANDB_INIT_TIMEOUT={wanted}: expected a number of seconds.") from None


def _mode(wanted: str) -> Literal["online", "offline", "disabled"]:
    """The mode; ``auto`` takes WANDB_MODE, else online with a key, else offline.

    Raises:
        UserError: online without a key.
    """
    chosen = os.environ.get("WANDB_MODE") if wanted == "auto" else wanted
    if chosen == "disabled":
        return "disabled"
    if chosen == "offline":
        return "offline"
    import wandb

    if wandb.login(prompt=False, verify=False):
        return "online"
    if wanted == "online":
        raise UserError(
            "tracking.mode=online needs a key of Weights & Biases: `wandb login`, or the variable WANDB_API_KEY.\n"
            "tracking.mode=offline records the run for a later `wandb sync`; tracking=none leaves W&B out."
        )
    return "offline"
