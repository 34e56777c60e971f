"""Discrete survival labels of an exam: year of cancer or censoring, target and mask of every year.

One function builds the labels of training and of all metrics (docs/data.md#labels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class SurvivalLabels:
    """Labels of N exams over Y years; year k (0-based) ends k + 1 years after the exam."""

    event_index: NDArray[np.int64]  # [N] | year of the cancer, or the last year known to be free of it
    event: NDArray[np.bool_]  # [N] | true: cancer within Y years; false: censored
    target: NDArray[np.float32]  # [N, Y] | 1 from the year of the cancer on
    mask: NDArray[np.float32]  # [N, Y] | 1 for years 0 ... event_index


def survival_labels(
    years_to_cancer: ArrayLike, years_to_last_followup: ArrayLike, max_followup: int = 5
) -> SurvivalLabels:
    """Discrete survival labels in the convention of Mirai (Yala et al. 2021).

    Cancer after t years falls in year max(t, 1) - 1 if that is below Y, whatever the follow-up f. Every other woman
    is censored in year min(max(f, 1), Y) - 1. Fractions of a year are cut off.

    Args:
        years_to_cancer: [N] years from the exam to the diagnosis, NaN where none was seen.
        years_to_last_followup: [N] years from the exam to the last one; required without cancer in Y years.
        max_followup: Y, years of risk.

    Raises:
        ValueError: shapes differ, a time to cancer is negative, or a required follow-up is missing or negative. The
            cohort reader refuses or completes such rows (docs/pitfalls.md#p29); no year of follow-up is assumed here.
    """
    cancer = np.asarray(years_to_cancer, dtype=np.float64)
    followup = np.asarray(years_to_last_followup, dtype=np.float64)
    if cancer.ndim != 1 or cancer.shape != followup.shape:
        raise ValueError(f"Expected two arrays [N]; found shapes {cancer.shape} and {followup.shape}.")
    _refuse("a negative years_to_cancer", cancer < 0)
    cancer_year = np.maximum(np.floor(cancer), 1) - 1  # NaN stays NaN, and comparisons with it are false
    event = cancer_year < max_followup
    _refuse("neither cancer within the horizon nor a follow-up of 0 years or more", ~event & ~(followup >= 0))
    last_known = np.clip(np.floor(followup), 1, max_followup) - 1
    index = np.where(event, cancer_year, last_known).astype(np.int64)
    year = np.arange(max_followup)
    return SurvivalLabels(
        event_index=index,
        event=event,
        target=(event[:, None] & (year >= index[:, None])).astype(np.float32),  # [N, Y]
        mask=(year <= index[:, None]).astype(np.float32),  # [N, Y]
    )


def unknown_labels(count: int, max_followup: int = 5) -> SurvivalLabels:
    """Labels of ``count`` exams with unknown outcome: no event, and mask 0 in every year."""
    years = (count, max_followup)
    return SurvivalLabels(
        event_index=np.zeros(count, dtype=np.int64),
        event=np.zeros(count, dtype=np.bool_),
        target=np.zeros(years, dtype=np.float32),
        mask=np.zeros(years, dtype=np.float32),
    )


def _refuse(what: str, wrong: NDArray[np.bool_]) -> None:
    if wrong.any():
        rows = np.flatnonzero(wrong)
        raise ValueError(f"{len(rows)} rows have {what}, the first of them rows {rows[:5].tolist()} (0-based).")
