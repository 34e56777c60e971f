"""Checks of a table before it is written: no outcome among the inputs, and readable by its dataset."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from mammorisk.bounds import COHORT
from mammorisk.config import DatasetConfig
from mammorisk.datasets import cohort_checks as checks
from mammorisk.datasets.cohort_csv import REQUIRED, check_inputs, find_columns
from mammorisk.datasets.cohort_values import exam_time
from mammorisk.datasets.days import as_days
from mammorisk.datasets.plausibility import caveats
from mammorisk.datasets.problems import CohortProblem
from mammorisk.errors import UserError
from mammorisk.messages import format_examples


def check_table(images: pd.DataFrame) -> list[CohortProblem]:
    """Check the table under our names; return notices of what is no mistake.

    Raises:
        UserError: a woman in two splits, an exam with two dates, a prior dated after its current exam, an exam after
            the diagnosis, impossible years, or two images with one file name.
    """
    images = images.assign(csv_row=np.arange(2, len(images) + 2))
    checks.check_one_split_per_patient(images)
    for name in ("years_to_cancer", "years_to_last_followup"):
        years, bound = images[name].astype(np.float64), COHORT[name]
        wrong = images[(years < bound.low) | (years > bound.high)]
        if len(wrong):
            found = f"{years.min():g} to {years.max():g}, expected {bound}"
            exams = format_examples(wrong["exam_id"].unique())
            raise UserError(f"{len(wrong)} images have {name} that cannot be ({found}), of the exams {exams}.")
    date = as_days(
        images["exam_date"] if "exam_date" in images else pd.Series(np.nan, index=images.index, dtype=object)
    )
    year = images["exam_year"].astype(np.float64) if "exam_year" in images else pd.Series(np.nan, index=images.index)
    columns = [*checks.BREAST, "years_to_cancer", "years_to_last_followup", "csv_row", *({"age"} & set(images))]
    days = pd.Series(date.astype("datetime64[s]"), index=images.index)
    timed = images[columns].assign(exam_date=days, exam_year=year, exam_time=exam_time(days, year))
    checks.check_one_time_per_exam(timed)
    checks.check_times_against_outcomes(timed.assign(years_to_cancer=images["years_to_cancer"].astype(np.float64)))
    twice = images.loc[images["file_name"].duplicated(), "file_name"]
    if len(twice):
        raise UserError(f"{len(twice)} images would get a file name of another: {format_examples(twice.unique())}.")
    return caveats(timed)


def named_for(images: pd.DataFrame, dataset: DatasetConfig, out: Path) -> pd.DataFrame:
    """Name the columns as in ``dataset.columns``; other columns follow under their own names.

    Raises:
        UserError: the reader would lack a column, would read an outcome as an input, or would not find a file by its
            name.
    """
    names = {key: str(name).split("|")[0] for key, name in dataset.columns.items() if name and key in images}
    table = images.rename(columns=names)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise UserError(
            f"dataset.columns gives two columns the name {format_examples(map(repr, twice))}. Give each its own."
        )
    wanted = {key: str(name) for key, name in dataset.columns.items() if name}
    required = REQUIRED if dataset.file_pattern else (*REQUIRED, "file_name")
    check_inputs(find_columns(wanted, list(table.columns), out, required), out)
    if dataset.file_pattern:
        pattern = re.compile(dataset.file_pattern)
        wrong = [name for name in images["file_name"] if pattern.fullmatch(name) is None]
        if wrong:
            raise UserError(
                f"{len(wrong)} file names do not match dataset.file_pattern: {format_examples(wrong)}.\nWith dataset="
                f"{dataset.name} the files are found by their names; patient ids with '_' or '/' cannot be."
            )
    first = [names[key] for key in dataset.columns if key in names]
    return table[[*first, *(name for name in table.columns if name not in first)]]
