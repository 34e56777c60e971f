"""Inputs of the measures in a chunk of bootstrap samples: weights, counts and sums, of all years and of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mammorisk.metrics.calibration import YearRisks
from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.pair_counts import PairCounts
from mammorisk.metrics.ranking import YearPairs
from mammorisk.metrics.risk_bins import RiskBins


@dataclass(frozen=True)
class CohortDraws:
    """R bootstrap samples of P patients, with the counts of all Y years."""

    weights: Floats  # [P, R] how often each patient was drawn
    pair_counts: PairCounts  # [Y, R] events and censorings
    pairs: Sequence[YearPairs]  # [Y] cases and others by score
    risks: Sequence[YearRisks]  # [Y] sums of predicted risks and of squared errors


@dataclass(frozen=True)
class YearDraws:
    """The same bootstrap samples, with the counts by bin of one year's risk."""

    k: int  # 0-based year
    weights: Floats  # [P, R]
    pair_counts: PairCounts  # [Y, R]
    pairs: YearPairs
    risks: YearRisks
    bins: RiskBins  # of the whole cohort
    counts: Floats  # [2 (k + 1), B, R] outcomes by bin, as ``BinCounts.counts``
    shares: Sequence[float]  # top shares of risk
    thresholds: Sequence[float]  # of decision curves
