from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.random_cohorts import (
    DRAWS,
    SEEDS,
    YEARS,
    censoring_weights,
    cohorts_and_draws,
    fifty_examples,
    repeated,
    small_cohort,
    some_draws,
)
from hypothesis import given
from numpy.typing import NDArray

from mammorisk.metrics.measures import SHARES, THRESHOLDS, AllMeasures, cohort_cuts
from mammorisk.metrics.rows import Rows, read_rows


def expected_points(rows: Rows, lowest: float, k: int) -> dict[str, float]:
    """Woman by woman, acting on risks of at least ``lowest``."""
    acted_on, case, weight = rows.risk[:, k] >= lowest, rows.event & (rows.year <= k), censoring_weights(rows, k)
    free = rows.free(k)
    found = {"flagged": acted_on.mean() if len(acted_on) else math.nan}
    found["specificity"] = (~acted_on & free).sum() / free.sum() if free.any() else math.nan
    found["sensitivity"] = found["PPV"] = math.nan
    if weight is not None:
        ill, flagged = weight[case].sum(), weight[acted_on].sum()
        found["sensitivity"] = weight[case & acted_on].sum() / ill if ill else math.nan
        found["PPV"] = weight[case & acted_on].sum() / flagged if flagged else math.nan
    return found


def expected_benefit(rows: Rows, threshold: float, k: int, everybody: bool) -> float:
    weight = censoring_weights(rows, k)
    if weight is None or not len(weight):
        return math.nan
    case = rows.event & (rows.year <= k)
    acted_on = (rows.risk[:, k] >= threshold) | everybody
    true, false = weight[acted_on & case].sum(), weight[acted_on & ~case].sum()
    return (true - false * threshold / (1 - threshold)) / len(weight)


def assert_as_the_repeated_rows(rows: Rows, draws: NDArray[np.float64]) -> None:
    found = AllMeasures(rows, cohort_cuts(rows)).of(draws)
    whole = np.sort(np.repeat(rows.risk, rows.weight.astype(int), axis=0), axis=0)[::-1]
    for draw in range(DRAWS):
        drawn = repeated(rows, draws[:, draw])
        expected = {}
        for k in range(YEARS):
            for share in SHARES:
                lowest = whole[max(1, math.ceil(round(share * len(whole), 6))) - 1, k]
                for name, value in expected_points(drawn, lowest, k).items():
                    expected[f"Year {k + 1} {name}, top {100 * share:g} %"] = value
            for threshold in THRESHOLDS:
                name = f"Year {k + 1} net benefit at {100 * threshold:g} %"
                expected[name] = expected_benefit(drawn, threshold, k, everybody=False)
                expected[f"{name}, all"] = expected_benefit(drawn, threshold, k, everybody=True)
        ours = {name: found[name][draw] for name in expected}
        assert ours == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_brute_force_on_repeated_rows(seed):
    rows = small_cohort(seed, weighted=seed % 3 == 1)
    assert_as_the_repeated_rows(rows, some_draws(rows, seed))


@fifty_examples
@given(sample=cohorts_and_draws())
def test_any_small_cohort_equals_brute_force_on_repeated_rows(sample):
    assert_as_the_repeated_rows(*sample)


def test_a_perfect_model_and_a_useless_one():
    event = np.arange(100) < 5
    year = np.full(100, 4)
    perfect = np.where(event, 0.9, 0.01)[:, None].repeat(YEARS, axis=1)
    ones = np.ones((100, 1))
    found = {
        name: AllMeasures(rows, cohort_cuts(rows)).of(ones)
        for name, rows in {
            "perfect": read_rows(perfect, event, year, np.arange(100)),
            "useless": read_rows(np.full((100, YEARS), 0.05), event, year, np.arange(100)),
        }.items()
    }
    best = found["perfect"]
    points = [best[f"Year 5 {name}, top 5 %"][0] for name in ("flagged", "sensitivity", "specificity", "PPV")]
    assert points == [0.05, 1, 1, 1]
    assert best["Year 5 net benefit at 10 %"][0] == pytest.approx(0.05)  # all cases, no false alarm
    assert best["Year 5 net benefit at 10 %, all"][0] == pytest.approx(0.05 - 0.95 / 9)
    assert found["useless"]["Year 5 flagged, top 5 %"][0] == 1  # equal risks are not parted
    assert found["useless"]["Year 5 net benefit at 10 %"][0] == 0


def test_positives_censored_before_the_year_are_made_up_for():
    random = np.random.default_rng(0)
    n = 40_000
    cancer, high = random.integers(0, 25, n), random.random(n) < 0.3
    cancer = np.where(high, cancer // 3, cancer)
    leaves = random.integers(0, YEARS, n)
    event = cancer <= np.minimum(leaves, YEARS - 1)
    risk = np.where(high, 0.5, 0.2)[:, None].repeat(YEARS, axis=1)
    censored = read_rows(risk, event, np.where(event, cancer, leaves), np.arange(n))
    ill = cancer < YEARS
    followed = read_rows(risk, ill, np.where(ill, cancer, YEARS - 1), np.arange(n))
    ones = np.ones((n, 1))
    seen, truth = (AllMeasures(rows, cohort_cuts(rows)).of(ones) for rows in (censored, followed))
    for name in ("sensitivity, top 20 %", "specificity, top 20 %", "PPV, top 20 %", "net benefit at 30 %"):
        assert seen[f"Year 5 {name}"][0] == pytest.approx(truth[f"Year 5 {name}"][0], abs=0.03)
    raw = event & high
    assert abs(raw.sum() / (raw.sum() + (censored.free(4) & high).sum()) - truth["Year 5 PPV, top 20 %"][0]) > 0.1
