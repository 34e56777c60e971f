"""Small random cohorts with everything that is awkward, draws of their patients, and plain estimates by definition."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mammorisk.metrics.rows import Rows, read_rows

YEARS = 5
DRAWS = 3  # the first is the cohort itself
SEEDS = range(200)


def small_cohort(seed: int, largest: int = 30, weighted: bool = False) -> Rows:
    """Risks tied or not; from nobody with cancer, and exactly one, to all; one to four rows a patient."""
    random = np.random.default_rng(seed)
    n = int(random.integers(1, largest + 1))
    event = random.random(n) < random.choice([0, 0.1, 0.3, 0.5, 0.9, 1])
    if seed % 10 == 0:
        event = np.arange(n) == 0
    levels = random.choice([1, 4, 1000])  # 1: all the same
    risk = np.sort(random.integers(0, levels, (n, YEARS)) / 1000 * random.choice([1, 0.3]), axis=1)
    if levels == 4:
        risk = risk * 250  # to 0.75, 0 among them
    patient = random.integers(0, max(1, n // 2), n)
    weight = random.integers(1, 4, n) if weighted else None
    return read_rows(risk, event, random.integers(0, YEARS, n), patient, weight)


def some_draws(rows: Rows, seed: int) -> NDArray[np.float64]:
    """[P, DRAWS] how often each patient is drawn; everybody once in the first."""
    draws = np.random.default_rng(seed + 1000).integers(0, 4, (rows.patients, DRAWS)).astype(np.float64)
    draws[:, 0] = 1
    return draws


def repeated(rows: Rows, drawn: NDArray[np.float64]) -> Rows:
    """The drawn rows one by one, as often as their weight and their patient's draw say, each of its own patient."""
    times = (drawn[rows.patient] * rows.weight).astype(int)
    each = np.repeat(np.arange(len(times)), times)
    ones = np.ones(len(each))
    return Rows(rows.risk[each], rows.event[each], rows.year[each], np.arange(len(each)), ones, len(each))


def free_of_cancer(event: NDArray[np.bool_], year: NDArray[np.int64], k: int) -> float:
    """P(T > k), Kaplan-Meier year by year; NaN where nobody is left to see year k."""
    survival = 1.0
    for j in range(k + 1):
        at_risk = sum(1 for t in year if t >= j)
        if at_risk == 0:
            return math.nan if survival > 0 else 0.0
        survival *= 1 - sum(1 for e, t in zip(event, year, strict=True) if e and t == j) / at_risk
    return survival


def still_followed(event: NDArray[np.bool_], year: NDArray[np.int64], k: int) -> float:
    """P(C >= k), Kaplan-Meier on the censorings, which come after the cancers of their year."""
    followed = 1.0
    for j in range(k):
        at_risk = sum(1 for e, t in zip(event, year, strict=True) if t > j or (t == j and not e))
        if at_risk:
            followed *= 1 - sum(1 for e, t in zip(event, year, strict=True) if not e and t == j) / at_risk
    return followed


def censoring_weights(rows: Rows, k: int) -> NDArray[np.float64] | None:
    """[N] 1 / G(T) of cases by year k, 1 / G(k) of those free of cancer to it, else 0; None if nobody is followed."""
    followed = [still_followed(rows.event, rows.year, j) for j in range(k + 1)]
    if followed[k] == 0:
        return None
    case = rows.event & (rows.year <= k)
    at_event = [1 / followed[min(t, k)] if c else 0.0 for t, c in zip(rows.year, case, strict=True)]
    return np.where(case, at_event, np.where(rows.free(k), 1 / followed[k], 0))
