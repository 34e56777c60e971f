from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.cohorts import cohort_rows, write_cohort

from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.plausibility import caveats
from mammorisk.datasets.problems import Problems

TODAY = date(2020, 6, 1)


def table(**columns: Any) -> pd.DataFrame:
    """Four images of two women, an exam each; nothing to be told of unless changed."""
    frame = pd.DataFrame({"patient_id": ["a", "a", "b", "b"], "exam_id": ["1", "1", "2", "2"], "csv_row": [2, 3, 4, 5]})
    usual = {"exam_year": np.nan, "years_to_cancer": [2.0, np.nan, np.nan, np.nan], "years_to_last_followup": 4.0}
    frame = frame.assign(exam_date=pd.Timestamp("2013-01-01"), age=50.0, **usual)
    return frame.assign(**{name: dated(value) if name == "exam_date" else value for name, value in columns.items()})


def dated(words: list[str]) -> Any:
    return np.array(words, dtype="datetime64[s]")


def told(today: date | None = TODAY, **columns: Any) -> dict[str, Any]:
    """Kind of doubt -> how many there are and where."""
    return {doubt.kind: (doubt.count, doubt.csv_rows) for doubt in caveats(table(**columns), today)}


def test_nothing_is_told_of_a_usual_cohort():
    assert told() == {}
    assert told(exam_date=["NaT"] * 4, exam_year=[2012, 2012, 2020, 2020]) == {}
    unknown = dict.fromkeys(("years_to_cancer", "years_to_last_followup", "age"), np.nan)
    assert told(**unknown) == {}
    assert caveats(table().drop(columns="age"), TODAY) == []


def test_exams_before_1950_and_after_tomorrow_are_counted():
    days = ["1949-12-31", "1950-01-01", "2020-06-02", "2020-06-03"]
    assert told(exam_date=days) == {"unusual_date": (2, (2, 5))}
    years = {"exam_date": ["NaT"] * 4, "exam_year": [1949, 1950, 2020, 2021]}
    assert told(**years) == {"unusual_date": (2, (2, 5))}
    assert told(exam_date=["2299-01-01"] * 4) == {"unusual_date": (4, (2, 3, 4, 5))}


def test_tomorrow_is_told_by_the_clock():
    now = datetime.now(UTC).date()
    for days, found in ((0, {}), (400, {"unusual_date": (4, (2, 3, 4, 5))})):
        assert told(None, exam_date=[str(now + timedelta(days=days))] * 4) == found


@pytest.mark.parametrize(
    ("cancer", "seen", "late"),
    [
        (4, 3, False),  # in the fourth year, three of which are whole
        (5, 3, True),
        (1, 0, False),
        (0, 0, False),
        (60, 5, True),
        (5, np.nan, False),  # of her nothing else is known
    ],
)
def test_cancers_after_the_end_of_followup_are_counted_by_exam(cancer, seen, late):
    found = told(years_to_cancer=[cancer, np.nan, np.nan, np.nan], years_to_last_followup=[seen, seen, 4, 4])
    assert found.get("late_cancer") == ((1, (2, 3)) if late else None)  # the other breast is of the same exam


def test_years_that_look_like_months_are_counted():
    months = [48.0, 48, 60, 60]
    assert told(years_to_cancer=np.nan, years_to_last_followup=months) == {"long_followup": (4, (2, 3, 4, 5))}
    one = [29.0, 29, 4, 4]
    assert told(years_to_last_followup=one) == {}
    assert told(years_to_last_followup=one, age=[92.0, 92, 50, 50]) == {"long_followup": (2, (2, 3))}


def test_pitfall_of_silence_a_training_is_told_and_a_check_counts(tmp_path):
    """The sentences reach the log of a training by the cohort's notes; a check has them as notices of their kinds."""
    rows = cohort_rows()
    rows["exam_date"] = rows["exam_date"].str.replace("20", "19", n=1)
    rows.loc[rows["patient_id"] == "000001", "years_to_last_followup"] = "0"
    config = write_cohort(tmp_path, rows)
    notes = "\n".join(load_cohort(config).notes)
    assert f"{len(rows)} images are of exams before 1950 or after tomorrow" in notes
    assert "1 exams of 1 women have a cancer more than a year after the end of their follow-up" in notes
    assert "give their follow-up to the end of the registry" in notes
    problems = Problems(collect=True)
    cohort = load_cohort(config, problems)
    assert problems.found == []
    assert {notice.kind for notice in problems.notices} == {"unusual_date", "late_cancer"}
    assert not any("1950" in note for note in cohort.notes)  # once


def test_exams_without_outcomes_are_looked_at_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert told(years_to_cancer=np.nan, years_to_last_followup=np.nan) == {}
