"""Comparison of models on the same exams: paired differences of every measure, and DeLong's test of the AUCs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.metrics.delong import AucTest, auc_test
from mammorisk.metrics.risk_measures import COHORT, GroupMeasures, Settings, draw_measures, with_intervals
from mammorisk.metrics.rows import Rows, read_rows


@dataclass(frozen=True)
class Comparison:
    """Differences of a model to the reference."""

    reference: str
    differences: dict[str, GroupMeasures]  # by group; each measure of the model less the reference's
    auc_tests: dict[str, dict[str, AucTest]]  # by group, then ``Year k AUC``; rows unweighted


def compare_risks(
    risks: Mapping[str, ArrayLike],
    event: ArrayLike,
    time: ArrayLike,
    patient: ArrayLike,
    groups: Mapping[str, ArrayLike] | None = None,
    weight: ArrayLike | None = None,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
) -> dict[str, Comparison]:
    """Compare every later model with the first, with paired intervals: common variation cancels.

    Deciles and top shares are those of each model's own risks; a difference of ``…, decile d`` compares other women.

    Args:
        risks: [N, Y] by model, all of the same rows; the first is the reference.
        event: [N] true: cancer; false: censored.
        time: [N] 0-based year of the cancer, or the last year known free of it.
        patient: [N] whose row it is.
        groups: masks [N] by name.
        weight: [N] number of women of the population that a row represents; None: 1.
        settings: of the bootstrap.

    Returns:
        By model, all but the first. A bootstrap sample in which either model has NaN is left out.

    Raises:
        ValueError: fewer than two models, or as ``risk_measures.evaluate_risk``.
    """
    rows = {name: read_rows(risk, event, time, patient, weight) for name, risk in risks.items()}
    return compare_rows(rows, groups or {}, settings)


def compare_rows(
    models: Mapping[str, Rows], masks: Mapping[str, ArrayLike], settings: Settings
) -> dict[str, Comparison]:
    """Compare parsed rows, as ``compare_risks``: the same samples, with the risks of each model.

    Raises:
        ValueError: fewer than two models, a mask of another length, a group called ``all``.
    """
    if len(models) < 2:
        raise ValueError(f"Expected the risks of two models or more; found {list(models)}.")
    (reference, first), *others = models.items()
    base = draw_measures(first, masks, settings)
    found = {}
    for name, rows in others:
        differences = {}
        for group, draws in draw_measures(rows, masks, settings).items():
            less = {measure: values - base[group].values[measure] for measure, values in draws.values.items()}
            differences[group] = with_intervals(draws.group, less, settings.confidence)
        found[name] = Comparison(reference, differences, _auc_tests(rows, first, masks))
    return found


def _auc_tests(rows: Rows, reference: Rows, masks: Mapping[str, ArrayLike]) -> dict[str, dict[str, AucTest]]:
    tests: dict[str, dict[str, AucTest]] = {}
    for group, mask in {COHORT: np.ones(len(rows.event), dtype=np.bool_), **masks}.items():
        chosen = np.asarray(mask, dtype=np.bool_)
        tests[group] = {}
        for k in range(rows.years):
            case, control = rows.event & (rows.year <= k) & chosen, rows.free(k) & chosen
            scores = rows.risk[:, k], reference.risk[:, k]
            tests[group][f"Year {k + 1} AUC"] = auc_test(*scores, case, control, rows.patient)
    return tests
