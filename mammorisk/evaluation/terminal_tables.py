"""Tables of an evaluation or a comparison for the terminal and the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from mammorisk.metrics.registry import headlines, is_ranking
from mammorisk.runs.logs import LOGGER
from mammorisk.system.consoles import show

_WIDTH = 120  # wide intervals must not be folded


def evaluation_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Measures with intervals, beside those of the true risk and of recalibrated risks; the C-index of each group."""
    cohort, whole = metrics["cohort"], metrics["groups"]["all"]
    title = (
        f"{cohort['name']}, {cohort['split']}: {cohort['samples']:,} samples ({cohort['unit']}) of "
        f"{cohort['patients']:,} women, {cohort['events']:,} followed by cancer"
    )
    columns = {"model": whole["measures"]}
    if metrics["recalibrated"] is not None:
        columns[metrics["recalibrated"]["method"]] = metrics["recalibrated"]["groups"]["all"]["measures"]
    if metrics["true_risk"] is not None:
        columns["true risk"] = metrics["true_risk"]["groups"]["all"]["measures"]
    made = metrics["made"]
    return [_headlines(title, columns, made), _groups(metrics["groups"])]


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Each model's measures, and their differences to the reference."""
    cohort, names = comparison["cohort"], [run["name"] for run in comparison["runs"]]
    title = (
        f"{cohort['name']}: {cohort['samples']:,} samples of {cohort['patients']:,} women, "
        f"{cohort['events']:,} followed by cancer"
    )
    columns = {name: comparison["groups"][name]["all"]["measures"] for name in names}
    reference = comparison["reference"]
    less = {f"{name} less {reference}": groups["all"]["measures"] for name, groups in comparison["differences"].items()}
    return [
        _headlines(title, columns, comparison["made"]),
        _headlines("differences, paired", less, comparison["made"]),
    ]


def caveats(group: Mapping[str, Any]) -> list[str]:
    """Sentences about a whole cohort that is too small to be measured well."""
    return [f"Few events: {group['reason']}. Its numbers are uncertain."] if group["reason"] else []


def print_lines(tables: list[Table], *lines: str) -> None:
    """Print tables and lines to the terminal and into the log."""
    show(*tables, *lines, width=_WIDTH, log=LOGGER)


def _headlines(title: str, columns: Mapping[str, Mapping[str, Any]], made: Mapping[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(f"estimate [{100 * made['confidence']:g} % interval]")
    for name in columns:
        table.add_column(name, justify="right")
    for measure in headlines(next(iter(columns.values())), in_terminal=True):
        weighted = made["population_incidence"] is not None and not is_ranking(measure)
        cells = [_words(measures.get(measure)) for measures in columns.values()]
        table.add_row(measure + (" (weighted)" if weighted else ""), *cells)
    return table


def _groups(groups: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="C-index of groups", title_justify="left")
    for name in ("group", "samples", "events", "C-index"):
        table.add_column(name, justify="left" if name == "group" else "right")
    for name, group in groups.items():
        if name != "all":
            words = "too small" if group["reason"] else _words(group["measures"]["C-index"])
            table.add_row(name, f"{group['samples']:,}", f"{group['events']:,}", words)
    return table


def _words(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return ""
    if interval["estimate"] is None:
        return "not defined"
    low, high = ("?" if interval[end] is None else f"{interval[end]:.3f}" for end in ("low", "high"))
    return f"{interval['estimate']:.3f} [{low}, {high}]"
