"""Weights by which a case-control cohort represents a population."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.batch import MAX_FOLLOWUP
from mammorisk.errors import UserError
from mammorisk.metrics.censoring import Floats

_WIDEST = 80.0  # of the logarithm of a weight


def population_weights(event: ArrayLike, time: ArrayLike, incidence: float) -> Floats:
    """Number of women that each row represents: 1 for a case, the same number w for every other row.

    w is such that the risk of cancer in all years, by Kaplan-Meier of the weighted rows, is ``incidence``: with
    complete follow-up, w = cases (1 - incidence) / (controls x incidence).

    Args:
        event: [N] true: cancer.
        time: [N] 0-based year of the cancer, or the last year known free of it.
        incidence: of cancer in five years.

    Returns:
        [N].

    Raises:
        UserError: there is no case, or nobody was followed to the end without cancer.
    """
    case, year = np.asarray(event, dtype=np.bool_), np.asarray(time, dtype=np.int64)
    cases = np.bincount(year[case], minlength=MAX_FOLLOWUP).astype(np.float64)
    others = np.bincount(year[~case], minlength=MAX_FOLLOWUP).astype(np.float64)
    if not cases.sum() or not others[-1]:
        raise UserError(
            f"population_incidence={incidence}: expected cases, and women known free of cancer for {MAX_FOLLOWUP} "
            f"years; found {int(cases.sum())} and {int(others[-1])}. Leave it out."
        )
    low, high = -_WIDEST, _WIDEST
    for _ in range(200):  # bisection: the risk falls as w grows
        middle = (low + high) / 2
        if _risk(cases, np.exp(middle) * others) > incidence:
            low = middle
        else:
            high = middle
    return np.where(case, 1.0, np.exp((low + high) / 2))


def _risk(cases: Floats, others: Floats) -> float:
    """Risk in all years, by Kaplan-Meier."""
    at_risk = np.cumsum((cases + others)[::-1])[::-1]
    return 1 - float(np.prod(1 - cases / at_risk))
