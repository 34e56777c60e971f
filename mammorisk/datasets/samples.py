"""Samples of a split: its images grouped into the exams and views that a model takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mammorisk.batch import MAX_FOLLOWUP, VIEWS, Batch, InputSpec
from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.datasets.cohort_csv import TRUE_RISK, TRUE_RISK_BREAST
from mammorisk.datasets.labels import SurvivalLabels, survival_labels, unknown_labels
from mammorisk.datasets.risk_factor_columns import one_hot
from mammorisk.errors import UserError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
SmallInts = npt.NDArray[np.int8]
WORDS = ("race", "sample_id", "patient_id")


@dataclass(frozen=True)
class SampleTable:
    """Table of a split's samples: N samples, T exams (oldest first), V views, Y years, R risk factor values."""

    images: Ints  # [N, T, V] | row of the split's cohort table, -1 where there is no image
    time_gap: Floats  # [N, T] | years before the current exam
    event_index: Ints  # [N, T] | year (0-based) of the event or of censoring
    event: Bools  # [N, T] | true: cancer within Y years
    target: Floats  # [N, T, Y] | 1 from the year of the event on
    target_mask: Floats  # [N, T, Y] | 1 for the years that are known; 0 for masked exams
    density: Ints  # [N] | 1-4, -1 unknown
    cancer_type: Ints  # [N] | the cohort's code, -1 unknown
    risk_factors: SmallInts | None  # [N, R] | one-hot, -1 unknown; None where the model takes none
    age: Floats  # [N] | years, NaN unknown
    race: npt.NDArray[np.object_]  # [N] | the cohort's word, "" unknown
    sample_id: npt.NDArray[np.object_]  # [N] | patient/exam[/laterality[/view]]
    patient_id: npt.NDArray[np.object_]  # [N]
    true_risk: Floats | None  # [N, Y] | true risk, of a simulated cohort

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    @property
    def digest(self) -> str:
        """Hash (SHA-256, hexadecimal), equal for tables of the same samples and labels in the same order."""
        ids = "\n".join(map(str, self.sample_id)).encode()
        return hashlib.sha256(ids + self.event_index.tobytes() + self.event.tobytes()).hexdigest()

    @property
    def cases(self) -> Bools:
        """Flag the samples with cancer within Y years of the current exam, [N]."""
        return self.event[:, -1]

    def labels(self, rows: npt.NDArray[np.int64], named: bool = True) -> Batch:
        """Labels and attributes of the samples ``rows`` [n], as a batch without images (H = W = 0).

        Args:
            rows: of the table.
            named: with the texts (race, sample_id, patient_id), or without.
        """
        words: dict[str, Any] = (
            {name: [str(word) for word in getattr(self, name)[rows]] for name in WORDS} if named else {}
        )
        shown = self.images[rows]  # [n, T, V]
        return Batch(
            images=torch.zeros((*shown.shape, 1, 0, 0)),
            view_mask=torch.from_numpy(shown >= 0),
            host_mask=torch.from_numpy(shown >= 0),
            time_gap=torch.from_numpy(self.time_gap[rows]),
            target=torch.from_numpy(self.target[rows]),
            target_mask=torch.from_numpy(self.target_mask[rows]),
            event_index=torch.from_numpy(self.event_index[rows]),
            event=torch.from_numpy(self.event[rows]),
            sample=torch.from_numpy(np.asarray(rows, dtype=np.int64)),
            density=torch.from_numpy(self.density[rows]),
            cancer_type=torch.from_numpy(self.cancer_type[rows]),
            risk_factors=None if self.risk_factors is None else torch.from_numpy(self.risk_factors[rows]).float(),
            **words,
        )

    def note(self, split: str) -> str:
        """Sentence to log once if the split has no case or no control; else ""."""
        missing = "case" if not self.cases.any() else "" if not self.cases.all() else "control"
        if not missing:
            return ""
        return (
            f"no {missing} among the {len(self)} samples of the split '{split}': C-index and AUC cannot be computed "
            "(NaN) and no checkpoint can be the best by them"
        )


@dataclass(frozen=True)
class _Units:
    """Units (exam, breast or view) of a split, exams of a patient in order of time: M units, V views."""

    table: pd.DataFrame
    images: Ints  # [M, V]
    first: Ints  # [M] | one image that the unit has
    series: Ints  # [M] | same patient, and same breast or view
    time: npt.NDArray[np.float64]  # [M]

    def take(self, kept: Bools) -> _Units:
        return _Units(self.table, self.images[kept], self.first[kept], self.series[kept], self.time[kept])

    def counts(self, kept: Bools | None = None) -> Counts:
        images = self.images if kept is None else self.images[kept]
        return Counts.of(self.table.iloc[images[images >= 0]])


def build_samples(table: pd.DataFrame, inputs: InputSpec, attrition: Attrition, labelled: bool = True) -> SampleTable:
    """Build the samples of one split for a model.

    A sample is an exam (of a woman, a breast or a view) with the T-1 exams before it. A prior is strictly earlier than
    the current exam (exams of one day are not each other's prior), consecutive, and has the same views; with
    ``missing_views=drop`` an exam that lacks a view is neither current nor prior. The order of samples is by patient,
    breast or view, time and exam, whatever the order of the CSV.

    Args:
        table: cohort table of the split, rows numbered from 0 (``Cohort.split``).
        inputs: input specification of the model.
        attrition: records the exams that are dropped.
        labelled: False for exams with unknown outcome (prediction): labels are then masked throughout, and there may
            be no sample.

    Raises:
        UserError: no sample is left of labelled exams, or the model needs priors and the cohort has no exam times.
        ValueError: the table is not one of ``load_cohort``: rows of no or of several splits, rows that are not
            numbered from 0, an unknown view, an exam of several times, or two images of one view of an exam.
    """
    _check_table(table)
    split = str(table["split"].iloc[0])
    if inputs.exams > 1 and bool(table["exam_time"].isna().any()):
        raise UserError(
            f"The model needs {inputs.exams} exams of a woman, but the cohort has no times of exams: map "
            "dataset.columns.exam_date or dataset.columns.exam_year, or choose a model of single exams."
        )
    units = _units(table, inputs)
    units = _settle_views(units, inputs, attrition, f"samples {split}")
    chain = _chain(units, inputs.exams)
    current = _settle_priors(units, chain, inputs, attrition, f"samples {split}")
    if labelled and not current.any():
        raise UserError(
            f"The split '{split}' holds no sample for this model (unit={inputs.unit}, {inputs.exams} exams, "
            f"missing_views={inputs.missing_views}, missing_priors={inputs.missing_priors}).\n{attrition}"
        )
    return _assemble(units, chain[current], inputs, labelled)


def _check_table(table: pd.DataFrame) -> None:
    """Raise ValueError if images would silently be mixed up, left out or counted twice."""
    splits = table["split"].unique().tolist()
    if len(splits) != 1:
        raise ValueError(f"cohort table: expected the rows of one split, found those of {splits}")
    if not table.index.equals(pd.RangeIndex(len(table))):
        raise ValueError("cohort table: expected rows numbered from 0: take them from Cohort.split")
    for name in ("patient_id", "exam_id"):
        if bool(table[name].isna().any()):
            raise ValueError(f"cohort table: {int(table[name].isna().sum())} rows have no {name}")


def _slots(table: pd.DataFrame) -> Ints:
    """Place of each image in ``VIEWS``, [images]."""
    slot = pd.MultiIndex.from_tuples(VIEWS).get_indexer(pd.MultiIndex.from_frame(table[["laterality", "view"]]))
    if (slot < 0).any():
        row = table.iloc[int(np.argmax(slot < 0))]
        raise ValueError(
            f"cohort table: expected laterality R or L and view CC or MLO, found {row['laterality']!r} and "
            f"{row['view']!r} in exam {row['patient_id']}/{row['exam_id']}"
        )
    return np.asarray(slot, dtype=np.int64)


def _check_exams(table: pd.DataFrame, patient: Ints, exam: Ints, time: npt.NDArray[np.float64], slot: Ints) -> None:
    """Raise ValueError unless each exam has one time, and each of its views one image."""
    for what, value in (("one time", time), ("one image of each view", slot)):
        order = np.lexsort((value, exam, patient))
        same = (np.diff(patient[order]) == 0) & (np.diff(exam[order]) == 0)
        steps = np.diff(value[order])
        wrong = same & ((steps != 0) if value is time else (steps == 0))
        if wrong.any():
            row = table.iloc[int(order[int(np.argmax(wrong))])]
            raise ValueError(
                f"cohort table: expected {what} of an exam, found more in exam {row['patient_id']}/{row['exam_id']}"
            )


def _units(table: pd.DataFrame, inputs: InputSpec) -> _Units:
    patient, _ = pd.factorize(table["patient_id"], sort=True)
    exam, _ = pd.factorize(table["exam_id"], sort=True)
    time, slot = table["exam_time"].fillna(0.0).to_numpy(dtype=np.float64), _slots(table)
    _check_exams(table, patient, exam, time, slot)
    order = np.lexsort((exam, time, patient))
    new = np.diff(patient[order], prepend=-1).astype(bool) | np.diff(exam[order], prepend=-1).astype(bool)
    number = np.empty(len(table), dtype=np.int64)
    number[order] = np.cumsum(new) - 1  # exams in order of patient, time, id
    grid = np.full((int(new.sum()), len(VIEWS)), -1, dtype=np.int64)
    grid[number, slot] = np.arange(len(table))
    groups = len(VIEWS) // inputs.views  # units of one exam
    images = grid.reshape(-1, inputs.views)  # [E, 4] -> [E * groups, V], VIEWS order keeps breasts together
    first_of_exam = order[new]
    series = patient[first_of_exam].repeat(groups) * groups + np.tile(np.arange(groups), len(grid))
    by_series = np.argsort(series, kind="stable")
    images = images[by_series]
    present: Bools = np.any(images >= 0, axis=1)
    units = _Units(table, images, images.max(axis=1), series[by_series], time[first_of_exam].repeat(groups)[by_series])
    return units.take(present)


def _settle_views(units: _Units, inputs: InputSpec, attrition: Attrition, step: str) -> _Units:
    complete: Bools = np.all(units.images >= 0, axis=1)
    if complete.all():
        return units
    if inputs.missing_views == "mask":
        reason = f"a view of the {inputs.unit} is missing: masked"
        attrition.changed(step, reason, units.counts(~complete), units.counts())
        return units
    left = units.take(complete)
    attrition.dropped(step, f"a view of the {inputs.unit} is missing", units.counts(), left.counts())
    return left


def _chain(units: _Units, exams: int) -> Ints:
    """Chain each unit to the units before it in its series, [M, T], oldest first, -1 where there are none."""
    position = np.arange(len(units.series))
    new_series = np.diff(units.series, prepend=-1).astype(bool)
    new_time = new_series | np.diff(units.time, prepend=np.nan).astype(bool)
    start = np.maximum.accumulate(np.where(new_time, position, 0))  # first unit of the same series and time
    before = np.where(new_series[start], -1, start - 1) if len(start) else position
    columns = [position]
    for _ in range(exams - 1):
        last = columns[0]
        columns.insert(0, np.where(last >= 0, before[last], -1))
    return np.stack(columns, axis=1)


def _settle_priors(units: _Units, chain: Ints, inputs: InputSpec, attrition: Attrition, step: str) -> Bools:
    """Flag the units that are the current exam of a sample, [M]; ``zero_gap`` completes the chain in place."""
    whole: Bools = np.all(chain >= 0, axis=1)
    if whole.all():
        return whole
    reason = f"fewer than {inputs.exams} exams"
    if inputs.missing_priors == "drop":
        attrition.dropped(step, reason, units.counts(), units.counts(whole))
        return whole
    how = "masked" if inputs.missing_priors == "mask" else "the earliest is repeated"
    attrition.changed(step, f"{reason}: {how}", units.counts(~whole), units.counts())
    if inputs.missing_priors == "zero_gap":
        for t in range(inputs.exams - 2, -1, -1):
            chain[:, t] = np.where(chain[:, t] >= 0, chain[:, t], chain[:, t + 1])
    return np.ones_like(whole)


def _assemble(units: _Units, chain: Ints, inputs: InputSpec, labelled: bool) -> SampleTable:
    table, shown = units.table, chain >= 0  # [N, T]
    first = units.first[chain]  # [N, T]; meaningless where there is no exam
    labels = _labels(table, first.ravel(), inputs) if labelled else unknown_labels(first.size, MAX_FOLLOWUP)
    current = units.images[chain[:, -1]]  # [N, V]
    time = units.time[chain]
    ids = table.iloc[first[:, -1]]
    names = ["exam_id", "laterality", "view"][: {"exam": 1, "breast": 2, "image": 3}[inputs.unit]]
    sample_id = ids["patient_id"].str.cat(ids[names], sep="/")
    shape = chain.shape
    return SampleTable(
        images=np.where(shown[..., None], units.images[chain], -1),
        time_gap=np.where(shown, time[:, -1:] - time, 0.0).astype(np.float32),
        event_index=np.where(shown, labels.event_index.reshape(shape), 0),
        event=shown & labels.event.reshape(shape),
        target=np.where(shown[..., None], labels.target.reshape(*shape, MAX_FOLLOWUP), 0).astype(np.float32),
        target_mask=np.where(shown[..., None], labels.mask.reshape(*shape, MAX_FOLLOWUP), 0).astype(np.float32),
        density=_present(table, "density", current).max(axis=1),
        cancer_type=_cancer_type(table, current),
        risk_factors=one_hot(table, current) if inputs.risk_factors else None,
        age=ids["age"].to_numpy(dtype=np.float32),
        race=ids["race"].to_numpy(dtype=object),
        sample_id=sample_id.to_numpy(dtype=object),
        patient_id=ids["patient_id"].to_numpy(dtype=object),
        true_risk=_true_risk(ids, TRUE_RISK if inputs.unit == "exam" else TRUE_RISK_BREAST),
    )


def _labels(table: pd.DataFrame, images: Ints, inputs: InputSpec) -> SurvivalLabels:
    of_exam = "exam_" if inputs.unit == "exam" else ""
    cancer = table[f"{of_exam}years_to_cancer"].to_numpy(dtype=np.float64)[images]
    followup = table[f"{of_exam}years_to_last_followup"].to_numpy(dtype=np.float64)[images]
    return survival_labels(cancer, followup, MAX_FOLLOWUP)


def _present(table: pd.DataFrame, column: str, images: Ints) -> Ints:
    """Codes of the images, [N, V], -1 where there is no image."""
    return np.where(images >= 0, table[column].to_numpy(dtype=np.int64)[images], -1)


def _cancer_type(table: pd.DataFrame, images: Ints) -> Ints:
    """Code of the breast that has cancer first, or of any image with a code, [N]."""
    code = _present(table, "cancer_type", images)
    years = table["years_to_cancer"].fillna(1e9).to_numpy()[images]
    soonest = np.where(code >= 0, years, np.inf).argmin(axis=1)
    return np.take_along_axis(code, soonest[:, None], axis=1)[:, 0]


def _true_risk(ids: pd.DataFrame, names: Sequence[str]) -> Floats | None:
    if not set(names) <= set(ids):
        return None
    return ids[list(names)].to_numpy(dtype=np.float32)
