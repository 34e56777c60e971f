from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mammorisk.metrics.recalibration_scales import Isotonic, Platt, fit_isotonic, fit_platt, recalibrated
from mammorisk.metrics.rows import Rows, read_rows


def rows(n: int = 4000, weight: float = 1.0, censored: float = 0.0) -> Rows:
    """One year whose true risk is half the predicted one's odds, with some censored before its end."""
    random = np.random.default_rng(0)
    risk = random.uniform(0.02, 0.6, (n, 2))
    risk[:, 1] = risk[:, 0] + 0.3 * (1 - risk[:, 0])
    odds = 0.5 * risk[:, 1] / (1 - risk[:, 1])
    event = random.random(n) < odds / (1 + odds)
    gone = random.random(n) < censored
    return read_rows(risk, event & ~gone, np.where(gone, 0, 1), np.arange(n), np.where(event, 1.0, weight))


def test_platt_is_logistic_regression_on_the_logit():
    data = rows()
    logit = np.log(data.risk[:, 1] / (1 - data.risk[:, 1]))
    fit = LogisticRegression(C=np.inf, tol=1e-10).fit(logit[:, None], data.event)
    _, scale = fit_platt(data)
    assert scale is not None
    assert scale.slope == pytest.approx(fit.coef_[0, 0], rel=1e-5)
    assert scale.intercept == pytest.approx(fit.intercept_[0], rel=1e-5)
    assert scale.intercept == pytest.approx(np.log(0.5), abs=0.15)
    assert scale(data.risk[:, 1]).mean() == pytest.approx(data.event.mean(), abs=1e-6)


def test_censored_women_are_made_up_for():
    scale = fit_platt(rows(censored=0.4))[1]
    assert scale is not None
    assert scale.intercept == pytest.approx(np.log(0.5), abs=0.2)  # 40 % fewer cases are seen


def test_weights_shift_the_level():
    plain, weighted = fit_platt(rows())[1], fit_platt(rows(weight=10.0))[1]
    assert plain is not None
    assert weighted is not None
    assert weighted.intercept == pytest.approx(plain.intercept - np.log(10), abs=0.1)


def test_isotonic_never_falls_and_hits_the_mean():
    data = rows()
    scale = fit_isotonic(data)[1]
    assert scale is not None
    new = scale(np.sort(data.risk[:, 1]))
    assert (np.diff(new) >= 0).all()
    assert new.mean() == pytest.approx(data.event.mean(), abs=1e-9)
    assert scale([-1.0, 2.0]).tolist() == [new[0], new[-1]]  # flat beyond what was seen


def test_a_year_without_cases_has_no_scale():
    data = rows()
    assert fit_platt(data)[0] is None  # all cancers are in the second year
    assert fit_isotonic(data)[0] is None
    apart = read_rows([[0.1], [0.2], [0.8], [0.9]], [False, False, True, True], [0] * 4, range(4))
    assert fit_platt(apart) == [None]


def test_recalibrated_risks_do_not_fall_from_year_to_year():
    risk = np.array([[0.2, 0.3, 0.4]])
    scales = [Isotonic((0.0, 1.0), (0.5, 0.5)), None, Platt(1.0, 0.0)]
    np.testing.assert_allclose(recalibrated(risk, scales), [[0.5, 0.5, 0.5]])
    np.testing.assert_allclose(recalibrated(risk, [Platt(1.0, 0.0)] * 3), risk)
    with pytest.raises(ValueError, match=r"\[N, 2\]"):
        recalibrated(risk, [None, None])
