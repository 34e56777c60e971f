from __future__ import annotations

import pandas as pd

from mammorisk.messages import closest_match, format_examples, format_rows


def test_some_shows_the_first_and_counts_the_rest():
    assert format_examples([1, 2]) == "1, 2"
    assert format_examples(range(8)) == "0, 1, 2, 3, 4 and 3 more"


def test_rows_speaks_of_one_or_several():
    assert format_rows(pd.Series([7])) == "CSV row 7"
    assert format_rows(pd.Series([2, 5])) == "CSV rows 2, 5"


def test_nearest_ignores_case_and_is_silent_when_nothing_is_near():
    assert closest_match("VIEWPOSITION", ["ViewPosition", "split"]) == " Did you mean 'ViewPosition'?"
    assert closest_match("xyz", ["split"]) == ""
