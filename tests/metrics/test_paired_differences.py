from __future__ import annotations

import numpy as np
import pytest

from mammorisk.metrics.bootstrap import Interval
from mammorisk.metrics.paired_differences import compare_risks
from mammorisk.metrics.risk_measures import COHORT, Settings, evaluate_risk

QUICK = Settings(bootstrap_samples=200)


def cohort(patients: int = 200, rows: int = 2):
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(patients), rows)
    level = np.repeat(random.normal(-2.5, 1, patients), rows)
    cancer, leaves = random.geometric(1 / (1 + np.exp(-level))) - 1, random.integers(0, 5, len(patient))
    event = cancer <= leaves
    years = np.arange(1, 6)
    risks = {}
    for name, noise in {"plain": 1.5, "better": 0.3, "same": 1.5}.items():
        random = np.random.default_rng(int(10 * noise))
        risks[name] = 1 - np.exp(-np.exp(level + random.normal(0, noise, len(level)))[:, None] * years)
    return risks, event, np.where(event, cancer, leaves), patient


def test_differences_are_those_of_the_measures_from_the_same_draws():
    risks, event, year, patient = cohort()
    groups = {"even": patient % 2 == 0}
    found = compare_risks(risks, event, year, patient, groups, settings=QUICK)
    assert list(found) == ["better", "same"]
    assert found["better"].reference == "plain"
    one, other = (
        evaluate_risk(risks[name], event, year, patient, groups, settings=QUICK) for name in ("better", "plain")
    )
    for group in (COHORT, "even"):
        differences = found["better"].differences[group]
        assert (differences.samples, differences.events) == (one[group].samples, one[group].events)
        for name, interval in differences.measures.items():
            expected = one[group].measures[name].estimate - other[group].measures[name].estimate
            assert interval.estimate == pytest.approx(expected, abs=1e-12, nan_ok=True)
    better = found["better"].differences[COHORT].measures["C-index"]
    alone = one[COHORT].measures["C-index"], other[COHORT].measures["C-index"]
    assert better.low > 0
    assert better.high - better.low < sum(interval.high - interval.low for interval in alone)


def test_a_model_does_not_differ_from_itself():
    risks, event, year, patient = cohort()
    found = compare_risks(risks, event, year, patient, settings=QUICK)["same"].differences[COHORT]
    assert found.measures["C-index"] == Interval(0, 0, 0)
    assert found.measures["Year 5 Brier score"] == Interval(0, 0, 0)


def test_delong_and_the_bootstrap_agree():
    risks, event, year, patient = cohort()
    found = compare_risks(risks, event, year, patient, {"nobody": event & ~event}, settings=QUICK)["better"]
    for k in range(1, 6):
        test = found.auc_tests[COHORT][f"Year {k} AUC"]
        interval = found.differences[COHORT].measures[f"Year {k} AUC"]
        assert test.difference == pytest.approx(interval.estimate, abs=1e-12)
        assert 2 * 1.96 * test.error == pytest.approx(interval.high - interval.low, rel=0.25)
        assert (test.p < 0.05) == (interval.low > 0)
    assert np.isnan(found.auc_tests["nobody"]["Year 1 AUC"].p)
    assert found.differences["nobody"].reason


def test_one_model_is_no_comparison():
    risks, *rest = cohort()
    with pytest.raises(ValueError, match="two models or more"):
        compare_risks({"plain": risks["plain"]}, *rest)
