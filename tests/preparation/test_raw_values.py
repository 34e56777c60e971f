from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammorisk.bound import Bound
from mammorisk.errors import UserError
from mammorisk.preparation.raw_csv import Column
from mammorisk.preparation.raw_values import check_ids, coded, dates, numbers

SIDES = {"L": 0, "R": 1, "B": 2, "": 2}


def column(*values, name="side"):
    codes, words = pd.factorize(np.array(values, dtype=object))
    return Column(name, Path("t.csv"), words, codes.astype(np.int64))


def test_codes_ignore_case_and_the_zero_of_a_float():
    assert coded(column("L", "r", "", "B", "L"), SIDES).tolist() == [0, 1, 2, 2, 0]
    assert coded(column("2.0", "2", "0.0"), {"0": "none", "2": "two"}).tolist() == ["two", "two", "none"]


def test_pitfall_27_unknown_codes_are_an_error_that_lists_them():
    with pytest.raises(UserError) as told:
        coded(column("L", "Q", "X", "Q"), SIDES)
    assert "3 rows have unknown values in column 'side' of t.csv: 'Q', 'X' (CSV rows 3, 4, 5)." in str(told.value)
    assert "raw.accepted_codes.side=[Q]" in str(told.value)


def test_accepted_words_are_missing_values():
    assert coded(column("L", "Q"), SIDES, {"side": ["q"], "asses": ["L"]}).tolist() == [0, 2]


def test_numbers_keep_to_their_limits():
    found = numbers(column("1.5", "", "100"), Bound(0, 100))
    assert found[[0, 2]].tolist() == [1.5, 100]
    assert np.isnan(found[1])
    for bad in ("-1", "101", "inf", "many", "1,5", "1e400"):
        with pytest.raises(UserError, match="1 rows hold no such number"):
            numbers(column("1", bad), Bound(0, 100))


def test_dates_are_days():
    found = dates(column("2013-05-31 00:00:00", "", "2013-06-01"), required=False)
    assert found.astype(str).tolist() == ["2013-05-31", "NaT", "2013-06-01"]
    for bad in ("31.05.2013", "2013-02-30", "20130531", "0001-01-01", "1899-12-31", "2301-01-01", "9999-99-99"):
        with pytest.raises(UserError, match="hold no date"):
            dates(column("2013-05-31", bad), required=False)
    with pytest.raises(UserError, match=r"\(empty\)"):
        dates(column("2013-05-31", ""), required=True)


def test_identifiers_are_text():
    check_ids(column("9100000000015839", "00012", "A-7"))
    for bad in ("9.1e+15", "9100000000015839.0", ""):
        with pytest.raises(UserError, match=r"identifiers that were turned into numbers|have no value"):
            check_ids(column("1", bad))
