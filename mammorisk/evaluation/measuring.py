"""Measures of a table of predictions: discrimination as it is, the rest weighted to a population if there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from mammorisk.evaluation.population import population_weights
from mammorisk.metrics.bootstrap import Interval
from mammorisk.metrics.censoring import Bools, Floats
from mammorisk.metrics.comparison import Comparison, compare_risks
from mammorisk.metrics.evaluation import GroupMeasures, Settings, evaluate_risk
from mammorisk.prediction.splits import RISK_COLUMNS

Outcome = tuple[Bools, np.ndarray, np.ndarray]  # event, 0-based year, patient


def risks(table: pd.DataFrame, columns: tuple[str, ...] = RISK_COLUMNS) -> Floats:
    """[N, Y] of the columns."""
    return table[list(columns)].to_numpy(dtype=np.float64)


def outcome(table: pd.DataFrame) -> Outcome:
    """Event, its or the last year (0-based), and patient of each row."""
    patient = table["patient_id"].astype(str).to_numpy(dtype=np.str_)
    return table["event"].to_numpy() == 1, table["years"].to_numpy(dtype=np.int64) - 1, patient


def is_ranking(measure: str) -> bool:
    """Whether a measure hangs on the order of risks alone: never weighted to a population."""
    return "C-index" in measure or "AUC" in measure


def weights_of(table: pd.DataFrame, incidence: float | None) -> Floats | None:
    """Of each row; None where no population is given.

    Raises:
        UserError: as ``population_weights``.
    """
    event, year, _ = outcome(table)
    return None if incidence is None else population_weights(event, year, incidence)


def measure(
    risk: Floats, table: pd.DataFrame, groups: Mapping[str, Bools], weight: Floats | None, settings: Settings
) -> dict[str, GroupMeasures]:
    """Every measure of the cohort and its groups.

    Args:
        risk: [N, Y].
        table: of predictions, for outcomes.
        groups: masks [N].
        weight: [N] of the population, None for none: C-index and AUC are unweighted all the same.
        settings: of the bootstrap.
    """
    found = evaluate_risk(risk, *outcome(table), groups, settings=settings)
    if weight is None:
        return found
    return _joined(found, evaluate_risk(risk, *outcome(table), groups, weight, settings))


def compare(
    risk: Mapping[str, Floats],
    table: pd.DataFrame,
    groups: Mapping[str, Bools],
    weight: Floats | None,
    settings: Settings,
) -> dict[str, Comparison]:
    """Every model less the first, weighted as in ``measure``."""
    found = compare_risks(risk, *outcome(table), groups, settings=settings)
    if weight is None:
        return found
    weighted = compare_risks(risk, *outcome(table), groups, weight, settings)
    return {
        name: replace(each, differences=_joined(each.differences, weighted[name].differences))
        for name, each in found.items()
    }


def as_json(groups: Mapping[str, GroupMeasures]) -> dict[str, Any]:
    """Groups as they stand in ``metrics.json``."""
    return {
        name: {
            **{key: value for key, value in asdict(replace(group, measures={})).items() if key != "measures"},
            "measures": {measure: _interval(interval) for measure, interval in group.measures.items()},
        }
        for name, group in groups.items()
    }


def _interval(found: Interval) -> dict[str, Any]:
    return {"estimate": found.estimate, "low": found.low, "high": found.high, "undefined_draws": found.left_out}


def without_nan(value: Any) -> Any:
    """The same with None for numbers that are not finite, and plain Python's numbers for NumPy's."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [without_nan(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _joined(plain: Mapping[str, GroupMeasures], weighted: Mapping[str, GroupMeasures]) -> dict[str, GroupMeasures]:
    joined = {}
    for name, group in plain.items():
        other = weighted[name].measures
        kept = {key: value if is_ranking(key) else other[key] for key, value in group.measures.items()}
        joined[name] = replace(group, measures=kept)
    return joined
