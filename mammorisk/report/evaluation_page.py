"""Figures on the page of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mammorisk.report.evaluation_figures import (
    calibration_figure,
    decision_figure,
    distribution_figure,
    incidence_figure,
    roc_figure,
)
from mammorisk.report.forest_figure import ForestLine, forest_figure


def evaluation_figures(metrics: Mapping[str, Any]) -> dict[str, Markup]:
    """SVGs by name.

    Args:
        metrics: content of ``metrics.json``.
    """
    curves, cohort = metrics["curves"], metrics["cohort"]
    who = f"{cohort['samples']:,} samples of {cohort['name']}, {cohort['events']:,} followed by cancer"
    years = list(curves["roc"])
    last = years[-1]
    return {
        "roc": roc_figure(
            {f"year {year}": curves["roc"][year] for year in years}, "roc", f"ROC curves of years 1 to {last}; {who}"
        ),
        "calibration": calibration_figure(
            {f"year {year}": {"model": curves["calibration"][year]} for year in years},
            "calibration",
            f"Observed against predicted risk in tenths of risk, years 1 to {last}; {who}",
        ),
        "distribution": distribution_figure(
            curves["risk_distribution"], "distribution", f"Predicted risk of cases and of controls; {who}"
        ),
        "decision": decision_figure(
            {"model": curves["decision"][last]}, "decision", f"Decision curve of the {last}-year risk; {who}"
        ),
        "incidence": incidence_figure(
            curves["incidence"]["groups"], "incidence", f"Cumulative incidence of cancer by group of risk; {who}"
        ),
        "forest": forest_figure(
            group_lines({"model": metrics["groups"]}, "C-index"),
            0.5,
            "C-index",
            "forest",
            f"C-index in subgroups; {who}",
        ),
    }


def group_lines(runs: Mapping[str, Mapping[str, Any]], measure: str) -> list[ForestLine]:
    """Lines of a forest plot.

    Args:
        runs: groups of each series.
        measure: its name.
    """
    groups = next(iter(runs.values()))
    return [
        ForestLine(
            f"{'all' if name == 'all' else name}  ({group['events']:,}/{group['samples']:,})",
            {run: each[name]["measures"].get(measure, {}) for run, each in runs.items() if name in each},
            _short(group["reason"]),
        )
        for name, group in groups.items()
    ]


def _short(reason: str) -> str:
    return f"too small: {reason.partition(';')[0]}" if reason else ""
