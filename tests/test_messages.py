from __future__ import annotations

import pandas as pd

from mammorisk.messages import nearest, rows, some


def test_some_shows_the_first_and_counts_the_rest():
    assert some([1, 2]) == "1, 2"
    assert some(range(8)) == "0, 1, 2, 3, 4 and 3 more"


def test_rows_speaks_of_one_or_several():
    assert rows(pd.Series([7])) == "CSV row 7"
    assert rows(pd.Series([2, 5])) == "CSV rows 2, 5"


def test_nearest_ignores_case_and_is_silent_when_nothing_is_near():
    assert nearest("VIEWPOSITION", ["ViewPosition", "split"]) == " Did you mean 'ViewPosition'?"
    assert nearest("xyz", ["split"]) == ""
