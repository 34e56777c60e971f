"""Figures of a sweep: the spread over seeds of each setting, and the monitored measure against each searched number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from markupsafe import Markup

from mammorisk.report.inline_svg import MARKS, QUIET, SERIES, Drawing
from mammorisk.report.numbers import is_number

MOST_LINES = 30  # of the spread figure, the best settings
_LABEL = 38  # letters in a line
MOST_PANELS = 4  # of the search
ENOUGH_VALUES = 4  # different values that a number needs for a panel


def sweep_figures(document: Mapping[str, Any]) -> dict[str, Markup]:
    """SVGs by name; figures without content are left out.

    Args:
        document: of the sweep.
    """
    found = {}
    groups = [group for group in document["groups"] if group["finished"]]
    if groups and (any(group["finished"] > 1 for group in groups) or not searched_numbers(document)):
        found["spread"] = spread_figure(groups[:MOST_LINES], document["monitor"], labels_of(document))
    if numbers := searched_numbers(document)[:MOST_PANELS]:
        found["search"] = search_figure(document["jobs"], numbers, document["monitor"])
    return found


def sweep_measures(document: Mapping[str, Any]) -> list[str]:
    """The measures of a sweep's tables: the monitored one, yearly AUCs and losses."""
    known = {name for job in document["jobs"] for name in job["best"]}
    losses = sorted((name for name in known if name.endswith("Loss")), reverse=True)  # validation, then training
    wanted = [document["monitor"], *(f"Val Year {year} AUC" for year in range(1, 11)), *losses]
    return [name for name in wanted if name in known]


def labels_of(document: Mapping[str, Any]) -> dict[str, str]:
    """A short name for each key in which jobs differ: its last word, if no other key has it."""
    last = [key.rpartition(".")[2] for key in document["keys"]]
    return {key: word if last.count(word) == 1 else key for key, word in zip(document["keys"], last, strict=True)}


def words_of(settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Settings in one line: ``lmv_net, learning_rate 0.001``."""
    words = [shown(value) if "." not in key and isinstance(value, str) else f"{labels[key]} {shown(value)}"
             for key, value in settings.items()]  # fmt: skip
    return ", ".join(words) or "all jobs"


def shown(value: Any) -> str:
    """A setting for readers, with short numbers."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def searched_numbers(document: Mapping[str, Any]) -> list[str]:
    """Keys with many different numbers among the finished jobs, seeds left out."""
    jobs = [job for job in document["jobs"] if job["state"] == "finished"]
    values = {key: [job["settings"].get(key) for job in jobs] for key in document["keys"] if key != "seed"}
    return [key for key, found in values.items() if all(map(is_number, found)) and len(set(found)) >= ENOUGH_VALUES]


def spread_figure(groups: Sequence[Mapping[str, Any]], monitor: str, labels: Mapping[str, str]) -> Markup:
    """A line for each setting: every seed a dot, their mean and its interval above."""
    with Drawing(7.4, 0.9 + 0.42 * len(groups)) as drawing:
        axes = drawing.panels[0]
        for row, group in enumerate(groups):
            values = group["values"]
            axes.plot(
                values, [row + 0.17] * len(values), ls="", marker=MARKS[0], ms=4.5, mfc="none", color=SERIES[1],
                label="a seed" if not row else "_nolegend_",
            )  # fmt: skip
            if group["low"] is not None:
                axes.plot([group["low"], group["high"]], [row - 0.12] * 2, color=SERIES[0], lw=1.6)
            label = "mean, 95 % interval" if not row else "_nolegend_"
            axes.plot([group["estimate"]], [row - 0.12], ls="", marker=MARKS[3], ms=6, color=SERIES[0], label=label)
        names = [fill(f"{words_of(group['settings'], labels)} ({group['finished']})", _LABEL) for group in groups]
        axes.set_yticks(range(len(groups)), names)
        axes.set_ylim(len(groups) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        _keep_to_dots(axes, groups)
        axes.set_xlabel(f"{monitor}, best epoch")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        return drawing.svg("spread", f"{monitor} of each setting: seeds, their mean and its interval")


def search_figure(jobs: Sequence[Mapping[str, Any]], keys: Sequence[str], monitor: str) -> Markup:
    """A panel for each number that was searched: every finished job a dot, the best one marked."""
    finished = [job for job in jobs if job["state"] == "finished"]
    best = max(finished, key=lambda job: job["best"][monitor])
    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)
    with Drawing(3.7 * columns, 2.6 * rows, rows, columns) as drawing:
        for panel, key in zip(drawing.panels, keys, strict=False):
            values = [job["settings"][key] for job in finished]
            panel.plot(
                values, [job["best"][monitor] for job in finished], ls="", marker=MARKS[0], ms=4.5, color=SERIES[0]
            )
            panel.plot([best["settings"][key]], [best["best"][monitor]], ls="", marker=MARKS[0], ms=10, mfc="none",
                       color=SERIES[1])  # fmt: skip
            if min(values) > 0 and max(values) / min(values) > 20:
                panel.set_xscale("log")
                panel.xaxis.set_major_formatter("{x:g}")  # in digits: formulas are not parsed
                panel.xaxis.set_minor_formatter("")
            panel.set_xlabel(key)
            panel.set_ylabel(monitor)
        for panel in drawing.panels[len(keys) :]:
            panel.set_visible(False)
        return drawing.svg("search", f"{monitor} against {', '.join(keys)}")


def _keep_to_dots(axes: Any, groups: Sequence[Mapping[str, Any]]) -> None:
    """Fit the axis to the dots: the interval of two seeds may be far wider, and is cut off."""
    values = np.concatenate([group["values"] for group in groups])
    room = max(0.6 * float(np.ptp(values)), 0.01)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, values.min() - room), min(high, values.max() + room))
    axes.axvline(float(values.max()), color=QUIET, lw=0.6, ls=":")
