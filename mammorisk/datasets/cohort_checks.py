"""Checks of a cohort table across its rows; each has its own message and count."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.datasets.problems import CohortProblem
from mammorisk.datasets.spelling import spelling_keys
from mammorisk.messages import format_examples, format_rows

EXAM = ["patient_id", "exam_id"]
BREAST = [*EXAM, "laterality"]
IMAGE = [*BREAST, "view"]


def check_one_split_per_patient(table: pd.DataFrame) -> None:
    """Raise CohortProblem if a patient is in two splits: her exams in training would leak her outcome."""
    seen = spelling_keys(table["patient_id"])  # the same for all spellings of one woman's identifier
    pairs = table[["split"]].assign(patient_id=seen).drop_duplicates()
    twice = pairs[pairs["patient_id"].duplicated(keep=False)]
    if twice.empty:
        return
    splits = twice.groupby("patient_id")["split"].agg(" and ".join)
    examples = format_examples(f"{patient} ({words})" for patient, words in splits.items())
    text = f"{len(splits)} patients are in more than one split: {examples}."
    advice = "All exams of a patient belong to one split; correct the split column."
    where = table["csv_row"][seen.isin(splits.index)]
    raise CohortProblem("patient_in_two_splits", len(splits), text, advice, where)


def check_one_time_per_exam(table: pd.DataFrame) -> None:
    """Raise CohortProblem if the images of one exam have different exam times."""
    times = table[[*EXAM, "exam_time"]].drop_duplicates()
    several = times[times.duplicated(EXAM, keep=False)]
    if several.empty:
        return
    exams = several.groupby(EXAM)["exam_time"].count()
    examples = format_examples(f"patient {patient} exam {exam}" for patient, exam in exams.index)
    text = f"{len(exams)} exams have images of several dates: {examples}."
    advice = (
        "An exam has one date. Correct the dates, or the exam ids; where the CSV has only years and a woman has two "
        "exams in one year, map dataset.columns.exam_date."
    )
    where = table["csv_row"][pd.MultiIndex.from_frame(table[EXAM]).isin(exams.index)]
    raise CohortProblem("several_dates", len(exams), text, advice, where)


def check_times_against_outcomes(table: pd.DataFrame) -> None:
    """Raise CohortProblem if the outcomes imply that a prior was taken after its current exam.

    Each labelled exam of a breast implies a time of diagnosis, exam_time + years_to_cancer. Rounding to whole years
    shifts it by at most one year if exams have dates, and two if they have only years. If a later exam implies a
    later diagnosis than an earlier exam by more than that, the two are in the wrong order (or their outcomes belong to
    different cancers). Two cases cannot be decided and are accepted: exams without cancer beside exams with one (labels
    may end at a horizon), and a later exam that implies an earlier diagnosis.
    """
    known = table[table["years_to_cancer"].notna() & table["exam_time"].notna()]
    if known.empty:
        return
    known = known.drop_duplicates(BREAST).sort_values(["patient_id", "laterality", "exam_time"], kind="stable")
    diagnosis = known["exam_time"] + known["years_to_cancer"]
    breast = known.groupby(["patient_id", "laterality"], sort=False).ngroup()
    earliest = diagnosis.groupby(breast).cummin().groupby(breast).shift()
    blur = np.where(known["exam_date"].notna(), 1.0, 2.0)
    wrong = known[(diagnosis - earliest > blur + 0.01)]
    if wrong.empty:
        return
    examples = format_examples(
        f"patient {patient} {side} exam {exam}"
        for patient, side, exam in zip(wrong["patient_id"], wrong["laterality"], wrong["exam_id"], strict=True)
    )
    text = f"{len(wrong)} exams contradict the order of time: {examples} ({format_rows(wrong['csv_row'])})."
    advice = (
        "An earlier exam of the same breast implies an earlier diagnosis than the later exam: a prior dated after its "
        "current exam, or exams after a first cancer. Correct dates or years_to_cancer, or leave such exams out."
    )
    raise CohortProblem("order_of_time", len(wrong), text, advice, wrong["csv_row"])


def check_one_image_per_file(table: pd.DataFrame) -> None:
    """Raise CohortProblem if several images share one file: at most one of their rows can be right."""
    named = table[table["file"].notna()]
    shared = named[named["file"].duplicated(keep=False)]
    if shared.empty:
        return
    owners = shared[["file", "patient_id"]].drop_duplicates()
    patients = owners["file"][owners["file"].duplicated()].nunique()
    text = (
        f"{len(shared)} images share their file with another image: {format_rows(shared['csv_row'])}; "
        f"{patients} files belong "
        "to several patients."
    )
    advice = "Expected one file per image; correct the column of file names."
    raise CohortProblem("shared_file", len(shared), text, advice, shared["csv_row"])


def share_outcomes(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Give all images of a breast the breast's outcome, and add the exam's (either breast).

    Done before any row is dropped: a woman whose affected breast lacks an image is still a case. The earliest cancer
    counts, and the longest follow-up. A missing follow-up of a case becomes her years to cancer.

    Returns:
        The table with ``years_to_cancer`` and ``years_to_last_followup`` per breast and exam,
        ``exam_years_to_cancer``, ``exam_years_to_last_followup``; and a sentence if images of a breast differed.
    """
    breast = table.groupby(BREAST, sort=False)
    exam = table.groupby(EXAM, sort=False)
    cancer, followup = breast["years_to_cancer"].transform("min"), breast["years_to_last_followup"].transform("max")
    exam_cancer = exam["years_to_cancer"].transform("min")
    exam_followup = exam["years_to_last_followup"].transform("max")
    differs = table[(cancer != table["years_to_cancer"]) & cancer.notna()]
    note = ""
    if len(differs):
        note = (
            f"years_to_cancer differs between images of one breast and exam ({len(differs)} images, "
            f"{format_rows(differs['csv_row'])}): the earliest is taken"
        )
    shared = table.assign(
        years_to_cancer=cancer,
        years_to_last_followup=followup.fillna(cancer),
        exam_years_to_cancer=exam_cancer,
        exam_years_to_last_followup=exam_followup.fillna(exam_cancer),
    )
    return shared, note


def settle_missing_followup(table: pd.DataFrame, rule: str, attrition: Attrition) -> pd.DataFrame:
    """Drop images without follow-up, or assume one year (``drop`` | ``one_year``); counted (docs/pitfalls.md#p29)."""
    missing = table["years_to_last_followup"].isna()
    if rule == "drop":
        return attrition.keep(table, ~missing, "follow-up", "no years_to_last_followup")
    if bool(missing.any()):
        affected = Counts.of(table[missing])
        attrition.changed("follow-up", "no years_to_last_followup: taken as one year", affected, Counts.of(table))
    columns = ("years_to_last_followup", "exam_years_to_last_followup")
    return table.assign(**{name: table[name].fillna(1.0) for name in columns})


def settle_duplicates(table: pd.DataFrame, rule: str, attrition: Attrition) -> pd.DataFrame:
    """Keep one image per exam, breast and view: the ``newest``, the ``oldest``, or an ``error`` if there are two.

    Newest is the highest ``file_number`` where file names carry one, then the last row of the CSV.

    Raises:
        CohortProblem: the rule is ``error`` and there are two.
    """
    twice = table.duplicated(IMAGE, keep=False)
    if not bool(twice.any()):
        return table
    if rule == "error":
        where = table["csv_row"][twice]
        text = f"{len(where)} images share exam, breast and view with another: {format_rows(where)}."
        advice = "Keep one of each, or choose dataset.duplicate_view=newest or oldest."
        raise CohortProblem("duplicate_view", len(where), text, advice, where)
    order = ["file_number", "csv_row"] if "file_number" in table else ["csv_row"]
    last = table.sort_values(order, kind="stable", na_position="first")
    extra = last.duplicated(IMAGE, keep="last" if rule == "newest" else "first").reindex(table.index)
    return attrition.keep(table, ~extra, "duplicates", f"another image of the same exam, breast and view is {rule}")
