from __future__ import annotations

import numpy as np
import pytest

from mammorisk.errors import UserError
from mammorisk.evaluation.population_weights import population_weights
from mammorisk.metrics.censoring import kaplan_meier


def test_with_complete_follow_up_the_weight_is_known():
    event = np.array([True] * 20 + [False] * 30)
    weight = population_weights(event, np.where(event, 2, 4), 0.02)
    np.testing.assert_allclose(weight[20:], 20 * 0.98 / (30 * 0.02), rtol=1e-12)
    assert (weight[:20] == 1).all()


def test_the_weighted_cohort_has_the_incidence_of_the_population_under_censoring():
    random = np.random.default_rng(0)
    event, time = random.random(300) < 0.4, random.integers(0, 5, 300)
    weight = population_weights(event, time, 0.2)
    others = round(weight[~event][0] * 1000)  # copies of a row: 1000 of a case, so many of another
    copies = np.where(event, 1000, others)
    survival = kaplan_meier(np.repeat(event, copies), np.repeat(time, copies), 5)
    assert 1 - survival[-1] == pytest.approx(0.2, abs=1e-3)


def test_without_cases_or_followed_women_there_is_nothing_to_weight():
    with pytest.raises(UserError, match="found 0 and 3"):
        population_weights([False] * 3, [4, 4, 4], 0.02)
    with pytest.raises(UserError, match="found 1 and 0"):
        population_weights([True, False], [1, 3], 0.02)
