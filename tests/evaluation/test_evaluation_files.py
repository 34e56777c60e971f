from __future__ import annotations

import json

import pandas as pd
import pytest
from helpers.evaluated_checkpoints import phantom_predictions
from helpers.evaluation_documents import metrics_document

from mammorisk.errors import UserError
from mammorisk.evaluation import evaluation_files
from mammorisk.evaluation.scored_split import parse_split
from mammorisk.evaluation.split_groups import subgroups
from mammorisk.evaluation.split_measures import as_json, measure
from mammorisk.metrics.risk_measures import Settings

MADE = ("checkpoint", "checkpoint_sha256", "split", "version", "date")


def written(folder, table) -> dict:
    groups = as_json(measure(parse_split(table), Settings(bootstrap_samples=5)))
    evaluation_files.write_evaluation(folder, table, {"format": 1, "groups": groups})
    return groups


def test_predictions_come_back_to_the_last_bit(tmp_path):
    table = phantom_predictions(500)
    table = table.assign(patient_id="00" + table["patient_id"])
    written(tmp_path, table)
    again = evaluation_files.read_predictions(tmp_path / "predictions.csv")
    shared = ["patient_id", "event", "risk_1y", "risk_5y"]
    pd.testing.assert_frame_equal(again[shared], table[shared], check_exact=True)
    assert subgroups(again).keys() == subgroups(table).keys()


def test_c_indices_of_groups_have_files_of_their_own(tmp_path):
    groups = written(tmp_path, phantom_predictions(500))
    for kind, name in evaluation_files.C_INDEX_FILES.items():
        found = json.loads((tmp_path / name).read_text())
        for value, group in found.items():
            assert group["C-index"]["estimate"] == groups[f"{kind}: {value}"]["measures"]["C-index"]["estimate"]
            assert group["samples"] == groups[f"{kind}: {value}"]["samples"]
        assert len(found) >= 2


def test_without_races_there_is_no_file_of_them(tmp_path):
    written(tmp_path, phantom_predictions(500).assign(race=""))
    assert not (tmp_path / "c_index_by_race.json").exists()
    assert (tmp_path / "c_index_by_density.json").exists()


def test_what_cannot_be_read_or_written_is_said(tmp_path):
    (tmp_path / "a.csv").write_text("sample_id,event\n1,2\n")
    with pytest.raises(UserError, match="no column patient_id, years, risk_1y"):
        evaluation_files.read_predictions(tmp_path / "a.csv")
    for read in (evaluation_files.read_predictions, evaluation_files.read_metrics):
        with pytest.raises(UserError, match="cannot be read"):
            read(tmp_path / "nothing")
    (tmp_path / "m.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match=r"is not the metrics\.json"):
        evaluation_files.read_metrics(tmp_path / "m.json")
    with pytest.raises(UserError, match="cannot be written"):
        evaluation_files.write_evaluation(tmp_path / "a.csv", phantom_predictions(500), {"groups": {}})


def test_logs_are_named_after_what_they_tell(tmp_path):
    assert evaluation_files.EvaluationFiles(tmp_path, 7).log.name == "test_risk_prediction_training_id_7.log"
    assert evaluation_files.ComparisonFiles(tmp_path).log.name == "compare.log"
    (tmp_path / "x").write_bytes(b"abc")
    assert evaluation_files.sha256_of(tmp_path / "x").startswith("ba7816bf")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("made", None, "made lacks checkpoint"),
        ("model", {"name": ["a"]}, "model lacks name"),
        ("cohort", {"samples": "3"}, "cohort lacks samples"),
        ("model", {"name": "x" * 5_000}, "model lacks name"),
    ],
)
def test_measures_of_another_form_are_said(key, value, told, tmp_path):
    evaluation_files.write_json(tmp_path / "m.json", metrics_document())
    assert evaluation_files.read_metrics(tmp_path / "m.json")["model"]["name"] == "lmv_net"
    evaluation_files.write_json(tmp_path / "m.json", {**metrics_document(), key: value})
    with pytest.raises(UserError, match=told):
        evaluation_files.read_metrics(tmp_path / "m.json")
    (tmp_path / "m.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="cannot be read"):
        evaluation_files.read_metrics(tmp_path / "m.json")


@pytest.mark.parametrize(("column", "value"), [("risk_1y", "high"), ("risk_2y", 7), ("years", 10**20), ("event", 2)])
def test_predictions_that_are_none_are_told(tmp_path, column, value):
    table = phantom_predictions().head(20).astype({column: object})
    table.loc[table.index[3], column] = value
    evaluation_files.write_table(tmp_path / "p.csv", table)
    with pytest.raises(UserError, match=f"in the column {column}"):
        evaluation_files.read_predictions(tmp_path / "p.csv")
