from __future__ import annotations

import pandas as pd

from mammorisk.datasets.problems import CohortProblem
from mammorisk.prediction.reasons import as_ours, reasons_by_row

ROWS = pd.DataFrame(
    {"csv_row": [2, 3, 4], "view": ["CC", "XYZ", ""], "age": ["-1", "", "60"], "file_name": ["a.png", "b.png", ""]}
)


def test_a_row_is_told_its_own_value():
    problems = [
        CohortProblem("unknown_word", 2, "2 rows ...", csv_rows=[3, 4], key="view"),
        CohortProblem("negative_number", 1, "1 value ...", csv_rows=[2], key="age"),
    ]
    assert reasons_by_row(problems, ROWS) == {3: "unknown view 'XYZ'", 4: "no view", 2: "age -1 is negative"}


def test_the_first_reason_counts_and_others_name_the_file_or_the_kind():
    problems = [
        CohortProblem("missing_file", 2, "...", csv_rows=[2, 4]),
        CohortProblem("shared_file", 1, "...", csv_rows=[2]),
        CohortProblem("order_of_time", 1, "...", csv_rows=[3, 99]),
    ]
    assert reasons_by_row(problems, ROWS) == {
        2: "image file missing: a.png",
        4: "image file missing: no name",
        3: "priors dated after their current exam",
    }


def test_words_are_ours_where_they_are_known():
    words = pd.Series(["left", "R", "Links", "ML"], name="laterality")
    assert list(as_ours(words, {"laterality": {"Links": "L"}})) == ["L", "R", "L", "ML"]
    assert list(as_ours(words.rename("view"), {})) == ["left", "R", "Links", "ML"]
