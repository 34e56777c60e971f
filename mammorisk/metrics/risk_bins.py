"""Bins of a year's risk, and the counts of each outcome in them, in each bootstrap sample.

Calibration and decisions need nothing else. The edges are those of the whole evaluated cohort and stay the same in
every bootstrap sample and subgroup: a decile, or the top 5 %, is a fixed range of risk, whose own uncertainty is not in
the intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.metrics.censoring import Floats, Ints
from mammorisk.metrics.pair_counts import PairCounts
from mammorisk.metrics.rows import Rows

DECILES = 10
FINE = 256  # bins of the logit; with fewer distinct risks, each has its own
SMALLEST = 1e-6  # risks nearer to 0 or 1 are clipped to this in the logit


@dataclass(frozen=True)
class RiskBins:
    """Bins of risk; bin b holds the risks from edge b - 1 to below edge b."""

    edges: Floats  # [B - 1] ascending
    logit: Floats  # [B] mean of the cohort's in each bin
    deciles: Ints  # [9] first bin of the 2nd ... 10th tenth of the risks
    tops: Ints  # [S] first bin of each top share of the risks
    thresholds: Ints  # [T] first bin of each threshold

    def of(self, risk: Floats) -> Ints:
        """Index of the bin of each risk."""
        return np.searchsorted(self.edges, risk, side="right")


def risk_bins(risk: Floats, weight: Floats, shares: ArrayLike, thresholds: ArrayLike) -> RiskBins:
    """Make bins with edges at deciles, top shares and thresholds, fine enough in between for a logistic fit.

    Args:
        risk: [N] of the whole cohort.
        weight: [N] of each row.
        shares: [S] top shares of risk; the risks equal to the lowest of a top share belong to it.
        thresholds: [T] of risk.
    """
    cuts = [
        _quantiles(risk, weight, np.arange(1, DECILES) / DECILES),
        _quantiles(risk, weight, 1 - np.asarray(shares, dtype=np.float64)),
        np.asarray(thresholds, dtype=np.float64),
    ]
    fine = np.unique(risk)
    logits = _logit(risk)
    if len(fine) > FINE:
        fine = 1 / (1 + np.exp(-np.linspace(logits.min(), logits.max(), FINE + 1)[1:-1]))
    edges = np.unique(np.concatenate([fine, *cuts]))
    bins = np.searchsorted(edges, risk, side="right")
    total = np.bincount(bins, weights=weight, minlength=len(edges) + 1)
    sums = np.bincount(bins, weights=weight * logits, minlength=len(edges) + 1)
    mean = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
    return RiskBins(edges, mean, *(np.searchsorted(edges, cut) + 1 for cut in cuts))


class BinCounts:
    """Outcomes by bin of the risk of year k (0-based): cancer or censored in year 0 ... k, or later."""

    def __init__(self, rows: Rows, bins: RiskBins, k: int) -> None:
        self.bins, self.k = bins, k
        kinds = 2 * (k + 1)
        # Censored in year k itself means free of cancer throughout it, as are all later years.
        kind = np.where(rows.event & (rows.year <= k), rows.year, np.minimum(rows.year, k) + k + 1)
        number = len(bins.logit)
        self.matrix = rows.sums(kind * number + bins.of(rows.risk[:, k]), kinds * number)

    def counts(self, weights: Floats) -> Floats:
        """Counts [2 (k + 1), B, R] of samples [P, R]: cancers of each year, then censorings (last: or later)."""
        found: Floats = (self.matrix @ weights).reshape(2 * (self.k + 1), len(self.bins.logit), -1)
        return found


def by_decile(counts: Floats, bins: RiskBins) -> PairCounts:
    """Pair counts [k + 1, 10, R] of the tenths of risk, from ``BinCounts.counts``."""
    starts, ends = [0, *bins.deciles], [*bins.deciles, len(bins.logit)]
    tenths = np.stack([counts[:, start:end].sum(axis=1) for start, end in zip(starts, ends, strict=True)], axis=1)
    return PairCounts(*np.split(tenths, 2))


def from_bin_on(counts: Floats, first: Ints) -> Floats:
    """Counts [2 (k + 1), E, R] in each of the bins ``first`` [E] or above."""
    above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    none = np.zeros_like(above[:, :1])
    return np.concatenate([above, none], axis=1)[:, first]


def _quantiles(risk: Floats, weight: Floats, shares: Floats) -> Floats:
    """Weighted quantiles of risk at ``shares`` [S]: at most the share lies below, at most the rest above."""
    order = np.argsort(risk)
    below = np.cumsum(weight[order]) - weight[order]
    place = np.searchsorted(below, shares * weight.sum() * (1 + 1e-12), side="right") - 1
    found: Floats = risk[order][place]
    return found


def _logit(risk: Floats) -> Floats:
    kept = np.clip(risk, SMALLEST, 1 - SMALLEST)
    return np.log(kept / (1 - kept))
