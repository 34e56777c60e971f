#!/usr/bin/env python3
"""Draw docs/images/phantom.png: the last exam of six women of the phantom cohort, two of them before a cancer.

usage: draw_phantom.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammorisk.datasets.phantom.phantom_cohort import PhantomCohort
from mammorisk.datasets.phantom.population import Population
from mammorisk.datasets.phantom.render import PictureRules, render_woman

HEIGHT = 176  # rows of one picture
VIEWS = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))  # as on a viewing station: chest walls together
CLASSES = (1, 2, 2, 3, 3, 4)  # breast density of the women shown
CANCERS = (1, 4)  # positions of those who get cancer within the year
LAYOUT = {"left": 0.01, "right": 0.99, "top": 0.96, "bottom": 0.01, "wspace": 0.02, "hspace": 0.14}


def main() -> None:
    """Draw and save."""
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/phantom.png")
    population = PhantomCohort(num_women=600).population()
    figure = Figure(figsize=(11.4, 6.6), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    for place, (axes, exam) in enumerate(
        zip(figure.subplots(3, 2, gridspec_kw=LAYOUT).flat, chosen(population), strict=True)
    ):
        axes.imshow(four_views(population, exam), cmap="gray", vmin=0, vmax=60_000, interpolation="none")
        axes.set_axis_off()
        axes.set_title(label(population, exam), color="white", fontsize=10, loc="left", pad=3)
        if place < 2:
            for left, words in ((0.01, "CC"), (0.51, "MLO")):
                axes.text(left, 0.9, words, transform=axes.transAxes, color="0.6", fontsize=9)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, facecolor="black")


def chosen(population: Population) -> list[int]:
    """The last exams of the women shown, as rows of the exams."""
    exams = population.exams
    last = np.append(np.diff(exams.woman) > 0, True)
    rows, used = [], set[int]()
    for place, density in enumerate(CLASSES):
        for row in np.flatnonzero(last):
            woman = population.women[exams.woman[row]]
            soon = exams.years_to_cancer[row] == 1
            fits = soon if place in CANCERS else not population.is_case[woman.index]
            if fits and woman.density_class == density and woman.index not in used:
                rows.append(int(row))
                used.add(woman.index)
                break
    return rows


def four_views(population: Population, exam: int) -> np.ndarray:
    """The four pictures side by side, [H, 4 W]."""
    exams, woman = population.exams, population.women[population.exams.woman[exam]]
    times = exams.time[exams.woman == woman.index].tolist()
    pictures = {(p.exam, p.laterality, p.view): p.pixels for p in render_woman(woman, times, PictureRules(), HEIGHT)}
    return np.hstack([pictures[(len(times) - 1, *view)] for view in VIEWS])


def label(population: Population, exam: int) -> str:
    """Age, density, risk and outcome of a woman as a title."""
    exams, woman = population.exams, population.women[population.exams.woman[exam]]
    words = f"age {woman.age + exams.time[exam]:.0f}, density {'ABCD'[woman.density_class - 1]}, "
    words += f"1-year risk {exams.true_risk[exam, 0]:.1%}"
    if exams.years_to_cancer[exam] == 1:
        words += f", cancer to come in the {'left' if woman.precursor.laterality == 'L' else 'right'} breast"
    return words


if __name__ == "__main__":
    main()
