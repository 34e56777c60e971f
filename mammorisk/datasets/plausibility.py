"""Caveats about a cohort: values that are possible but mostly mistakes. Each is counted and reported, none refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from mammorisk.bounds import COHORT
from mammorisk.datasets.days import years_of
from mammorisk.datasets.problems import CohortProblem
from mammorisk.messages import format_rows

EARLIEST = 1950  # screening mammography began later
LONGEST = 30  # years that half of a cohort may be followed
_EXAM = ["patient_id", "exam_id"]


def caveats(table: pd.DataFrame, today: date | None = None) -> list[CohortProblem]:
    """Find implausible values of a cohort whose values are all within their bounds.

    Args:
        table: one row per image: patient_id, exam_id, csv_row, exam_date (NaT unknown), exam_year (NaN unknown),
            years_to_cancer and years_to_last_followup (NaN none), and, if known, age.
        today: last possible day of an exam, up to a time zone; None: the current day.
    """
    today = datetime.now(UTC).date() if today is None else today
    years = table[["years_to_cancer", "years_to_last_followup"]].astype(np.float64)
    exams = table[_EXAM].assign(cancer=years["years_to_cancer"], seen=years["years_to_last_followup"]).groupby(_EXAM)
    cancer, seen = exams["cancer"].transform("min"), exams["seen"].transform("max")
    found = (_unusual_dates(table, today), _late_cancers(table, cancer, seen), _long_followup(table, cancer, seen))
    return [problem for problem in found if problem is not None]


def _unusual_dates(table: pd.DataFrame, today: date) -> CohortProblem | None:
    """Exams before 1950 or after tomorrow."""
    tomorrow = today + timedelta(days=1)
    day = table["exam_date"].to_numpy().astype("datetime64[D]")
    year = np.where(np.isnat(day), table["exam_year"].astype(np.float64), years_of(day))
    later = np.where(np.isnat(day), year > tomorrow.year, day > np.datetime64(tomorrow))
    where = table["csv_row"][(year < EARLIEST) | later]
    if where.empty:
        return None
    text = (
        f"{len(where)} images are of exams before {EARLIEST} or after tomorrow, {tomorrow}: "
        f"{format_rows(where)}; the years "
        f"are {int(np.nanmin(year))} to {int(np.nanmax(year))}."
    )
    advice = "Fine if an archive has shifted all dates of a woman alike to hide them; else correct the dates."
    return CohortProblem("unusual_date", len(where), text, advice, where)


def _late_cancers(table: pd.DataFrame, cancer: pd.Series, seen: pd.Series) -> CohortProblem | None:
    """Cancers later than the follow-up: other women's cancers at that time would not be recorded.

    A cancer in the t-th year needs t - 1 whole years of follow-up before it, so t up to f + 1 is consistent.
    """
    is_late = cancer > seen + 1
    if not bool(is_late.any()):
        return None
    late = table[is_late]
    exams = len(late[_EXAM].drop_duplicates())
    text = (
        f"{exams} exams of {late['patient_id'].nunique()} women have a cancer more than a year after the end of their "
        f"follow-up: {format_rows(late['csv_row'])}."
    )
    advice = (
        "A registry may record such cancers, but then it also covers the women who stayed free of cancer: give their "
        "follow-up to the end of the registry in years_to_last_followup. While others are censored at their last exam, "
        "observed risks are too high, and all measures weighted by censoring are biased. If these years mean that no "
        "cancer was seen, set dataset.no_cancer_value."
    )
    return CohortProblem("late_cancer", exams, text, advice, late["csv_row"])


def _long_followup(table: pd.DataFrame, cancer: pd.Series, seen: pd.Series) -> CohortProblem | None:
    """Follow-up times that look like months or days."""
    age = table["age"].astype(np.float64) if "age" in table else pd.Series(np.nan, index=table.index)
    too_old = age + np.fmax(cancer, seen) > COHORT["age"].high
    first = ~table.duplicated(_EXAM)
    known = seen[first].dropna()  # empty for exams without outcomes (prediction)
    median = float(known.median()) if len(known) else math.nan
    if not median > LONGEST and not bool(too_old.any()):
        return None
    where = table["csv_row"][seen > LONGEST if median > LONGEST else too_old]
    what = (
        f"Half of the exams are followed for more than {LONGEST} years, the median being {median:g}"
        if median > LONGEST
        else f"{len(where)} images are of women who would be followed to an age above {COHORT['age'].high}"
    )
    advice = "Both count years from the exam; divide months by 12 or days by 365.25 first."
    text = f"{what} (years_to_last_followup, years_to_cancer): {format_rows(where)}."
    return CohortProblem("long_followup", len(where), text, advice, where)
