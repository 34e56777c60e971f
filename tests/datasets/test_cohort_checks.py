from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mammorisk.datasets import cohort_checks as checks
from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.errors import UserError


def table(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    """One left CC image a row: patient, exam, exam time, years to cancer; dated, unless changed."""
    frame = pd.DataFrame(rows, columns=["patient_id", "exam_id", "exam_time", "years_to_cancer"]).astype(
        {"exam_time": float}
    )
    frame = frame.assign(laterality="L", view="CC", split="train", years_to_last_followup=5.0)
    return frame.assign(exam_date=pd.Timestamp("2013-01-01"), csv_row=range(2, len(rows) + 2))


def test_a_patient_in_two_splits_is_named():
    frame = table(("a", "1", 0, np.nan), ("a", "2", 2, np.nan), ("b", "1", 0, np.nan))
    checks.check_one_split_per_patient(frame)
    frame.loc[1, "split"] = "test"
    with pytest.raises(UserError, match=r"1 patients are in more than one split: a \(train and test\)"):
        checks.check_one_split_per_patient(frame)


@pytest.mark.parametrize(("one", "other"), [("Ren\u00e9", "Rene\u0301"), ("P1", "P1\u200b")])
def test_a_woman_of_two_spellings_is_one_woman(one, other):
    frame = table((one, "1", 0, np.nan), (other, "2", 2, np.nan), ("b", "1", 0, np.nan))
    checks.check_one_split_per_patient(frame)
    frame.loc[1, "split"] = "test"
    with pytest.raises(UserError, match="1 patients are in more than one split") as caught:
        checks.check_one_split_per_patient(frame)
    assert caught.value.csv_rows == (2, 3)


def test_an_exam_has_one_time():
    frame = table(("a", "1", 0, np.nan), ("a", "1", 0, np.nan), ("b", "1", 2, np.nan))
    checks.check_one_time_per_exam(frame)
    frame.loc[1, "exam_time"] = 0.1
    with pytest.raises(UserError, match="1 exams have images of several dates: patient a exam 1"):
        checks.check_one_time_per_exam(frame)


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "1", 0, 3), ("a", "2", 2, 1)],
        [("a", "1", 0, 2), ("a", "2", 1, 2)],  # whole years blur by one
        [("a", "1", 0, 3), ("a", "2", 2, np.nan)],  # labels may end at a horizon
        [("a", "1", 0, np.nan), ("a", "2", 2, 4)],
        [("a", "1", 0, 5), ("a", "2", 2, 0)],
        [("a", "1", np.nan, 1), ("a", "2", np.nan, 5)],
        [("a", "1", 0, 1), ("b", "1", 2, 4)],
    ],
)
def test_possible_orders_of_time_are_accepted(rows):
    checks.check_times_against_outcomes(table(*rows))


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "1", 0, 2), ("a", "2", 2, 4)],  # dates of two exams exchanged
        [("a", "1", 0, 2), ("a", "2", 1, 3)],
        [("a", "1", 0, 2), ("a", "x", 1, np.nan), ("a", "2", 2, 4)],
        [("a", "1", 0, 0), ("a", "2", 0.5, 0), ("a", "3", 4, 0)],
    ],
)
def test_a_prior_dated_after_its_current_exam_is_an_error(rows):
    with pytest.raises(UserError, match=r"contradict the order of time: patient a L exam [23]"):
        checks.check_times_against_outcomes(table(*rows))


def test_times_in_years_only_blur_by_two():
    rows = [("a", "1", 2010, 2), ("a", "2", 2011, 3)]
    checks.check_times_against_outcomes(table(*rows).assign(exam_date=pd.NaT))
    with pytest.raises(UserError, match="contradict"):
        checks.check_times_against_outcomes(table(*rows[:1], ("a", "2", 2012, 4)).assign(exam_date=pd.NaT))


def test_outcomes_are_shared_by_the_breast_and_noted_for_the_exam():
    frame = table(*[("a", "1", 0, years) for years in (np.nan, 3.0, np.nan)], ("a", "2", 2, np.nan))
    frame["laterality"] = ["L", "L", "R", "L"]
    frame["years_to_last_followup"] = [np.nan, np.nan, 4, np.nan]
    shared, note = checks.share_outcomes(frame)
    np.testing.assert_array_equal(shared["years_to_cancer"], [3, 3, np.nan, np.nan])
    np.testing.assert_array_equal(shared["exam_years_to_cancer"], [3, 3, 3, np.nan])
    # a case was followed up to her cancer at least; the exam as long as either breast
    np.testing.assert_array_equal(shared["years_to_last_followup"], [3, 3, 4, np.nan])
    np.testing.assert_array_equal(shared["exam_years_to_last_followup"], [4, 4, 4, np.nan])
    assert "CSV row 2" in note


def test_no_note_where_images_agree():
    _, note = checks.share_outcomes(table(("a", "1", 0, 3), ("a", "1", 0, 3), ("b", "1", 0, np.nan)))
    assert note == ""


def test_pitfall_29_missing_followup_is_an_option_and_counted():
    frame = table(("a", "1", 0, np.nan), ("b", "1", 0, np.nan))
    frame["years_to_last_followup"] = frame["exam_years_to_last_followup"] = [np.nan, 4]
    attrition = Attrition()
    assert checks.settle_missing_followup(frame, "drop", attrition)["patient_id"].tolist() == ["b"]
    kept = checks.settle_missing_followup(frame, "one_year", attrition)
    assert kept["years_to_last_followup"].tolist() == [1, 4]
    assert kept["exam_years_to_last_followup"].tolist() == [1, 4]
    assert [step.action for step in attrition.steps] == ["dropped", "changed"]
    assert attrition.steps[1].counts == Counts(1, 1, 1)


@pytest.mark.parametrize(("rule", "kept"), [("newest", [4, 5]), ("oldest", [2, 5])])
def test_duplicate_images_by_rule(rule, kept):
    frame = table(*[("a", "1", 0, np.nan)] * 3, ("a", "2", 2, np.nan))
    attrition = Attrition()
    assert checks.settle_duplicates(frame, rule, attrition)["csv_row"].tolist() == kept
    assert attrition.steps[0].counts == Counts(0, 0, 2)


def test_numbers_in_file_names_decide_before_rows():
    frame = table(*[("a", "1", 0, np.nan)] * 3).assign(file_number=[10.0, 2.0, np.nan])
    assert checks.settle_duplicates(frame, "newest", Attrition())["csv_row"].tolist() == [2]


def test_duplicate_images_may_be_an_error():
    frame = table(*[("a", "1", 0, np.nan)] * 2)
    with pytest.raises(UserError, match=r"2 images share exam, breast and view.*CSV rows 2, 3"):
        checks.settle_duplicates(frame, "error", Attrition())
