"""Loading of a cohort: its CSV becomes one checked table with an attrition table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from mammorisk.bounds import COHORT
from mammorisk.component_gate import build, own_modules
from mammorisk.config import DatasetConfig
from mammorisk.config_check import bad_choice
from mammorisk.datasets import cohort_checks as checks
from mammorisk.datasets import cohort_values as values
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort_csv import TRUE_RISK, TRUE_RISK_BREAST, Source, read_cohort_csv
from mammorisk.datasets.cohort_files import MISSING, find_matching_files, find_named_files, refuse_or_skip_missing
from mammorisk.datasets.images import unreadable_images
from mammorisk.datasets.plausibility import caveats
from mammorisk.datasets.problems import CohortProblem, Problems
from mammorisk.datasets.risk_factor_columns import add_risk_factors
from mammorisk.errors import UserError
from mammorisk.messages import format_examples


@dataclass(frozen=True)
class Cohort:
    """Checked cohort.

    ``table`` has one row per image: patient_id, exam_id (text), exam_date (datetime64 or NaT), exam_year,
    exam_time (years, comparable within a patient; NaN where the cohort has no times), laterality (L/R), view (CC/MLO),
    file (absolute path), csv_row (line of the CSV), split, years_to_cancer (of the breast; NaN none seen),
    years_to_last_followup, exam_years_to_cancer, exam_years_to_last_followup (either breast), density (1-4, -1
    unknown), cancer_type (the cohort's code, -1 unknown), race ("" unknown), age (NaN unknown),
    a phantom's true_risk_1y … and true_risk_breast_1y …, and risk_factors.<name> of those that have a column (class
    from 0 on, -1 unknown).
    """

    name: str
    csv_file: Path
    table: pd.DataFrame
    attrition: Attrition
    notes: tuple[str, ...]  # sentences to log once

    def split(self, name: str) -> pd.DataFrame:
        """Rows of a split, numbered from 0.

        Raises:
            CohortProblem: the split has no rows.
        """
        part = self.table[self.table["split"] == name]
        if part.empty:
            found = ", ".join(f"{word} {count}" for word, count in self.table["split"].value_counts().items())
            text = f"{self.csv_file} has no usable image in the split '{name}' (images found: {found})."
            advice = "Check the split column and dataset.codes.split, or the rows dropped in the attrition table:"
            raise CohortProblem("empty_split", 1, text, advice, detail=str(self.attrition))
        return part.reset_index(drop=True)


def load_cohort(dataset: DatasetConfig, problems: Problems | None = None, outcomes: bool = True) -> Cohort:
    """Read, check and complete a cohort (a generated one is written first).

    With several processes, every process calls this, rank 0 first.

    Args:
        dataset: settings of the cohort.
        problems: to collect problems of the CSV and the files instead of stopping at the first. Rows with an unusable
            value are then left out, images without a file are kept, and no image is read.
        outcomes: False for exams whose outcomes and split are unknown and not needed (prediction).

    Raises:
        UserError: a problem of the settings, the CSV or the folder of images; with ``problems`` one of the settings,
            or a CohortProblem after which nothing is left to check.
    """
    problems = problems or Problems()
    _check_choices(dataset)
    csv_file, data_root = _paths(dataset)
    named = dataset.file_pattern is None
    raw, source = read_cohort_csv(csv_file, dataset.columns, named, dataset.risk_factors, problems, outcomes)
    attrition, notes = Attrition(), list[str]()
    table, excluded = _values(raw, source, dataset, notes)
    problems.stop_after("missing_column")
    attrition.read(table, str(csv_file))
    usable = ~table["csv_row"].isin(problems.unusable)
    table = attrition.keep(table, usable, "values", "a value that cannot be used")
    _require_rows(table, source, attrition)
    with problems:
        checks.check_one_split_per_patient(table[table["split"].notna()])
    table, note = checks.share_outcomes(table)
    notes.append(note)
    for reason, is_out in excluded.items():
        table = attrition.keep(table, ~is_out.loc[table.index], "codes", reason)
    _require_rows(table, source, attrition)
    if outcomes:
        table = checks.settle_missing_followup(table, dataset.missing_followup, attrition)
    _require_rows(table, source, attrition)
    table = _with_files(table, data_root, source, dataset, attrition)
    table["exam_time"] = values.exam_time(table["exam_date"], table["exam_year"])
    table["exam_year"] = table["exam_year"].fillna(table["exam_date"].dt.year.astype(np.float64))
    for check in (checks.check_one_time_per_exam, checks.check_times_against_outcomes):
        with problems:
            check(table)
    for caveat in caveats(table):
        problems.notice(caveat)
    table = _without_duplicates(table, dataset.duplicate_view, attrition, problems)
    with problems:
        checks.check_one_image_per_file(table)
    if dataset.on_error == "skip" and not problems.collects:
        bad = unreadable_images(table["file"].tolist())
        table = attrition.keep(table, ~table["file"].isin(bad), "files", "the image cannot be read")
        _require_rows(table, source, attrition)
    table = table.drop(columns=["split_word", "file_name", "file_number"], errors="ignore").reset_index(drop=True)
    if not problems.collects:  # else the check reports them as problems
        notes += [" ".join(str(notice).splitlines()) for notice in problems.notices]
    return Cohort(dataset.name, csv_file, table, attrition, tuple(note for note in notes if note))


def _check_choices(dataset: DatasetConfig) -> None:
    for key in ("orientation", "missing_followup", "duplicate_view", "on_error"):
        problem = bad_choice(f"dataset.{key}", getattr(dataset, key))
        if problem is not None:
            raise UserError(f"{problem}.")


def _paths(dataset: DatasetConfig) -> tuple[Path, Path | None]:
    if dataset.generator is not None:
        folder = Path(_generator(dataset.generator).write())
        return folder / "cohort.csv", folder
    if dataset.csv_file is None:
        raise UserError(f"dataset.csv_file is not set: give the cohort CSV of dataset={dataset.name}.")
    data_root = None if dataset.data_root is None else Path(dataset.data_root).expanduser()
    return Path(dataset.csv_file).expanduser(), data_root


def _generator(node: Any) -> Any:
    """Build the generator of the cohort through the gate; the user has already allowed its own modules."""
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    return build(cast(dict[str, Any], plain), "generator", own_modules({"dataset": {"generator": plain}}))


def _values(
    raw: pd.DataFrame, source: Source, dataset: DatasetConfig, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Convert text to values; also returns the rows to exclude, by reason."""
    row = raw["csv_row"]
    table = pd.DataFrame({"csv_row": row, "patient_id": raw["patient_id"]})
    table["exam_date"], table["exam_year"] = pd.NaT, np.nan
    table["exam_date"] = table["exam_date"].astype("datetime64[s]")
    if "exam_date" in raw:
        table["exam_date"] = values.dates(raw["exam_date"], source, row)
    elif "exam_year" in raw:
        table["exam_year"] = values.years(raw["exam_year"], source, row)
    table["exam_id"] = raw["exam_id"] if "exam_id" in raw else _exam_ids(table)
    table["split_word"] = raw["split"]
    if "file_name" in raw and dataset.file_pattern is None:
        table["file_name"] = raw["file_name"]
    excluded = _add_coded(table, raw, source, dataset.codes)
    _add_numbers(table, raw, source, dataset.no_cancer_value)
    table = table.assign(**add_risk_factors(table, raw, source, dataset.codes))
    if "density" not in raw and "percent_density" in raw:
        percent = values.numbers(raw["percent_density"], source, row, COHORT["percent_density"])
        table["density"], note = values.density_quartiles(percent, table.groupby(checks.EXAM).ngroup())
        notes.append(note)
    return table, excluded


def _exam_ids(table: pd.DataFrame) -> pd.Series:
    """Build exam identifiers from patient and time, for a CSV without them."""
    year = table["exam_year"].fillna(0).astype(int).astype(str)  # a missing year was collected as a problem
    time = table["exam_date"].dt.strftime("%Y-%m-%d").fillna(year)
    ids: pd.Series = table["patient_id"].str.cat(time, sep="_")
    return ids


def _add_coded(
    table: pd.DataFrame, raw: pd.DataFrame, source: Source, codes: Mapping[str, Mapping[str, str | None]]
) -> dict[str, pd.Series]:
    excluded = {}
    for key in ("split", "laterality", "view", "density", "cancer_type", "race"):
        column = raw[key] if key in raw else pd.Series("", index=raw.index, dtype=object, name=key)
        known = values.code_table(key, codes)
        if key in source.columns and known is not None:
            column = values.coded(column, known, source, raw["csv_row"])
            out = column.isna()
            if bool(out.any()):
                words = format_examples(f"'{word}'" for word in raw[key][out].unique())
                excluded["another view: " + words if key == "view" else f"{key} {words} is excluded"] = out
        table[key] = column
    for key in ("density", "cancer_type"):
        text = table[key].fillna("").rename(key)
        table[key] = values.codes_to_int(text, source, raw["csv_row"])
    return excluded


def _add_numbers(table: pd.DataFrame, raw: pd.DataFrame, source: Source, no_cancer: float | None) -> None:
    row = raw["csv_row"]
    table["years_to_cancer"] = values.numbers(
        raw["years_to_cancer"],
        source,
        row,
        COHORT["years_to_cancer"],
        "Years to cancer count from the exam: exams after the diagnosis do not belong in the cohort.",
        no_cancer,
    )
    last = "Years to the last follow-up count from the exam; they cannot be negative."
    seen, bound = raw["years_to_last_followup"], COHORT["years_to_last_followup"]
    table["years_to_last_followup"] = values.numbers(seen, source, row, bound, last)
    table["age"] = np.nan
    if "age" in raw:
        table["age"] = values.numbers(raw["age"], source, row, COHORT["age"], "An age is at least 0.")
    for names in (TRUE_RISK, TRUE_RISK_BREAST):
        if set(names) <= set(raw):
            for name in names:
                table[name] = values.numbers(raw[name], source, row, COHORT["true_risk"], "A risk is at least 0.")


def _with_files(
    table: pd.DataFrame, data_root: Path | None, source: Source, dataset: DatasetConfig, attrition: Attrition
) -> pd.DataFrame:
    try:
        if dataset.file_pattern is None:
            table = find_named_files(table, data_root)
        else:
            table = find_matching_files(table, data_root, dataset.file_pattern, attrition)
    except CohortProblem as problem:
        source.problems.add(problem)
        return table.assign(file=None)
    with source.problems:
        there = refuse_or_skip_missing(table, data_root, source, dataset.on_error == "skip")
        table = attrition.keep(table, there, "files", MISSING)
    return table.copy()


def _without_duplicates(table: pd.DataFrame, rule: str, attrition: Attrition, problems: Problems) -> pd.DataFrame:
    with problems:
        return checks.settle_duplicates(table, rule, attrition)
    return checks.settle_duplicates(table, "newest", attrition)


def _require_rows(table: pd.DataFrame, source: Source, attrition: Attrition) -> None:
    if table.empty:
        text = f"No usable image is left of {source.csv_file}:"
        raise CohortProblem("nothing_left", 1, text, detail=str(attrition))
