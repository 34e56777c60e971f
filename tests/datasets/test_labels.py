from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers.reference_blocks import REFERENCE
from numpy.typing import NDArray

from mammorisk.datasets.labels import SurvivalLabels, survival_labels, unknown_labels

NAN = float("nan")


def as_columns(labels: SurvivalLabels) -> NDArray[np.float64]:
    """[N, 12] in the reference's order: target of 5 years, mask of 5 years, time, event."""
    return np.column_stack([labels.target, labels.mask, labels.event_index, labels.event]).astype(np.float64)


def reference() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Years to cancer, follow-up, the 12 columns, and the rows with neither cancer in five years nor a follow-up."""
    with np.load(REFERENCE / "k_survival_target.npz") as stored:
        names, table = stored["columns"].tolist(), stored["table"]
    assert names == [
        "ttc",
        "followup",
        *(f"{kind}{year}" for kind in "ym" for year in range(5)),
        "event_time",
        "event_observed",
    ]
    assert table.shape == (100, 14)
    cancer, followup = table[:, 0], table[:, 1]
    return cancer, followup, table[:, 2:], np.isnan(followup) & ~(cancer <= 5)


def test_equals_the_reference_where_the_future_is_known():
    cancer, followup, expected, unknown = reference()
    assert (~unknown).sum() == 96
    labels = survival_labels(cancer[~unknown], followup[~unknown])
    np.testing.assert_array_equal(as_columns(labels), expected[~unknown])


def test_pitfall_29_missing_followup_is_refused_where_the_reference_takes_a_year():
    cancer, followup, expected, unknown = reference()
    assert unknown.sum() == 4
    for row in np.flatnonzero(unknown):
        with pytest.raises(ValueError, match="nor a follow-up"):
            survival_labels(cancer[[row]], followup[[row]])
    # The reader may be told to settle such rows as the reference does; then the labels are the reference's.
    labels = survival_labels(cancer, np.where(unknown, 1, followup))
    np.testing.assert_array_equal(as_columns(labels), expected)


def test_pitfall_29_the_rows_without_a_future_are_counted_and_named():
    cancer, followup = np.full(9, NAN), np.array([1, NAN, 2, NAN, -1, NAN, NAN, NAN, 3])
    with pytest.raises(ValueError, match=r"6 rows have neither .* rows \[1, 3, 4, 5, 6\] \(0-based\)"):
        survival_labels(cancer, followup)


@pytest.mark.parametrize("years", [-1, -0.5])
def test_pitfall_29_negative_years_are_refused(years):
    with pytest.raises(ValueError, match=r"1 rows have a negative years_to_cancer, .* rows \[1\]"):
        survival_labels([1, years], [5, 5])
    with pytest.raises(ValueError, match="follow-up of 0 years or more"):
        survival_labels([1, NAN], [5, years])


def test_cancer_within_the_horizon_needs_no_followup():
    labels = survival_labels([0, 1, 3, 5], [NAN, -1, 0, 9])
    assert labels.event.tolist() == [True] * 4
    assert labels.event_index.tolist() == [0, 0, 2, 4]


def test_cancer_after_the_horizon_is_no_event():
    labels = survival_labels([6, 8], [9, 3])
    assert labels.event.tolist() == [False, False]
    assert labels.event_index.tolist() == [4, 2]
    assert labels.target.tolist() == [[0] * 5] * 2


def test_fractions_of_a_year_are_cut_off():
    fractions = survival_labels([0.4, 1.9, 2.99, 5.9, NAN, NAN], [0, 0, 0, 0, 0.9, 3.99])
    whole = survival_labels([0, 1, 2, 5, NAN, NAN], [0, 0, 0, 0, 0, 3])
    np.testing.assert_array_equal(as_columns(fractions), as_columns(whole))


@pytest.mark.parametrize("years", [1, 3, 10])
def test_any_horizon(years):
    labels = survival_labels([2, NAN, NAN], [2, 1, 20], max_followup=years)
    assert labels.target.shape == labels.mask.shape == (3, years)
    assert labels.event.tolist() == [years > 1, False, False]
    assert labels.event_index.tolist() == [min(1, years - 1), 0, years - 1]
    assert labels.mask.sum(axis=1).tolist() == [min(2, years), 1, years]
    assert labels.target.sum(axis=1).tolist() == [years - 1, 0, 0]


@pytest.mark.parametrize("seed", range(10))
def test_target_mask_and_index_tell_one_story(seed):
    random = np.random.default_rng(seed)
    cancer = np.where(random.random(50) < 0.5, random.uniform(0, 9, 50), NAN)
    labels = survival_labels(cancer, random.uniform(0, 9, 50))
    np.testing.assert_array_equal(labels.mask.sum(axis=1), labels.event_index + 1)
    assert (np.diff(labels.mask, axis=1) <= 0).all()
    assert (np.diff(labels.target, axis=1) >= 0).all()
    np.testing.assert_array_equal((labels.target * labels.mask).sum(axis=1), labels.event)  # one known year of cancer
    np.testing.assert_array_equal(labels.target[np.arange(50), labels.event_index], labels.event)


def test_types_are_those_of_a_batch():
    labels = survival_labels([1, NAN], [1, 5])
    found = {field.name: getattr(labels, field.name).dtype for field in dataclasses.fields(labels)}
    assert found == {"event_index": np.int64, "event": np.bool_, "target": np.float32, "mask": np.float32}


def test_pitfall_15_inputs_are_not_written():
    cancer, followup = np.array([0.5, NAN]), np.array([7.5, 7.5])
    cancer.flags.writeable = followup.flags.writeable = False
    survival_labels(cancer, followup)
    assert followup.tolist() == [7.5, 7.5]


def test_no_rows_give_no_labels():
    labels = survival_labels([], [])
    assert labels.target.shape == labels.mask.shape == (0, 5)
    assert labels.event.shape == labels.event_index.shape == (0,)


@pytest.mark.parametrize(("cancer", "followup"), [([1, 2], [1]), ([[1]], [[1]]), (1, 1)])
def test_shapes_that_differ_are_refused(cancer, followup):
    with pytest.raises(ValueError, match=r"two arrays \[N\]; found shapes"):
        survival_labels(cancer, followup)


def test_of_an_unlabelled_exam_nothing_is_known():
    labels = unknown_labels(3)
    assert labels.mask.shape == labels.target.shape == (3, 5)
    assert not labels.mask.any()
    assert not labels.event.any()
