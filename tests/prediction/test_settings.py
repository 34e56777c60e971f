from __future__ import annotations

import pytest
from helpers.untrained_checkpoints import exams, untrained, written

from mammorisk.errors import UserError
from mammorisk.prediction.loaded_model import load_model
from mammorisk.prediction.settings import prediction_config


@pytest.fixture
def model():
    return load_model(untrained("model=mirai"), "cpu")


def test_outcomes_splits_and_the_trainings_own_files_are_left_behind(model, tmp_path):
    config = prediction_config(model, written(tmp_path, exams(1)), None, {})
    dataset = config.dataset
    assert dataset.csv_file == str(tmp_path / "exams.csv")
    assert dataset.data_root == str(tmp_path)
    assert (dataset.generator, dataset.cache, dataset.class_balance) == (None, "none", None)
    assert set(dataset.columns) == {"patient_id", "exam_id", "exam_date", "laterality", "view", "file_name"}
    assert list(dataset.image_size) == [32, 26]
    assert model.config.dataset.generator is not None  # the model keeps its own


def test_density_and_age_stay_for_models_that_look_at_risk_factors(tmp_path):
    model = load_model(untrained("model=mirai", "model.risk_factors=given"), "cpu")
    config = prediction_config(model, written(tmp_path, exams(1)), None, {})
    assert {"density", "age"} < set(config.dataset.columns)
    assert "race" not in config.dataset.columns


def test_columns_can_be_called_otherwise(model, tmp_path):
    rows = exams(1).rename(columns={"view": "ViewPosition"})
    config = prediction_config(model, written(tmp_path, rows), None, {"columns": {"view": "ViewPosition"}})
    assert config.dataset.columns.view == "ViewPosition"
    assert config.dataset.columns.laterality == "laterality"


def test_names_in_the_csv_come_before_a_pattern_of_file_names(model, tmp_path):
    pattern = {"file_pattern": "(?P<patient_id>.*)"}
    rows = exams(1)
    named = prediction_config(model, written(tmp_path, rows), None, pattern)
    assert named.dataset.file_pattern is None
    found = prediction_config(model, written(tmp_path, rows.drop(columns="file_name")), None, pattern)
    assert found.dataset.file_pattern == "(?P<patient_id>.*)"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"colums": {}}, "dataset.colums: there is no such key. Did you mean 'columns'?"),
        ({"batch_size": "many"}, "dataset.batch_size: "),
        ({"columns": {"view": "vieww"}}, "has no such column. Did you mean 'view'?"),
    ],
)
def test_mistakes_are_named(model, tmp_path, overrides, message):
    with pytest.raises(UserError) as raised:
        prediction_config(model, written(tmp_path, exams(1)), None, overrides)
    assert message in str(raised.value)
