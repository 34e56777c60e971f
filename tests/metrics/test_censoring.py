from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import SEEDS, YEARS, fifty_examples, outcomes_and_risks
from helpers.reference_blocks import outputs
from hypothesis import assume, given
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from mammorisk.metrics.censoring import censoring_distribution, kaplan_meier, survival_estimate, survival_outcome


def outcomes(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """1 to 60 women, from nobody with cancer to all of them; in every third data set all leave in the last year."""
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 61))
    event = random.random(n) < random.choice([0, 0.1, 0.5, 0.9, 1])
    year = random.integers(0, YEARS, n)
    return event, np.where(event | (seed % 3 > 0), year, YEARS - 1)


@np.errstate()  # lifelines switches NumPy's warnings off and leaves them so
def assert_as_by_lifelines(event: NDArray[np.bool_], time: NDArray[np.int64]) -> None:
    theirs = KaplanMeierFitter().fit(time, event).survival_function_at_times(range(YEARS))
    np.testing.assert_allclose(kaplan_meier(event, time, YEARS), theirs, rtol=1e-12, atol=1e-12)
    half_a_year_later = time + 0.5 * ~event  # censorings of a year come after its events
    theirs = KaplanMeierFitter().fit(half_a_year_later, ~event).survival_function_at_times(np.arange(YEARS))
    np.testing.assert_allclose(censoring_distribution(event, time, YEARS), theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_both_curves_equal_lifelines(seed):
    assert_as_by_lifelines(*outcomes(seed))


@fifty_examples
@given(sample=outcomes_and_risks())
def test_both_curves_of_any_small_cohort_equal_lifelines(sample):
    assert_as_by_lifelines(*sample[1:])


@pytest.mark.parametrize("number", range(3))
def test_kaplan_meier_equals_the_reference(number):
    reference = outputs(f"j_metrics_set{number}")
    event, time = reference["events"].numpy(), reference["times"].numpy()
    np.testing.assert_allclose(kaplan_meier(event, time, YEARS), reference["G_yala"], rtol=1e-12)
    np.testing.assert_allclose(kaplan_meier(1 - event, time, YEARS), reference["G_censoring_km"], rtol=1e-12)


def assert_as_by_scikit_survival(event: NDArray[np.bool_], time: NDArray[np.int64]) -> None:
    estimator = CensoringDistributionEstimator().fit(Surv.from_arrays(event, time + 0.5 * ~event))
    observed = np.arange(time.max() + 1)  # it refuses times that nobody reached
    theirs = estimator.predict_proba(observed.astype(float))
    np.testing.assert_allclose(censoring_distribution(event, time, YEARS)[observed], theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_censoring_distribution_equals_scikit_survival(seed):
    event, time = outcomes(seed)
    event[0] = True  # it refuses data without an event
    assert_as_by_scikit_survival(event, time)


@fifty_examples
@given(sample=outcomes_and_risks())
def test_censoring_distribution_of_any_small_cohort_equals_scikit_survival(sample):
    assume(sample[1].any())  # it refuses data without an event
    assert_as_by_scikit_survival(*sample[1:])


def test_pitfall_02_censoring_distribution_is_fitted_on_censorings():
    #               year 0: 2 cancers, 2 censored of 10; year 1: 3 censored of 6; year 2: 3 cancers
    event = np.array([1, 1, 0, 0, 0, 0, 0, 1, 1, 1])
    time = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_allclose(censoring_distribution(event, time, 3), [1, 1 - 2 / 8, (1 - 2 / 8) * (1 - 3 / 6)])
    np.testing.assert_allclose(kaplan_meier(event, time, 3), [0.8, 0.8, 0], atol=1e-15)


def test_pitfall_02_cancers_do_not_change_the_chance_of_being_followed():
    time = np.repeat(np.arange(YEARS), 7)
    assert censoring_distribution(np.ones(35), time, YEARS).tolist() == [1] * YEARS
    only_at_the_end = np.where(np.arange(35) % 2, 4, time)
    event = only_at_the_end < 4
    assert censoring_distribution(event, only_at_the_end, YEARS).tolist() == [1] * YEARS
    assert kaplan_meier(event, only_at_the_end, YEARS)[-1] < 1


@fifty_examples
@given(sample=outcomes_and_risks())
def test_censoring_distribution_is_positive_where_anybody_is_left(sample):
    _, event, time = sample
    followed = censoring_distribution(event, time, YEARS)
    assert followed[0] == 1
    assert (np.diff(followed) <= 0).all()
    assert (followed[: time.max() + 1] > 0).all()


def test_without_women_everything_is_one():
    assert kaplan_meier([], [], 3).tolist() == censoring_distribution([], [], 3).tolist() == [1, 1, 1]


def test_years_that_nobody_reaches_keep_the_last_value():
    assert kaplan_meier([1, 0], [0, 1], 4).tolist() == [0.5] * 4
    assert censoring_distribution([0, 1, 1], [0, 1, 1], 4) == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3])


@pytest.mark.parametrize("function", [kaplan_meier, censoring_distribution, survival_outcome])
@pytest.mark.parametrize(
    ("event", "time", "words"),
    [
        ([1, 0], [0], r"one shape \[N\]; found \(2,\) and \(1,\)"),
        ([[1, 0]], [[0, 1]], r"one shape \[N\]"),
        ([1, 2], [0, 1], "events of 0 and 1"),
        ([1, np.nan], [0, 1], "events of 0 and 1"),
        ([1, 0], [0, 5], r"times of 0 \.\.\. 4"),
        ([1, 0], [-1, 4], r"times of 0 \.\.\. 4"),
        ([1, 0], [0.5, 4], r"times of 0 \.\.\. 4"),
        ([1, 0], [np.nan, 4], r"times of 0 \.\.\. 4"),
    ],
)
def test_wrong_outcomes_are_a_message(function, event, time, words):
    with pytest.raises(ValueError, match=words):
        function(event, time, YEARS)


@pytest.mark.parametrize(
    ("risk", "words"),
    [
        (np.zeros(2), r"risks \[N, Y\]; found shape \(2,\)"),
        (np.zeros((3, 5)), "as many risks as events; found 3 and 2"),
        (np.array([[0.0] * 5, [np.nan] * 5]), r"1 samples have a risk .* the first \[1\]"),
        (np.array([[0.0, 0, np.inf, 0, 0], [0.0] * 5]), r"the first \[0\]"),
    ],
)
def test_wrong_risks_are_a_message(risk, words):
    with pytest.raises(ValueError, match=words):
        survival_estimate(risk, [1, 0], [0, 1])


def test_outcomes_may_come_as_floats():
    risk, event, time = survival_estimate([[1, 2], [3, 4]], [1.0, 0.0], [0.0, 1.0])
    assert (risk.dtype, event.dtype, time.dtype) == (np.float64, np.bool_, np.int64)
    assert (event.tolist(), time.tolist()) == ([True, False], [0, 1])
