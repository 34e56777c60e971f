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
    still_followed,
)
from helpers.reference_blocks import outputs
from hypothesis import given
from numpy.typing import NDArray
from sksurv.metrics import cumulative_dynamic_auc
from sksurv.util import Surv

from mammorisk.metrics.auc import yearly_auc
from mammorisk.metrics.concordance import c_index, c_index_literature
from mammorisk.metrics.measures import RankingMeasures
from mammorisk.metrics.rows import Rows, read_rows


def dynamic_auc(rows: Rows, k: int) -> float:
    """By the definition, pair by pair."""
    above = below = 0.0
    for i in np.flatnonzero(rows.event & (rows.year <= k)):
        weight = 1 / still_followed(rows.event, rows.year, rows.year[i])
        for j in np.flatnonzero(rows.free(k)):
            difference = rows.risk[i, k] - rows.risk[j, k]
            above += weight * (1.0 if difference > 0 else 0.5 if difference == 0 else 0.0)
            below += weight
    return above / below if below else float("nan")


def assert_as_the_repeated_rows(rows: Rows, draws: NDArray[np.float64]) -> None:
    """The C-indices and AUC by their plain forms, which are held to brute force over pairs themselves."""
    found = RankingMeasures(rows).of(draws)
    for draw in range(DRAWS):
        drawn = repeated(rows, draws[:, draw])
        sample = drawn.risk, drawn.event, drawn.year
        expected = {"C-index": c_index(*sample), "C-index (literature)": c_index_literature(*sample)}
        for k in range(YEARS):
            expected[f"Year {k + 1} AUC"] = yearly_auc(*sample)[k]
            expected[f"Year {k + 1} dynamic AUC"] = dynamic_auc(drawn, k)
        assert {name: values[draw] for name, values in found.items()} == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_brute_force_on_repeated_rows(seed):
    rows = small_cohort(seed, weighted=seed % 3 == 1)
    assert_as_the_repeated_rows(rows, some_draws(rows, seed))


@fifty_examples
@given(sample=cohorts_and_draws())
def test_any_small_cohort_equals_brute_force_on_repeated_rows(sample):
    assert_as_the_repeated_rows(*sample)


@pytest.mark.parametrize("number", range(3))
def test_the_literature_variant_equals_the_reference(number):
    reference = {name: values.numpy() for name, values in outputs(f"j_metrics_set{number}").items()}
    risk, event, year = (reference[name] for name in ("preds", "events", "times"))
    rows = Rows(risk.astype(float), event == 1, year.astype(int), np.arange(len(year)), np.ones(len(year)), len(year))
    found = RankingMeasures(rows).of(np.ones((len(year), 2)))
    assert found["C-index (literature)"] == pytest.approx(float(reference["c_yala"]), abs=1e-12)
    for k in range(YEARS):
        assert found[f"Year {k + 1} AUC"] == pytest.approx(float(reference["auc_yala"][k]), abs=1e-12)


@pytest.mark.parametrize("seed", [2, 5, 6, 13])
def test_dynamic_auc_equals_scikit_survival(seed):
    random = np.random.default_rng(seed)
    n = 300
    event, year = random.random(n) < 0.3, random.integers(0, YEARS, n)
    risk = np.sort(random.integers(0, 20, (n, YEARS)) / 20, axis=1)
    outcome = Surv.from_arrays(event, year + 0.5 * ~event)  # censorings of a year come after its events
    theirs = cumulative_dynamic_auc(outcome, outcome, risk, np.arange(YEARS, dtype=float))[0]
    found = RankingMeasures(read_rows(risk, event, year, np.arange(n))).of(np.ones((n, 1)))
    np.testing.assert_allclose([found[f"Year {k + 1} dynamic AUC"][0] for k in range(YEARS)], theirs, atol=1e-10)


def test_a_large_cohort_equals_the_plain_forms_to_the_last_bits():
    random = np.random.default_rng(1)
    n = 3000
    event, year = random.random(n) < 0.1, random.integers(0, YEARS, n)
    risk = np.round(np.sort(random.random((n, YEARS)), axis=1), 3)
    found = RankingMeasures(read_rows(risk, event, year, np.arange(n) // 3)).of(np.ones((n // 3, 2)))
    assert found["C-index"] == pytest.approx(c_index(risk, event, year), abs=1e-15)
    assert found["C-index (literature)"] == pytest.approx(c_index_literature(risk, event, year), abs=1e-15)
    assert [found[f"Year {k + 1} AUC"][0] for k in range(YEARS)] == yearly_auc(risk, event, year).tolist()
