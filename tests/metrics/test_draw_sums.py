import numpy as np
import pytest
from helpers.random_cohorts import small_cohort

from mammorisk.metrics import registry
from mammorisk.metrics.draw_sums import CohortDraws, YearDraws
from mammorisk.metrics.measures import AllMeasures, cohort_cuts
from mammorisk.metrics.registry import Family


@pytest.fixture
def rows():
    return small_cohort(3, largest=80)


@pytest.fixture
def given(rows, monkeypatch):
    """What two families of no measures are handed for two draws: everybody once, and everybody twice."""
    found: list[CohortDraws | YearDraws] = []
    take = Family((), lambda draws: found.append(draws) or {}, lambda year: found.append(year) or {})
    monkeypatch.setattr(registry, "FAMILIES", (take,))
    weights = np.ones((rows.patients, 1)) * [1.0, 2.0]
    assert AllMeasures(rows, cohort_cuts(rows, (0.1,), (0.02,))).of(weights) == {}
    return found


def test_a_family_is_handed_all_years_once_and_then_each_year(rows, given):
    cohort, *years = given
    assert [year.k for year in years] == list(range(rows.years))
    assert len(cohort.pairs) == len(cohort.risks) == rows.years
    assert all(year.pair_counts is cohort.pair_counts and year.weights is cohort.weights for year in years)
    assert {(year.shares, year.thresholds) for year in years} == {((0.1,), (0.02,))}


def test_counts_are_those_of_the_rows(rows, given):
    cohort, *years = given
    assert cohort.pair_counts.total.tolist() == [len(rows.event), 2 * len(rows.event)]
    for year in years:
        assert year.counts.shape == (2 * (year.k + 1), len(year.bins.logit), 2)
        assert year.counts.sum(axis=(0, 1)).tolist() == [len(rows.event), 2 * len(rows.event)]
        cases = (rows.event & (rows.year <= year.k)).sum()
        assert year.counts[: year.k + 1].sum(axis=(0, 1)).tolist() == [cases, 2 * cases]
