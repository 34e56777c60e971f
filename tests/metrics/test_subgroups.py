from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mammorisk.metrics.subgroups import by_band, by_cancer_type, by_category, by_quartile


def rows_of(groups):
    return {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()}


def test_a_group_for_each_value_and_none_for_what_is_missing():
    values = ["b", None, "a", "", float("nan"), "b", pd.NA]
    assert rows_of(by_category(values)) == {"a": [2], "b": [0, 5]}
    assert rows_of(by_category([2, 1, 2])) == {"1": [1], "2": [0, 2]}
    assert rows_of(by_category(pd.Series(["C", "D", pd.NA], dtype="string"))) == {"C": [0], "D": [1]}
    assert by_category([]) == {}


def test_bands_meet_at_their_edges():
    groups = rows_of(by_band([49.9, 50, 59, 60, 80, np.nan], [50, 60], "years"))
    assert groups == {"below 50 years": [0], "50 to below 60 years": [1, 2], "60 or more years": [3, 4]}
    with pytest.raises(ValueError, match="ascending"):
        by_band([1], [60, 50])
    with pytest.raises(ValueError, match="one or more"):
        by_band([1], [])


def test_quartiles_are_quarters():
    values = np.r_[np.random.default_rng(0).permutation(100), [np.nan]]
    groups = by_quartile(values)
    assert [mask.sum() for mask in groups.values()] == [25] * 4
    assert values[groups["quartile 1"]].max() < values[groups["quartile 2"]].min()
    assert rows_of(by_quartile([7, 7, 7]))["quartile 4"] == [0, 1, 2]
    assert by_quartile([np.nan]) == {}


def test_pitfall_26_cases_of_a_type_are_joined_by_all_controls():
    types = ["invasive", "DCIS", None, "invasive", "DCIS", None]
    event = [True, True, False, True, False, True]  # row 4 has a type though its cancer came later; row 5 none
    assert rows_of(by_cancer_type(types, event)) == {"DCIS": [1, 2, 4], "invasive": [0, 2, 3, 4]}
