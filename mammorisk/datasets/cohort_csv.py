"""Reading of a cohort CSV: columns under mammorisk's names, every value still text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mammorisk.batch import MAX_FOLLOWUP
from mammorisk.datasets.problems import CohortProblem, Problems
from mammorisk.datasets.spelling import check_spelling
from mammorisk.errors import UserError
from mammorisk.messages import closest_match, format_examples, format_rows
from mammorisk.risk_factors import RISK_FACTORS
from mammorisk.system.regular_files import check_regular

YEARS = range(1, MAX_FOLLOWUP + 1)
TRUE_RISK = tuple(f"true_risk_{year}y" for year in YEARS)  # simulated cohorts: the exam's true risk
TRUE_RISK_BREAST = tuple(f"true_risk_breast_{year}y" for year in YEARS)  # ... of the breast
OF_AN_IMAGE = ("patient_id", "laterality", "view")
REQUIRED = (*OF_AN_IMAGE, "split", "years_to_cancer", "years_to_last_followup")
TIMES = ("exam_id", "exam_date", "exam_year")
OUTCOMES = ("years_to_cancer", "years_to_last_followup", "cancer_type", *TRUE_RISK, *TRUE_RISK_BREAST)
RISK_FACTOR = "risk_factors."  # prefix of the columns of risk factors in a cohort table
_IMAGE = ("patient_id", "exam_id", "exam_date", "exam_year", "laterality", "view", "file_name", "split")
INPUTS = (*_IMAGE, "density", "percent_density", "race", "age")
# Columns of public cohorts that contain the outcome (CSAW: all x_* and rad_*).
_OUTCOME_NAMES = re.compile(
    r"x_.*|rad_.*|(oracle|true_risk)_.*|years_to_.*|time_to_cancer.*|years_last_followup|cancer_type|path_severity"
    r"|diagnosed_date.*|procdate.*",
    re.IGNORECASE,
)
MISSING_WORDS = {"nan", "na", "n/a", "none", "null", "nat", "<na>"}
_LONGEST_MISSING = max(map(len, MISSING_WORDS))
# Identifiers damaged by a spreadsheet (1.23457E+15) or a data frame (1234567890123456.0)
NUMBER_FORMATTED = r"\d(?:\.\d+)?[eE]\+\d+|\d+\.0*"


@dataclass(frozen=True)
class Source:
    """Origin of a table, for messages."""

    csv_file: Path
    columns: Mapping[str, str]  # our column -> the CSV's, of the columns present
    problems: Problems = field(default_factory=Problems)  # receives the problems of values

    def column(self, key: str) -> str:
        """Describe a column: ``column 'viewposition' (dataset.columns.view) of cohort.csv``."""
        return f"column '{self.columns.get(key)}' ({_setting(key)}) of {self.csv_file}"


def read_cohort_csv(
    csv_file: Path,
    columns: Mapping[str, str | None],
    file_name: bool = True,
    risk_factors: Mapping[str, str | None] | None = None,
    problems: Problems | None = None,
    outcomes: bool = True,
) -> tuple[pd.DataFrame, Source]:
    """Read the mapped columns of a cohort CSV as text.

    Args:
        csv_file: comma-separated, UTF-8, one header line.
        columns: our column -> the CSV's; ``A|B`` takes the first that is present, None none.
        file_name: whether the CSV must name the image files.
        risk_factors: risk factor -> column, likewise; these columns are required.
        problems: to collect problems; missing columns are then "" throughout.
        outcomes: whether split and outcomes are required; if not, missing ones are "" throughout.

    Returns:
        A table with our column names (``risk_factors.<name>`` for risk factors) and ``csv_row`` (line number, the
        header being 1), values stripped, missing ones "", and its origin.

    Raises:
        UserError: no such file, not a CSV, a column missing, outcomes mapped onto inputs, or damaged identifiers.
    """
    wanted = {key: name for key, name in columns.items() if name}
    factors = {RISK_FACTOR + key: name for key, name in (risk_factors or {}).items() if name}
    _check_keys(wanted, factors)
    problems = problems or Problems()
    header = read_header(csv_file)
    required = (*(REQUIRED if outcomes else OF_AN_IMAGE), *(["file_name"] if file_name else []), *factors)
    found = present_columns({**wanted, **factors}, header)
    with problems:
        find_columns({**wanted, **factors}, header, csv_file, required)
    check_inputs(found, csv_file, problems)
    _note_repeated(found, header, csv_file, problems)
    raw = _read(csv_file, nrows=None, usecols=sorted(set(found.values())))
    table = pd.DataFrame({key: _clean(raw[name]) for key, name in found.items()})
    table["csv_row"] = range(2, len(table) + 2)
    table = _without_empty_rows(table, list(found))
    if table.empty:
        problems.stop_after("missing_column")
        text = f"{csv_file} holds no rows: a cohort CSV has a header and one row per image."
        raise CohortProblem("no_rows", 0, text)
    source = Source(csv_file, found, problems)
    _check_ids(table, source)
    return table.assign(**dict.fromkeys({*REQUIRED, *required} - set(found), "")), source


def read_header(csv_file: Path) -> list[str]:
    """Read the names of a CSV's columns.

    Raises:
        UserError: no such file. CohortProblem: not a CSV.
    """
    return [str(name) for name in _read(csv_file, nrows=0, usecols=None).columns]


def _read(csv_file: Path, nrows: int | None, usecols: list[str] | None) -> pd.DataFrame:
    hint = "Expected a comma-separated text file in UTF-8, with a header and one row per image."
    try:
        with warnings.catch_warnings():
            check_regular(csv_file)
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header
            return pd.read_csv(
                csv_file,
                dtype=str,
                na_filter=False,
                nrows=nrows,
                usecols=usecols,
                index_col=False,
                encoding="utf-8-sig",
                skip_blank_lines=False,  # keeps row numbers true
            )
    except FileNotFoundError as error:
        raise UserError(f"dataset.csv_file: there is no file {csv_file}.") from error
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # ParserError and UnicodeError are ValueErrors
        text = f"{csv_file} cannot be read as a cohort CSV: {error}"
        raise CohortProblem("unreadable_csv", 1, text, hint) from error


def _clean(values: pd.Series) -> pd.Series:
    """Strip blanks and replace the usual words for missing by ""; by unique value, for speed."""
    codes, unique = pd.factorize(values)
    stripped = (str(word).strip() for word in unique)
    words = ["" if len(word) <= _LONGEST_MISSING and word.lower() in MISSING_WORDS else word for word in stripped]
    words.append("")  # code -1: the line ends before this column
    return pd.Series(np.array(words, dtype=object)[codes], index=values.index, dtype=object)


def _without_empty_rows(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    empty = np.ones(len(table), dtype=bool)
    for key in columns:
        if not empty.any():  # mostly after the first column
            return table
        empty &= (table[key] == "").to_numpy()
    return table[~empty].reset_index(drop=True)


def _setting(key: str) -> str:
    """Name of the setting that maps our column: ``dataset.columns.view``, ``dataset.risk_factors.brca``."""
    return f"dataset.{key}" if key.startswith(RISK_FACTOR) else f"dataset.columns.{key}"


def _check_keys(columns: Mapping[str, str], risk_factors: Mapping[str, str]) -> None:
    known = (*INPUTS, *OUTCOMES)
    for key in columns:
        if key not in known:
            raise UserError(
                f"dataset.columns.{key}: the cohort table has no column of this name.{closest_match(key, known)}\n"
                f"Its columns are {', '.join(known)}."
            )
    for key in risk_factors:
        name = key.removeprefix(RISK_FACTOR)
        if name not in RISK_FACTORS:
            raise UserError(
                f"{_setting(key)}: there is no risk factor of this name.{closest_match(name, RISK_FACTORS)}\n"
                f"Known are {', '.join(RISK_FACTORS)}."
            )


def present_columns(wanted: Mapping[str, str], header: list[str]) -> dict[str, str]:
    """Map our columns to the CSV's, for those of ``wanted`` in the header; of ``A|B`` the first present."""
    found = {}
    for key, names in wanted.items():
        present = [name for name in names.split("|") if name in header]
        if present:
            found[key] = present[0]
    return found


def find_columns(
    wanted: Mapping[str, str], header: list[str], csv_file: Path, required: tuple[str, ...]
) -> dict[str, str]:
    """Map as ``present_columns``; raise CohortProblem if a required column or every time of the exam is missing."""
    found = present_columns(wanted, header)
    missing = [key for key in required if key not in found]
    if not set(TIMES) & found.keys():
        missing.append("exam_id")
    if missing:
        lines = [_missing_column(key, wanted.get(key), header) for key in missing]
        text = "\n".join([f"{csv_file} lacks columns:", *lines])
        columns = f"Columns found: {', '.join(map(repr, header))}."
        raise CohortProblem("missing_column", len(missing), text, columns)
    return found


def _missing_column(key: str, name: str | None, header: list[str]) -> str:
    also = ", or exam_date or exam_year," if key == "exam_id" else ""
    if name is None:
        return f"  {_setting(key)}{also} is not set: give the name of its column.{closest_match(key, header)}"
    return f"  '{name}' ({_setting(key)}{also}).{closest_match(name.split('|')[0], header)}"


def check_inputs(columns: Mapping[str, str], csv_file: Path, problems: Problems | None = None) -> None:
    """Report outcome columns that are used as inputs, a leak of the outcome; raises CohortProblem by default."""
    problems = problems or Problems()
    outcomes = {columns[key]: key for key in OUTCOMES if key in columns}
    for key in (*INPUTS, *(key for key in columns if key.startswith(RISK_FACTOR))):
        name = columns.get(key)
        if name is not None and (name in outcomes or _OUTCOME_NAMES.fullmatch(name)):
            text = (
                f"{_setting(key)}={name}: column '{name}' of {csv_file} contains the outcome and must not be read "
                f"as '{key.removeprefix(RISK_FACTOR)}', which is known at the exam."
            )
            advice = (
                "Expected a column that is filled in at the exam; x_*, rad_*, true_risk_* and the columns of diagnosis "
                "and follow-up are outcomes."
            )
            problems.add(CohortProblem("outcome_as_input", 1, text, advice))


def _note_repeated(columns: Mapping[str, str], header: list[str], csv_file: Path, problems: Problems) -> None:
    """Report repeated column names: pandas renames the second to NAME.1, so it is not read."""
    twice = [name for name in dict.fromkeys(columns.values()) if f"{name}.1" in header]
    if twice:
        text = (
            f"{csv_file} has several columns of one name: {format_examples(map(repr, twice))}. The first of each "
            "is read."
        )
        problems.notice(CohortProblem("repeated_column", len(twice), text, "Remove or rename the others."))


def _check_ids(table: pd.DataFrame, source: Source) -> None:
    for key in ("patient_id", "exam_id"):
        if key in source.columns:
            with source.problems:
                _check_given(table, key, source)
            with source.problems:
                _check_text(table, key, source)
    for key in ("patient_id", "exam_id", "file_name"):
        if key in source.columns:
            with source.problems:
                check_spelling(table[key], table["csv_row"], source.column(key))


def _check_given(table: pd.DataFrame, key: str, source: Source) -> None:
    where = table["csv_row"][table[key] == ""]
    if len(where):
        text = f"{len(where)} rows have no value in {source.column(key)}: {format_rows(where)}."
        advice = "Every image needs its patient and its exam; fill them in or remove the rows."
        raise CohortProblem("empty_id", len(where), text, advice, where, key=key)


def _check_text(table: pd.DataFrame, key: str, source: Source) -> None:
    unique = pd.Series(table[key].unique(), dtype=object)
    damaged = unique[unique.str.fullmatch(NUMBER_FORMATTED)]
    if len(damaged):
        where = table["csv_row"][table[key].isin(damaged)]
        text = (
            f"{len(where)} identifiers in {source.column(key)} were turned into numbers: "
            f"{format_examples(damaged, 3)} ({format_rows(where)})."
        )
        advice = (
            "Identifiers are text: a spreadsheet or a data frame has rounded 16-digit numbers or lost leading zeros. "
            "Write the CSV again from the original with these columns as text (pandas: dtype=str)."
        )
        raise CohortProblem("spoilt_id", len(where), text, advice, where, key=key)
