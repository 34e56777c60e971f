from __future__ import annotations

from pathlib import Path

import pytest
from helpers.evaluated_checkpoints import phantom_predictions

from mammorisk.evaluation.compared_models import ComparedModel
from mammorisk.evaluation.comparison_document import comparison_document, comparison_table
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.prediction.splits import RISK_COLUMNS


@pytest.fixture(scope="module")
def document():
    table = phantom_predictions(1000)
    worse = table.assign(**{name: table[name] * table["age"] / 100 for name in RISK_COLUMNS})
    made = {"checkpoint": "a.pth", "checkpoint_sha256": "0", "split": "test", "version": "0", "date": ""}
    parts = [
        ComparedModel(name, Path(name), each, made, {"name": name}, {"name": "phantom"})
        for name, each in (("best", table), ("worse", worse))
    ]
    return comparison_document(parts, EvaluationSettings(bootstrap_samples=20))


def test_the_document_holds_models_differences_tests_and_curves(document):
    assert document["reference"] == "best"
    assert [run["name"] for run in document["runs"]] == ["best", "worse"]
    assert document["groups"].keys() == document["curves"].keys() == {"best", "worse"}
    assert document["differences"].keys() == document["auc_tests"].keys() == {"worse"}
    assert document["cohort"]["samples"] == document["groups"]["best"]["all"]["samples"]
    less = document["differences"]["worse"]
    assert "density: 1" in less
    assert less["all"]["measures"]["C-index"]["high"] < 0


def test_delong_tests_the_difference_of_the_aucs(document):
    test = document["auc_tests"]["worse"]["all"]["Year 5 AUC"]
    less = document["differences"]["worse"]["all"]["measures"]["Year 5 AUC"]
    assert test["difference"] == pytest.approx(less["estimate"], abs=1e-9)
    assert test["p"] < 0.05


def test_the_table_has_a_row_for_each_number(document):
    table = comparison_table(document)
    row = table[(table["model"] == "worse") & (table["group"] == "all") & (table["measure"] == "Year 5 AUC")]
    assert len(row) == 1
    found = document["groups"]["worse"]["all"]["measures"]["Year 5 AUC"]
    assert row["estimate"].item() == found["estimate"]
    assert row["delong_p"].item() == document["auc_tests"]["worse"]["all"]["Year 5 AUC"]["p"]
    assert table.loc[table["model"] == "best", "difference_estimate"].isna().all()
