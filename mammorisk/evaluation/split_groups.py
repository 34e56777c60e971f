"""Subgroups of a split, from the columns of ``predictions.csv``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mammorisk.metrics.censoring import Bools
from mammorisk.metrics.subgroups import by_band, by_cancer_type, by_category

AGES = (40, 50, 60, 70)
CANCER_TYPE = "cancer type"
_CATEGORIES = {  # kind of group: column
    "density": "density",
    "percent density": "percent_density_quartile",
    "race": "race",
    "laterality": "laterality",
    "view": "view",
}


def subgroups(table: pd.DataFrame) -> dict[str, Bools]:
    """Masks [N] by name, ``kind: value``: density, cancer type, race, side, view and age, if known.

    A group of a cancer type holds its cases and all samples without an event. A kind with one value
    for all samples is the whole cohort, and left out; cancer types are never left out.
    """
    found: dict[str, dict[str, Bools]] = {}
    for kind, column in _CATEGORIES.items():
        if column in table:
            found[kind] = by_category(_words(table[column]))
    if "percent density" in found:
        found["percent density"] = {f"quartile {name}": mask for name, mask in found["percent density"].items()}
    if "cancer_type" in table:
        found[CANCER_TYPE] = by_cancer_type(_words(table["cancer_type"]), table["event"].to_numpy() == 1)
    if "age" in table:
        ages = by_band(table["age"].to_numpy(dtype=np.float64), AGES, "years")
        found["age"] = {name: mask for name, mask in ages.items() if mask.any()}
    return {
        f"{kind}: {value}": mask
        for kind, groups in found.items()
        for value, mask in groups.items()
        if kind == CANCER_TYPE or not mask.all()
    }


def of_kind(names: list[str], kind: str) -> dict[str, str]:
    """The values of a kind of group, each with its full name: ``{"1": "density: 1"}``."""
    return {name.partition(": ")[2]: name for name in names if name.startswith(f"{kind}: ")}


def _words(column: pd.Series) -> np.ndarray:
    """Codes and words as text, None for missing values."""
    known = column.notna()
    if pd.api.types.is_float_dtype(column) and bool((column[known] % 1 == 0).all()):
        column = column.astype("Int64")  # codes, read from a CSV with gaps
    words: np.ndarray = column.astype(str).to_numpy(dtype=object)
    words[~known.to_numpy()] = None
    return words
