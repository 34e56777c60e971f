"""Content of ``comparison.json`` as a document and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from mammorisk.evaluation.compared_models import ComparedModel
from mammorisk.evaluation.curves import curves
from mammorisk.evaluation.metrics_document import made
from mammorisk.evaluation.scored_split import parse_split, risks
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.evaluation.split_measures import as_json, compare, measure, without_nan
from mammorisk.metrics.risk_measures import COHORT

FORMAT = 2  # 1 had other keys: oracle, made.draws, made.smallest
_COUNTS = ("samples", "events", "patients", "patients_with_event")


def comparison_document(compared_models: Sequence[ComparedModel], settings: EvaluationSettings) -> dict[str, Any]:
    """Measures of each model and differences to the first, all from the same bootstrap samples.

    Args:
        compared_models: two or more, on the same samples.
        settings: of the bootstrap and of the population.

    Raises:
        UserError: the samples cannot be weighted to a population.
    """
    first, statistics = compared_models[0], settings.statistics
    split = parse_split(first.table, settings.population_incidence)
    splits = {each.name: split.with_risk(risks(each.table)) for each in compared_models}
    groups = {name: measure(each, statistics) for name, each in splits.items()}
    compared = compare(splits, statistics)
    document = {
        "format": FORMAT,
        "made": made(settings),
        "runs": [each.describe() for each in compared_models],
        "reference": first.name,
        "cohort": {**first.cohort, **split.counts},
        "groups": {name: as_json(found) for name, found in groups.items()},
        "differences": {name: as_json(each.differences) for name, each in compared.items()},
        "auc_tests": {
            name: {
                group: {year: asdict(test) for year, test in tests.items()} for group, tests in each.auc_tests.items()
            }
            for name, each in compared.items()
        },
        "curves": {name: curves(each, groups[name][COHORT], statistics) for name, each in splits.items()},
    }
    return without_nan(document)  # type: ignore[no-any-return]


def comparison_table(comparison: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each model, group and measure: estimate and interval, difference to the reference, DeLong's p-value."""
    rows = []
    for run, groups in comparison["groups"].items():
        for group, found in groups.items():
            less = comparison["differences"].get(run, {}).get(group, {}).get("measures", {})
            tests = comparison["auc_tests"].get(run, {}).get(group, {})
            for name, interval in found["measures"].items():
                row = {"model": run, "group": group, "measure": name, **{key: found[key] for key in _COUNTS}}
                row |= {key: interval[key] for key in ("estimate", "low", "high")}
                row |= {f"difference_{key}": less.get(name, {}).get(key) for key in ("estimate", "low", "high")}
                rows.append({**row, "delong_p": tests.get(name, {}).get("p")})
    return pd.DataFrame(rows)
