from __future__ import annotations

import json
import shutil

import pytest
from helpers.evaluated_checkpoints import run_directory
from helpers.training_runs import COHORTS

import mammorisk
from mammorisk.errors import UserError
from mammorisk.prediction.recalibration import read_recalibration

FEW = {"bootstrap_samples": 5, "cpu": True, "examples": 0, "dataset": {"generator": {"folder": str(COHORTS)}}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory of its own: recalibration writes into it."""
    folder = tmp_path_factory.mktemp("own") / "run"
    shutil.copytree(run_directory("model=lmv_net"), folder)
    return folder


@pytest.fixture(scope="module")
def metrics(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "new"
    return mammorisk.evaluate(run, folder=folder, recalibrate="platt", **FEW), folder


def test_what_it_returns_is_what_it_writes(metrics):
    found, folder = metrics
    assert json.loads((folder / "metrics.json").read_text()) == found
    assert {path.name for path in folder.iterdir()} >= {"predictions.csv", "c_index_by_density.json"}


def test_recalibration_lies_beside_the_checkpoint(metrics, run):
    found, _ = metrics
    assert found["recalibrated"]["method"] == "platt"
    assert found["recalibrated"]["file"] == str(run / "recalibration_platt.json")
    assert len(read_recalibration(run / "recalibration_platt.json")) == 5
    measures = found["recalibrated"]["groups"]["all"]["measures"]
    assert "Year 5 calibration slope" in measures
    assert "C-index" not in measures


def test_a_split_can_be_chosen_and_no_file_is_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = mammorisk.evaluate(run / "best_model_risk_prediction_id-1.pth", split="val", **FEW)
    assert found["made"]["split"] == found["cohort"]["split"] == "val"
    assert found["recalibrated"] is None
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told(run):
    with pytest.raises(UserError, match="there is no such setting"):
        mammorisk.evaluate(run, drws=5)
    with pytest.raises(UserError, match="expected train, val or test"):
        mammorisk.evaluate(run, split="tests")
