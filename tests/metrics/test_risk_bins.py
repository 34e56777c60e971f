from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import (
    DRAWS,
    SEEDS,
    YEARS,
    cohorts_and_draws,
    fifty_examples,
    repeated,
    small_cohort,
    some_draws,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mammorisk.metrics.risk_bins import FINE, BinCounts, by_decile, from_bin_on, risk_bins
from mammorisk.metrics.rows import Rows

SHARES, THRESHOLDS = (0.01, 0.2), (0.1, 0.25)


def assert_as_the_repeated_rows(rows: Rows, draws: NDArray[np.float64], k: int) -> None:
    bins = risk_bins(rows.risk[:, k], rows.weight, SHARES, THRESHOLDS)
    counts = BinCounts(rows, bins, k).counts(draws)
    tenths, above = by_decile(counts, bins), from_bin_on(counts, bins.thresholds)
    for draw in range(DRAWS):
        drawn = repeated(rows, draws[:, draw])
        risk = drawn.risk[:, k]
        assert counts[..., draw].sum() == len(risk)
        for number, threshold in enumerate(THRESHOLDS):
            acted_on = risk >= threshold
            assert above[-1, number, draw] == (acted_on & drawn.free(k)).sum()
            cases = [(acted_on & drawn.event & (drawn.year == j)).sum() for j in range(k + 1)]
            assert above[: k + 1, number, draw].tolist() == cases
        first = np.array([*bins.deciles, len(bins.logit)])
        tenth = (bins.of(risk)[:, None] >= first).sum(axis=1)
        assert tenths.total[:, draw].tolist() == np.bincount(tenth, minlength=10).tolist()
        assert tenths.events[0, :, draw].sum() == (drawn.event & (drawn.year == 0)).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_are_those_of_the_repeated_rows(seed):
    rows = small_cohort(seed, weighted=seed % 3 == 1)
    assert_as_the_repeated_rows(rows, some_draws(rows, seed), seed % YEARS)


@fifty_examples
@given(sample=cohorts_and_draws(), k=st.integers(0, YEARS - 1))
def test_counts_of_any_small_cohort_are_those_of_the_repeated_rows(sample, k):
    assert_as_the_repeated_rows(*sample, k)


def test_top_shares_and_deciles_are_shares_of_the_rows():
    risk = np.random.default_rng(0).permutation(np.arange(200) / 1000)
    bins = risk_bins(risk, np.ones(200), (0.01, 0.05, 0.2), ())
    assert [(bins.of(risk) >= first).sum() for first in bins.tops] == [2, 10, 40]
    assert [(bins.of(risk) >= first).sum() for first in bins.deciles] == [180, 160, 140, 120, 100, 80, 60, 40, 20]


def test_shares_are_of_the_weight():
    risk = np.arange(10) / 10
    weight = np.array([10.0] * 9 + [30.0])  # the highest stands for a quarter of all
    bins = risk_bins(risk, weight, (0.25, 0.3), ())
    assert [(bins.of(risk) >= first).sum() for first in bins.tops] == [1, 2]


def test_equal_risks_stay_together():
    risk = np.array([0.1] * 6 + [0.2] * 4)
    bins = risk_bins(risk, np.ones(10), (0.1, 0.5), ())
    assert [(bins.of(risk) >= first).sum() for first in bins.tops] == [4, 10]


def test_every_distinct_risk_has_its_bin_until_there_are_too_many():
    few = np.repeat(np.linspace(0.01, 0.6, FINE), 3)
    bins = risk_bins(few, np.ones(len(few)), SHARES, THRESHOLDS)
    np.testing.assert_allclose(1 / (1 + np.exp(-bins.logit[bins.of(few)])), few, rtol=1e-12)
    many = np.random.default_rng(0).beta(1, 30, 20_000)
    bins = risk_bins(many, np.ones(len(many)), SHARES, THRESHOLDS)
    assert len(bins.logit) <= FINE + 9 + len(SHARES) + len(THRESHOLDS)
    assert np.abs(bins.logit[bins.of(many)] - np.log(many / (1 - many)))[many > 1e-6].max() < 14 / FINE
