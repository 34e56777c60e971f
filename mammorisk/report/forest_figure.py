"""Forest plot: a line for each group, with one measure and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from mammorisk.report.inline_svg import LINES, MARKS, QUIET, SERIES, Drawing

Interval = Mapping[str, float | None]


@dataclass(frozen=True)
class ForestLine:
    """A group in a forest plot."""

    label: str
    intervals: Mapping[str, Interval]  # by series
    reason: str = ""  # why there is none


def forest_figure(lines: Sequence[ForestLine], reference: float, measure: str, name: str, title: str) -> Markup:
    """Draw one measure in all groups.

    Args:
        lines: from top to bottom; the first is the whole cohort, whose estimates are drawn through all lines.
        reference: the value of no discrimination, or of no difference.
        measure: label of the axis.
        name: of the figure in the page.
        title: of the figure, for readers who do not see it.
    """
    series = list(dict.fromkeys(label for line in lines for label in line.intervals))
    height = 0.9 + len(lines) * max(0.3, 0.17 * len(series))
    with Drawing(7.4, height) as drawing:
        axes = drawing.panels[0]
        axes.axvline(reference, color=QUIET, lw=0.9, ls=":")
        for number, label in enumerate(series):
            _draw(axes, lines, label, number, len(series))
        for row, line in enumerate(lines):
            if not any(_drawable(interval) for interval in line.intervals.values()):
                place = axes.get_yaxis_transform()
                axes.text(
                    0.02, row, line.reason or "not defined", color=QUIET, va="center", fontsize=8.5, transform=place
                )
        axes.set_yticks(range(len(lines)), [line.label for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(measure)
        if len(series) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return drawing.svg(name, title)


def _draw(axes: Axes, lines: Sequence[ForestLine], label: str, number: int, count: int) -> None:
    shift = 0.22 * (number - (count - 1) / 2)
    drawn = [
        (row + shift, line.intervals[label])
        for row, line in enumerate(lines)
        if _drawable(line.intervals.get(label, {}))
    ]
    for row, interval in drawn:
        estimate, low, high = (interval.get(key) for key in ("estimate", "low", "high"))
        colour = SERIES[number % 5]
        if low is not None and high is not None:
            axes.plot([low, high], [row, row], color=colour, lw=1.4, solid_capstyle="butt")
        place = [np.nan if estimate is None else estimate]
        axes.plot(place, [row], color=colour, marker=MARKS[number % 5], ms=6 if row < 0.5 else 5, lw=0, label=label)
        label = "_nolegend_"
    if drawn and drawn[0][0] < 0.5:
        axes.axvline(float(drawn[0][1]["estimate"] or 0), color=SERIES[number % 5], lw=0.6, ls=LINES[1], alpha=0.6)


def _drawable(interval: Interval) -> bool:
    return interval.get("estimate") is not None
