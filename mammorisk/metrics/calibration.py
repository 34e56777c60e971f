"""Calibration and error of predicted risks: observed risk, slope, intercept, Brier score, in each bootstrap sample."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.definitions import CALIBRATION, FINE, SHARE, Measure
from mammorisk.metrics.definitions import DECILES as BY_DECILE
from mammorisk.metrics.logistic import intercept, slope
from mammorisk.metrics.pair_counts import PairCounts
from mammorisk.metrics.risk_bins import DECILES, RiskBins, by_decile
from mammorisk.metrics.rows import Rows, ratio

BRIER_MEASURES = (
    Measure(
        "Brier score",
        "mean of (outcome − p_k)², cases counting 1 / G(T) and free samples 1 / G(k) times",
        "Graf et al. 1999, Stat Med 18:2529",
        better="lower",
        form=FINE,
    ),
    Measure(
        "Integrated Brier score",
        "its mean over years 1 … 5, trapezium rule",
        better="lower",
        yearly=False,
        form=FINE,
    ),
)
MEASURES = (
    Measure("predicted risk", "mean p_k", section=CALIBRATION, form=SHARE),
    Measure("observed risk", "1 − S(k)", section=CALIBRATION, form=SHARE),
    Measure(
        "expected/observed",
        "predicted over observed risk. Above 1: risk overestimated",
        better="1",
        section=CALIBRATION,
        headline="Year {last} expected/observed",
        by_group="Year {last} expected/observed",
    ),
    Measure(
        "calibration slope",
        "of logit P(cancer by k) on logit p_k, with an intercept; cases count 1 / G(T), free samples 1 / G(k) times. "
        "Below 1: predicted risks too extreme",
        "Cox 1958, Biometrika 45:562; Gerds et al. 2014, Stat Med 33:3191",
        better="1",
        section=CALIBRATION,
        headline="Year {last} calibration slope",
    ),
    Measure(
        "calibration intercept",
        "the same with a slope of 1: 0 where as many get cancer as predicted. Above 0: risk underestimated",
        "Van Calster et al. 2019, BMC Med 17:230",
        better="0",
        section=CALIBRATION,
        headline="Year {last} calibration intercept",
        in_terminal=False,
    ),
    Measure(
        "predicted risk, decile <decile>", "mean p_k in each tenth of the cohort's p_k", section=BY_DECILE, form=SHARE
    ),
    Measure("observed risk, decile <decile>", "1 − S(k) in each tenth", section=BY_DECILE, form=SHARE),
)


class YearRisks:
    """Sums of predicted risks of year k (0-based), and of their squared errors."""

    def __init__(self, rows: Rows, bins: RiskBins, k: int) -> None:
        risk = rows.risk[:, k]
        decile = np.searchsorted(bins.deciles, bins.of(risk), side="right")
        kind = np.where(rows.event & (rows.year <= k), rows.year, np.where(rows.free(k), k + 1, -1))
        self.predicted = rows.sums(decile, DECILES, risk)
        self.errors = rows.sums(kind, k + 2, (risk - (kind <= k)) ** 2)


def calibration(
    year: YearRisks, counts: Floats, bins: RiskBins, pair_counts: PairCounts, weights: Floats
) -> dict[str, Floats]:
    """Measures of one year's calibration, each [R]; their names begin with ``Year k``.

    ``predicted risk`` mean of the predictions; ``observed risk`` 1 - S by Kaplan-Meier; ``expected/observed`` the
    ratio.
    ``predicted risk, decile d`` and ``observed risk, decile d`` the same in each tenth of the cohort's risks.
    ``calibration slope`` and ``calibration intercept``: logistic regression of cancer by the year on the logit of the
    predicted risk (slope: with an intercept of its own; intercept: with a slope of 1). Cases count 1 / G(T) times,
    those known free of cancer to year k 1 / G(k) times, those censored before not at all (Gerds, Andersen & Kattan
    2014, Stat Med 33:3191). NaN where it is not defined: nobody followed for so long, no cases, no controls.

    Args:
        year: of the rows.
        counts: [2 (k + 1), B, R] of the bootstrap samples, as ``BinCounts.counts``.
        bins: those of the counts.
        pair_counts: of the bootstrap samples.
        weights: [P, R] the bootstrap samples.
    """
    k = len(counts) // 2 - 1
    tenths = by_decile(counts, bins)
    sums = year.predicted @ weights  # [10, R]
    predicted, observed = ratio(sums, tenths.total), tenths.observed[k]
    mean = ratio(sums.sum(axis=0), pair_counts.total)
    seen = pair_counts.followed[k] > 0
    events = (counts[: k + 1] * pair_counts.inverse[: k + 1, None]).sum(axis=0)  # [B, R]
    free = counts[-1] * pair_counts.inverse[k]
    found = {
        "predicted risk": mean,
        "observed risk": pair_counts.observed[k],
        "expected/observed": ratio(mean, pair_counts.observed[k]),
        "calibration slope": np.where(seen, slope(bins.logit, events, free), np.nan),
        "calibration intercept": np.where(seen, intercept(bins.logit, events, free), np.nan),
    }
    for tenth in range(DECILES):
        found[f"predicted risk, decile {tenth + 1}"] = predicted[tenth]
        found[f"observed risk, decile {tenth + 1}"] = observed[tenth]
    return {f"Year {k + 1} {name}": values for name, values in found.items()}


def brier(years: Sequence[YearRisks], pair_counts: PairCounts, weights: Floats) -> dict[str, Floats]:
    """``Year k Brier score`` and ``Integrated Brier score``, each [R], with weights for censoring.

    BS(k) = 1/n (sum over cases by year k of (1 - p_k)^2 / G(T) + sum over those known free to year k of p_k^2 / G(k)):
    Graf et al. 1999, Stat Med 18:2529. The integrated one is the mean over time from year 1 to year Y by the
    trapezium rule.
    NaN where nobody is followed to the year.

    Args:
        years: of the years 0 ... Y - 1.
        pair_counts: of the bootstrap samples.
        weights: [P, R] the bootstrap samples.
    """
    scores = []
    for k, year in enumerate(years):
        errors = year.errors @ weights  # [k + 2, R]
        squared = (errors[:-1] * pair_counts.inverse[: k + 1]).sum(axis=0) + errors[-1] * pair_counts.inverse[k]
        scores.append(np.where(pair_counts.followed[k] > 0, ratio(squared, pair_counts.total), np.nan))
    found = {f"Year {k + 1} Brier score": score for k, score in enumerate(scores)}
    between = [(one + other) / 2 for one, other in pairwise(scores)]
    found["Integrated Brier score"] = np.sum(between, axis=0) / len(between) if between else scores[0]
    return found
