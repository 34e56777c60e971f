from __future__ import annotations

import numpy as np
import pytest

from mammorisk.metrics.resampling import drawn_patients, smallest_stratum


def test_cases_and_controls_are_drawn_apart_each_as_often_as_there_are():
    case = np.random.default_rng(0).random(300) < 0.1
    times = drawn_patients(case, 50, seed=1)
    assert times.shape == (300, 51)
    assert times[:, 0].tolist() == [1] * 300  # the cohort itself
    assert set(times[case].sum(axis=0)) == {case.sum()}
    assert set(times[~case].sum(axis=0)) == {(~case).sum()}


def test_draws_are_those_of_sampling_with_replacement():
    times = drawn_patients(np.arange(400) < 200, 500, seed=2)[:, 1:].astype(float)
    assert times.mean() == 1
    assert times.var() == pytest.approx(1 - 1 / 200, abs=0.02)  # binomial
    assert (times == 0).mean() == pytest.approx((1 - 1 / 200) ** 200, abs=0.005)
    together = np.corrcoef(times)[np.triu_indices(200, 1)]
    assert together.mean() == pytest.approx(-1 / 199, abs=0.002)


def test_a_draw_depends_on_seed_and_number_alone():
    case = np.arange(40) % 4 == 0
    few, many = drawn_patients(case, 5, seed=3), drawn_patients(case, 9, seed=3)
    np.testing.assert_array_equal(few, many[:, :6])
    assert (few[:, 1:] != drawn_patients(case, 5, seed=4)[:, 1:]).any()
    assert (many[:, 1] != many[:, 2]).any()


@pytest.mark.parametrize("case", [np.zeros(5, bool), np.ones(5, bool), np.arange(5) == 2])
def test_a_stratum_may_be_empty_or_one_patient(case):
    times = drawn_patients(case, 10, seed=0)
    assert set(times.sum(axis=0)) == {5}
    if case.sum() == 1:
        assert times[2].tolist() == [1] * 11


@pytest.mark.parametrize(("patients", "ill", "fewest"), [(10, 3, 3), (10, 8, 2), (10, 0, 10), (10, 10, 10)])
def test_the_smallest_stratum_is_of_those_there_are(patients, ill, fewest):
    assert smallest_stratum(patients, ill) == fewest


@pytest.mark.parametrize("settings", [{"draws": 0, "seed": 0}, {"draws": 1, "seed": -1}])
def test_mistakes_are_messages(settings):
    with pytest.raises(ValueError, match="at least one draw"):
        drawn_patients([True, False], **settings)
