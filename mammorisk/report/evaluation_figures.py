"""Figures of an evaluation or a comparison, drawn only from the numbers of its JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mammorisk.report.inline_svg import INK, LINES, MARKS, QUIET, SERIES, Drawing

Curve = Mapping[str, Any]
_SIDE = 4.7  # inches


def roc_figure(curves: Mapping[str, Curve], name: str, title: str) -> Markup:
    """ROC curves, one per label, with the chance level as diagonal."""
    with Drawing(_SIDE, _SIDE) as drawing:
        axes = drawing.panels[0]
        axes.plot([0, 1], [0, 1], color=QUIET, lw=0.8, ls=":", label="chance")
        for number, (label, curve) in enumerate(curves.items()):
            if curve["false_positive_rate"]:
                style: dict[str, Any] = {"color": SERIES[number % 5], "ls": LINES[number % 5], "lw": 1.6}
                axes.plot(
                    _floats(curve["false_positive_rate"]), _floats(curve["true_positive_rate"]), label=label, **style
                )
        axes.set(xlabel="1 − specificity", ylabel="Sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.legend(loc="lower right")
        return drawing.svg(name, title)


def calibration_figure(panels: Mapping[str, Mapping[str, Curve]], name: str, title: str) -> Markup:
    """Observed against predicted risk by tenth of risk: a panel per year, a series per label.

    Args:
        panels: curves by label, by the panel's heading.
        name: of the figure in the page.
        title: of the figure, for readers who do not see it.
    """
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    with Drawing(2.75 * columns, 2.75 * rows, rows, columns) as drawing:
        for axes, (heading, series) in zip(drawing.panels, panels.items(), strict=False):
            _calibrate(axes, series)
            axes.set_title(heading)
        for axes in drawing.panels[len(panels) :]:
            axes.set_axis_off()
        drawing.figure.supxlabel("Predicted risk", fontsize=10)
        drawing.figure.supylabel("Observed risk (Kaplan–Meier)", fontsize=10)
        if len(next(iter(panels.values()), {})) > 1:
            lines, labels = drawing.panels[0].get_legend_handles_labels()
            drawing.figure.legend(lines, labels, loc="outside upper left", ncols=5)
        return drawing.svg(name, title)


def distribution_figure(bars: Curve, name: str, title: str) -> Markup:
    """Share of cases and of controls in each band of risk."""
    edges = _floats(bars["edges"])
    with Drawing(_SIDE, 3.4) as drawing:
        axes = drawing.panels[0]
        for number, kind in ((1, "cases"), (0, "controls")):
            counts = _floats(bars[kind])
            if counts.sum() > 0:
                label = f"{kind} (n = {counts.sum():,.0f})"
                style: dict[str, Any] = {"color": SERIES[number], "ls": LINES[number], "lw": 1.4, "label": label}
                axes.stairs(counts / counts.sum(), edges, **style)
                axes.stairs(counts / counts.sum(), edges, fill=True, color=SERIES[number], alpha=0.2)
        axes.set(xlabel=f"Predicted {bars['year']}-year risk", ylabel="Share of the outcome group")
        _percent(axes, "xy")
        axes.set_ylim(bottom=0)
        if axes.patches:
            axes.legend(loc="upper right")
        return drawing.svg(name, title)


def decision_figure(curves: Mapping[str, Curve], name: str, title: str) -> Markup:
    """Net benefit over the threshold of risk, beside treating all and none.

    The curve of treating all falls without bound, so the axis ends below the models' curves.
    """
    with Drawing(_SIDE, 3.4) as drawing:
        axes = drawing.panels[0]
        axes.axhline(0, color=INK, lw=0.8, label="none")
        ends = [0.0]
        for number, (label, curve) in enumerate(curves.items()):
            threshold, model, everyone = (_floats(curve[key]) for key in ("threshold", "model", "all"))
            if number == 0:
                axes.plot(threshold, everyone, color=QUIET, ls=":", lw=1.2, label="all")
            style: dict[str, Any] = {
                "color": SERIES[number % 5],
                "ls": LINES[number % 5],
                "marker": MARKS[number % 5],
                "ms": 3,
            }
            axes.plot(threshold, model, label=label, lw=1.6, **style)
            ends += [*model[np.isfinite(model)], *everyone[np.isfinite(everyone)][:1]]
        span = max(ends) - min(ends) or 0.01
        axes.set(
            xlabel="Threshold of risk", ylabel="Net benefit", ylim=(min(ends) - 0.15 * span, max(ends) + 0.1 * span)
        )
        _percent(axes, "x")
        axes.legend(loc="upper right")
        return drawing.svg(name, title)


def incidence_figure(groups: Sequence[Curve], name: str, title: str) -> Markup:
    """Cumulative incidence of cancer by group of risk, in whole years, with intervals."""
    with Drawing(_SIDE, 3.4) as drawing:
        axes = drawing.panels[0]
        for number, group in enumerate(groups):
            years = _floats(group["years"])
            style: dict[str, Any] = {
                "color": SERIES[number % 5],
                "ls": LINES[number % 5],
                "marker": MARKS[number % 5],
                "ms": 4,
            }
            axes.plot(years, _floats(group["incidence"]), lw=1.6, label=group["name"], **style)
            axes.fill_between(
                years, _floats(group["low"]), _floats(group["high"]), color=SERIES[number % 5], alpha=0.15, lw=0
            )
        axes.set(xlabel="Years since the exam", ylabel="Cumulative incidence")
        axes.set_ylim(bottom=0)
        _percent(axes, "y")
        if groups:
            axes.legend(loc="upper left")
        return drawing.svg(name, title)


def _calibrate(axes: Axes, series: Mapping[str, Curve]) -> None:
    right = top = 0.0  # separate limits: intervals of few events are far longer than the range of risks
    for number, (label, curve) in enumerate(series.items()):
        predicted, observed, low, high = (_floats(curve[key]) for key in ("predicted", "observed", "low", "high"))
        bars = np.clip(np.nan_to_num(np.stack((observed - low, high - observed))), 0, None)
        style: dict[str, Any] = {
            "color": SERIES[number % 5],
            "marker": MARKS[number % 5],
            "ms": 4,
            "lw": 0,
            "elinewidth": 1.0,
        }
        axes.errorbar(predicted, observed, yerr=bars, capsize=1.5, label=label, **style)
        right = max(right, _largest(predicted))
        top = max(top, _largest(observed), _largest(high))
    axes.axline((0, 0), slope=1, color=QUIET, lw=0.8, ls=":")
    right, top = 1.06 * right or 1.0, 1.06 * max(top, right) or 1.0
    axes.set(xlim=(-0.02 * right, right), ylim=(-0.02 * top, top))
    _percent(axes, "xy")


def _largest(values: NDArray[np.float64]) -> float:
    """The largest finite number, 0 if there is none."""
    return float(np.nanmax(values)) if np.isfinite(values).any() else 0.0


def _percent(axes: Axes, which: str) -> None:
    for letter in which:
        axis = axes.xaxis if letter == "x" else axes.yaxis
        axis.set_major_formatter(PercentFormatter(1.0))
        axis.set_major_locator(MaxNLocator(nbins=4 if letter == "x" else 5))


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Numbers with NaN for None."""
    return np.array(values, dtype=np.float64)
