from __future__ import annotations

import numpy as np
import pytest
from helpers.evaluated_checkpoints import phantom_predictions

from mammorisk.evaluation.curves import RISK_GROUPS, curves, roc
from mammorisk.evaluation.scored_split import parse_split
from mammorisk.evaluation.split_measures import measure
from mammorisk.metrics.risk_measures import Settings
from mammorisk.metrics.rows import read_rows

FEW = Settings(bootstrap_samples=20)


@pytest.fixture(scope="module")
def split():
    return parse_split(phantom_predictions())


@pytest.fixture(scope="module")
def whole(split):
    return measure(split.without_groups(), FEW)["all"]


@pytest.fixture(scope="module")
def found(split, whole):
    return curves(split, whole, FEW)


def test_the_area_under_a_roc_curve_is_the_auc(whole, found):
    for year in range(1, 6):
        curve = found["roc"][str(year)]
        false, true = curve["false_positive_rate"], curve["true_positive_rate"]
        assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
        assert len(false) <= 201
        area = np.trapezoid(true, false)
        assert area == pytest.approx(whole.measures[f"Year {year} AUC"].estimate, abs=2e-3)  # of 201 points


def test_a_roc_curve_of_few_is_exact():
    rows = read_rows([[0.1], [0.2], [0.2], [0.4]], [True, True, False, False], [0, 0, 0, 0], list("abcd"))
    curve = roc(rows, 0)
    assert curve["true_positive_rate"].tolist() == [0, 0, 0.5, 1]
    assert curve["false_positive_rate"].tolist() == [0, 0.5, 1, 1]
    none = read_rows([[0.1]], [False], [0], ["a"])
    assert roc(none, 0)["false_positive_rate"] == []


def test_calibration_holds_all_samples_in_tenths(split, whole, found):
    for year in range(1, 6):
        tenths = found["calibration"][str(year)]
        assert sum(tenths["samples"]) == len(split.table)
        assert tenths["predicted"] == sorted(tenths["predicted"])
        assert tenths["observed"][9] == whole.measures[f"Year {year} observed risk, decile 10"].estimate


def test_net_benefit_is_that_of_the_measures(whole, found):
    decision = found["decision"]["5"]
    place = decision["threshold"].index(0.02)
    assert decision["model"][place] == whole.measures["Year 5 net benefit at 2 %"].estimate
    assert decision["all"][place] == whole.measures["Year 5 net benefit at 2 %, all"].estimate


def test_incidence_rises_with_years_and_with_risk(split, found):
    groups = found["incidence"]["groups"]
    assert [group["name"] for group in groups] == list(RISK_GROUPS)
    assert sum(group["samples"] for group in groups) == len(split.table)
    last = [group["incidence"][-1] for group in groups]
    assert last == sorted(last)
    for group in groups:
        assert group["incidence"][0] == 0
        assert (np.diff(group["incidence"]) >= 0).all()
        assert group["low"][-1] <= group["incidence"][-1] <= group["high"][-1]


def test_the_distribution_counts_cases_and_those_known_free(split, found):
    bars, table = found["risk_distribution"], split.table
    assert sum(bars["cases"]) == table["event"].sum()
    assert sum(bars["controls"]) == ((table["event"] == 0) & (table["years"] == 5)).sum()
    assert len(bars["edges"]) == len(bars["cases"]) + 1
