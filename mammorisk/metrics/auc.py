"""Area under the ROC curve of each year."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.metrics.censoring import Floats, survival_estimate


def wins(cases: Floats, controls: Floats) -> float:
    """Mann-Whitney U: number of pairs (case, control) in which the case has the higher score, ties one half.

    Args:
        cases: [M] scores.
        controls: [K] scores.

    Returns:
        U in 0 ... M * K, exact (counted, in O((M + K) log K)).
    """
    ordered = np.sort(controls)
    below = np.searchsorted(ordered, cases, side="left").sum()
    not_above = np.searchsorted(ordered, cases, side="right").sum()
    return float(below + not_above) / 2


def yearly_auc(risk: ArrayLike, event: ArrayLike, time: ArrayLike) -> Floats:
    """AUC of year k: exams with cancer by year k against those known free of it to year k; ties one half.

    AUC_k = P(risk_ik > risk_jk) + P(risk_ik = risk_jk) / 2, with T_i <= k and T_j > k. Censored exams count as
    controls up to the year they are censored in and not after; no weights (Hanley & McNeil 1982).

    Args:
        risk: [N, Y] risk of cancer within 1 ... Y years, or any score that rises with it.
        event: [N] true: cancer; false: censored.
        time: [N] 0-based year of the cancer, or the last year known free of it.

    Returns:
        [Y]; NaN where a year has no cases or no controls.

    Raises:
        ValueError: shapes differ, a risk is not finite, a time is not in 0 ... Y - 1.
    """
    scores, happened, year = survival_estimate(risk, event, time)
    auc = np.full(scores.shape[1], np.nan)
    for k in range(scores.shape[1]):
        cases = scores[happened & (year <= k), k]
        controls = scores[(year > k) | (~happened & (year == k)), k]
        if len(cases) and len(controls):
            auc[k] = wins(cases, controls) / (len(cases) * len(controls))
    return auc
