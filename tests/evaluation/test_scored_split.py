from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
from helpers.evaluated_checkpoints import phantom_predictions, run_directory
from helpers.training_runs import COHORTS

import mammorisk
from mammorisk.datasets.cohort_csv import TRUE_RISK
from mammorisk.errors import UserError
from mammorisk.evaluation.compared_models import ComparedModel
from mammorisk.evaluation.comparison_document import comparison_document
from mammorisk.evaluation.population_weights import population_weights
from mammorisk.evaluation.scored_split import parse_split, risks
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.evaluation.split_groups import subgroups
from mammorisk.metrics.censoring import survival_estimate
from mammorisk.metrics.rows import read_rows
from mammorisk.prediction.splits import RISK_COLUMNS

PARSERS = (parse_split, read_rows, survival_estimate, subgroups, population_weights)
FEW = {"bootstrap_samples": 2, "cpu": True, "examples": 0, "dataset": {"generator": {"folder": str(COHORTS)}}}


@contextmanager
def calls_of(*functions):
    """How often each function is called, by name."""
    names, found = {each.__code__: each.__name__ for each in functions}, Counter()

    def count(frame, event, _):
        if event == "call" and frame.f_code in names:
            found[names[frame.f_code]] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_an_evaluation_parses_each_split_once():
    run = run_directory("model=lmv_net")
    with calls_of(*PARSERS) as calls:
        mammorisk.evaluate(run, **FEW)
    assert calls == {"parse_split": 1, "read_rows": 1, "survival_estimate": 1, "subgroups": 1}


def test_an_evaluation_with_population_and_recalibration_parses_both_splits_once(tmp_path):
    checkpoint = tmp_path / "copy.pth"  # scales are written beside it
    checkpoint.write_bytes(next(run_directory("model=lmv_net").glob("best*.pth")).read_bytes())
    with calls_of(*PARSERS) as calls:
        mammorisk.evaluate(
            checkpoint,
            cohort="as_trained",
            recalibrate="platt",
            population_incidence=0.02,
            folder=tmp_path / "new",
            **FEW,
        )
    assert calls == dict.fromkeys((each.__name__ for each in PARSERS), 2)


def test_a_comparison_parses_the_outcomes_once_for_all_models():
    table = phantom_predictions(300)
    made = dict.fromkeys(("checkpoint", "checkpoint_sha256", "split", "version", "date"), "")
    models = [ComparedModel(name, run_directory("model=lmv_net"), table, made, {}, {}) for name in "abc"]
    with calls_of(*PARSERS) as calls:
        comparison_document(models, EvaluationSettings(bootstrap_samples=2))
    assert calls == {"parse_split": 1, "read_rows": 1, "survival_estimate": 1, "subgroups": 1}


def test_a_split_holds_what_its_table_says():
    table = phantom_predictions(500)
    split = parse_split(table, 0.02)
    np.testing.assert_array_equal(split.rows.risk, table[list(RISK_COLUMNS)])
    np.testing.assert_array_equal(split.true_risk, table[list(TRUE_RISK)])
    np.testing.assert_array_equal(split.rows.year, table["years"] - 1)
    assert split.groups.keys() == subgroups(table).keys()
    ill = table["event"] == 1
    patients = table["patient_id"]
    assert split.counts == {
        "samples": len(table),
        "events": ill.sum(),
        "patients": patients.nunique(),
        "patients_with_event": patients[ill].nunique(),
    }
    assert set(split.rows.weight) == {1}
    assert split.weighted is split.population
    np.testing.assert_array_equal(split.population.weight, population_weights(split.rows.event, split.rows.year, 0.02))
    plain = parse_split(table.drop(columns=list(TRUE_RISK)))
    assert (plain.population, plain.true_risk) == (None, None)
    assert plain.weighted is plain.rows


def test_other_risks_leave_the_rest_as_it_is():
    split = parse_split(phantom_predictions(500), 0.02)
    other = split.with_risk(split.rows.risk / 2)
    np.testing.assert_array_equal(other.population.risk, risks(split.table) / 2)
    np.testing.assert_array_equal(other.population.weight, split.population.weight)
    assert other.rows.event is split.rows.event
    assert other.without_groups().groups == {}


def test_a_split_without_cases_stands_for_no_population():
    with pytest.raises(UserError, match=r"population_incidence=0\.02"):
        parse_split(phantom_predictions(300).assign(event=0), 0.02)
