from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import (
    DRAWS,
    SEEDS,
    YEARS,
    censoring_weights,
    cohorts_and_draws,
    fifty_examples,
    free_of_cancer,
    repeated,
    small_cohort,
    some_draws,
)
from hypothesis import given
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray
from sksurv.metrics import brier_score, integrated_brier_score
from sksurv.util import Surv

from mammorisk.metrics.logistic import intercept, slope
from mammorisk.metrics.measures import AllMeasures, cohort_cuts
from mammorisk.metrics.risk_bins import SMALLEST
from mammorisk.metrics.rows import Rows, read_rows


def expected_measures(rows: Rows, edges: np.ndarray, k: int) -> dict[str, float]:
    """By their definitions; ``edges`` [9] are the whole cohort's."""
    risk, weight = rows.risk[:, k], censoring_weights(rows, k)
    observed = 1 - free_of_cancer(rows.event, rows.year, k)
    mean = risk.mean() if len(risk) else np.nan
    found = {"predicted risk": mean, "observed risk": observed}
    found["expected/observed"] = mean / observed if observed > 0 else np.nan
    tenth = np.array([sum(value >= edge for edge in edges) for value in risk], dtype=int)
    for number in range(10):
        own = tenth == number
        found[f"predicted risk, decile {number + 1}"] = risk[own].mean() if own.any() else np.nan
        found[f"observed risk, decile {number + 1}"] = 1 - free_of_cancer(rows.event[own], rows.year[own], k)
    found["Brier score"] = found["calibration slope"] = found["calibration intercept"] = np.nan
    if weight is not None and len(risk):
        case = rows.event & (rows.year <= k)
        found["Brier score"] = sum(weight * (risk - case) ** 2) / len(risk)
        kept = np.clip(risk, SMALLEST, 1 - SMALLEST)
        x = np.log(kept / (1 - kept))  # row by row, not in bins
        outcome = (weight * case)[:, None], (weight * ~case)[:, None]
        found["calibration slope"] = slope(x, *outcome)[0]
        found["calibration intercept"] = intercept(x, *outcome)[0]
    return {f"Year {k + 1} {name}": value for name, value in found.items()}


def measured(rows: Rows, draws: np.ndarray) -> dict[str, np.ndarray]:
    return AllMeasures(rows, cohort_cuts(rows)).of(draws)


def assert_as_the_repeated_rows(rows: Rows, draws: NDArray[np.float64]) -> None:
    found = measured(rows, draws)
    whole = np.sort(np.repeat(rows.risk, rows.weight.astype(int), axis=0), axis=0)
    edges = whole[[len(whole) * tenth // 10 for tenth in range(1, 10)]]  # [9, Y]
    for draw in range(DRAWS):
        drawn = repeated(rows, draws[:, draw])
        expected = {}
        for k in range(YEARS):
            expected |= expected_measures(drawn, edges[:, k], k)
        brier = np.array([expected[f"Year {k + 1} Brier score"] for k in range(YEARS)])
        expected["Integrated Brier score"] = ((brier[1:] + brier[:-1]) / 2).mean()
        ours = {name: found[name][draw] for name in expected}
        assert ours == pytest.approx(expected, abs=1e-9, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_brute_force_on_repeated_rows(seed):
    rows = small_cohort(seed, weighted=seed % 3 == 1)
    assert_as_the_repeated_rows(rows, some_draws(rows, seed))


@fifty_examples
@given(sample=cohorts_and_draws())
def test_any_small_cohort_equals_brute_force_on_repeated_rows(sample):
    assert_as_the_repeated_rows(*sample)


def cohort(n: int, seed: int = 0):
    """Calibrated risks, a third of the women censored early; a row a woman."""
    random = np.random.default_rng(seed)
    hazard = np.clip(np.exp(random.normal(-3.5, 1, n)), 0, 0.5)
    risk = 1 - (1 - hazard[:, None]) ** np.arange(1, YEARS + 1)
    cancer = random.geometric(hazard) - 1
    leaves = np.where(random.random(n) < 0.3, random.integers(0, YEARS, n), YEARS - 1)
    event = cancer <= leaves
    return risk, event, np.where(event, cancer, leaves)


@pytest.mark.parametrize("seed", range(5))
def test_brier_equals_scikit_survival(seed):
    risk, event, year = cohort(400, seed)
    outcome = Surv.from_arrays(event, year + 0.5 * ~event)  # censorings of a year come after its events
    times = np.arange(YEARS, dtype=float)
    found = measured(read_rows(risk, event, year, np.arange(400)), np.ones((400, 1)))
    theirs = brier_score(outcome, outcome, 1 - risk, times)[1]
    np.testing.assert_allclose([found[f"Year {k + 1} Brier score"][0] for k in range(YEARS)], theirs, atol=1e-12)
    integrated = integrated_brier_score(outcome, outcome, 1 - risk, times)
    assert found["Integrated Brier score"][0] == pytest.approx(integrated, abs=1e-12)


@np.errstate()  # lifelines switches NumPy's warnings off and leaves them so
def test_observed_risk_in_deciles_equals_lifelines():
    risk, event, year = cohort(2000)
    found = measured(read_rows(risk, event, year, np.arange(2000)), np.ones((2000, 1)))
    for k in (0, 4):
        order = np.argsort(risk[:, k]).reshape(10, 200)
        for number, rows in enumerate(order):
            curve = KaplanMeierFitter().fit(year[rows], event[rows])
            theirs = 1 - curve.survival_function_at_times(k).iloc[0]
            assert found[f"Year {k + 1} observed risk, decile {number + 1}"][0] == pytest.approx(theirs, abs=1e-12)


def test_true_risks_are_calibrated_and_doubled_ones_are_not():
    risk, event, year = cohort(40_000)
    rows = read_rows(risk, event, year, np.arange(40_000))
    found = measured(rows, np.ones((40_000, 1)))
    assert found["Year 5 expected/observed"][0] == pytest.approx(1, abs=0.03)
    assert found["Year 5 calibration slope"][0] == pytest.approx(1, abs=0.05)
    assert found["Year 5 calibration intercept"][0] == pytest.approx(0, abs=0.05)
    doubled = measured(read_rows(np.minimum(2 * risk, 1), event, year, np.arange(40_000)), np.ones((40_000, 1)))
    assert doubled["Year 5 expected/observed"][0] > 1.7
    assert doubled["Year 5 calibration intercept"][0] < -0.7


def test_bins_of_the_logit_cost_less_than_a_thousandth():
    risk, event, year = cohort(40_000)
    rows = read_rows(risk, event, year, np.arange(40_000))
    weight, case = censoring_weights(rows, 4), event & (year <= 4)
    x = np.log(risk[:, 4] / (1 - risk[:, 4]))
    outcome = (weight * case)[:, None], (weight * ~case)[:, None]
    found = measured(rows, np.ones((40_000, 1)))
    assert found["Year 5 calibration slope"][0] == pytest.approx(slope(x, *outcome)[0], abs=1e-3)
    assert found["Year 5 calibration intercept"][0] == pytest.approx(intercept(x, *outcome)[0], abs=1e-3)
