from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mammorisk.metrics.delong import auc_covariance, auc_test


def cohort(seed: int, patients: int = 40, largest: int = 4):
    random = np.random.default_rng(seed)
    rows = random.integers(1, largest + 1, patients)
    patient = np.repeat(np.arange(patients), rows)
    ill = np.repeat(random.random(patients) < 0.4, rows)
    case = ill & (random.random(len(ill)) < 0.7)  # a woman with cancer has rows of both kinds
    left_out = random.random(len(ill)) < 0.1
    own = np.repeat(random.normal(size=patients), rows)
    scores = np.round(own + case + random.normal(size=(2, len(ill))), 1)
    order = random.permutation(len(ill))
    return scores[:, order], (case & ~left_out)[order], (~case & ~left_out)[order], patient[order]


def obuchowski(scores, case, control, patient):
    """Var and cov by the letter of the paper, patient by patient and pair by pair."""

    def kernel(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    cases, controls = np.flatnonzero(case), np.flatnonzero(control)
    auc = [np.mean([kernel(s[i], s[j]) for i in cases for j in controls]) for s in scores]
    v10 = [{i: np.mean([kernel(s[i], s[j]) for j in controls]) for i in cases} for s in scores]
    v01 = [{j: np.mean([kernel(s[i], s[j]) for i in cases]) for j in controls} for s in scores]
    ids = sorted({*patient[cases], *patient[controls]})

    def deviation(v, k, rows):
        return {p: sum(v[k][r] - auc[k] for r in rows if patient[r] == p) for p in ids}

    def covariance(a, b, clusters, size_a, size_b):
        return clusters / (clusters - 1) * sum(a[p] * b[p] for p in ids) / (size_a * size_b)

    m, n = len(cases), len(controls)
    with_cases, with_controls = len({*patient[cases]}), len({*patient[controls]})
    found = np.zeros((len(scores), len(scores)))
    for k in range(len(scores)):
        for other in range(len(scores)):
            d, d2 = deviation(v10, k, cases), deviation(v10, other, cases)
            e, e2 = deviation(v01, k, controls), deviation(v01, other, controls)
            found[k, other] = covariance(d, d2, with_cases, m, m) + covariance(e, e2, with_controls, n, n)
            found[k, other] += covariance(d, e2, len(ids), m, n) + covariance(e, d2, len(ids), n, m)
    return auc, found


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_paper_with_patients_of_several_rows(seed):
    sample = cohort(seed)
    expected_auc, expected = obuchowski(*sample)
    auc, covariance = auc_covariance(*sample)
    np.testing.assert_allclose(auc, expected_auc, rtol=1e-12)
    np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_is_delong_where_every_row_is_its_own_patient(seed):
    """DeLong et al.: the covariances of the placement values, divided by the numbers of cases and controls."""
    scores, case, control, patient = cohort(seed)
    auc, covariance = auc_covariance(scores, case, control, np.arange(len(patient)))
    won = [[np.mean((s[control] < x) + (s[control] == x) / 2) for x in s[case]] for s in scores]
    lost = [[np.mean((s[case] > x) + (s[case] == x) / 2) for x in s[control]] for s in scores]
    np.testing.assert_allclose(covariance, np.cov(won) / case.sum() + np.cov(lost) / control.sum(), rtol=1e-9)
    used = case | control
    np.testing.assert_allclose(auc, [roc_auc_score(case[used], s[used]) for s in scores], rtol=1e-12)


def test_errors_are_those_of_repeated_studies():
    found = [cohort(seed, patients=100) for seed in range(300)]
    tests = [auc_test(*scores, *rest) for scores, *rest in found]
    spread = np.std([test.difference for test in tests])
    assert np.mean([test.error for test in tests]) == pytest.approx(spread, rel=0.12)
    assert np.mean([test.p < 0.05 for test in tests]) == pytest.approx(0.05, abs=0.035)  # equal models


def test_rows_of_a_patient_are_not_taken_for_women():
    scores, case, control, patient = cohort(1, patients=60)
    sixteen = (np.repeat(scores, 16, axis=1), *(np.repeat(values, 16) for values in (case, control, patient)))
    assert auc_test(*sixteen[0], *sixteen[1:]).error == pytest.approx(auc_test(*scores, case, control, patient).error)


def test_the_p_value_is_that_of_the_normal_distribution():
    scores, case, control, patient = cohort(2)
    one = auc_test(*scores, case, control, patient)
    other = auc_test(*scores[::-1], case, control, patient)
    assert (one.difference, one.error, one.p) == pytest.approx((-other.difference, other.error, other.p))
    assert one.p == pytest.approx(2 - 2 * (0.5 + 0.5 * math.erf(abs(one.difference) / one.error / math.sqrt(2))))
    same = auc_test(scores[0], scores[0], case, control, patient)
    assert (same.difference, same.error) == (0, 0)
    assert math.isnan(same.p)


def test_what_cannot_be_measured_is_nan_and_mistakes_are_messages():
    nobody = np.zeros(4, bool)
    auc, covariance = auc_covariance(np.ones((2, 4)), nobody, ~nobody, np.arange(4))
    assert np.isnan(auc).all()
    assert np.isnan(covariance).all()
    single = auc_test([1, 2, 3], [3, 1, 2], [True, False, False], [False, True, True], [0, 1, 2])
    assert math.isnan(single.p)
    with pytest.raises(ValueError, match="no row both"):
        auc_covariance(np.ones((2, 4)), ~nobody, ~nobody, np.arange(4))
