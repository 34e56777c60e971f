from __future__ import annotations

import pickle

import pytest
from helpers.places import ROOT

from mammorisk.datasets.problems import KINDS, CohortProblem, Problems


def problem(kind: str = "empty_id") -> CohortProblem:
    return CohortProblem(kind, 2, "Two are odd.", "Mend them.", [5, 7], detail="A table.")


def test_a_problem_is_a_message_and_survives_pickling():
    assert str(problem()) == "Two are odd.\nMend them.\nA table."
    assert str(CohortProblem("no_rows", 0, "None.")) == "None."
    copy = pickle.loads(pickle.dumps(problem()))
    assert (str(copy), copy.kind, copy.count, copy.csv_rows) == (str(problem()), "empty_id", 2, (5, 7))


def test_training_stops_at_the_first():
    with pytest.raises(CohortProblem, match="Two are odd"):
        Problems().add(problem())
    with pytest.raises(CohortProblem, match="Two are odd"), Problems():
        raise problem()


def test_a_check_goes_on_and_keeps_each_once():
    problems, first = Problems(collect=True), problem()
    problems.add(first)
    problems.add(first)
    with problems:
        raise problem("several_dates")
    assert [each.kind for each in problems.found] == ["empty_id", "several_dates"]
    assert problems.unusable == set()
    with pytest.raises(KeyError), problems:
        raise KeyError("a defect of ours")


def test_rows_without_identifier_are_of_no_further_use():
    problems = Problems(collect=True)
    with problems:
        raise problem("spoilt_id")
    problems.add(CohortProblem("unknown_word", 1, "Odd.", csv_rows=[9]), unusable=True)
    assert problems.unusable == {5, 7, 9}


def test_what_is_tolerated_is_a_notice():
    problems = Problems(collect=True, tolerated=("data_root",))
    problems.add(CohortProblem("data_root", 1, "No folder."))
    assert (len(problems.found), len(problems.notices)) == (0, 1)


def test_after_some_problems_nothing_can_be_checked():
    problems = Problems(collect=True)
    problems.stop_after("missing_column")
    problems.add(problem("missing_column"))
    with pytest.raises(CohortProblem, match="Two are odd"):
        problems.stop_after("missing_column")


def test_the_guide_says_what_to_do_about_every_kind():
    guide = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"| `{kind}` |" not in guide] == []
