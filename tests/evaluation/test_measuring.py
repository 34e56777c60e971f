from __future__ import annotations

import numpy as np
import pytest
from helpers.evaluated_checkpoints import phantom_predictions

from mammorisk.evaluation.measuring import as_json, compare, is_ranking, measure, risks, weights_of, without_nan
from mammorisk.evaluation.scoring import ORACLE_COLUMNS
from mammorisk.metrics.concordance import c_index
from mammorisk.metrics.evaluation import Settings

FEW = Settings(draws=20, smallest=5)


@pytest.mark.slow
def test_the_oracle_as_a_model_is_calibrated():
    table = phantom_predictions(8000)
    found = measure(risks(table, ORACLE_COLUMNS), table, {}, None, FEW)["all"].measures
    for year in range(1, 6):
        assert abs(found[f"Year {year} calibration slope"].estimate - 1) < 0.1
        assert abs(found[f"Year {year} expected/observed"].estimate - 1) < 0.1


def test_the_c_index_of_the_oracle_is_the_ceiling_of_the_cohort():
    table = phantom_predictions()
    oracle, random = risks(table, ORACLE_COLUMNS), np.random.default_rng(0)
    best = measure(oracle, table, {}, None, FEW)["all"].measures["C-index"].estimate
    assert best == pytest.approx(c_index(oracle, table["event"], table["years"] - 1), abs=1e-9)
    for noise in (0.3, 1.0, 3.0):  # what a model sees besides, or does not see
        logit = np.log(oracle / (1 - oracle)) + noise * random.standard_normal(len(table))[:, None]
        model = measure(1 / (1 + np.exp(-logit)), table, {}, None, FEW)["all"].measures["C-index"].estimate
        assert model < best


def test_a_population_changes_all_but_the_ranking():
    table = phantom_predictions()
    risk, groups = risks(table), {"density: 1": (table["density"] == 1).to_numpy()}
    weight = weights_of(table, 0.02)
    plain, weighted = measure(risk, table, groups, None, FEW), measure(risk, table, groups, weight, FEW)
    for name in ("all", "density: 1"):
        for key, interval in plain[name].measures.items():
            if is_ranking(key):
                assert weighted[name].measures[key] == interval
    whole = weighted["all"].measures
    assert abs(whole["Year 5 observed risk"].estimate - 0.02) < 1e-9
    assert whole["Year 5 PPV, top 5 %"].estimate < plain["all"].measures["Year 5 PPV, top 5 %"].estimate
    assert weights_of(table, None) is None


def test_differences_are_those_of_the_measures():
    table = phantom_predictions()
    one, other = risks(table), risks(table) ** 2
    weight = weights_of(table, 0.02)
    found = compare({"one": one, "other": other}, table, {}, weight, FEW)["other"].differences["all"].measures
    for name in ("C-index", "Year 5 expected/observed"):
        parts = [measure(risk, table, {}, weight, FEW)["all"].measures[name].estimate for risk in (other, one)]
        assert found[name].estimate == parts[0] - parts[1]


def test_json_holds_every_number_and_null_where_there_is_none():
    table = phantom_predictions()
    found = as_json(measure(risks(table), table, {"nobody": np.zeros(len(table), dtype=bool)}, None, FEW))
    assert found["nobody"]["samples"] == 0
    assert "at least 5" in found["nobody"]["reason"]
    assert set(found["all"]["measures"]["C-index"]) == {"estimate", "low", "high", "undefined_draws"}
    assert without_nan(found)["nobody"]["measures"]["C-index"]["estimate"] is None
    assert without_nan({"a": (np.int64(1), float("inf"))}) == {"a": [1, None]}
