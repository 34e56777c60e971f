"""Time-dependent concordance of yearly risks, with censoring weights and as in the literature.

A pair (i, j) is comparable if i had her cancer in year T_i and j is known to have been free of it to the end of that
year: T_j > T_i, or j was censored in year T_i. Both scores of a pair are of the same year (docs/pitfalls.md#p1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.metrics.auc import wins
from mammorisk.metrics.censoring import Floats, censoring_distribution, kaplan_meier, survival_estimate


def c_index(risk: ArrayLike, event: ArrayLike, time: ArrayLike) -> float:
    """C-index with inverse-probability-of-censoring weights: share of pairs whose earlier cancer has the higher risk.

    C = sum G(T_i)^-2 (1[r_i > r_j] + 1/2 1[r_i = r_j]) / sum G(T_i)^-2 over comparable pairs, both scores r of the
    event's year T_i; G(k) = P(C >= k) by Kaplan-Meier on the censorings (Uno et al. 2011, Stat Med 30:1105, the
    score made a function of time as in Antolini et al. 2005, Stat Med 24:3927).
    Equal to scikit-survival's ``concordance_index_ipcw`` for columns that are equal, if its times put the
    censorings of a year after the events of that year (time + 1/2). With the plain years it would weight by P(C > T_i),
    which is 0 for the cancers of the last year.

    Args:
        risk: [N, Y] risk of cancer within 1 ... Y years, or any score that rises with it.
        event: [N] true: cancer; false: censored.
        time: [N] 0-based year of the cancer, or the last year known free of it.

    Returns:
        C in 0 ... 1, the same in any order of samples; NaN without a comparable pair.

    Raises:
        ValueError: shapes differ, a risk is not finite, a time is not in 0 ... Y - 1.
    """
    scores, happened, year = survival_estimate(risk, event, time)
    years = scores.shape[1]
    won, pairs = np.zeros(years), np.zeros(years)
    for k in range(years):
        cases = scores[happened & (year == k), k]
        comparators = scores[(year > k) | (~happened & (year == k)), k]
        won[k], pairs[k] = wins(cases, comparators), len(cases) * len(comparators)
    return _weighted(won, pairs, censoring_distribution(happened, year, years))


def c_index_literature(risk: ArrayLike, event: ArrayLike, time: ArrayLike) -> float:
    """C-index as published with Mirai and used by its successors; for comparison with their tables only.

    Over the same pairs as ``c_index``, but scores and weight are of the *comparator's* year T_j, and the weight is
    S(T_j)^-2 with S by Kaplan-Meier on the events instead of the censorings (docs/pitfalls.md#p2). It depends on
    the censoring.

    Args:
        risk: [N, Y] risk of cancer within 1 ... Y years, or any score that rises with it.
        event: [N] true: cancer; false: censored.
        time: [N] 0-based year of the cancer, or the last year known free of it.

    Returns:
        C in 0 ... 1, the same in any order of samples; NaN without a comparable pair, or where S is 0 at the year of
        a comparator and the measure is not defined.

    Raises:
        ValueError: shapes differ, a risk is not finite, a time is not in 0 ... Y - 1.
    """
    scores, happened, year = survival_estimate(risk, event, time)
    years = scores.shape[1]
    won, pairs = np.zeros(years), np.zeros(years)
    for k in range(years):
        for with_cancer in (True, False):
            comparators = scores[(happened == with_cancer) & (year == k), k]
            cases = scores[happened & ((year < k) if with_cancer else (year <= k)), k]
            won[k] += wins(cases, comparators)
            pairs[k] += len(cases) * len(comparators)
    return _weighted(won, pairs, kaplan_meier(happened, year, years))


def _weighted(won: Floats, pairs: Floats, survival: Floats) -> float:
    """Weighted share, sum_k won_k survival_k^-2 / sum_k pairs_k survival_k^-2, over the years that have pairs."""
    used = pairs > 0
    if not used.any() or (survival[used] == 0).any():
        return float("nan")
    weight = survival[used] ** -2.0
    return float((weight * won[used]).sum() / (weight * pairs[used]).sum())
