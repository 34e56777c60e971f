from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from helpers.evaluated_checkpoints import run_directory

from mammorisk.evaluation.metrics_document import made, metrics_document, recalibrated_document
from mammorisk.evaluation.score_splits import score
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.evaluation.trained_checkpoint import load_trained

SETTINGS = EvaluationSettings(bootstrap_samples=5, population_incidence=0.02)


@pytest.fixture(scope="module")
def parts():
    trained = load_trained(run_directory("model=mirai"))
    cpu, incidence = torch.device("cpu"), SETTINGS.population_incidence
    scored = score(trained.network, trained.config.dataset, 0, ["test"], cpu, incidence)["test"]
    return trained, scored, metrics_document(trained, trained.config.dataset, scored, "test", SETTINGS)


def test_the_document_is_json_without_nan_and_tells_where_it_comes_from(parts):
    trained, scored, document = parts
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["made"]["checkpoint_sha256"] == trained.sha256
    assert document["made"]["config"]["dataset"]["name"] == "phantom"
    cohort = document["cohort"]
    assert cohort["csv_sha256"] == hashlib.sha256(Path(cohort["csv_file"]).read_bytes()).hexdigest()
    assert cohort["samples"] == len(scored.split.table) == document["groups"]["all"]["samples"]
    assert cohort["is_phantom"] is True
    assert cohort["attrition"][0]["step"] == "cohort"
    assert cohort["attrition"][0]["patients"] == 60


def test_the_true_risk_is_measured_as_a_model(parts):
    document = parts[-1]
    true_risk = document["true_risk"]["groups"]["all"]
    assert true_risk["samples"] == document["cohort"]["samples"]
    assert true_risk["measures"].keys() == document["groups"]["all"]["measures"].keys()


def test_recalibrated_risks_are_measured_but_for_their_order(parts):
    _, scored, document = parts
    found = recalibrated_document(scored.split, [None] * 5, SETTINGS, Path("x.json"))["groups"]["all"]
    plain = document["groups"]["all"]["measures"]
    assert "Year 1 AUC" not in found["measures"]
    for name in ("Year 5 predicted risk", "Year 5 net benefit at 2 %"):
        assert found["measures"][name]["estimate"] == pytest.approx(plain[name]["estimate"], abs=1e-6)


def test_the_command_is_noted_without_the_path_of_its_program():
    note = made(SETTINGS, ["/usr/bin/mammorisk-evaluate", "outputs/RUN"])
    assert note["command"] == "mammorisk-evaluate outputs/RUN"
    assert (note["bootstrap_samples"], note["population_incidence"]) == (5, 0.02)
