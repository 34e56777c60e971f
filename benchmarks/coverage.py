#!/usr/bin/env python3
"""Coverage of 95 % intervals: bootstrap samples of women, and of exams as if each were another woman's.

"women drawn" are the intervals of this project, expanded percentiles; "women drawn, plain" are plain percentiles, which
are too narrow with few cases; "images drawn" is the common way: rows (here exams) are drawn, with plain percentiles.

Simulated screening cohorts: a woman has up to four yearly exams, which share her risk and most of the noise in her
score; follow-up ends at different times. The truth is the mean value of ten very large cohorts. The output is a picture
and a JSON with the share of cohorts whose interval holds the truth.

usage: python benchmarks/coverage.py [--cohorts 500] [--women 1000] [--bootstrap_samples 2000]
           [--figure FILE.png] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mammorisk.metrics.bootstrap import drawn_patients, percentile_interval
from mammorisk.metrics.measures import RankingMeasures, measured
from mammorisk.metrics.rows import Rows, read_rows
from mammorisk.metrics.training_measures import risk_metrics

MEASURES = ("C-index", "Year 5 AUC")
WAYS = {"women drawn": "#0072B2", "women drawn, plain": "#56B4E9", "images drawn": "#D55E00"}
EXAMS, YEARS, MEMORY = 4, 5, 32 * 2**20


def simulated(women: int, seed: int | tuple[int, int]) -> tuple[NDArray[Any], ...]:
    """Risk [N, 5], event, year and woman [N] of all exams with a year of follow-up, or cancer before."""
    random = np.random.default_rng(seed)
    frailty = random.normal(size=women)
    cancer = random.exponential(1 / (0.012 * np.exp(frailty)))  # years after the first exam
    end = random.uniform(2, 9, women)  # of follow-up
    noise = random.normal(scale=0.8, size=women)
    woman = np.repeat(np.arange(women), EXAMS)
    at = np.tile(np.arange(EXAMS, dtype=np.float64), women)
    ahead, followed = cancer[woman] - at, end[woman] - at
    growing = 2 * np.exp(-np.clip(ahead, 0, None) / 1.5)  # shows in the years before
    score = frailty[woman] + noise[woman] + growing + random.normal(scale=0.4, size=len(woman))
    seen = (ahead <= followed) & (ahead < YEARS)
    kept = (ahead > 0) & (followed > 0) & (seen | (np.minimum(followed, ahead) >= 1))
    year = np.where(seen, np.floor(ahead), np.minimum(np.floor(np.minimum(followed, ahead)), YEARS) - 1)
    risk = 1 - np.exp(-0.01 * np.exp(np.clip(score, -6, 3))[:, None] * np.arange(1, YEARS + 1))
    return risk[kept], seen[kept], year[kept].astype(np.int64), woman[kept]


def intervals(women: int, seed: int, bootstrap_samples: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Bounds by way of resampling and by measure."""
    risk, event, year, woman = simulated(women, (1, seed))
    by_woman, by_image = (
        _drawn(read_rows(risk, event, year, ids), bootstrap_samples, seed) for ids in (woman, np.arange(len(woman)))
    )
    cases = len(np.unique(woman[event]))
    ways = zip(WAYS, (by_woman, by_woman, by_image), (cases, None, None), strict=True)
    return {way: {name: _bounds(values[name], fewest) for name in MEASURES} for way, values, fewest in ways}


def _drawn(rows: Rows, bootstrap_samples: int, seed: int) -> dict[str, NDArray[Any]]:
    return measured(RankingMeasures(rows), drawn_patients(rows.case, bootstrap_samples, seed), MEMORY)


def _bounds(values: NDArray[Any], patients: int | None) -> tuple[float, float]:
    interval = percentile_interval(values[0], values[1:], 0.95, patients)
    return interval.low, interval.high


def coverage(words: argparse.Namespace) -> dict[str, Any]:
    """Truth, and by way and measure the share of intervals that hold it, its standard error and their mean width."""
    large = joblib.Parallel(n_jobs=words.jobs)(joblib.delayed(_values)(seed) for seed in range(10))
    truth = {name: float(np.mean([each[name] for each in large])) for name in MEASURES}
    jobs = (joblib.delayed(intervals)(words.women, seed, words.bootstrap_samples) for seed in range(words.cohorts))
    cohorts = joblib.Parallel(n_jobs=words.jobs)(jobs)
    table: dict[str, Any] = {}
    for way in WAYS:
        for name in MEASURES:
            low, high = np.array([cohort[way][name] for cohort in cohorts]).T
            share = float(np.mean((low <= truth[name]) & (truth[name] <= high)))
            error = float(np.sqrt(share * (1 - share) / words.cohorts))
            table.setdefault(way, {})[name] = {"coverage": share, "error": error, "width": float(np.mean(high - low))}
    return {"truth": truth, "coverage": table}


def _values(seed: int) -> dict[str, float]:
    risk, event, year, _ = simulated(300_000, (0, seed))
    return risk_metrics(risk, event, year)


def draw(found: dict[str, Any], path: Path) -> None:
    """A point and its 95 % interval for each way and measure, over the band of 93 to 97 %."""
    figure = Figure(figsize=(6.4, 3), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(93, 97, color="#DDDDDD", lw=0)
    axes.axvline(95, color="#666666", lw=0.8)
    for row, (way, name) in enumerate((way, name) for way in WAYS for name in MEASURES):
        cell = found["coverage"][way][name]
        axes.errorbar(
            100 * cell["coverage"], -row, xerr=196 * cell["error"], color=WAYS[way], marker="o", ms=5, capsize=3
        )
    axes.set_yticks(range(0, -2 * len(WAYS), -1), [f"{name}, {way}" for way in WAYS for name in MEASURES])
    axes.set_xlabel("cohorts whose 95 % interval holds the truth, %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (
        ("cohorts", 500),
        ("women", 1_000),
        ("bootstrap_samples", 2_000),
        ("jobs", os.cpu_count() or 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--figure", type=Path, help="draw it here")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    words = parser.parse_args()
    before = time.perf_counter()
    settings = {"cohorts": words.cohorts, "women": words.women, "bootstrap_samples": words.bootstrap_samples}
    found = {**settings, **coverage(words), "seconds": time.perf_counter() - before}
    text = json.dumps(found, indent=2)
    print(text)
    if words.figure is not None:
        draw(found, words.figure)
    if words.out is not None:
        words.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
