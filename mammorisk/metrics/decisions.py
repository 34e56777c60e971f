"""Operating points and net benefit: sensitivity, specificity, PPV, decision curves, in each bootstrap sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.definitions import FINE, NET_BENEFIT, SHARE, TOP_SHARES, Measure
from mammorisk.metrics.pair_counts import PairCounts
from mammorisk.metrics.risk_bins import RiskBins, from_bin_on
from mammorisk.metrics.rows import ratio

OPERATING_POINTS = (
    Measure(
        "flagged, top <share> %",
        "share of the samples with a risk of at least the lowest of the cohort's top share. This cut-off is taken from "
        "the evaluated cohort and is the same in all groups and bootstrap samples: its own uncertainty is not in the "
        "interval",
        section=TOP_SHARES,
        form=SHARE,
    ),
    Measure(
        "sensitivity, top <share> %",
        "share of the cases by year k that the same cut-off flags; cases count 1 / G(T) times",
        better="higher",
        section=TOP_SHARES,
        form=SHARE,
        headline="Year {last} sensitivity, top 10 %",
    ),
    Measure(
        "specificity, top <share> %",
        "share of the samples free to year k that the cut-off does not flag",
        better="higher",
        section=TOP_SHARES,
        form=SHARE,
        headline="Year {last} specificity, top 10 %",
        in_terminal=False,
    ),
    Measure(
        "PPV, top <share> %",
        "share of the flagged who get cancer by year k; cases count 1 / G(T), free samples 1 / G(k) times",
        better="higher",
        section=TOP_SHARES,
        form=SHARE,
        headline="Year {last} PPV, top 10 %",
    ),
)
NET_BENEFITS = (
    Measure(
        "net benefit at <threshold> %",
        "(true − false positives × t / (1 − t)) / n of acting on risks of at least the threshold t; cases count "
        "1 / G(T), free samples 1 / G(k) times; acting on none is 0",
        "Vickers & Elkin 2006, Med Decis Making 26:565",
        better="higher",
        section=NET_BENEFIT,
        form=FINE,
    ),
    Measure("net benefit at <threshold> %, all", "the same of acting on all", section=NET_BENEFIT, form=FINE),
)


def operating_points(
    counts: Floats, bins: RiskBins, pair_counts: PairCounts, shares: Sequence[float]
) -> dict[str, Floats]:
    """``Year k sensitivity, top 5 %``, ``specificity``, ``PPV`` and ``flagged`` for each top share, each [R].

    Flagged are the risks of at least the lowest of the cohort's top share. This cut-off is taken from the evaluated
    cohort and is the same in each bootstrap sample and group, so its own uncertainty is not in the intervals. There it
    may flag more or fewer than the share (``flagged`` is how many). Cases count
    1 / G(T) times and those known free of cancer to year k 1 / G(k) times, for those who were censored (Uno et al.
    2007, JASA 102:527). NaN where nobody is followed to year k or there is nobody to count.

    Args:
        counts: [2 (k + 1), B, R] of the bootstrap samples, as ``BinCounts.counts``.
        bins: those of the counts.
        pair_counts: of the bootstrap samples.
        shares: [S] those of the bins.
    """
    k = len(counts) // 2 - 1
    flagged = from_bin_on(counts, bins.tops)
    caught, alarmed = _weighted(flagged, pair_counts)
    found = {
        "flagged": ratio(flagged.sum(axis=0), pair_counts.total),
        "sensitivity": _seen(ratio(caught, pair_counts.cases[k]), pair_counts, k),
        "specificity": 1 - ratio(flagged[-1], pair_counts.free[k]),
        "PPV": _seen(ratio(caught, caught + alarmed), pair_counts, k),
    }
    return {
        f"Year {k + 1} {name}, top {100 * share:g} %": values[number]
        for number, share in enumerate(shares)
        for name, values in found.items()
    }


def net_benefit(
    counts: Floats, bins: RiskBins, pair_counts: PairCounts, thresholds: Sequence[float]
) -> dict[str, Floats]:
    """``Year k net benefit at 2 %`` of acting on risks of at least each threshold, ``…, all`` on all, each [R].

    Net benefit at threshold t = (true positives - false positives x t / (1 - t)) / n, of acting on none 0 (Vickers &
    Elkin 2006, Med Decis Making 26:565); positives are weighted for censoring as in ``operating_points``. NaN where
    nobody is followed to year k.

    Args:
        counts: [2 (k + 1), B, R] of the bootstrap samples, as ``BinCounts.counts``.
        bins: those of the counts.
        pair_counts: of the bootstrap samples.
        thresholds: [T] those of the bins, in 0 ... 1.
    """
    k = len(counts) // 2 - 1
    odds = np.array([threshold / (1 - threshold) for threshold in thresholds])[:, None]
    caught, alarmed = _weighted(from_bin_on(counts, bins.thresholds), pair_counts)
    model = _seen(ratio(caught - odds * alarmed, pair_counts.total), pair_counts, k)
    everybody = _seen(
        ratio(pair_counts.cases[k] - odds * pair_counts.free[k] * pair_counts.inverse[k], pair_counts.total),
        pair_counts,
        k,
    )
    found = {}
    for number, threshold in enumerate(thresholds):
        name = f"Year {k + 1} net benefit at {100 * threshold:g} %"
        found[name], found[f"{name}, all"] = model[number], everybody[number]
    return found


def _weighted(flagged: Floats, pair_counts: PairCounts) -> tuple[Floats, Floats]:
    """True and false positives [E, R], weighted for censoring."""
    k = len(flagged) // 2 - 1
    return (flagged[: k + 1] * pair_counts.inverse[: k + 1, None]).sum(axis=0), flagged[-1] * pair_counts.inverse[k]


def _seen(values: Floats, pair_counts: PairCounts, k: int) -> Floats:
    return np.where(pair_counts.followed[k] > 0, values, np.nan)
