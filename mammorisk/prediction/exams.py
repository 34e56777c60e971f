"""Exams without outcomes in a CSV: the samples that a model can score, and a reason for each other row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammorisk.batch import VIEWS, InputSpec
from mammorisk.config import DatasetConfig
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.cohort_csv import read_cohort_csv
from mammorisk.datasets.images import image_faults
from mammorisk.datasets.problems import CohortProblem, Problems
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.prediction.reasons import as_ours, reasons_by_row
from mammorisk.runs.logs import LOGGER

_PARTS = {"exam": 1, "breast": 2, "image": 3}
_FATAL = ("missing_column", "unreadable_csv", "no_rows", "data_root", "outcome_as_input")


@dataclass(frozen=True)
class Exams:
    """The samples and rows of a CSV for a model."""

    table: pd.DataFrame | None  # images that can be used (a cohort's table); None: there is none
    samples: SampleTable | None  # those that the model can score
    rows: pd.DataFrame  # the CSV's text under our names, csv_row, sample_id, and reason: why it cannot be used, or ""

    @property
    def scored(self) -> list[str]:
        """Ids of the samples that the model can score, in their order."""
        return [] if self.samples is None else [str(name) for name in self.samples.sample_id]


def read_exams(dataset: DatasetConfig, inputs: InputSpec) -> Exams:
    """Read the CSV, check every image, and build the samples that the model can score.

    Args:
        dataset: the cohort's settings, as ``prediction.settings`` makes them.
        inputs: of the model.

    Raises:
        UserError: no such CSV, a named column that the CSV lacks, or no folder of images.
    """
    problems = Problems(collect=True)
    table = _usable_images(dataset, problems)
    rows = _all_rows(dataset, table, inputs)
    faults = {} if table is None else image_faults(table["file"].dropna().unique().tolist())
    reasons = reasons_by_row(problems.found, rows)
    if table is not None:
        bad = table[table["file"].isin(faults)]
        for row, file in zip(bad["csv_row"], bad["file"], strict=True):
            reasons.setdefault(int(row), faults[file])
        usable = table["file"].notna() & ~table["csv_row"].isin(reasons)
        table = table[usable].reset_index(drop=True) if bool(usable.any()) else None
    for notice in problems.notices:
        LOGGER.warning("%s", " ".join(str(notice).splitlines()))
    samples = None
    if table is not None:
        samples = build_samples(table, inputs, Attrition(), labelled=False)
        samples = samples if len(samples) else None
    rows["reason"] = [reasons.get(row, "") for row in rows["csv_row"]]
    return Exams(table, samples, rows)


def left_out(exams: Exams, inputs: InputSpec) -> pd.DataFrame:
    """A row for each sample of the CSV that cannot be scored: sample_id and reason."""
    scored = set(exams.scored)
    used = set() if exams.table is None else set(exams.table["csv_row"])
    rows = exams.rows[~exams.rows["sample_id"].isin(scored)]
    found = []
    for name, group in rows.groupby("sample_id", sort=False):
        words = list(dict.fromkeys(word for word in group["reason"] if word))
        images = group[group["csv_row"].isin(used)]
        found.append((name, "; ".join([*_missing_inputs(images, inputs, bool(words)), *words])))
    return pd.DataFrame(found, columns=["sample_id", "reason"])


def remarks(exams: Exams, inputs: InputSpec) -> pd.Series:
    """The missing inputs of each scored sample, "" for none; in the order of ``Exams.scored``."""
    if exams.samples is None:
        return pd.Series([], dtype=str)
    images, names = exams.samples.images, exams.scored  # [N, T, V]
    unread = exams.rows[exams.rows["reason"] != ""].groupby("sample_id")["reason"].agg(lambda words: [*words])
    stands_in = (images[:, :-1] == images[:, -1:]) & (images[:, :-1] >= 0)  # missing_priors=zero_gap
    without = np.any(stands_in, axis=2) | np.all(images[:, :-1] < 0, axis=2)  # [N, T - 1]
    found = []
    for name, current, lacking in zip(names, images[:, -1] < 0, without.sum(axis=1), strict=True):
        wanted = VIEWS if inputs.unit == "exam" else [view for view in VIEWS if view[0] == name.split("/")[-1]]
        views = [" ".join(view) for view, is_missing in zip(wanted, current, strict=False) if is_missing]
        words = [f"missing view: {', '.join(views)}"] if views else []
        words += [f"{lacking} of {inputs.exams - 1} priors missing"] if lacking else []
        found.append("; ".join(dict.fromkeys([*words, *unread.get(name, [])])))
    return pd.Series(found, index=names, dtype=object)


def _missing_inputs(images: pd.DataFrame, inputs: InputSpec, is_explained: bool) -> list[str]:
    """Reasons why usable images of a unit make no sample."""
    if images.empty and is_explained:
        return []
    found = set(zip(images["laterality"], images["view"], strict=True))
    sides = set(images["laterality"]) if inputs.unit != "exam" else {"R", "L"}
    wanted = [view for view in VIEWS if view[0] in sides] if inputs.unit != "image" else []
    missing = [" ".join(view) for view in wanted if view not in found]
    if missing and inputs.missing_views == "drop":
        return [f"missing view: {', '.join(missing)}"]
    if images.empty:
        return ["no image of a view that the model uses"]
    before = "an earlier exam" if inputs.exams == 2 else f"{inputs.exams - 1} earlier exams"
    return [f"no prior: the model needs {before} of the same {'view' if inputs.unit == 'image' else 'views'}"]


def _usable_images(dataset: DatasetConfig, problems: Problems) -> pd.DataFrame | None:
    try:
        table = load_cohort(dataset, problems, outcomes=False).table.assign(split="exams")
    except CohortProblem as problem:
        if problem.kind != "nothing_left":
            raise
        table = None
    for kind in _FATAL:
        problems.stop_after(kind)
    return table


def _all_rows(dataset: DatasetConfig, table: pd.DataFrame | None, inputs: InputSpec) -> pd.DataFrame:
    """The CSV's text with the id of the sample that each row would belong to; laterality and view as ours if known."""
    quiet, named = Problems(collect=True), dataset.file_pattern is None
    read = read_cohort_csv(
        Path(str(dataset.csv_file)).expanduser(), dataset.columns, named, dataset.risk_factors, quiet, outcomes=False
    )
    rows = read[0].assign(exam_id=_exam_ids(read[0]))
    for key in ("laterality", "view"):
        rows[key] = as_ours(rows[key], dataset.codes)
    if table is not None:
        known: Mapping[int, str] = dict(zip(table["csv_row"], table["exam_id"], strict=True))
        rows["exam_id"] = [known.get(row, name) for row, name in zip(rows["csv_row"], rows["exam_id"], strict=True)]
    names = ["exam_id", "laterality", "view"][: _PARTS[inputs.unit]]
    return rows.assign(sample_id=rows["patient_id"].str.cat(rows[names], sep="/"))


def _exam_ids(raw: pd.DataFrame) -> pd.Series:
    if "exam_id" in raw:
        return raw["exam_id"]
    time = raw["exam_date"] if "exam_date" in raw else raw["exam_year"]
    ids: pd.Series = raw["patient_id"].str.cat(time, sep="_")
    return ids
