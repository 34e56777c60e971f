"""Risk factors of a cohort: its columns become the one-hot values of samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammorisk.bounds import COHORT
from mammorisk.datasets.cohort_csv import RISK_FACTOR, Source
from mammorisk.datasets.cohort_values import Codes, coded, numbers
from mammorisk.errors import UserError
from mammorisk.risk_factors import RISK_FACTORS, SIZES, UNKNOWN, RiskFactor

Ints = npt.NDArray[np.int64]


def add_risk_factors(
    table: pd.DataFrame, raw: pd.DataFrame, source: Source, codes: Mapping[str, Codes]
) -> dict[str, pd.Series]:
    """Read the woman's class of each risk factor that has a column, for every image: ``risk_factors.<name>``.

    Classes count from 0; yes is 1 and no is 0; an empty cell is -1. Age and density of the table need no column of
    their own. The age at an event is unknown at exams before the event.

    Args:
        table: the cohort so far; ``age`` in years is read.
        raw: the CSV's text, columns ``risk_factors.<name>``.
        source: for messages.
        codes: ``dataset.codes``: name -> CSV value -> code; null is unknown.

    Returns:
        Column name -> int8, the index of ``raw``.

    Raises:
        UserError: a value is not a number, or a code is unknown.
    """
    return {
        column: _classes(raw[column], table["age"], source, raw["csv_row"], codes)
        for column in map(str, raw)
        if column.startswith(RISK_FACTOR)
    }


def one_hot(table: pd.DataFrame, images: Ints) -> npt.NDArray[np.int8]:
    """Encode the risk factors of samples, [N, R]: one-hot in the order of ``RISK_FACTORS``, all -1 if unknown.

    A value known for any image of the current exam counts; if images disagree, the highest class counts.

    Args:
        table: cohort table, one row per image: age, density and the columns of ``add_risk_factors``.
        images: [N, V] rows of the current exam's images, -1 where there is none.
    """
    blocks = []
    for (name, factor), size in zip(RISK_FACTORS.items(), SIZES, strict=True):
        of_image = _column(table, name, factor)
        found = np.where(images >= 0, of_image[images], UNKNOWN).max(axis=1)[:, None]  # [N, V] -> [N, 1]
        hot = found == np.arange(size) if size > 1 else found == 1
        blocks.append(np.where(found >= 0, hot, UNKNOWN).astype(np.int8))
    return np.concatenate(blocks, axis=1)


def _column(table: pd.DataFrame, name: str, factor: RiskFactor) -> Ints:
    """Classes of a risk factor, [rows]: from its own column, or from the cohort's age or density."""
    if RISK_FACTOR + name in table:
        return table[RISK_FACTOR + name].to_numpy(dtype=np.int64)
    if name == "age":
        return _binned(table["age"], factor)
    if name == "density":
        density = table["density"].to_numpy(dtype=np.int64)
        return np.where(density >= 0, density - 1, UNKNOWN)
    return np.full(len(table), UNKNOWN, dtype=np.int64)


def _classes(
    values: pd.Series, age: pd.Series, source: Source, csv_row: pd.Series, codes: Mapping[str, Codes]
) -> pd.Series:
    name = str(values.name).removeprefix(RISK_FACTOR)
    factor = RISK_FACTORS[name]
    if factor.limits:
        number = numbers(values, source, csv_row, COHORT[name], "An empty cell means unknown; no value is below 0.")
        if factor.in_years_of_age:
            number = number.mask(number > age)  # an event after the exam is unknown at the exam
        found = _binned(number, factor)
    else:
        first = 1 if factor.codes else 0
        known = _code_table(name, [str(first + i) for i in range(max(factor.size, 2))], codes)
        words = coded(values, known, source, csv_row).fillna("")
        found = words.mask(words == "", str(UNKNOWN + first)).to_numpy(dtype=np.int64) - first
    return pd.Series(found, index=values.index).astype(np.int8)


def _binned(values: pd.Series, factor: RiskFactor) -> Ints:
    number = np.floor(values.to_numpy(dtype=np.float64))
    return np.where(np.isnan(number), UNKNOWN, np.searchsorted(factor.limits, number, side="left"))


def _code_table(name: str, allowed: list[str], codes: Mapping[str, Codes]) -> Codes:
    given = {} if name == "race" else codes.get(name, {})  # race: that table is for the words of the report
    for word, ours in given.items():
        if ours is not None and ours not in allowed:
            raise UserError(f"dataset.codes.{name}.{word}={ours}: expected one of {', '.join(allowed)} or null.")
    return {**{code: code for code in allowed}, **given}
