"""Measures of a training: concordance and yearly AUCs of one split, by their reported names."""

from __future__ import annotations

from numpy.typing import ArrayLike

from mammorisk.metrics.auc import yearly_auc
from mammorisk.metrics.concordance import c_index, c_index_literature


def risk_metrics(risk: ArrayLike, event: ArrayLike, time: ArrayLike) -> dict[str, float]:
    """``C-index``, ``C-index (literature)`` and ``Year 1 AUC`` ... ``Year Y AUC``.

    Args:
        risk: [N, Y] risk of cancer within 1 ... Y years, or any score that rises with it.
        event: [N] true: cancer; false: censored.
        time: [N] 0-based year of the cancer, or the last year known free of it.

    Returns:
        Plain floats; NaN for a measure that the data do not define (no event, no control).

    Raises:
        ValueError: shapes differ, a risk is not finite, a time is not in 0 ... Y - 1.
    """
    measures = {"C-index": c_index(risk, event, time), "C-index (literature)": c_index_literature(risk, event, time)}
    for year, auc in enumerate(yearly_auc(risk, event, time), start=1):
        measures[f"Year {year} AUC"] = float(auc)
    return measures
