"""Counts of cancers and censorings in each year, in each bootstrap sample, and Kaplan-Meier from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.rows import Rows


@dataclass(frozen=True)
class PairCounts:
    """Weighted counts of the years 0 ... Y - 1; further axes (groups of risk, bootstrap samples) follow."""

    events: Floats  # [Y, ...]
    censored: Floats  # [Y, ...]

    @cached_property
    def free(self) -> Floats:
        """Number known free of cancer to the end of each year, [Y, ...]."""
        later: Floats = np.zeros_like(self.events)
        for k in range(len(later) - 1)[::-1]:  # sums, not differences, so that nobody is exactly zero
            later[k] = later[k + 1] + self.events[k + 1] + self.censored[k + 1]
        return later + self.censored

    @cached_property
    def total(self) -> Floats:
        """Number of all, [...]."""
        found: Floats = self.free[0] + self.events[0]
        return found

    @cached_property
    def survival(self) -> Floats:
        """S(k) = P(T > k), [Y, ...], as ``censoring.kaplan_meier``."""
        return np.cumprod(1 - _share(self.events, self.events + self.free), axis=0).astype(np.float64, copy=False)

    @cached_property
    def followed(self) -> Floats:
        """G(k) = P(C >= k), [Y, ...], as ``censoring.censoring_distribution``."""
        stay = np.cumprod(1 - _share(self.censored, self.free), axis=0)
        return np.concatenate([np.ones_like(stay[:1]), stay[:-1]])

    @cached_property
    def inverse(self) -> Floats:
        """1 / G(k), [Y, ...]; 0 where G(k) is 0, as nobody is observed in year k then."""
        found: Floats = np.divide(1, self.followed, out=np.zeros_like(self.followed), where=self.followed > 0)
        return found

    @cached_property
    def observed(self) -> Floats:
        """Observed risk 1 - S(k), [Y, ...]; NaN once all have been censored before year k, or without anybody."""
        unknown = (self.events + self.free == 0) & (self.survival > 0)
        return np.where(unknown, np.nan, 1 - self.survival)

    @cached_property
    def cases(self) -> Floats:
        """Number with cancer by year k, [Y, ...], each counted 1 / G(T) times for those censored before."""
        return np.cumsum(self.events * self.inverse, axis=0)


def pair_count_sums(rows: Rows) -> Any:
    """Sparse sums [2 Y, P], for ``read_pair_counts``."""
    return rows.sums(rows.year + np.where(rows.event, 0, rows.years), 2 * rows.years)


def read_pair_counts(sums: Floats) -> PairCounts:
    """Pair counts of ``pair_count_sums`` times weights [P, R]."""
    return PairCounts(*np.split(sums, 2))


def _share(some: Floats, of: Floats) -> Floats:
    return np.divide(some, of, out=np.zeros_like(some), where=of > 0)
