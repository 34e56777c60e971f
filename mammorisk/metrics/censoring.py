"""Kaplan-Meier estimator on yearly data, and the distribution of the censorings.

Times are 0-based years. In a year cancers come before censorings: a woman censored in year k was free of cancer
throughout it (``datasets/labels.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def kaplan_meier(event: ArrayLike, time: ArrayLike, n_times: int) -> Floats:
    """Survival function S(k) = P(T > k) = prod_{j<=k} (1 - events_j / at risk_j) (Kaplan & Meier 1958).

    Args:
        event: [N] true: event; false: censored.
        time: [N] year of it, 0 ... n_times - 1.
        n_times: number of years.

    Returns:
        [n_times] S(0) ... S(n_times - 1); where nobody is at risk it stays constant. All 1 without samples.

    Raises:
        ValueError: shapes differ, event is not 0 or 1, or a time is no whole number in range.
    """
    happened, year = survival_outcome(event, time, n_times)
    at_risk = _from_year_on(year, n_times)
    events = np.bincount(year[happened], minlength=n_times)
    return np.cumprod(1 - events / np.maximum(at_risk, 1), dtype=np.float64)


def censoring_distribution(event: ArrayLike, time: ArrayLike, n_times: int) -> Floats:
    """G(k) = P(C >= k), not being censored before year k: Kaplan-Meier on 1 - event (docs/pitfalls.md#p2).

    A cancer of year k is observed if its woman was not censored *before* k, and so is a comparator followed to the end
    of k: both have the weight of G(k). Women with a cancer in year j are no longer at risk of being censored in it, so
    G(k) = prod_{j<k} (1 - censored_j / (at risk_j - events_j)): scikit-survival's ``reverse`` estimate, just
    before k. It is positive wherever there is an event, also in the last year, which ends with everybody censored.

    Args:
        event: [N] true: event; false: censored.
        time: [N] year of it, 0 ... n_times - 1.
        n_times: number of years.

    Returns:
        [n_times] G(0) = 1, G(1) ... G(n_times - 1).

    Raises:
        ValueError: as ``kaplan_meier``.
    """
    happened, year = survival_outcome(event, time, n_times)
    in_half_years = 2 * year + ~happened  # events of a year, then its censorings
    followed = kaplan_meier(~happened, in_half_years, 2 * n_times)
    return np.concatenate([np.ones(1), followed[1:-1:2]])


def survival_outcome(event: ArrayLike, time: ArrayLike, n_times: int) -> tuple[Bools, Ints]:
    """Check event [N] and time [N], and return them as bool and int64; the inputs are not written.

    Raises:
        ValueError: shapes differ, event is not 0 or 1, or a time is no whole number in 0 ... n_times - 1.
    """
    happened, year = np.asarray(event), np.asarray(time)
    if happened.ndim != 1 or happened.shape != year.shape:
        raise ValueError(f"Expected event and time of one shape [N]; found {happened.shape} and {year.shape}.")
    if not np.isin(happened, (0, 1)).all():
        raise ValueError("Expected events of 0 and 1 only; found others.")
    if not ((year >= 0) & (year < n_times) & (year == np.floor(year))).all():
        raise ValueError(f"Expected times of 0 ... {n_times - 1}, the index of a year; found others.")
    return happened.astype(np.bool_), year.astype(np.int64)


def survival_estimate(risk: ArrayLike, event: ArrayLike, time: ArrayLike) -> tuple[Floats, Bools, Ints]:
    """Check risk [N, Y], event [N] and time [N]; return float64, bool and int64; the inputs are not written.

    Raises:
        ValueError: shapes differ, a risk is NaN or infinite, or as ``survival_outcome``.
    """
    scores: NDArray[Any] = np.asarray(risk, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"Expected risks [N, Y]; found shape {scores.shape}.")
    happened, year = survival_outcome(event, time, scores.shape[1])
    if len(scores) != len(year):
        raise ValueError(f"Expected as many risks as events; found {len(scores)} and {len(year)}.")
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        rows = np.flatnonzero(wrong)
        raise ValueError(f"{len(rows)} samples have a risk that is NaN or infinite, the first {rows[:5].tolist()}.")
    return scores, happened, year


def _from_year_on(year: Ints, n_times: int) -> Ints:
    """Number of samples with a time of at least k, [n_times]."""
    return np.bincount(year, minlength=n_times)[::-1].cumsum()[::-1]
