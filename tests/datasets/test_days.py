import numpy as np
import pandas as pd

from mammorisk.datasets.days import as_days, years_of


def test_days_reach_beyond_the_nanoseconds_of_pandas():
    words = pd.Series(["2013-05-31", "2290-01-02", "0001-01-01", "2013-02-30", "9999-99-99", None], dtype=object)
    days = as_days(words)
    assert days.astype(str).tolist() == ["2013-05-31", "2290-01-02", "0001-01-01", "NaT", "NaT", "NaT"]
    np.testing.assert_array_equal(years_of(days), [2013, 2290, 1, np.nan, np.nan, np.nan])
