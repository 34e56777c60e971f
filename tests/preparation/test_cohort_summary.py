from __future__ import annotations

import pandas as pd
import pytest
from helpers.cohorts import cohort_rows, write_cohort

from mammorisk.datasets.cohort import Cohort, load_cohort
from mammorisk.datasets.problems import Problems
from mammorisk.preparation.cohort_summary import (
    FormSummary,
    SplitSummary,
    note_steps,
    summarize_samples,
    summarize_splits,
)


def cohort(folder, **changes: object) -> Cohort:
    rows = cohort_rows(12)
    for column, value in changes.items():
        rows[column] = value
    return load_cohort(write_cohort(folder, rows))


def test_splits_are_counted_by_hand(tmp_path):
    problems = Problems(collect=True)
    found = summarize_splits(cohort(tmp_path), problems)
    # patients 1 and 4 of six in train are cases at both exams; follow-up is 5 and 3 years
    assert found[0] == SplitSummary("train", 6, 2, 4, 12, 4, 48, 4.0, 5.0)
    assert [split.split for split in found] == ["train", "val", "test"]
    assert problems.found == problems.notices == []


def cancer_in(year: int) -> pd.Series:
    """Years to a cancer of everybody's in that year."""
    return year - cohort_rows(12)["exam_date"].str[:4].astype(int)


def test_cancer_after_the_horizon_makes_a_control(tmp_path):
    late = cohort(tmp_path, years_to_cancer=cancer_in(2019), years_to_last_followup="9")
    found = summarize_splits(late, Problems(collect=True))
    assert (found[0].cases, found[0].controls, found[0].exams_of_cases) == (0, 6, 0)


def test_an_empty_split_is_a_problem_but_for_the_test_split(tmp_path):
    problems = Problems(collect=True)
    assert len(summarize_splits(cohort(tmp_path, split="train"), problems)) == 1
    assert [each.kind for each in problems.found] == ["empty_split"]
    assert "no usable image in the split 'val'" in problems.found[0].found
    assert [each.kind for each in problems.notices] == ["empty_split"]


def test_samples_of_every_form(tmp_path):
    problems = Problems(collect=True)
    found = summarize_samples(cohort(tmp_path), problems)
    assert len(found) == 3 * 2 * 3
    assert found[0] == FormSummary("image", 1, "train", 48, 8, 40)
    assert FormSummary("breast", 2, "train", 12, 2, 10) in found
    assert FormSummary("exam", 1, "val", 6, 2, 4) in found
    assert problems.found == problems.notices == []


def test_forms_without_samples_are_notices(tmp_path):
    problems = Problems(collect=True)
    only_cc = cohort(tmp_path, view="CC")
    found = summarize_samples(only_cc, problems)
    assert {(form.unit, form.samples > 0) for form in found} == {("image", True), ("breast", False), ("exam", False)}
    texts = [each.found for each in problems.notices]
    assert texts[0] == "There is no whole sample of the form unit=breast, 1 exams (splits: train, val, test)."
    assert [each.count for each in problems.notices] == [3] * 4


@pytest.mark.parametrize(("years", "kind"), [("", "no_cases"), (cancer_in(2013), "no_controls")])
def test_a_split_needs_cases_and_controls(years, kind, tmp_path):
    problems = Problems(collect=True)
    summarize_samples(cohort(tmp_path, years_to_cancer=years), problems)
    assert [(each.kind, each.count) for each in problems.found] == [(kind, 48), (kind, 24), (kind, 24)]
    assert "cannot be computed" in problems.found[0].found


def test_steps_become_notices_with_their_counts(tmp_path):
    problems = Problems(collect=True)
    rows = cohort_rows(12)["view"].where(lambda view: view.index > 2, "ML")
    note_steps(cohort(tmp_path, view=rows), problems)
    assert [(each.kind, each.count, each.found) for each in problems.notices] == [
        ("excluded", 3, "dropped: another view: 'ML'")
    ]
