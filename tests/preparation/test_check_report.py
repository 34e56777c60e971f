"""Every kind of problem, planted and found with its count, in the report and in its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.cohort_checks import PATIENTS, SMALL, check_config, cohort_on_disk, examine_config, examined
from helpers.cohorts import SIZE, cohort_rows, write_png
from rich.console import Console

from mammorisk.datasets.problems import KINDS
from mammorisk.errors import UserError
from mammorisk.preparation.check_report import Report

Change = Callable[[pd.DataFrame], "pd.DataFrame | None"]
EXAM = 4  # images


def put(column: str, rows: int, value: str) -> Change:
    def change(table: pd.DataFrame) -> None:
        table.loc[table.index[:rows], column] = value

    return change


def put_in_split(name: str, **values: str) -> Change:
    def change(table: pd.DataFrame) -> None:
        for column, value in values.items():
            table.loc[table["split"] == name, column] = value

    return change


def give_cancer_to_all(name: str) -> Change:
    def change(table: pd.DataFrame) -> None:
        inside = table["split"] == name
        years = table["exam_date"].str[:4].map({"2010": "3", "2012": "1"})
        table["years_to_cancer"] = table["years_to_cancer"].mask(inside, years)

    return change


def exchange_dates(table: pd.DataFrame) -> None:
    case = table["patient_id"] == "000001"
    dates = {"2010-02-15": "2012-02-15", "2012-02-15": "2010-02-15"}
    table.loc[case, "exam_date"] = table.loc[case, "exam_date"].map(dates)


def repeat_a_view(table: pd.DataFrame) -> pd.DataFrame:
    again = table.iloc[:1].assign(file_name=table["file_name"].iloc[1])
    return pd.concat([table, again.assign(file_name="again.png")])


def alike(table: pd.DataFrame) -> None:
    """One exam's name with a zero-width space, in the row of another image of it."""
    table.loc[1, "exam_id"] = f"{table.loc[0, 'exam_id']}\u200b"


def lose_followup(table: pd.DataFrame) -> None:
    table.loc[table["patient_id"] == "000000", "years_to_last_followup"] = ""


def add_year(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(year=["about 2010", *table["exam_date"].str[:4][1:]])


PROBLEMS: dict[str, tuple[Change, int, list[str]]] = {
    "no_rows": (lambda table: table.iloc[:0], 0, []),
    "missing_column": (lambda table: table.drop(columns=["view", "split"]), 2, []),
    "outcome_as_input": (lambda table: None, 2, ["dataset.columns.race=path_severity"]),
    "empty_id": (put("patient_id", 3, ""), 3, []),
    "spoilt_id": (put("exam_id", 2, "1.23457E+15"), 2, []),
    "alike_id": (alike, 1, []),
    "unknown_word": (put("laterality", 3, "left-ish"), 3, []),
    "not_a_number": (put("age", 2, "old"), 2, []),
    "negative_number": (put("years_to_last_followup", 2, "-1"), 2, []),
    "not_a_date": (put("exam_date", 3, "31/12/2010"), 3, []),
    "not_a_year": (add_year, 1, ["dataset.columns.exam_date=null", "+dataset.columns.exam_year=year"]),
    "not_a_code": (put("cancer_type", 2, "DCIS"), 2, []),
    "patient_in_two_splits": (put("split", EXAM, "test"), 1, []),
    "several_dates": (put("exam_date", 1, "2010-01-16"), 1, []),
    "order_of_time": (exchange_dates, 1, []),
    "duplicate_view": (repeat_a_view, 2, []),
    "shared_file": (lambda table: put("file_name", 2, table["file_name"][0])(table), 2, []),
    "data_root": (lambda table: None, 1, ["dataset.data_root=/no/such/folder"]),
    "missing_file": (put("file_name", 3, "gone.png"), 3, []),
    "nothing_left": (lambda table: table.assign(years_to_last_followup="", years_to_cancer=""), 1, []),
    "empty_split": (put_in_split("val", split="train"), 1, []),
    "no_cases": (put_in_split("val", years_to_cancer=""), 3 * 2 * EXAM, []),
    "no_controls": (give_cancer_to_all("val"), 3 * 2 * EXAM, []),
}
NOTICES: dict[str, tuple[Change, int, list[str]]] = {
    "missing_followup": (lose_followup, 2 * EXAM, []),
    "excluded": (put("view", 3, "ML"), 3, []),
    "duplicate_view": (repeat_a_view, 1, ["dataset.duplicate_view=newest"]),
    "missing_file": (put("file_name", 3, "gone.png"), 3, ["dataset.on_error=skip"]),
    "no_samples": (lambda table: table[table["exam_date"] > "2011"], 3, []),
    "note": (put("years_to_cancer", 1, "2"), 1, []),
}


def text_of(report: Report) -> str:
    text = StringIO()
    Console(file=text, width=140).print(report, soft_wrap=True)
    return text.getvalue()


def check_is_told(report: Report, folder: Path, place: str, kind: str, count: int) -> None:
    """The kind stands with its count in both forms of the report."""
    assert f"{KINDS[kind]} [{kind}]: {count}\n" in text_of(report)
    report.write(folder / "report.json")
    found = json.loads((folder / "report.json").read_text())
    assert (kind, count) in {(each["kind"], each["count"]) for each in found[place]}
    assert found["verdict"] == ("problems" if found["problems"] else "fine")


@pytest.mark.parametrize("kind", PROBLEMS)
def test_each_planted_problem_is_found(kind, tmp_path):
    change, count, words = PROBLEMS[kind]
    if kind == "outcome_as_input":
        change, count = (lambda table: table.assign(path_severity="")), 1
    report = examined(cohort_on_disk(tmp_path, change), *words)
    assert {each.kind for each in report.problems.found} - {kind} <= {"missing_file", "nothing_left"}
    check_is_told(report, tmp_path, "problems", kind, count)


@pytest.mark.parametrize("kind", NOTICES)
def test_what_a_rule_settles_is_a_notice(kind, tmp_path):
    change, count, words = NOTICES[kind]
    csv_file = cohort_on_disk(tmp_path, change)
    write_png(tmp_path / "again.png")
    report = examined(csv_file, *words)
    assert report.problems.found == []
    check_is_told(report, tmp_path, "notices", kind, count)


def test_a_file_that_is_no_csv(tmp_path):
    (tmp_path / "cohort.csv").write_bytes(b"patient_id,view\n\xff\xfe\x00,CC\n")
    report = examined(tmp_path / "cohort.csv")
    check_is_told(report, tmp_path, "problems", "unreadable_csv", 1)
    assert report.cohort is None
    assert "could not continue" in report.verdict


def test_a_column_that_is_there_twice(tmp_path):
    csv_file = cohort_on_disk(tmp_path)
    lines = csv_file.read_text().splitlines()
    csv_file.write_text("\n".join(f"{line},{'view' if n == 0 else 'CC'}" for n, line in enumerate(lines)))
    check_is_told(examined(csv_file), tmp_path, "notices", "repeated_column", 1)


def test_rows_that_get_no_file_of_a_pattern(tmp_path):
    rows = cohort_rows(PATIENTS)
    for row in rows.itertuples():
        write_png(tmp_path / "png" / f"{row.patient_id}_{row.laterality}_{row.view}_{row.exam_date}_1.png")
    pd.concat([rows, rows.iloc[:2]]).to_csv(tmp_path / "cohort.csv", index=False)
    pattern = check_config("dataset=embed").dataset.file_pattern
    config = check_config(str(tmp_path / "cohort.csv"), "dataset=phantom", f"dataset.data_root={tmp_path}/png", SMALL)
    config.dataset.file_pattern = pattern
    report = examine_config(config)
    assert report.problems.found == []
    check_is_told(report, tmp_path, "notices", "unused_file", 2)


def test_several_problems_are_listed_at_once(tmp_path):
    def change(table: pd.DataFrame) -> None:
        put("view", 2, "XYZ")(table)
        put("laterality", 1, "Q")(table)
        put("age", 5, "-3")(table)
        table.loc[40, "split"] = "val"
        table.loc[60:62, "file_name"] = "gone.png"
        table.loc[83, "exam_date"] = "2010-01-20"

    report = examined(cohort_on_disk(tmp_path, change))
    counts = [(each.kind, each.count) for each in report.problems.found]
    assert sorted(counts) == [
        ("missing_file", 3),
        ("negative_number", 5),
        ("patient_in_two_splits", 1),
        ("several_dates", 1),
        ("unknown_word", 1),
        ("unknown_word", 2),
    ]
    assert report.cohort is not None
    assert report.cohort.attrition.steps[1].counts.images == 2  # rows of which a value cannot be used


def test_other_columns_are_checked_where_one_is_missing(tmp_path):
    rows = cohort_on_disk(tmp_path, lambda table: table.drop(columns="view").assign(laterality="?", age="-1"))
    kinds = [each.kind for each in examined(rows).problems.found]
    assert kinds == ["missing_column", "unknown_word", "negative_number"]


def test_a_sound_cohort_is_fine_and_its_json_is_whole(tmp_path):
    report = examined(cohort_on_disk(tmp_path), "--images")
    assert report.problems.found == report.problems.notices == []
    report.write(tmp_path / "deep" / "report.json")
    found = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert list(found) == [
        *("csv_file", "dataset", "chosen", "data_root", "verdict", "complete", "problems", "notices"),
        *("attrition", "splits", "samples", "images"),
    ]
    assert (found["verdict"], found["complete"], found["dataset"]) == ("fine", True, "phantom")
    assert found["images"] == {"files": PATIENTS * 8, "sizes": {f"{SIZE[0]} x {SIZE[1]}": PATIENTS * 8}}
    assert found["attrition"][0]["left"] == {"patients": PATIENTS, "exams": PATIENTS * 2, "images": PATIENTS * 8}
    assert "Fine: this cohort can be trained on." in text_of(report)


def test_numbers_of_the_file_are_never_nan(tmp_path):
    report = examined(cohort_on_disk(tmp_path))
    assert all(np.isfinite(split.followup_median) for split in report.splits)
    with pytest.raises(UserError, match="cannot be written"):
        report.write(tmp_path / "cohort.csv" / "report.json")
