from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammorisk.bounds import COHORT
from mammorisk.datasets import cohort_values as values
from mammorisk.datasets.cohort_csv import Source
from mammorisk.errors import UserError


def column(key: str, words: list[str]) -> tuple[pd.Series, Source, pd.Series]:
    series = pd.Series(words, dtype=object, name=key)
    return series, Source(Path("cohort.csv"), {key: f"their_{key}"}), pd.Series(range(2, len(words) + 2))


def code(key: str, words: list[str], codes: dict[str, str | None] | None = None) -> list[str | None]:
    table = values.code_table(key, {key: codes} if codes else {})
    assert table is not None
    series, source, row = column(key, words)
    return [None if pd.isna(word) else word for word in values.coded(series, table, source, row)]


def test_laterality_knows_its_words_in_any_case():
    assert code("laterality", ["L", "r", "LEFT", "Right"]) == ["L", "R", "L", "R"]


@pytest.mark.parametrize("word", ["B", "both", "Lft", ""])
def test_laterality_refuses_other_words(word):
    with pytest.raises(UserError, match="unknown values in column 'their_laterality'"):
        code("laterality", ["L", word])


def test_ml_is_not_mlo():
    assert code("view", ["CC", "mlo", "ML", "XCCL"]) == ["CC", "MLO", None, None]


def test_unknown_views_are_listed_with_their_rows():
    with pytest.raises(UserError, match=r"2 rows .*'MLOO'.*CSV rows 3, 4") as caught:
        code("view", ["CC", "MLOO", "MLOO"])
    assert "'MLO'?" in str(caught.value)


def test_more_words_can_be_taught():
    assert code("view", ["cranio", "spotty"], {"cranio": "CC", "spotty": None}) == ["CC", None]
    assert code("split", ["dev", "train"], {"dev": "val"}) == ["val", "train"]


def test_codes_must_lead_to_values_of_ours():
    with pytest.raises(UserError, match=r"dataset\.codes\.split\.dev=valid: expected one of train, val, test or null"):
        values.code_table("split", {"split": {"dev": "valid"}})


def test_pitfall_27_unknown_codes_are_an_error_that_lists_them_and_density_d_stays():
    table = {"1": "1", "2": "2", "3": "3", "4": "4", "5": None}
    assert code("density", ["4", "4.0", "", "5"], table) == ["4", "4", "", None]
    with pytest.raises(UserError, match=r"2 rows .*'7', 'D'"):
        code("density", ["4", "7", "D"], table)
    assert values.code_table("race", {}) is None  # words of race are taken as they are


def test_codes_become_integers():
    series, source, row = column("cancer_type", ["0", "6.0", ""])
    assert values.codes_to_int(series, source, row).tolist() == [0, 6, -1]


@pytest.mark.parametrize("word", ["-1", "-1.0", "1.5", "invasive"])
def test_codes_that_are_no_whole_numbers_are_refused(word):
    series, source, row = column("cancer_type", ["0", word])
    with pytest.raises(UserError, match="are no codes in column 'their_cancer_type'"):
        values.codes_to_int(series, source, row)


def test_numbers_are_read_and_missing_ones_are_nan():
    series, source, row = column("age", ["50", "", "61.5"])
    np.testing.assert_array_equal(values.numbers(series, source, row, COHORT["age"]), [50, np.nan, 61.5])


@pytest.mark.parametrize("word", ["never", "inf", "1,5"])
def test_what_is_no_number_is_refused(word):
    series, source, row = column("years_to_cancer", ["1", word])
    with pytest.raises(UserError, match=r"1 values are no numbers.*CSV row 3"):
        values.numbers(series, source, row, COHORT["years_to_cancer"])


def test_pitfall_29_negative_years_are_an_error_with_count_and_rows():
    series, source, row = column("years_to_cancer", ["1", "-1", "-1", "-0.5"])
    with pytest.raises(UserError, match=r"3 values are negative.*'-1', '-0.5' \(CSV rows 3, 4, 5\)"):
        values.numbers(series, source, row, COHORT["years_to_cancer"], "because.")


def test_dates_are_iso_days():
    series, source, row = column("exam_date", ["2013-05-31", "2013-05-31 23:59:00", "20130531", "2013-05-31T00:00Z"])
    assert values.dates(series, source, row).tolist() == [pd.Timestamp("2013-05-31")] * 4


@pytest.mark.parametrize("word", ["", "2013", "31/05/2013", "2013-02-30", "9999-99-99"])
def test_other_dates_are_refused(word):
    series, source, row = column("exam_date", ["2013-05-31", word])
    with pytest.raises(UserError, match=r"are no dates in column 'their_exam_date'.*CSV row 3"):
        values.dates(series, source, row)


@pytest.mark.parametrize("word", ["0001-01-01", "1899-12-31", "2301-01-01", "9999-12-31"])
def test_dates_of_other_centuries_are_refused(word):
    series, source, row = column("exam_date", ["1900-01-01", "2300-12-31", word])
    with pytest.raises(UserError, match=r"out of range in column 'their_exam_date'.*CSV row 4.*\n.*1900 to 2300"):
        values.dates(series, source, row)
    found = values.dates(series[:2], source, row[:2])  # pandas' nanoseconds end in 2262
    assert found.dt.strftime("%Y-%m-%d").tolist() == ["1900-01-01", "2300-12-31"]
    time = values.exam_time(found, pd.Series([np.nan, np.nan]))
    assert time[1] - time[0] == pytest.approx(401, abs=0.1)


@pytest.mark.parametrize(
    ("key", "word"),
    [("age", "1e9"), ("age", "120.1"), ("years_to_last_followup", "1e308"), ("years_to_cancer", "100.5")],
)
def test_numbers_that_no_life_holds_are_refused_with_count_and_rows(key, word):
    series, source, row = column(key, ["1", "", word, word])
    with pytest.raises(UserError, match=rf"2 values are numbers out of range.*'{word}' \(CSV rows 4, 5\)") as error:
        values.numbers(series, source, row, COHORT[key], "Not negative.")
    assert ("not months or days" in str(error.value)) == key.startswith("years")


def test_what_means_nothing_is_no_number_whatever_its_bound():
    for nothing in (100, 999, -1):
        series, source, row = column("years_to_cancer", ["1", str(nothing)])
        found = values.numbers(series, source, row, COHORT["years_to_cancer"], "Not negative.", nothing)
        np.testing.assert_array_equal(found, [1, np.nan])


@pytest.mark.parametrize("word", ["", "13", "2013.5", "x", "1899", "2301"])
def test_years_are_calendar_years(word):
    series, source, row = column("exam_year", ["2013", "2014.0", word])
    with pytest.raises(UserError, match="are no calendar years"):
        values.years(series, source, row)
    assert values.years(series[:2], source, row[:2]).tolist() == [2013, 2014]


def test_pitfall_30_december_to_january_is_a_month():
    date = pd.Series(pd.to_datetime(["2012-12-15", "2013-01-15", None]))
    time = values.exam_time(date, pd.Series([np.nan, np.nan, 2013.0]))
    assert time[1] - time[0] == pytest.approx(31 / 365.25)
    assert time[2] == 2013


def test_density_groups_are_quartiles_over_exams():
    percent = pd.Series([1.0, 3.0, 10.0, 10.0, 20.0, 30.0, np.nan])
    exams = pd.Series([0, 0, 1, 1, 2, 3, 4])  # means 2, 10, 20, 30, unknown
    group, note = values.density_quartiles(percent, exams)
    assert group.tolist() == [1, 1, 2, 2, 3, 4, -1]
    assert "quartiles" in note


def test_density_groups_of_no_values():
    group, note = values.density_quartiles(pd.Series([np.nan]), pd.Series([0]))
    assert group.tolist() == [-1]
    assert "empty" in note
