"""EMBED's clinical table (a row per finding): facts about exams, and about each breast in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammorisk.bounds import COHORT
from mammorisk.errors import UserError
from mammorisk.messages import format_examples
from mammorisk.preparation import raw_values as values
from mammorisk.preparation.raw_csv import Ints, RawTable, Words, read_raw_csv
from mammorisk.preparation.raw_values import Days, Doubles

REQUIRED = (
    "empi_anon", "acc_anon", "study_date_anon", "desc", "tissueden", "asses", "side", "path_severity", "procdate_anon",
    "GENDER_DESC",
)  # fmt: skip
OPTIONAL = ("RACE_DESC", "age_at_study")
# Assessment of a finding, in the order in which the worst of several counts.
ABSENT, MISSING, NEGATIVE, INCOMPLETE, SUSPICIOUS, PROVEN = range(-1, 5)
_ASSESSMENTS = {
    "": MISSING, "N": NEGATIVE, "B": NEGATIVE, "A": INCOMPLETE, "P": SUSPICIOUS, "S": SUSPICIOUS, "M": SUSPICIOUS,
    "K": PROVEN,
}  # fmt: skip
_LEFT, _RIGHT, _BOTH = 0, 1, 2
_SIDES = {"L": _LEFT, "R": _RIGHT, "B": _BOTH, "": _BOTH}
_SEVERITIES = {"": np.nan, **{str(code): float(code) for code in range(7)}}
_DENSITIES = {"": -1, **{str(code): code for code in range(1, 6)}}
_MALE_DENSITY = 5
_SEXES = {"Female": False, "F": False, "Male": True, "M": True, "Unknown": False, "Not Recorded": False, "": False}


@dataclass(frozen=True)
class Clinical:
    """Exams (E) of patients (P), and findings (F), each of one breast (a finding of both breasts is there twice).

    A breast in an exam has the number ``exam * 2 + side``, a patient's breast ``patient * 2 + side``; side 0 is left.
    """

    exam_ids: Words  # [E]
    patient_ids: Words  # [P]
    patient: Ints  # [E] | index into patient_ids
    date: Days  # [E]
    is_screening: NDArray[np.bool_]  # [E]
    is_male: NDArray[np.bool_]  # [E]
    density: Ints  # [E] | 1-4, -1 unknown
    race: Words  # [E] | "" unknown
    age: Doubles  # [E] | years, NaN unknown
    finding: pd.DataFrame  # [F] | exam, side, assessment, severity (NaN none), procedure (NaT none)
    worst: Ints  # [2E] | assessment of each breast in each exam; ABSENT: it has no row
    findings: Ints  # [2E] | number of finding rows
    is_for_both: NDArray[np.bool_]  # [2E] | from a row whose side is B or missing


def read_clinical(csv_file: Path, accepted: Mapping[str, Sequence[str]]) -> Clinical:
    """Read and check the clinical table.

    Raises:
        UserError: it cannot be read, has unknown codes, or contradicts itself about an exam.
    """
    raw = read_raw_csv(csv_file, "raw.clinical", REQUIRED, OPTIONAL)
    for name in ("empi_anon", "acc_anon"):
        values.check_ids(raw[name])
    exam, count = raw["acc_anon"].codes, len(raw["acc_anon"].words)
    patient = _one_per_exam(raw["empi_anon"].codes, raw, "patient")
    date = _one_per_exam(values.dates(raw["study_date_anon"], required=True).astype(np.int64), raw, "date")
    screening = np.array(["screen" in word.casefold() for word in raw["desc"].words], dtype=bool)
    density = values.coded(raw["tissueden"], _DENSITIES, accepted)
    is_male = values.coded(raw["GENDER_DESC"], _SEXES, accepted) | (density == _MALE_DENSITY)
    race = raw["RACE_DESC"] if "RACE_DESC" in raw.columns else None
    age = (
        values.numbers(raw["age_at_study"], COHORT["age"])
        if "age_at_study" in raw.columns
        else np.full(raw.rows, np.nan)
    )
    race_words = race.spread(race.words) if race is not None else np.full(raw.rows, "", dtype=object)
    finding, is_for_both = _findings(raw, accepted)
    breast = finding["exam"].to_numpy() * 2 + finding["side"].to_numpy()
    worst = np.full(2 * count, ABSENT, dtype=np.int64)
    np.maximum.at(worst, breast, finding["assessment"].to_numpy())
    return Clinical(
        exam_ids=raw["acc_anon"].words,
        patient_ids=raw["empi_anon"].words,
        patient=patient,
        date=date.astype("datetime64[D]"),
        is_screening=_any(screening[raw["desc"].codes], exam, count),
        is_male=_any(is_male, exam, count),
        density=_first(np.where(density == _MALE_DENSITY, -1, density), exam, count, -1, density > 0),
        race=_first(race_words, exam, count, "", race_words != ""),
        age=_first(age, exam, count, np.nan, ~np.isnan(age)),
        finding=finding,
        worst=worst,
        findings=np.bincount(breast, minlength=2 * count),
        is_for_both=_any(is_for_both, breast, 2 * count),
    )


def _findings(raw: RawTable, accepted: Mapping[str, Sequence[str]]) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Make a row per finding and breast, and a mask of those from a row for both breasts."""
    side = values.coded(raw["side"], _SIDES, accepted)
    rows = np.concatenate([np.flatnonzero(side != _RIGHT), np.flatnonzero(side != _LEFT)])
    sides = np.repeat([_LEFT, _RIGHT], [np.sum(side != _RIGHT), np.sum(side != _LEFT)])
    columns = {
        "exam": raw["acc_anon"].codes,
        "assessment": values.coded(raw["asses"], _ASSESSMENTS, accepted),
        "severity": values.coded(raw["path_severity"], _SEVERITIES, accepted),
        "procedure": values.dates(raw["procdate_anon"], required=False).astype("datetime64[s]"),
    }
    table = pd.DataFrame({name: each[rows] for name, each in columns.items()}).assign(side=sides)
    return table, (side == _BOTH)[rows]


def _one_per_exam(found: Any, raw: RawTable, what: str) -> Any:
    """Value of each exam [E], in which all its rows must agree."""
    exams = raw["acc_anon"]
    each = np.zeros(len(exams.words), dtype=np.int64)
    each[exams.codes] = found
    differs = np.unique(exams.codes[each[exams.codes] != found])
    if len(differs):
        raise UserError(
            f"{len(differs)} exams have more than one {what} in {raw.csv_file}: "
            f"{format_examples(exams.words[differs])}.\n"
            f"An accession number is one exam of one patient on one day; take the table as downloaded."
        )
    return each


def _first(found: Any, exam: Ints, count: int, missing: Any, known: NDArray[np.bool_]) -> Any:
    """First known value of each exam, [E]."""
    rows = np.flatnonzero(known)[::-1]  # the last assignment stays
    each = np.full(count, missing, dtype=found.dtype)
    each[exam[rows]] = found[rows]
    return each


def _any(is_true: NDArray[np.bool_], index: Ints, count: int) -> NDArray[np.bool_]:
    each = np.zeros(count, dtype=bool)
    each[index[is_true]] = True
    return each
