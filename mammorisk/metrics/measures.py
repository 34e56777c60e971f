"""Computation of all measures of a set of rows, for many bootstrap samples at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammorisk.metrics import registry
from mammorisk.metrics.calibration import YearRisks
from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.draw_sums import CohortDraws, YearDraws
from mammorisk.metrics.pair_counts import pair_count_sums, read_pair_counts
from mammorisk.metrics.ranking import YearPairs, ranking
from mammorisk.metrics.risk_bins import BinCounts, RiskBins, risk_bins
from mammorisk.metrics.rows import Rows, in_chunks

SHARES = (0.01, 0.05, 0.1, 0.2)  # top shares of risk
THRESHOLDS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # of decision curves


@dataclass(frozen=True)
class Cuts:
    """Bins of every year's risk, of the whole cohort, the same for all its groups and bootstrap samples."""

    bins: tuple[RiskBins, ...]  # [Y]
    shares: Sequence[float]
    thresholds: Sequence[float]


def cohort_cuts(rows: Rows, shares: Sequence[float] = SHARES, thresholds: Sequence[float] = THRESHOLDS) -> Cuts:
    """Compute the cuts of a whole cohort.

    Raises:
        ValueError: a share or threshold is not inside 0 ... 1.
    """
    if not all(0 < value < 1 for value in (*shares, *thresholds)):
        raise ValueError(f"Expected top shares and thresholds inside 0 ... 1; found {shares} and {thresholds}.")
    bins = (risk_bins(rows.risk[:, k], rows.weight, shares, thresholds) for k in range(rows.years))
    return Cuts(tuple(bins), shares, thresholds)


class RankingMeasures:
    """C-index in both forms, AUC and dynamic AUC."""

    def __init__(self, rows: Rows) -> None:
        self.pairs = [YearPairs(rows, k) for k in range(rows.years)]
        self.pair_counts = pair_count_sums(rows)
        self.size = 3 * sum(
            year.places + len(year.patient) for year in self.pairs
        )  # number of float64 that a bootstrap sample takes

    def of(self, weights: Floats) -> dict[str, Floats]:
        """Compute each measure [R] of bootstrap samples [P, R]."""
        return ranking(self.pairs, read_pair_counts(self.pair_counts @ weights), weights)


class AllMeasures(RankingMeasures):
    """Every measure of ``registry.FAMILIES``."""

    def __init__(self, rows: Rows, cuts: Cuts) -> None:
        super().__init__(rows)
        self.cuts = cuts
        self.counts = [BinCounts(rows, bins, k) for k, bins in enumerate(cuts.bins)]
        self.risks = [YearRisks(rows, bins, k) for k, bins in enumerate(cuts.bins)]
        self.size += 4 * max(counts.matrix.shape[0] for counts in self.counts)

    def of(self, weights: Floats) -> dict[str, Floats]:
        """Compute each measure [R] of bootstrap samples [P, R]."""
        pair_counts = read_pair_counts(self.pair_counts @ weights)
        draws = CohortDraws(weights, pair_counts, self.pairs, self.risks)
        found: dict[str, Floats] = {}
        for family in registry.FAMILIES:
            if family.of_cohort is not None:
                found |= family.of_cohort(draws)
        for k in range(len(self.risks)):
            year = self._year(k, draws)
            for family in registry.FAMILIES:
                if family.of_year is not None:
                    found |= family.of_year(year)
        return found

    def _year(self, k: int, draws: CohortDraws) -> YearDraws:
        cuts, counts = self.cuts, self.counts[k].counts(draws.weights)
        pairs, risks, bins = self.pairs[k], self.risks[k], cuts.bins[k]
        return YearDraws(k, draws.weights, draws.pair_counts, pairs, risks, bins, counts, cuts.shares, cuts.thresholds)


def measured(measures: RankingMeasures, counts: NDArray[np.uint8], memory: int) -> dict[str, Floats]:
    """Compute each measure [R] of all bootstrap samples [P, R], in chunks that fit into ``memory`` bytes."""
    chunks = [measures.of(weights) for weights in in_chunks(counts, measures.size, memory)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
