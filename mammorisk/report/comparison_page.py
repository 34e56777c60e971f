"""Figures on the page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mammorisk.report.evaluation_figures import calibration_figure, decision_figure, roc_figure
from mammorisk.report.evaluation_page import group_lines
from mammorisk.report.forest_figure import forest_figure


def comparison_figures(comparison: Mapping[str, Any]) -> dict[str, Markup]:
    """SVGs by name: curves of all models over each other, and differences by subgroup.

    Args:
        comparison: content of ``comparison.json``.
    """
    curves, names = comparison["curves"], [run["name"] for run in comparison["runs"]]
    years = list(curves[names[0]]["roc"])
    last, models = years[-1], " and ".join(names)
    found = {
        f"roc-{year}": roc_figure(
            {name: curves[name]["roc"][year] for name in names}, f"roc-{year}", f"ROC curves of year {year}: {models}"
        )
        for year in dict.fromkeys((years[0], last))
    }
    found["calibration"] = calibration_figure(
        {f"year {year}": {name: curves[name]["calibration"][year] for name in names} for year in years},
        "calibration",
        f"Observed against predicted risk in tenths of each model's risk: {models}",
    )
    found["decision"] = decision_figure(
        {name: curves[name]["decision"][last] for name in names},
        "decision",
        f"Decision curves of year {last}: {models}",
    )
    reference = comparison["reference"]
    found["forest"] = forest_figure(
        group_lines(comparison["differences"], "C-index"),
        0.0,
        f"Difference of C-index to {reference}",
        "forest",
        f"Differences of the C-index to {reference} in subgroups",
    )
    return found
