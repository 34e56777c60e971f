from __future__ import annotations

import pandas as pd
from rich.console import Console

from mammorisk.datasets.attrition import Attrition, Counts


def small_table() -> pd.DataFrame:
    return pd.DataFrame({"patient_id": ["a", "a", "a", "b"], "exam_id": ["1", "1", "2", "1"], "x": [1, 2, 3, 4]})


def test_counts_tell_exams_of_two_patients_with_one_number_apart():
    assert Counts.of(small_table()) == Counts(patients=2, exams=3, images=4)


def test_keep_records_what_is_dropped_and_what_is_left():
    attrition, table = Attrition(), small_table()
    attrition.read(table, "cohort.csv")
    left = attrition.keep(table, table["x"] < 4, "views", "another view")
    assert left["x"].tolist() == [1, 2, 3]
    step = attrition.steps[-1]
    assert (step.action, step.counts, step.left) == ("dropped", Counts(1, 1, 1), Counts(1, 2, 3))


def test_keep_of_everything_records_nothing():
    attrition, table = Attrition(), small_table()
    assert attrition.keep(table, table["x"] > 0, "views", "another view") is table
    assert attrition.steps == []


def test_csv_has_a_line_per_step_and_leaves_no_part_behind(tmp_path):
    attrition, table = Attrition(), small_table()
    attrition.read(table, "cohort.csv")
    attrition.keep(table, table["x"] < 4, "views", 'another view, "ML"')
    attrition.changed("follow-up", "one year", Counts(1, 1, 2), Counts(1, 2, 3))
    attrition.to_csv(tmp_path / "attrition.csv")
    written = pd.read_csv(tmp_path / "attrition.csv")
    assert written["action"].tolist() == ["read", "dropped", "changed"]
    assert written["reason"][1] == 'another view, "ML"'
    assert written[["patients", "exams", "images"]].to_numpy().tolist() == [[2, 3, 4], [1, 1, 1], [1, 1, 2]]
    assert written["images_left"].tolist() == [4, 3, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["attrition.csv"]


def test_prints_as_text_and_with_rich(capsys):
    attrition, table = Attrition(), small_table()
    attrition.keep(table, table["x"] < 4, "views", "another view")
    assert "another view" in str(attrition)
    Console(width=120).print(attrition)
    assert "another view" in capsys.readouterr().out
