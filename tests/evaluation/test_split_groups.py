from __future__ import annotations

import numpy as np
import pandas as pd

from mammorisk.evaluation.split_groups import of_kind, subgroups

TABLE = pd.DataFrame(
    {
        "event": [1, 0, 1, 0],
        "density": pd.array([1, 2, None, 2], dtype="Int64"),
        "race": ["Asian", "", "White", "White"],
        "cancer_type": pd.array([0, None, 1, None], dtype="Int64"),
        "age": [45.0, np.nan, 50.0, 72.0],
        "laterality": ["L", "L", "L", "L"],
    }
)


def test_groups_of_each_kind_by_name():
    found = subgroups(TABLE)
    assert found["density: 2"].tolist() == [False, True, False, True]
    assert found["race: White"].tolist() == [False, False, True, True]
    assert found["age: 50 to below 60 years"].tolist() == [False, False, True, False]
    assert "density: <NA>" not in found
    assert "age: below 40 years" not in found  # nobody
    assert not any(name.startswith("laterality") for name in found)  # all of them: no group


def test_pitfall_26_cases_of_a_type_against_all_controls():
    found = subgroups(TABLE)
    assert found["cancer type: 0"].tolist() == [True, True, False, True]
    assert found["cancer type: 1"].tolist() == [False, True, True, True]


def test_codes_read_from_a_file_with_gaps_keep_their_names():
    again = TABLE.assign(density=[1.0, 2.0, np.nan, 2.0], cancer_type=[0.0, np.nan, 1.0, np.nan])
    assert subgroups(again).keys() == subgroups(TABLE).keys()


def test_quartiles_of_percent_density_are_called_so():
    table = TABLE.drop(columns="density").assign(percent_density_quartile=[1, 2, 3, 4])
    names = of_kind(list(subgroups(table)), "percent density")
    assert names == {f"quartile {number}": f"percent density: quartile {number}" for number in (1, 2, 3, 4)}
