"""Concordance and AUC in each bootstrap sample, from pairs that are sorted once for all samples.

A case wins against the controls below it. Controls are placed between the (few) distinct scores of the cases, each in
its patient's column of a sparse matrix. A running sum over these places is the number of drawn controls below a case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mammorisk.metrics.censoring import Floats, Ints
from mammorisk.metrics.definitions import Measure
from mammorisk.metrics.pair_counts import PairCounts
from mammorisk.metrics.rows import Rows, ratio

MEASURES = (
    Measure(
        "C-index",
        "share of pairs (a case of year T; a sample later, or censored in T) in which the case has the higher p_T; "
        "ties ½; pairs weighted 1 / G(T)²",
        "Uno et al. 2011, Stat Med 30:1105; Antolini et al. 2005, Stat Med 24:3927",
        better="higher",
        yearly=False,
        is_ranking=True,
        by_group="C-index",
    ),
    Measure(
        "C-index (literature)",
        "as published with Mirai and its successors: score of the *later* sample's year, weighted 1 / S². It "
        "depends on the censoring; for comparison with their tables only",
        "Yala et al. 2021",
        better="higher",
        yearly=False,
        is_ranking=True,
    ),
    Measure(
        "AUC",
        "cases by year k against samples free to year k",
        better="higher",
        is_ranking=True,
        headline="Year {year} AUC",
        by_group="Year {last} AUC",
    ),
    Measure(
        "dynamic AUC",
        "the same, a case counting 1 / G(T) times: for those who were censored before their cancer",
        "Uno et al. 2007, JASA 102:527; Hung & Chiang 2010, Can J Stat 38:8",
        better="higher",
        is_ranking=True,
    ),
)


class YearPairs:
    """Pairs of cases with cancer by year k (0-based) and others, by the scores of year k."""

    def __init__(self, rows: Rows, k: int) -> None:
        scores = rows.risk[:, k]
        cases = np.flatnonzero(rows.event & (rows.year <= k))
        cases = cases[np.argsort(rows.year[cases], kind="stable")]
        self.starts = np.searchsorted(rows.year[cases], np.arange(k + 2))  # of the cases of each year
        self.patient, self.weight = rows.patient[cases], rows.weight[cases, None]
        values, self.place = np.unique(scores[cases], return_inverse=True)
        self.places = len(values)
        same = rows.year == k
        kinds = (rows.free(k), same & ~rows.event, same & rows.event)
        self.matrix = sum(
            rows.sums(np.where(chosen, place + kind * len(values), -1), 3 * len(values), 0.5)
            for place in _halves(values, scores)
            for kind, chosen in enumerate(kinds)
        )

    def wins(self, weights: Floats) -> tuple[Floats, Floats]:
        """Count the drawn pairs that the case wins, ties one half.

        Args:
            weights: [P, R] how often each patient was drawn.

        Returns:
            [k + 1, R] cases of each year against those known free of cancer to year k; and [R] cases against those
            whose own year is k, who was censored in it or, if later than the case, had her cancer in it.
        """
        below = np.cumsum((self.matrix @ weights).reshape(3, self.places, weights.shape[1]), axis=1)
        drawn = self.weight * weights[self.patient]  # [cases, R]
        won = drawn * below[0, self.place]
        earlier = slice(0, self.starts[-2])
        own = (drawn * below[1, self.place]).sum(axis=0)
        own += (drawn[earlier] * below[2, self.place[earlier]]).sum(axis=0)
        years = [won[start:end].sum(axis=0) for start, end in zip(self.starts, self.starts[1:], strict=False)]
        return np.stack(years), own


def _halves(values: Floats, scores: Floats) -> tuple[Ints, Ints]:
    """First place that each half of a score counts for: the same if it is below, the next if it is equal."""
    low = np.searchsorted(values, scores)
    high = low + (values[np.minimum(low, len(values) - 1)] == scores) if len(values) else low
    nowhere = -3 * len(values)  # above all cases
    return np.where(low < len(values), low, nowhere), np.where(high < len(values), high, nowhere)


def ranking(pairs: Sequence[YearPairs], pair_counts: PairCounts, weights: Floats) -> dict[str, Floats]:
    """``C-index``, ``C-index (literature)``, ``Year k AUC`` and ``Year k dynamic AUC`` of R samples, each [R].

    The first three are ``concordance.c_index``, ``c_index_literature`` and ``auc.yearly_auc`` of the drawn rows.
    Dynamic AUC: a case of year T counts 1 / G(T) times, for those who were censored before their cancer (Uno et al.
    2007, JASA 102:527; Hung & Chiang 2010, Can J Stat 38:8).

    Args:
        pairs: of the years 0 ... Y - 1.
        pair_counts: of the same bootstrap samples.
        weights: [P, R].
    """
    events, free, inverse = pair_counts.events, pair_counts.free, pair_counts.inverse
    found, top, bottom = {}, np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    own_won, own_pairs = np.zeros_like(events), np.zeros_like(events)
    for k, year in enumerate(pairs):
        won, own_won[k] = year.wins(weights)
        found[f"Year {k + 1} AUC"] = ratio(won.sum(axis=0), events[: k + 1].sum(axis=0) * free[k])
        dynamic = (won * inverse[: k + 1]).sum(axis=0)
        found[f"Year {k + 1} dynamic AUC"] = ratio(dynamic, pair_counts.cases[k] * free[k])
        top += won[k] * inverse[k] ** 2
        bottom += events[k] * free[k] * inverse[k] ** 2
        own_pairs[k] = events[: k + 1].sum(axis=0) * pair_counts.censored[k] + events[:k].sum(axis=0) * events[k]
    return {
        "C-index": ratio(top, bottom),
        "C-index (literature)": _literature(own_won, own_pairs, pair_counts),
        **found,
    }


def _literature(won: Floats, pairs: Floats, pair_counts: PairCounts) -> Floats:
    """C-index with weights S(T_j)^-2 of the comparators' years, [R]; NaN where one of these S is zero."""
    used = pairs > 0
    undefined = (used & (pair_counts.survival == 0)).any(axis=0)
    weight = np.divide(1, pair_counts.survival**2, out=np.zeros_like(pairs), where=used & (pair_counts.survival > 0))
    return np.where(undefined, np.nan, ratio((weight * won).sum(axis=0), (weight * pairs).sum(axis=0)))
