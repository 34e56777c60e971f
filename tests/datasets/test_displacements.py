from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.cohorts import cohort_rows, write_cohort

from mammorisk.batch import InputSpec
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.displacements import DisplacementRequest, last_pairs, mirrored
from mammorisk.datasets.samples import build_samples


def samples_of(folder: Path, inputs: InputSpec, exams: int = 3):
    table = load_cohort(write_cohort(folder, cohort_rows(4, exams))).split("train")
    return build_samples(table, inputs, Attrition()), table


def exam_numbers(table, rows):
    return table["exam_id"].str[6].astype(int).to_numpy()[rows]


def test_pairs_are_of_one_breast_and_view_and_of_consecutive_exams(tmp_path):
    samples, table = samples_of(tmp_path, InputSpec("breast", 2))
    pairs = last_pairs(samples)
    assert len(pairs) == 2 * 2 * 4  # two women, two intervals, four images
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    for column in ("patient_id", "laterality", "view"):
        assert (table[column].to_numpy()[pairs[:, 0]] == table[column].to_numpy()[pairs[:, 1]]).all()
    np.testing.assert_array_equal(exam_numbers(table, pairs[:, 0]), exam_numbers(table, pairs[:, 1]) + 1)


def test_of_longer_histories_only_the_last_two_exams_count(tmp_path):
    samples, table = samples_of(tmp_path, InputSpec("exam", 3, missing_priors="mask"))
    pairs = last_pairs(samples)
    assert len(pairs) == 2 * 2 * 4
    np.testing.assert_array_equal(exam_numbers(table, pairs[:, 0]), exam_numbers(table, pairs[:, 1]) + 1)


@pytest.mark.parametrize("missing_priors", ["mask", "zero_gap"])
def test_an_exam_without_a_prior_makes_no_pair(tmp_path, missing_priors):
    samples, _ = samples_of(tmp_path, InputSpec("breast", 2, missing_priors=missing_priors))
    pairs = last_pairs(samples)
    assert len(samples) == 12
    assert len(pairs) == 16
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert pairs.min() >= 0


def test_models_of_one_exam_have_no_pairs(tmp_path):
    samples, _ = samples_of(tmp_path, InputSpec("exam", 1))
    assert last_pairs(samples).shape == (0, 2)


def test_only_right_breasts_are_mirrored_and_only_to_the_left(tmp_path):
    _, table = samples_of(tmp_path, InputSpec("exam", 1))
    assert not mirrored(table, "native").any()
    right = (table["laterality"] == "R").to_numpy()
    assert 0 < right.sum() < len(right)
    np.testing.assert_array_equal(mirrored(table, "left"), right)
    request = DisplacementRequest(table, np.empty((0, 2), dtype=np.int64), (8, 6), "left", (4, 3))
    np.testing.assert_array_equal(request.mirrored, right)
