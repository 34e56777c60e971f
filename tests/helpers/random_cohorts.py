"""Small random cohorts with edge cases, bootstrap samples of their patients, and estimates by definition."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mammorisk.metrics.rows import Rows, read_rows

YEARS = 5
DRAWS = 3  # the first is the cohort itself
SEEDS = range(20)
fifty_examples = settings(max_examples=50, deadline=None, derandomize=True)  # the same fifty in every run


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


@st.composite
def outcomes_and_risks(draw: st.DrawFn, largest: int = 12) -> tuple[NDArray, NDArray, NDArray]:
    """Risks [N, YEARS] that rise with the year, events [N] and years [N] of one to ``largest`` women."""
    n = draw(st.integers(1, largest))
    levels = draw(st.sampled_from([1, 4, 1000]))
    risk = np.sort(draw(arrays(np.int64, (n, YEARS), elements=st.integers(0, levels - 1))), axis=1) / max(4, levels)
    event = draw(arrays(np.bool_, n))
    return risk, event, draw(arrays(np.int64, n, elements=st.integers(0, YEARS - 1)))


@st.composite
def cohorts_and_draws(draw: st.DrawFn) -> tuple[Rows, NDArray[np.float64]]:
    """A cohort of up to twelve rows, weighted or not, and bootstrap samples [P, DRAWS] of its patients."""
    risk, event, year = draw(outcomes_and_risks())
    n = len(event)
    patient = draw(arrays(np.int64, n, elements=st.integers(0, max(1, n // 2))))
    weight = draw(st.none() | arrays(np.int64, n, elements=st.integers(1, 3)))
    rows = read_rows(risk, event, year, patient, weight)
    times = draw(arrays(np.int64, (rows.patients, DRAWS), elements=st.integers(0, 3))).astype(np.float64)
    times[:, 0] = 1
    return rows, times


def some_draws(rows: Rows, seed: int) -> NDArray[np.float64]:
    """Counts of each patient in each bootstrap sample, [P, DRAWS]; all 1 in the first."""
    draws = np.random.default_rng(seed + 1000).integers(0, 4, (rows.patients, DRAWS)).astype(np.float64)
    draws[:, 0] = 1
    return draws


def repeated(rows: Rows, drawn: NDArray[np.float64]) -> Rows:
    """Rows repeated by their weight times their patient's count, each as a patient of its own."""
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
