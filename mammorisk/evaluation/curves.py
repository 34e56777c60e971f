"""Points of an evaluation's figures: ROC, calibration, decision curves, incidence, distribution of risks."""

from __future__ import annotations

from typing import Any

import numpy as np

from mammorisk.batch import MAX_FOLLOWUP
from mammorisk.evaluation.scored_split import ScoredSplit
from mammorisk.metrics.bootstrap import drawn_patients, percentile_interval, smallest_stratum
from mammorisk.metrics.censoring import Bools
from mammorisk.metrics.measures import cohort_cuts
from mammorisk.metrics.pair_counts import pair_count_sums, read_pair_counts
from mammorisk.metrics.risk_bins import DECILES
from mammorisk.metrics.risk_measures import GroupMeasures, Settings
from mammorisk.metrics.rows import Rows, in_chunks

POINTS = 201  # of a ROC curve at most
BARS = 30  # of the distribution of risks
RISK_GROUPS = {"lowest half of risk": (0.0, 0.5), "50 to 90 %": (0.5, 0.9), "highest tenth of risk": (0.9, 1.0)}


def curves(split: ScoredSplit, whole: GroupMeasures, settings: Settings) -> dict[str, Any]:
    """ROC, calibration, decision curves, incidence by risk, and distribution of risks, as in ``metrics.json``.

    Args:
        split: weighted to its population, if it has one, except for ROC and distribution.
        whole: measures of the whole split.
        settings: of the bootstrap.
    """
    rows = split.weighted
    return {
        "roc": {str(k + 1): roc(rows, k) for k in range(rows.years)},
        "calibration": _calibration(rows, whole, settings),
        "decision": {str(k + 1): _decision(whole, k, settings) for k in range(rows.years)},
        "incidence": {"groups": _incidence(rows, settings)},
        "risk_distribution": _distribution(rows),
    }


def roc(rows: Rows, k: int) -> dict[str, Any]:
    """Cases with cancer by year ``k`` (0-based) against those known free of it; empty without both."""
    case, control = rows.event & (rows.year <= k), rows.free(k)
    if not case.any() or not control.any():
        return {"false_positive_rate": [], "true_positive_rate": []}
    scores = rows.risk[:, k]
    cuts = np.concatenate([[np.inf], np.unique(scores[case | control])[::-1]])
    rates = [1 - np.searchsorted(np.sort(scores[part]), cuts) / part.sum() for part in (control, case)]
    if len(cuts) > POINTS:  # evenly along both axes together
        along = rates[0] + rates[1]
        kept = np.unique(np.searchsorted(along, np.linspace(0, 2, POINTS)).clip(max=len(cuts) - 1))
        rates = [rate[kept] for rate in rates]
    return {"false_positive_rate": rates[0], "true_positive_rate": rates[1]}


def _calibration(rows: Rows, whole: GroupMeasures, settings: Settings) -> dict[str, Any]:
    found = {}
    for k, bins in enumerate(cohort_cuts(rows, settings.shares, settings.thresholds).bins):
        tenth = np.searchsorted(bins.deciles, bins.of(rows.risk[:, k]), side="right")
        names = [f"Year {k + 1} {{}} risk, decile {number + 1}" for number in range(DECILES)]
        observed = [whole.measures[name.format("observed")] for name in names]
        found[str(k + 1)] = {
            "predicted": [whole.measures[name.format("predicted")].estimate for name in names],
            "observed": [each.estimate for each in observed],
            "low": [each.low for each in observed],
            "high": [each.high for each in observed],
            "samples": np.bincount(tenth, minlength=DECILES),
        }
    return found


def _decision(whole: GroupMeasures, k: int, settings: Settings) -> dict[str, Any]:
    names = [f"Year {k + 1} net benefit at {100 * threshold:g} %" for threshold in settings.thresholds]
    return {
        "threshold": list(settings.thresholds),
        "model": [whole.measures[name].estimate for name in names],
        "all": [whole.measures[f"{name}, all"].estimate for name in names],
    }


def _incidence(rows: Rows, settings: Settings) -> list[dict[str, Any]]:
    """Kaplan-Meier of the groups of low, middle and high five-year risk, with intervals over patients."""
    counts = drawn_patients(rows.case, settings.bootstrap_samples, settings.seed)
    last = rows.risk[:, -1]
    place = np.searchsorted(np.sort(last), last, side="left") / len(last)  # equal risks stay together
    found = []
    for name, (low, high) in RISK_GROUPS.items():
        chosen: Bools = (place >= low) & (place < high)
        if not chosen.any():
            continue
        part, present = rows.part(chosen)
        sums = pair_count_sums(part)
        draws = np.concatenate(
            [
                read_pair_counts(sums @ each).observed
                for each in in_chunks(counts[present], sums.shape[0], settings.memory)
            ],
            axis=1,
        )  # [Y, 1 + draws]
        confidence, fewest = settings.confidence, smallest_stratum(part.patients, int(part.case.sum()))
        intervals = [percentile_interval(year[0], year[1:], confidence, fewest) for year in draws]
        found.append(
            {
                "name": name,
                "samples": int(chosen.sum()),
                "years": list(range(MAX_FOLLOWUP + 1)),
                "incidence": [0.0, *(each.estimate for each in intervals)],
                "low": [0.0, *(each.low for each in intervals)],
                "high": [0.0, *(each.high for each in intervals)],
            }
        )
    return found


def _distribution(rows: Rows) -> dict[str, Any]:
    last, year = rows.risk[:, -1], rows.years
    top = float(last.max())
    edges = np.linspace(0, top if top > 0 else 1.0, BARS + 1)
    parts = {"cases": rows.event, "controls": rows.free(year - 1)}
    bars = {name: np.histogram(last[part], edges)[0] for name, part in parts.items()}
    return {"edges": edges, **bars, "year": year}
