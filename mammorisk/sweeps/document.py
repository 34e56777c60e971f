"""The document of a sweep: its jobs, their differences, and the spread over seeds."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from scipy import stats

from mammorisk.errors import UserError
from mammorisk.sweeps.differences import differences, overridden, settings_of
from mammorisk.sweeps.record import JobRecord, read_record
from mammorisk.sweeps.states import FAILED, FINISHED, NOT_STARTED, STATES, Progress, progress_of
from mammorisk.version import __version__

SEED = "seed"
CONFIDENCE = 0.95  # of the intervals of a mean over seeds


def sweep_document(sweep: Path, folder: Path | None = None) -> dict[str, Any]:
    """Read a sweep's directory, finished or running, also one made by Hydra's ``-m``.

    Args:
        sweep: its directory.
        folder: links to the run directories are relative to it; None: relative to ``sweep``.

    Raises:
        UserError: there are no jobs.
    """
    records = _records(sweep)
    found = [progress_of(sweep / record.folder) for record in records]
    settings = [settings_of(sweep / record.folder, record.overrides) for record in records]
    given = set().union(*(overridden(sweep / record.folder, record.overrides) for record in records))
    keys, differ = differences([each for each, _ in settings], [each for _, each in settings], given)
    monitor = next((each.monitor for each in found if each.rows), found[0].monitor)
    jobs = [
        _job(record, progress, own, values.get("trainer.num_epochs"))
        | {"link": _link(sweep / record.folder, folder or sweep)}
        for record, progress, own, (_, values) in zip(records, found, differ, settings, strict=True)
    ]
    return {
        "name": sweep.resolve().name,
        "sweep": str(sweep.resolve()),
        "made": {
            "version": __version__,
            "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z}",
            "command": shlex.join(["mammorisk-sweep-report", *sys.argv[1:]]),
            "confidence": CONFIDENCE,
        },
        "monitor": monitor,
        "keys": keys,
        "states": {state: sum(job["state"] == state for job in jobs) for state in STATES},
        "jobs": jobs,
        "groups": groups_of(jobs, keys, monitor),
    }


def groups_of(jobs: Sequence[Mapping[str, Any]], keys: Sequence[str], monitor: str) -> list[dict[str, Any]]:
    """Jobs that differ in nothing but the seed, best mean first; groups without a finished job last.

    Args:
        jobs: of the document.
        keys: in which they differ.
        monitor: the measure at the best epoch that is averaged.
    """
    members: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for job in jobs:
        members.setdefault(tuple(str(job["settings"].get(key)) for key in keys if key != SEED), []).append(job)
    groups = []
    for own in members.values():
        finished = [job for job in own if job["state"] == FINISHED]
        groups.append(
            {
                "settings": {key: value for key, value in own[0]["settings"].items() if key != SEED},
                "jobs": len(own),
                "finished": len(finished),
                "values": [job["best"][monitor] for job in finished],
                "seeds": [job["settings"].get(SEED) for job in finished],
                **mean_and_interval([job["best"][monitor] for job in finished]),
            }
        )
    return sorted(groups, key=lambda group: -np.inf if group["estimate"] is None else group["estimate"], reverse=True)


def mean_and_interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, standard deviation and the interval of the mean by Student's t; None if there are too few values.

    The interval is that of the mean over seeds, not over women.
    """
    if not values:
        return dict.fromkeys(("estimate", "deviation", "low", "high"))
    mean = float(np.mean(values))
    if len(values) == 1:
        return {"estimate": mean, "deviation": None, "low": None, "high": None}
    deviation = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation / len(values) ** 0.5
    return {"estimate": mean, "deviation": deviation, "low": mean - half, "high": mean + half}


def _records(sweep: Path) -> list[JobRecord]:
    """The recorded jobs, then run directories without a record, by number and name."""
    if not sweep.is_dir():
        raise UserError(f"{sweep}: expected the directory of a sweep; there is no such folder.")
    records = read_record(sweep)
    known = {record.folder for record in records}
    others = sorted(path.parent.name for path in sweep.glob("*/.hydra") if path.parent.name not in known)
    records += [JobRecord(name) for name in sorted(others, key=_number)]
    if not records:
        kind = "a single run's directory" if (sweep / ".hydra").is_dir() else "no sweep's directory"
        raise UserError(
            f"{sweep} is {kind}: expected jobs in it, folders with a .hydra. A sweep is made by "
            "`mammorisk-train hparams=grid …`, or -m; it prints its directory."
        )
    return records


def _number(name: str) -> tuple[int, str]:
    _, _, number = name.rpartition("_job_")
    digits = number.partition("_")[0]
    return (int(digits), name) if digits.isdigit() else (sys.maxsize, name)


def _job(record: JobRecord, progress: Progress, settings: Mapping[str, Any], epochs: Any) -> dict[str, Any]:
    failed_at_once = progress.state == NOT_STARTED and record.error
    best = {name: _finite(value) for name, value in progress.best.items() if name != "epoch"}
    return {
        "folder": record.folder,
        "state": FAILED if failed_at_once else progress.state,
        "reason": record.error if failed_at_once else progress.reason,
        "settings": dict(settings),
        "epochs": len(progress.rows),
        "epochs_wanted": epochs if isinstance(epochs, int) else None,
        "best_epoch": int(progress.best["epoch"]) if "epoch" in progress.best else None,
        "best": best,
    }


def _link(run: Path, folder: Path) -> str | None:
    """A run directory as an address that is relative to ``folder``; None where it does not exist yet."""
    return quote(f"{os.path.relpath(run.resolve(), folder.resolve())}/") if run.is_dir() else None


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
