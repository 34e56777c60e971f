"""EMBED's outcomes: date of each breast's cancer, and the exams without cancer that are controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammorisk.preparation.embed_clinical import INCOMPLETE, NEGATIVE, PROVEN, Clinical
from mammorisk.preparation.raw_csv import Ints
from mammorisk.preparation.raw_values import Days, Doubles

DiagnosisDate = Literal["procedure", "exam"]
FollowUp = Literal["last_exam", "last_negative", "last_seen"]
_CANCER = (0.0, 1.0)  # path_severity: invasive, in situ


@dataclass(frozen=True)
class Diagnoses:
    """The first cancer of each breast."""

    date: Days  # [2P] | NaT none
    severity: Doubles  # [2P] | 0 invasive, 1 in situ, NaN none or unknown
    is_carried_back: NDArray[np.bool_]  # [2E] | a screening exam that pathology of a later exam belongs to


def find_diagnoses(clinical: Clinical, rule: DiagnosisDate, carry_back_days: int) -> Diagnoses:
    """Find the first cancer of each breast: a finding of ``path_severity`` 0 or 1, or assessed K.

    Pathology is mostly on the diagnostic exam after the screening exam. It is assigned to her last screening exam at
    most ``carry_back_days`` before that exam, if there is one.

    Args:
        clinical: exams and findings.
        rule: ``procedure``: the day of biopsy or surgery, without one that of the finding's exam; ``exam``: the day of
            the exam that the pathology belongs to.
        carry_back_days: 0 carries pathology back only within a day.
    """
    finding = clinical.finding
    events = finding[finding["severity"].isin(_CANCER) | (finding["assessment"] == PROVEN)]
    exam, side = events["exam"].to_numpy(), events["side"].to_numpy()
    origin = _screening_before(clinical, exam, carry_back_days)
    exam_date = clinical.date[origin if rule == "exam" else exam].astype("datetime64[s]")
    procedure = events["procedure"].to_numpy()
    date = np.where(np.isnat(procedure) | (rule == "exam"), exam_date, procedure)
    table = pd.DataFrame({"breast": clinical.patient[exam] * 2 + side, "date": date, "severity": events["severity"]})
    table["severity"] = table["severity"].where(table["severity"].isin(_CANCER))
    first = table.sort_values(["breast", "date", "severity"], kind="stable").groupby("breast").first()
    first = first.reindex(np.arange(2 * len(clinical.patient_ids)))
    carried = np.zeros(2 * len(clinical.exam_ids), dtype=bool)
    carried[(origin * 2 + side)[origin != exam]] = True
    return Diagnoses(first["date"].to_numpy().astype("datetime64[D]"), first["severity"].to_numpy(), carried)


def _screening_before(clinical: Clinical, exam: Ints, days: int) -> Ints:
    """Screening exam of each exam: itself if screening, else the last one within so many days, else itself."""
    screening = np.flatnonzero(clinical.is_screening)
    wanted = _timed(clinical, exam, clinical.patient[exam])
    offered = _timed(clinical, screening, clinical.patient[screening])
    found = pd.merge_asof(wanted, offered, on="date", by="who", tolerance=pd.Timedelta(days, "D"))
    origin = np.empty(len(exam), dtype=np.int64)
    origin[found["row_x"].to_numpy()] = found["exam_y"].fillna(found["exam_x"]).to_numpy(dtype=np.int64)
    return np.where(clinical.is_screening[exam], exam, origin)


def find_resolved(clinical: Clinical, days: int) -> NDArray[np.bool_]:
    """Breasts called incomplete (A) that an exam at most so many days later found negative (N or B), [2E].

    A breast without a row in the later exam stays unresolved.
    """
    breast = np.arange(len(clinical.worst))
    open_calls, negative = breast[clinical.worst == INCOMPLETE], breast[clinical.worst == NEGATIVE]
    wanted = _timed(clinical, open_calls // 2, _patients_breast(clinical, open_calls))
    offered = _timed(clinical, negative // 2, _patients_breast(clinical, negative))
    tolerance = pd.Timedelta(days, "D")
    found = pd.merge_asof(wanted, offered, on="date", by="who", tolerance=tolerance, direction="forward")
    resolved = np.zeros(len(breast), dtype=bool)
    resolved[open_calls[found.loc[found["exam_y"].notna(), "row_x"].to_numpy()]] = True
    return resolved


def last_seen(clinical: Clinical, diagnoses: Diagnoses, rule: FollowUp) -> Days:
    """Day until which each woman was followed, [P]; NaT: never.

    Args:
        clinical: exams.
        diagnoses: of each breast.
        rule: ``last_exam`` of any kind; ``last_negative``: the last one with no breast in it worse than N or B;
            ``last_seen``: the last exam or a diagnosis, whichever is later.
    """
    worst = clinical.worst.reshape(-1, 2).max(axis=1)  # [2E] -> [E]
    counts = worst == NEGATIVE if rule == "last_negative" else np.ones(len(worst), dtype=bool)
    dates = pd.Series(clinical.date[counts].astype("datetime64[s]")).groupby(clinical.patient[counts]).max()
    last = dates.reindex(np.arange(len(clinical.patient_ids)))
    if rule == "last_seen":
        either = pd.DataFrame(diagnoses.date.astype("datetime64[s]").reshape(-1, 2)).max(axis=1)  # [2P] -> [P]
        last = last.where(~(either > last), either)
    return last.to_numpy().astype("datetime64[D]")


def _patients_breast(clinical: Clinical, breast: Ints) -> Ints:
    return clinical.patient[breast // 2] * 2 + breast % 2


def _timed(clinical: Clinical, exam: Ints, who: Ints) -> pd.DataFrame:
    """Exams in the order of their dates, as ``merge_asof`` requires."""
    table = {"date": clinical.date[exam].astype("datetime64[s]"), "who": who, "exam": exam, "row": np.arange(len(exam))}
    return pd.DataFrame(table).sort_values("date", kind="stable")
