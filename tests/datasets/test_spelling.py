from __future__ import annotations

import pandas as pd
import pytest

from mammorisk.datasets.problems import CohortProblem
from mammorisk.datasets.spelling import check_spelling, spelling_key, spelling_keys

PRECOMPOSED, DECOMPOSED = "Ren\u00e9e", "Rene\u0301e"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PRECOMPOSED, DECOMPOSED),
        ("P1", "P1\u200b"),
        ("P1", "P\u200d1"),
        ("P1", "\ufeffP1"),
        ("P1", "P1\u00a0"),
        ("P1", "P\u00ad1"),
        ("P1", "P1\x00"),
    ],
)
def test_what_looks_alike_has_one_key(one, other):
    assert one != other
    assert spelling_key(one) == spelling_key(other)
    assert len(set(spelling_keys(pd.Series([one, other, one])))) == 1


@pytest.mark.parametrize(("one", "other"), [("P1", "p1"), ("P1", "P2"), ("e", "\u00e9"), ("01", "1"), ("P 1", "P1")])
def test_what_does_not_is_kept_apart(one, other):
    assert spelling_key(one) != spelling_key(other)
    check_spelling(pd.Series([one, other, one, ""]), pd.Series([2, 3, 4, 5]), "the column")


def test_each_spelling_is_told_with_its_rows():
    values = pd.Series(["A", DECOMPOSED, "B", PRECOMPOSED, DECOMPOSED])
    with pytest.raises(CohortProblem) as caught:
        check_spelling(values, pd.Series(range(2, 7)), "column 'id'")
    assert caught.value.kind == "alike_id"
    assert caught.value.csv_rows == (3, 5, 6)
    assert r"'Rene\u0301e' (CSV rows 3, 6) and 'Ren\xe9e' (CSV row 5)" in str(caught.value)


def test_no_values_are_no_problem():
    assert len(spelling_keys(pd.Series([], dtype=object))) == 0
    check_spelling(pd.Series([], dtype=object), pd.Series([], dtype=int), "the column")
