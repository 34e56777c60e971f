"""Dates as whole days, NumPy's ``datetime64[D]``.

Dates of pandas in nanoseconds end in 2262, and archives shift dates beyond that year.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Days = NDArray[np.datetime64]


def as_days(iso: pd.Series) -> Days:
    """Parse dates written ``YYYY-MM-DD``; NaT for anything else."""
    days: Days = pd.to_datetime(iso, format="%Y-%m-%d", errors="coerce").to_numpy().astype("datetime64[D]")
    for place in np.flatnonzero(np.isnat(days) & iso.notna().to_numpy()).tolist():
        try:
            days[place] = np.datetime64(str(iso.iloc[place]), "D")
        except ValueError:
            continue  # not a date, such as the 30th of February
    return days


def years_of(days: Days) -> NDArray[np.float64]:
    """Calendar years of days; NaN for NaT."""
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970.0
    return np.where(np.isnat(days), np.nan, years)
