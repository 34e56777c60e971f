from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.evaluated_checkpoints import phantom_predictions
from helpers.evaluation_documents import metrics_document

from mammorisk.errors import UserError
from mammorisk.evaluation.compared_models import ComparedModel, load_compared_model, named, on_same_samples
from mammorisk.evaluation.evaluation_files import write_json, write_table
from mammorisk.evaluation.settings import EvaluationSettings


def one(name: str, table=None) -> ComparedModel:
    made = {"checkpoint": "a.pth", "checkpoint_sha256": "0", "split": "test", "version": "0", "date": ""}
    return ComparedModel(name, Path(name), phantom_predictions() if table is None else table, made, {"name": name}, {})


def test_models_of_one_name_are_numbered():
    assert [each.name for each in named([one("a"), one("b"), one("a")], [])] == ["a 1", "b", "a 2"]
    assert [each.name for each in named([one("a"), one("a")], ["old", "new"])] == ["old", "new"]
    with pytest.raises(UserError, match="one for each run, all different"):
        named([one("a"), one("b")], ["x", "x"])


def test_order_does_not_matter_but_samples_do():
    table = phantom_predictions()
    same = on_same_samples([one("a"), one("b", table.iloc[::-1])], common=False)
    assert same[1].table["sample_id"].tolist() == table["sample_id"].tolist()
    fewer = [one("a"), one("b", table.iloc[3:])]
    with pytest.raises(UserError, match="3 only in a") as told:
        on_same_samples(fewer, common=False)
    assert str(table["sample_id"].iloc[0]) in str(told.value)
    assert {len(each.table) for each in on_same_samples(fewer, common=True)} == {len(table) - 3}


def test_what_cannot_be_compared_is_said():
    table = phantom_predictions()
    with pytest.raises(UserError, match="no sample in common"):
        on_same_samples([one("a"), one("b", table.assign(sample_id=table["sample_id"] + "/L"))], common=True)
    later = table.assign(years=table["years"].where(table.index != 7, 6 - table["years"] + 10))
    with pytest.raises(UserError, match="differ in 'years' of 1 samples"):
        on_same_samples([one("a"), one("b", later)], common=False)
    twice = table.assign(sample_id=["x", "x", *table["sample_id"][2:]])
    with pytest.raises(UserError, match="expected each sample once; x occur twice"):
        on_same_samples([one("a", twice), one("b", twice)], common=False)


def test_an_evaluation_is_read_and_must_be_whole(tmp_path):
    table = phantom_predictions()
    write_table(tmp_path / "predictions.csv", table)
    cohort = {**metrics_document()["cohort"], "samples": len(table)}
    note = {"format": 1, "made": one("a").made, "model": {"name": "mirai"}, "cohort": cohort}
    write_json(tmp_path / "metrics.json", note)
    found = load_compared_model(str(tmp_path), "test", EvaluationSettings())
    assert found.name == "mirai"
    assert replace(found, name="x").describe()["model"] == {"name": "mirai"}
    assert len(found.table) == len(table)
    write_table(tmp_path / "predictions.csv", table.iloc[1:])
    with pytest.raises(UserError, match="not of one evaluation"):
        load_compared_model(str(tmp_path), "test", EvaluationSettings())
