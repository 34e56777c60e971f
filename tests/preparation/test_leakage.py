from pathlib import Path

import pandas as pd
import pytest
from helpers.composed_configs import composed

from mammorisk.errors import UserError
from mammorisk.preparation.leakage import check_table, named_for

OUT = Path("cohort.csv")


def images(**changes):
    """Two exams of one woman with cancer in 2017, under our names."""
    table = pd.DataFrame(
        {
            "patient_id": ["10", "10"],
            "exam_id": ["1", "3"],
            "exam_date": ["2014-03-01", "2016-03-01"],
            "laterality": ["L", "L"],
            "view": ["CC", "CC"],
            "split": ["train", "train"],
            "years_to_cancer": pd.array([3, 1], dtype="Int64"),
            "years_to_last_followup": pd.array([3, 1], dtype="Int64"),
            "density": [2, 2],
            "dicom_path": ["a", "b"],
            "file_name": ["10_L_CC_2014-03-01_1.png", "10_L_CC_2016-03-01_1.png"],
        }
    )
    return table.assign(**changes)


def config(*overrides, dataset="embed"):
    return composed(f"dataset={dataset}", *overrides, root="prepare_cohort").dataset


def test_a_sound_table_passes():
    check_table(images())
    check_table(images(years_to_cancer=pd.array([None, None], dtype="Int64")))
    by_year = images(exam_year=["2014", "2016"]).drop(columns="exam_date")
    check_table(by_year)
    assert list(by_year["exam_year"]) == ["2014", "2016"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"split": ["train", "test"]}, "1 patients are in more than one split: 10"),
        ({"exam_id": ["1", "1"]}, "1 exams have images of several dates"),
        ({"exam_date": ["2016-03-01", "2010-03-01"], "years_to_cancer": [1, 9]}, "contradict the order of time"),
        ({"years_to_cancer": [-1, 1]}, "1 images have years_to_cancer that cannot be .*of the exams 1"),
        ({"years_to_last_followup": [3, -2]}, "1 images have years_to_last_followup that cannot be .*of the exams 3"),
        ({"file_name": ["a.png", "a.png"]}, "1 images would get a file name of another: a.png"),
    ],
)
def test_leaks_and_contradictions_are_told(changes, told):
    if "exam_date" in changes:  # a prior dated after its current exam: the later exam knows of more time than there is
        changes = {"exam_date": ["2014-03-01", "2016-03-01"], "years_to_cancer": [1, 9]}
    with pytest.raises(UserError, match=told):
        check_table(images(**changes))


def test_columns_have_the_names_that_the_dataset_reads():
    table = named_for(images(), config(), OUT)
    assert list(table)[:7] == [
        "patient_id", "exam_id", "study_date_anon", "ImageLateralityFinal", "view", "split", "Time_to_Cancer_Years",
    ]  # fmt: skip
    assert list(table)[-2:] == ["dicom_path", "file_name"]
    renamed = named_for(images(), config("dataset.columns.view=my_view"), OUT)
    assert renamed["my_view"].tolist() == ["CC", "CC"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("dataset.columns.density=path_severity", "contains the outcome and must not be read as 'density'"),
        ("dataset.columns.density=x_score", "contains the outcome and must not be read as 'density'"),
        ("dataset.columns.density=view", "gives two columns the name 'view'"),
        ("dataset.columns.split=null", "lacks columns"),
    ],
)
def test_outcomes_are_never_inputs(override, told):
    with pytest.raises(UserError, match=told):
        named_for(images(), config(override), OUT)


def test_pitfall_28_a_file_name_that_its_reader_does_not_find_is_told():
    names = ["10_1_L_CC_2014-03-01_1.png", "10_L_CC_2016-03-01_1.png"]
    with pytest.raises(UserError, match=r"1 file names do not match dataset\.file_pattern: 10_1_L"):
        named_for(images(file_name=names), config(), OUT)
    by_column = images(file_name=names, exam_year=["2014", "2016"]).drop(columns="exam_date")
    assert named_for(by_column, config(dataset="csaw"), OUT)["file_name"].tolist() == names
