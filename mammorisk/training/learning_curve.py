"""Learning curve of a run: loss, monitored measure and learning rate over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mammorisk.system.atomic_files import whole_file
from mammorisk.training.task import Task

# Okabe & Ito's colours: distinguishable with every kind of colour vision and, with the line styles, in grey.
_TRAINING, _VALIDATION, _TRUE_RISK, _QUIET = "#0072B2", "#D55E00", "#009E73", "#666666"

History = Sequence[Mapping[str, float]]


def learning_curve(history: History, path: Path, task: Task, *, true_risk: float | None = None) -> None:
    """Draw loss, monitored measure (C-index) and learning rate over the epochs into one PNG.

    The file is written atomically: a run killed here leaves the previous picture whole.

    Args:
        history: a row per epoch with "epoch", "Learning Rate" and, for "Training" and "Validation", the task's loss
            and measure ("Training Risk Loss", "Validation C-index"); a missing or NaN value leaves a gap.
        path: the PNG; its folder exists.
        task: names of loss and monitored measure.
        true_risk: the measure of the true risk, if the cohort is simulated: a dashed line.

    Raises:
        ValueError: no rows.
    """
    if not history:
        raise ValueError("Expected a row per epoch; found an empty history.")
    figure = Figure(figsize=(7.0, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    loss, monitor, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    _draw_pair(loss, history, task.loss)
    loss.set_ylabel(task.loss.capitalize())
    _draw_monitor(monitor, history, task, true_risk)
    rate.plot(_column(history, "epoch"), _column(history, "Learning Rate"), color=_QUIET, lw=1, marker=".", ms=3)
    rate.set_ylabel("Learning rate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    rate.set_ylim(bottom=0)
    rate.set_xlabel("Epoch")
    rate.margins(x=0.03)
    rate.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (loss, monitor, rate):
        axes.grid(color="#DDDDDD", lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (loss, monitor):  # above the panel, where no curve passes
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "columnspacing": 1.2}
        axes.legend(ncols=5, frameon=False, fontsize=8, **place)
    figure.align_ylabels()
    _save(figure, path)


def _column(history: History, name: str) -> NDArray[np.float64]:
    """[E] values of one name, NaN where a row lacks it."""
    return np.array([row.get(name, np.nan) for row in history], dtype=np.float64)


def _draw_pair(axes: Axes, history: History, name: str) -> None:
    epoch = _column(history, "epoch")
    training, validation = _column(history, f"Training {name}"), _column(history, f"Validation {name}")
    axes.plot(epoch, training, color=_TRAINING, ls="--", marker="o", ms=3, label="training")
    axes.plot(epoch, validation, color=_VALIDATION, ls="-", marker="s", ms=3, label="validation")


def _draw_monitor(axes: Axes, history: History, task: Task, true_risk: float | None) -> None:
    """The measure in both splits, chance level, true risk, and the first epoch with the best validation value."""
    _draw_pair(axes, history, task.monitor)
    if task.chance_level is not None:
        axes.axhline(task.chance_level, color=_QUIET, lw=0.8, ls=":", label=f"chance {task.chance_level:.3f}")
    if true_risk is not None and np.isfinite(true_risk):
        axes.axhline(true_risk, color=_TRUE_RISK, ls=(0, (6, 2)), lw=1.2, label=f"true risk {true_risk:.3f}")
    validation = _column(history, task.monitor_key)
    if np.isfinite(validation).any():
        best = int(np.nanargmax(validation))
        epoch = _column(history, "epoch")[best]
        label = f"best {validation[best]:.3f}, epoch {epoch:.0f}"
        axes.plot(epoch, validation[best], ls="", marker="*", ms=14, mfc="none", mec="black", label=label)
    else:
        axes.plot([], ls="", label="best: not defined")
    axes.set_ylabel(task.monitor)


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=130)
