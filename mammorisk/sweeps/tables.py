"""Tables of a sweep: for the terminal, and its jobs as rows of a CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from mammorisk.report.numbers import rounded
from mammorisk.report.sweep_figures import labels_of, shown

_STYLES = {"finished": "green", "running": "cyan", "preempted": "yellow", "failed": "bold red"}
_MOST_REASON = 60  # letters; the page has all


def job_rows(document: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each job: settings, state, and every measure of its best epoch under its name in ``metrics.csv``."""
    measures = list(dict.fromkeys(name for job in document["jobs"] for name in job["best"]))
    return pd.DataFrame(
        {
            "job": number + 1,
            "folder": job["folder"],
            "state": job["state"],
            "reason": job["reason"],
            **{key: job["settings"].get(key) for key in document["keys"]},
            "epochs": job["epochs"],
            "best epoch": job["best_epoch"],
            **{name: job["best"].get(name) for name in measures},
        }
        for number, job in enumerate(document["jobs"])
    ).astype({"best epoch": "Int64"})


def job_table(document: Mapping[str, Any]) -> Table:
    """A line for each job."""
    labels, monitor = labels_of(document), document["monitor"]
    states = ", ".join(f"{count} {state}" for state, count in document["states"].items() if count)
    table = Table(title=f"{document['name']}: {states}", title_justify="left")
    for name in ("job", "state", *(labels[key] for key in document["keys"]), "epochs", "best epoch", monitor, "reason"):
        table.add_column(name, justify="left" if name in ("state", "reason") else "right", overflow="fold")
    for number, job in enumerate(document["jobs"]):
        of = f"/{job['epochs_wanted']}" if job["epochs_wanted"] else ""
        style = _STYLES.get(job["state"], "dim")
        table.add_row(
            str(number + 1),
            Text(job["state"], style=style),
            *(shown(job["settings"].get(key, "–")) for key in document["keys"]),
            f"{job['epochs']}{of}",
            str(job["best_epoch"] or ""),
            rounded(job["best"][monitor], ".3f") if job["best_epoch"] else "",
            _shortened(job["reason"]),
        )
    return table


def setting_table(document: Mapping[str, Any]) -> Table:
    """A line for each setting: mean over seeds and its interval, best first."""
    labels, keys = labels_of(document), [key for key in document["keys"] if key != "seed"]
    title = f"Mean over seeds, {document['made']['confidence']:.0%} interval"
    table = Table(title=title, title_justify="left")
    for name in (*(labels[key] for key in keys), "finished", "mean", "interval", "deviation"):
        table.add_column(name, justify="right")
    for group in document["groups"]:
        mean, low, high, deviation = (group[name] for name in ("estimate", "low", "high", "deviation"))
        table.add_row(
            *(shown(group["settings"].get(key, "–")) for key in keys),
            f"{group['finished']}/{group['jobs']}",
            "" if mean is None else rounded(mean, ".3f"),
            "" if low is None or high is None else f"{rounded(low, '.3f')} to {rounded(high, '.3f')}",
            "" if deviation is None else rounded(deviation, ".3f"),
        )
    return table


def _shortened(reason: str) -> str:
    first = (reason.splitlines() or [""])[0]
    return first if len(first) <= _MOST_REASON else f"{first[: _MOST_REASON - 1]}…"
