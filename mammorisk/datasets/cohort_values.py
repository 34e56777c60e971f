"""Parsing of the text of a cohort CSV: strict code tables, numbers, years, dates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mammorisk.bound import Bound
from mammorisk.bounds import COHORT
from mammorisk.datasets.cohort_csv import REQUIRED, RISK_FACTOR, TIMES, Source
from mammorisk.datasets.days import as_days, years_of
from mammorisk.datasets.problems import KINDS, CohortProblem
from mammorisk.errors import UserError
from mammorisk.messages import closest_match, format_examples, format_rows

Codes = Mapping[str, str | None]

DAYS_PER_YEAR = 365.25
_NEEDED = {*REQUIRED, *TIMES}  # a row without a usable value here cannot be used
# Projections that are no CC or MLO, after DICOM CID 4014.
_OTHER_VIEWS = ("ML", "LM", "LMO", "XCCL", "XCCM", "XCC", "FB", "SIO", "ISO", "AT", "CV", "RL", "RM", "SPOT", "MAG")
DEFAULT_CODES: dict[str, Codes] = {
    "laterality": {"L": "L", "R": "R", "Left": "L", "Right": "R"},
    # Other projections are known, but no model uses them: their rows are dropped and counted.
    "view": {"CC": "CC", "MLO": "MLO", **dict.fromkeys(_OTHER_VIEWS)},
    "split": {"train": "train", "val": "val", "test": "test"},
    "density": {"1": "1", "2": "2", "3": "3", "4": "4"},
}
_UNITS = dict.fromkeys(
    ("years_to_cancer", "years_to_last_followup"),
    " Both count years from the exam, not months or days; dataset.no_cancer_value is the number that means that no "
    "cancer was seen.",
)
_ALLOWED = {
    "laterality": ("L", "R"),
    "view": ("CC", "MLO"),
    "split": ("train", "val", "test"),
    "density": ("1", "2", "3", "4"),
}


def code_table(key: str, codes: Mapping[str, Codes]) -> Codes | None:
    """Code table of a column, CSV value -> ours (None: the row is excluded); None: any value is accepted.

    Laterality, view and split always accept their own words; ``dataset.codes`` adds others. Other columns have the
    table of ``dataset.codes``; density has 1-4 by default.

    Raises:
        UserError: a table maps to a value that is not allowed.
    """
    table = dict(codes.get(key, {}))
    if key in ("laterality", "view", "split") or not table:
        table = {**DEFAULT_CODES.get(key, {}), **table}
    for word, ours in table.items():
        if key in _ALLOWED and ours is not None and ours not in _ALLOWED[key]:
            raise UserError(f"dataset.codes.{key}.{word}={ours}: expected one of {', '.join(_ALLOWED[key])} or null.")
    return table or None


def coded(values: pd.Series, table: Codes, source: Source, csv_row: pd.Series) -> pd.Series:
    """Translate values by a strict code table; None marks rows to exclude, "" stays missing.

    Matching ignores case and a trailing ``.0`` (``2.0`` is the code 2). A missing value is an error in laterality,
    view and split, unless the table has a row for "".

    Raises:
        UserError: values that are not in the table, all listed (docs/pitfalls.md#p27).
    """
    key = str(values.name)
    known = {_fold(word): ours for word, ours in table.items()}
    if key not in ("laterality", "view", "split"):
        known.setdefault("", "")
    unique = values.unique()
    unknown = [word for word in unique if _fold(word) not in known]
    if unknown:
        where = csv_row[values.isin(unknown)]
        listed = format_examples((f"'{word}'" if word else "(empty)" for word in unknown), 10)
        null = "leave them unknown" if key.startswith(RISK_FACTOR) else "exclude such rows"
        text = f"{len(where)} rows have unknown values in {source.column(key)}: {listed} ({format_rows(where)})."
        advice = (
            f"Known: {format_examples([word for word in table if word], 30)}.{closest_match(unknown[0], table)} "
            f"Correct the CSV or add them to dataset.codes.{key.removeprefix(RISK_FACTOR)} "
            f"(value: ours, or null to {null})."
        )
        source.problems.add(CohortProblem("unknown_word", len(where), text, advice, where, key=key), key in _NEEDED)
    return values.map({word: known.get(_fold(word), "") for word in unique}).astype(object)


def _fold(word: str) -> str:
    return str(word).removesuffix(".0").casefold()


def numbers(
    values: pd.Series,
    source: Source,
    csv_row: pd.Series,
    bound: Bound,
    negative: str = "",
    nothing: float | None = None,
) -> pd.Series:
    """Convert text to float64, "" to NaN.

    Args:
        values: text column, under our name.
        source: for messages.
        csv_row: rows of the values in the CSV.
        bound: of the numbers.
        negative: explanation of a negative value, for the message; "": it is reported as out of bounds.
        nothing: a number that stands for an empty cell, whatever the bound.

    Raises:
        UserError: a value is not a finite number, is negative (docs/pitfalls.md#p29), or is out of bounds.
    """
    unique = pd.Series(values.unique(), dtype=object)
    parsed = pd.to_numeric(unique, errors="coerce").astype(np.float64)
    bad = (unique != "") & ~np.isfinite(parsed)
    _refuse("not_a_number", values, unique[bad], source, csv_row, "Expected a number or nothing.")
    if nothing is not None:
        parsed = parsed.mask(parsed == nothing)
    if negative:
        _refuse("negative_number", values, unique[parsed < 0], source, csv_row, negative)
        bad |= parsed < 0
    over = (parsed < bound.low) | (parsed > bound.high)
    advice = f"Expected {bound}, or an empty cell if unknown.{_UNITS.get(str(values.name), '')}"
    _refuse("out_of_range", values, unique[over & ~bad], source, csv_row, advice)
    parsed = parsed.mask(bad | over)
    return values.map(dict(zip(unique, parsed, strict=True))).astype(np.float64)


def dates(values: pd.Series, source: Source, csv_row: pd.Series) -> pd.Series:
    """Convert ISO dates (``2013-05-31``, a time of day is cut off, or ``20130531``) to datetime64.

    Raises:
        UserError: a missing or other value, or a year out of bounds; order and gaps of exams depend on every date.
    """
    codes, words = pd.factorize(values)
    unique, bound = pd.Series(words, dtype=object), COHORT["exam_date"]
    iso = unique.str.replace(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", regex=True)
    day = iso.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[ T].*)?$", expand=False)
    parsed = as_days(day)
    advice = "Expected dates as YYYY-MM-DD. A cohort that has only years maps exam_year and leaves exam_date null."
    _refuse("not_a_date", values, unique[np.isnat(parsed)], source, csv_row, advice)
    year = years_of(parsed)
    out = (year < bound.low) | (year > bound.high)
    advice = f"Expected dates of the years {bound.low} to {bound.high}; correct them."
    _refuse("out_of_range", values, unique[out], source, csv_row, advice)
    parsed[out] = np.datetime64("NaT")
    return pd.Series(parsed[codes].astype("datetime64[s]"), index=values.index, name=values.name)


def years(values: pd.Series, source: Source, csv_row: pd.Series) -> pd.Series:
    """Convert calendar years to float64.

    Raises:
        UserError: a value is missing, is not a year, or is out of bounds.
    """
    unique, bound = pd.Series(values.unique(), dtype=object), COHORT["exam_year"]
    parsed = pd.to_numeric(unique, errors="coerce").astype(np.float64)
    bad = ~(parsed.between(bound.low, bound.high) & (parsed % 1 == 0))
    advice = f"Expected years such as 2013, from {bound.low} to {bound.high}, in every row."
    _refuse("not_a_year", values, unique[bad], source, csv_row, advice)
    parsed = parsed.mask(bad)
    return values.map(dict(zip(unique, parsed, strict=True))).astype(np.float64)


def exam_time(exam_date: pd.Series, exam_year: pd.Series) -> pd.Series:
    """Time of the exam in years, comparable within a patient: from the date if there is one, else from the year.

    December to January is a month, not a year (docs/pitfalls.md#p30).
    """
    days = (exam_date - pd.Timestamp(1970, 1, 1)).dt.days
    return (1970 + days / DAYS_PER_YEAR).where(exam_date.notna(), exam_year)


def codes_to_int(values: pd.Series, source: Source, csv_row: pd.Series) -> pd.Series:
    """Convert codes to int64, "" to -1.

    Raises:
        UserError: a code is not a whole number of at least 0.
    """
    unique = pd.Series(values.unique(), dtype=object)
    whole = unique.where(unique != "", "-1").str.removesuffix(".0")
    bad = ~whole.str.fullmatch(r"-1|\d{1,9}") | unique.str.startswith("-")
    advice = "Expected whole numbers from 0 on, or dataset.codes that translate them."
    _refuse("not_a_code", values, unique[bad], source, csv_row, advice)
    whole = whole.mask(bad, "-1")
    return values.map(dict(zip(unique, whole.astype(np.int64), strict=True))).astype(np.int64)


def density_quartiles(percent: pd.Series, exams: pd.Series) -> tuple[pd.Series, str]:
    """Density group 1-4 by quartile of percent density (docs/data.md#cohort-table), with a sentence for the log.

    Args:
        percent: percent density of each image, NaN unknown.
        exams: code of each image's exam; the density of an exam is the mean of its images.

    Returns:
        Integer codes, -1 unknown, by the quartiles of all exams of the cohort; and the sentence.
    """
    mean = percent.groupby(exams).transform("mean")
    per_exam = mean[~exams.duplicated()].dropna()
    if per_exam.empty:
        return pd.Series(-1, index=percent.index), "percent density is empty: no density groups"
    edges = np.quantile(per_exam.to_numpy(), [0.25, 0.5, 0.75])
    group = pd.Series(np.searchsorted(edges, mean.to_numpy(), side="left") + 1, index=percent.index)
    text = ", ".join(f"{edge:.3g}" for edge in edges)
    return group.where(mean.notna(), -1), f"density groups 1-4 are quartiles of percent density (limits {text})"


def _refuse(kind: str, values: pd.Series, bad: pd.Series, source: Source, csv_row: pd.Series, advice: str) -> None:
    """Report the values ``bad`` of a column; if problems are collected, the caller treats them as unknown."""
    if len(bad) == 0:
        return
    key, where = str(values.name), csv_row[values.isin(bad)]
    listed = format_examples((f"'{word}'" if word else "(empty)" for word in bad), 5)
    what = "are negative" if kind == "negative_number" else f"are {KINDS[kind]}"
    text = f"{len(where)} values {what} in {source.column(key)}: {listed} ({format_rows(where)})."
    source.problems.add(CohortProblem(kind, len(where), text, advice, where, key=key), key in _NEEDED)
