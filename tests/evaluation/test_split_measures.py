from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.evaluated_checkpoints import phantom_predictions

from mammorisk.evaluation.scored_split import parse_split
from mammorisk.evaluation.split_measures import as_json, compare, measure, without_nan
from mammorisk.metrics.concordance import c_index
from mammorisk.metrics.registry import is_ranking
from mammorisk.metrics.risk_measures import Settings

FEW = Settings(bootstrap_samples=20, min_group_size=5)


@pytest.mark.slow
def test_the_true_risk_as_a_model_is_calibrated():
    split = parse_split(phantom_predictions(8000))
    found = measure(split.with_risk(split.true_risk).without_groups(), FEW)["all"].measures
    for year in range(1, 6):
        assert abs(found[f"Year {year} calibration slope"].estimate - 1) < 0.1
        assert abs(found[f"Year {year} expected/observed"].estimate - 1) < 0.1


def test_the_c_index_of_the_true_risk_is_the_ceiling_of_the_cohort():
    table = phantom_predictions()
    split, random = parse_split(table).without_groups(), np.random.default_rng(0)
    true_risk = split.true_risk
    best = measure(split.with_risk(true_risk), FEW)["all"].measures["C-index"].estimate
    assert best == pytest.approx(c_index(true_risk, table["event"], table["years"] - 1), abs=1e-9)
    for noise in (0.3, 1.0, 3.0):  # what a model sees besides, or does not see
        logit = np.log(true_risk / (1 - true_risk)) + noise * random.standard_normal(len(table))[:, None]
        model = measure(split.with_risk(1 / (1 + np.exp(-logit))), FEW)["all"].measures["C-index"].estimate
        assert model < best


def test_a_population_changes_all_but_the_ranking():
    table = phantom_predictions()
    plain, weighted = (measure(parse_split(table, incidence), FEW) for incidence in (None, 0.02))
    for name in ("all", "density: 1"):
        for key, interval in plain[name].measures.items():
            if is_ranking(key):
                assert weighted[name].measures[key] == interval
    whole = weighted["all"].measures
    assert abs(whole["Year 5 observed risk"].estimate - 0.02) < 1e-9
    assert whole["Year 5 PPV, top 5 %"].estimate < plain["all"].measures["Year 5 PPV, top 5 %"].estimate


def test_differences_are_those_of_the_measures():
    one = parse_split(phantom_predictions(), 0.02).without_groups()
    other = one.with_risk(one.rows.risk**2)
    found = compare({"one": one, "other": other}, FEW)["other"].differences["all"].measures
    for name in ("C-index", "Year 5 expected/observed"):
        parts = [measure(split, FEW)["all"].measures[name].estimate for split in (other, one)]
        assert found[name].estimate == parts[0] - parts[1]


def test_json_holds_every_number_and_null_where_there_is_none():
    split = parse_split(phantom_predictions())
    nobody = replace(split, groups={"nobody": np.zeros(len(split.table), dtype=bool)})
    found = as_json(measure(nobody, FEW))
    assert found["nobody"]["samples"] == 0
    assert "at least 5" in found["nobody"]["reason"]
    assert set(found["all"]["measures"]["C-index"]) == {"estimate", "low", "high", "undefined_draws"}
    assert without_nan(found)["nobody"]["measures"]["C-index"]["estimate"] is None
    assert without_nan({"a": (np.int64(1), float("inf"))}) == {"a": [1, None]}
