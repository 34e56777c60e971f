"""Summary of a checked cohort: splits, samples of every form, and cases that a rule settled."""

from __future__ import annotations

from dataclasses import dataclass

from mammorisk.batch import MAX_FOLLOWUP, InputSpec, Unit
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import Cohort
from mammorisk.datasets.cohort_checks import EXAM
from mammorisk.datasets.cohort_files import MISSING
from mammorisk.datasets.labels import survival_labels
from mammorisk.datasets.problems import CohortProblem, Problems
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.errors import UserError
from mammorisk.messages import format_examples

SPLITS = ("train", "val", "test")
_UNITS: tuple[Unit, ...] = ("image", "breast", "exam")
_FORMS = tuple((unit, exams) for unit in _UNITS for exams in (1, 2))
# Step of the attrition table -> kind of notice, and the alternatives.
_STEPS = {
    "codes": ("excluded", "dataset.codes decides which codes are excluded."),
    "follow-up": ("missing_followup", "dataset.missing_followup decides: drop or one_year."),
    "files": ("unused_file", "Nothing to do if this is as expected."),
    "duplicates": ("duplicate_view", "dataset.duplicate_view decides: newest, oldest or error."),
}


@dataclass(frozen=True)
class SplitSummary:
    """Counts of a split; a case is a woman or an exam with cancer within the horizon of five years."""

    split: str
    patients: int
    cases: int  # patients
    controls: int  # patients
    exams: int
    exams_of_cases: int  # exams with cancer within the horizon
    images: int
    followup_median: float  # years after an exam
    followup_longest: float


@dataclass(frozen=True)
class FormSummary:
    """Samples of one split for models with this form of input, without incomplete ones."""

    unit: str
    exams: int
    split: str
    samples: int
    cases: int
    controls: int


def summarize_splits(cohort: Cohort, problems: Problems) -> list[SplitSummary]:
    """Summarise each split; an empty one is a problem, except for the test split."""
    found = []
    for name in SPLITS:
        try:
            table = cohort.split(name)
        except CohortProblem as problem:
            (problems.notice if name == "test" else problems.add)(problem)
            continue
        exams = table[~table.duplicated(EXAM)]
        followup = exams["exam_years_to_last_followup"]
        is_case = survival_labels(exams["exam_years_to_cancer"], followup, MAX_FOLLOWUP).event
        patients = int(exams["patient_id"].nunique())
        cases = int(exams["patient_id"][is_case].nunique())
        numbers = (patients, cases, patients - cases, len(exams), int(is_case.sum()), len(table))
        found.append(SplitSummary(name, *numbers, float(followup.median()), float(followup.max())))
    return found


def summarize_samples(cohort: Cohort, problems: Problems) -> list[FormSummary]:
    """Count the samples of every form in each split; a split without cases or controls is a problem."""
    found: list[FormSummary] = []
    none: dict[str, dict[str, None]] = {}  # why -> where
    timeless = bool(cohort.table["exam_time"].isna().any())
    for unit, exams in _FORMS:
        for name in SPLITS:
            table = cohort.table[cohort.table["split"] == name].reset_index(drop=True)
            if table.empty:
                continue
            # An exam with several dates is another problem; here it counts at the first date.
            table["exam_time"] = table.groupby(EXAM)["exam_time"].transform("min")
            cases = count = 0
            try:
                samples = build_samples(table, InputSpec(unit, exams), Attrition())
            except UserError as error:
                form = f"There is no whole sample of the form unit={unit}, {exams} exams"
                none.setdefault(str(error) if exams > 1 and timeless else form, {})[name] = None
            else:
                cases, count = int(samples.cases.sum()), len(samples)
                if (unit, exams) == _FORMS[0]:
                    _require_both(samples, name, problems)
            found.append(FormSummary(unit, exams, name, count, cases, count - cases))
    for reason, names in none.items():
        advice = "Nothing to do, unless the model that you want to train needs this form."
        problems.notice(
            CohortProblem("no_samples", len(names), f"{reason} (splits: {format_examples(names)}).", advice)
        )
    return found


def note_steps(cohort: Cohort, problems: Problems) -> None:
    """Turn the steps of the attrition table into notices."""
    for step in cohort.attrition.steps:
        if step.step in _STEPS:
            kind, advice = _STEPS[step.step]
            kind = "missing_file" if step.reason == MISSING else kind
            problems.notice(CohortProblem(kind, step.counts.images, f"{step.action}: {step.reason}", advice))
    for note in cohort.notes:
        problems.notice(CohortProblem("note", 1, note))


def _require_both(samples: SampleTable, split: str, problems: Problems) -> None:
    text = samples.note(split)
    if text:
        kind = "no_controls" if samples.cases.any() else "no_cases"
        advice = "Check the outcome columns, dataset.no_cancer_value and the split column."
        problems.add(CohortProblem(kind, len(samples), text, advice))
