"""Measures of a scored split and differences between models; all but ranking are weighted to the population."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from mammorisk.evaluation.scored_split import ScoredSplit
from mammorisk.metrics.bootstrap import Interval
from mammorisk.metrics.paired_differences import Comparison, compare_rows
from mammorisk.metrics.registry import is_ranking
from mammorisk.metrics.risk_measures import GroupMeasures, Settings, evaluate_rows


def measure(split: ScoredSplit, settings: Settings) -> dict[str, GroupMeasures]:
    """Every measure of a split and its groups; C-index and AUC are never weighted to a population.

    Args:
        split: with its groups.
        settings: of the bootstrap.
    """
    found = evaluate_rows(split.rows, split.groups, settings)
    if split.population is None:
        return found
    return _joined(found, evaluate_rows(split.population, split.groups, settings))


def compare(models: Mapping[str, ScoredSplit], settings: Settings) -> dict[str, Comparison]:
    """Every model less the first, weighted as in ``measure``.

    Args:
        models: the same samples, with the risks of each model; the groups are the first one's.
        settings: of the bootstrap.
    """
    groups = next(iter(models.values())).groups
    found = compare_rows({name: split.rows for name, split in models.items()}, groups, settings)
    populations = {name: split.population for name, split in models.items() if split.population is not None}
    if not populations:
        return found
    weighted = compare_rows(populations, groups, settings)
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
    """The same value with None for numbers that are not finite, and Python's numbers for NumPy's."""
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
