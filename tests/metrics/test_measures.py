from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import small_cohort

from mammorisk.metrics.bootstrap import drawn_patients
from mammorisk.metrics.measures import AllMeasures, RankingMeasures, cohort_cuts, measured
from mammorisk.metrics.rows import Rows
from mammorisk.metrics.training_measures import risk_metrics


@pytest.mark.parametrize("seed", [3, 4, 8, 10, 17])
def test_the_size_of_chunks_does_not_matter_to_the_last_bit(seed):
    rows = small_cohort(seed, largest=80)
    measures, counts = AllMeasures(rows, cohort_cuts(rows)), drawn_patients(rows.case, 41, seed)
    whole = measured(measures, counts, 2**40)
    for memory in (1, 300_000, 700_000):
        parts = measured(measures, counts, memory)
        for name, values in whole.items():
            np.testing.assert_array_equal(parts[name], values, err_msg=name)


def test_the_order_of_rows_does_not_matter():
    rows = small_cohort(3, largest=80)
    order = np.random.default_rng(0).permutation(len(rows.event))
    mixed = Rows(*(a[order] for a in (rows.risk, rows.event, rows.year, rows.patient, rows.weight)), rows.patients)
    counts = drawn_patients(rows.case, 20, 0)
    one = measured(AllMeasures(rows, cohort_cuts(rows)), counts, 2**20)
    other = measured(AllMeasures(mixed, cohort_cuts(mixed)), counts, 2**20)
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-11, atol=1e-12, err_msg=name)


def test_names_are_those_of_the_training_and_more():
    rows = small_cohort(7, largest=80)
    ranks = RankingMeasures(rows).of(np.ones((rows.patients, 1)))
    plain = risk_metrics(rows.risk, rows.event, rows.year)
    assert set(plain) < set(ranks)
    assert {name: values[0] for name, values in ranks.items() if name in plain} == pytest.approx(plain, abs=1e-12)
    found = AllMeasures(rows, cohort_cuts(rows, (0.025,), (0.0167,))).of(np.ones((rows.patients, 1)))
    assert set(ranks) < set(found)
    assert {"Year 3 PPV, top 2.5 %", "Year 5 net benefit at 1.67 %, all", "Integrated Brier score"} < set(found)
    assert all(values.shape == (1,) for values in found.values())


def test_one_year_of_risk_is_enough():
    rows = small_cohort(3, largest=80)
    rows = Rows(
        rows.risk[:, :1], rows.event & (rows.year == 0), 0 * rows.year, rows.patient, rows.weight, rows.patients
    )
    found = AllMeasures(rows, cohort_cuts(rows)).of(np.ones((rows.patients, 2)))
    assert found["Integrated Brier score"].tolist() == found["Year 1 Brier score"].tolist()


@pytest.mark.parametrize("cuts", [{"shares": (5,)}, {"thresholds": (0.0, 0.1)}])
def test_shares_and_thresholds_are_inside_zero_and_one(cuts):
    with pytest.raises(ValueError, match="inside 0"):
        cohort_cuts(small_cohort(3), **cuts)
