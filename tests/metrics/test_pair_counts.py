from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import (
    DRAWS,
    SEEDS,
    YEARS,
    cohorts_and_draws,
    fifty_examples,
    free_of_cancer,
    repeated,
    small_cohort,
    some_draws,
)
from hypothesis import given
from numpy.typing import NDArray

from mammorisk.metrics.censoring import censoring_distribution, kaplan_meier
from mammorisk.metrics.pair_counts import pair_count_sums, read_pair_counts
from mammorisk.metrics.rows import Rows


def assert_as_the_repeated_rows(rows: Rows, draws: NDArray[np.float64]) -> None:
    pair_counts = read_pair_counts(pair_count_sums(rows) @ draws)
    for draw in range(DRAWS):
        drawn = repeated(rows, draws[:, draw])
        outcome = drawn.event, drawn.year
        np.testing.assert_allclose(pair_counts.survival[:, draw], kaplan_meier(*outcome, YEARS), atol=1e-14)
        np.testing.assert_allclose(pair_counts.followed[:, draw], censoring_distribution(*outcome, YEARS), atol=1e-14)
        assert pair_counts.total[draw] == len(drawn.event)
        assert pair_counts.free[:, draw].tolist() == [drawn.free(k).sum() for k in range(YEARS)]
        observed = [1 - free_of_cancer(*outcome, k) for k in range(YEARS)]
        np.testing.assert_allclose(pair_counts.observed[:, draw], observed, atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_curves_are_those_of_the_repeated_rows(seed):
    rows = small_cohort(seed, weighted=seed % 2 == 1)
    assert_as_the_repeated_rows(rows, some_draws(rows, seed))


@fifty_examples
@given(sample=cohorts_and_draws())
def test_curves_of_any_small_cohort_are_those_of_the_repeated_rows(sample):
    assert_as_the_repeated_rows(*sample)


def test_cases_weighted_for_censoring_are_the_observed_risk():
    """The two ways to the same number: 1 - S(k), and the mean of 1 / G(T) over cases (Satten & Datta 2001)."""
    rows = small_cohort(3, largest=400)
    pair_counts = read_pair_counts(pair_count_sums(rows) @ some_draws(rows, 3))
    np.testing.assert_allclose(pair_counts.cases / pair_counts.total, pair_counts.observed, rtol=1e-12)


def test_nobody_is_exactly_nobody_with_weights_that_are_no_whole_numbers():
    rows = small_cohort(4, largest=100)
    pair_counts = read_pair_counts(pair_count_sums(rows) @ (some_draws(rows, 4) * 0.1))
    assert pair_counts.followed[0].tolist() == [1] * DRAWS
    gone = read_pair_counts(pair_count_sums(rows) @ np.zeros((rows.patients, 2)))
    assert gone.total.tolist() == [0, 0]
    assert np.isnan(gone.observed).all()
