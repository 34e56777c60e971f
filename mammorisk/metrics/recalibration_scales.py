"""Recalibration scales, one per year: Platt and isotonic, fitted on other women than those of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import IsotonicRegression

from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.logistic import intercept, slope
from mammorisk.metrics.pair_counts import pair_count_sums, read_pair_counts
from mammorisk.metrics.risk_bins import SMALLEST
from mammorisk.metrics.rows import Rows


@dataclass(frozen=True)
class Platt:
    """logit p' = intercept + slope x logit p (Platt 1999, Advances in Large Margin Classifiers)."""

    slope: float
    intercept: float

    def __call__(self, risk: ArrayLike) -> Floats:
        """Apply the scale to risks [N] -> [N]."""
        return 1 / (1 + np.exp(-(self.intercept + self.slope * _logit(risk))))


@dataclass(frozen=True)
class Isotonic:
    """Non-decreasing p', interpolated between points and constant beyond them (Zadrozny & Elkan 2002, KDD)."""

    risk: tuple[float, ...]  # ascending
    observed: tuple[float, ...]

    def __call__(self, risk: ArrayLike) -> Floats:
        """Apply the scale to risks [N] -> [N]."""
        return np.interp(np.asarray(risk, dtype=np.float64), self.risk, self.observed)


Scale = Platt | Isotonic


def fit_platt(rows: Rows) -> list[Platt | None]:
    """Fit a scale for each year; None without a maximum: no cases, nobody followed so long, or risk separates them.

    Cases count 1 / G(T) times and those known free of cancer 1 / G(k) times, for those who were censored before.
    """
    scales: list[Platt | None] = []
    for k in range(rows.years):
        case, known, weight = _seen(rows, k)
        x, number = _logit(rows.risk[known, k]), weight[known]
        events, free = (number * case[known])[:, None], (number * ~case[known])[:, None]
        steepness = float(slope(x, events, free)[0]) if known.any() else np.nan
        level = float(intercept(steepness * x, events, free)[0]) if np.isfinite(steepness) else np.nan
        scales.append(Platt(steepness, level) if np.isfinite(level) else None)
    return scales


def fit_isotonic(rows: Rows) -> list[Isotonic | None]:
    """Fit a scale for each year, weighted as ``fit_platt``; None where there are not both cases and others."""
    scales: list[Isotonic | None] = []
    for k in range(rows.years):
        case, known, weight = _seen(rows, k)
        if not case.any() or case[known].all():
            scales.append(None)
            continue
        fit = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        fit.fit(rows.risk[known, k], case[known].astype(np.float64), sample_weight=weight[known])
        points = ([float(value) for value in each] for each in (fit.X_thresholds_, fit.y_thresholds_))
        scales.append(Isotonic(*map(tuple, points)))
    return scales


def recalibrated(risk: ArrayLike, scales: list[Scale | None]) -> Floats:
    """Apply scales to risks [N, Y]; a year without a scale stays as it is. Risks do not fall from year to year.

    Raises:
        ValueError: the number of scales is not that of the years.
    """
    before = np.asarray(risk, dtype=np.float64)
    if before.ndim != 2 or before.shape[1] != len(scales):
        raise ValueError(f"Expected risks [N, {len(scales)}]; found shape {before.shape}.")
    years = [before[:, k] if scale is None else scale(before[:, k]) for k, scale in enumerate(scales)]
    return np.maximum.accumulate(np.stack(years, axis=1), axis=1)


def _seen(rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray, Floats]:
    """Masks of cases by year ``k`` and of rows where that is known, and the weight of each row."""
    inverse = read_pair_counts(pair_count_sums(rows) @ np.ones((rows.patients, 1))).inverse[:, 0]
    case = rows.event & (rows.year <= k)
    weight = rows.weight * np.where(case, inverse[rows.year], inverse[k])
    known = (case | rows.free(k)) & (weight > 0)
    return case & known, known, weight


def _logit(risk: ArrayLike) -> Floats:
    kept = np.clip(np.asarray(risk, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(kept / (1 - kept))
