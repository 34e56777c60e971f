from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import SEEDS, YEARS, fifty_examples, outcomes_and_risks
from helpers.reference_blocks import outputs
from hypothesis import given
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mammorisk.datasets.labels import survival_labels
from mammorisk.metrics.auc import wins, yearly_auc

Data = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]


def data(seed: int, largest: int = 30) -> Data:
    """Scores with many ties, and 1 to ``largest`` women, from nobody with cancer to all of them."""
    random = np.random.default_rng(seed)
    n = int(random.integers(1, largest + 1))
    event = random.random(n) < random.choice([0, 0.1, 0.5, 0.9, 1])
    risk = np.sort(random.integers(0, random.choice([1, 4, 1000]), (n, YEARS)) / 8, axis=1)
    return risk, event, random.integers(0, YEARS, n)


def brute_force(risk: NDArray, event: NDArray, time: NDArray, year: int) -> float:
    """By the definition, woman by woman: cancer by the year against known free of it to the year."""
    won = []
    for i in range(len(risk)):
        for j in range(len(risk)):
            free = time[j] > year or (not event[j] and time[j] >= year)
            if event[i] and time[i] <= year and free:
                difference = risk[i, year] - risk[j, year]
                won.append(1.0 if difference > 0 else 0.5 if difference == 0 else 0.0)
    return sum(won) / len(won) if won else float("nan")


def assert_as_by_brute_force(sample: Data) -> None:
    expected = [brute_force(*sample, year) for year in range(YEARS)]
    np.testing.assert_allclose(yearly_auc(*sample), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_brute_force(seed):
    assert_as_by_brute_force(data(seed))


@fifty_examples
@given(sample=outcomes_and_risks())
def test_any_small_cohort_equals_brute_force(sample):
    assert_as_by_brute_force(sample)


@pytest.mark.parametrize("number", range(3))
def test_equals_the_reference(number):
    reference = {name: values.numpy() for name, values in outputs(f"j_metrics_set{number}").items()}
    ours = yearly_auc(reference["preds"], reference["events"], reference["times"])
    np.testing.assert_allclose(ours, reference["auc_yala"], rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_sklearn_where_everybody_is_followed(seed):
    risk, event, time = data(seed, largest=200)
    time = np.where(event, time, YEARS - 1)
    ours = yearly_auc(risk, event, time)
    for year in range(YEARS):
        case = event & (time <= year)
        assert np.isnan(ours[year]) == (case.all() or not case.any())
        if not np.isnan(ours[year]):
            assert ours[year] == pytest.approx(roc_auc_score(case, risk[:, year]), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_sklearn_on_the_years_that_the_labels_know(seed):
    random = np.random.default_rng(seed)
    cancer = np.where(random.random(300) < 0.3, random.integers(0, 8, 300), np.nan)
    labels = survival_labels(cancer, random.integers(0, 8, 300))
    risk = random.random((300, YEARS))
    ours = yearly_auc(risk, labels.event, labels.event_index)
    for year in range(YEARS):
        known = (labels.mask[:, year] == 1) | (labels.target[:, year] == 1)
        theirs = roc_auc_score(labels.target[known, year], risk[known, year])
        assert ours[year] == pytest.approx(theirs, abs=1e-12)


def test_who_is_censored_counts_to_the_end_of_that_year():
    risk = np.tile([[1.0], [2.0]], (1, YEARS))
    auc = yearly_auc(risk, [True, False], [1, 2])  # the case is ranked below the control
    np.testing.assert_array_equal(auc, [np.nan, 0, 0, np.nan, np.nan])


def test_every_year_has_its_own_scores():
    risk = np.array([[0.0, 2.0], [1.0, 1.0]])
    assert yearly_auc(risk, [True, False], [0, 1]).tolist() == [0, 1]


def test_the_order_of_samples_does_not_matter():
    risk, event, time = data(11, largest=200)
    order = np.random.default_rng(0).permutation(len(risk))
    np.testing.assert_array_equal(yearly_auc(risk[order], event[order], time[order]), yearly_auc(risk, event, time))


def test_pitfall_01_a_constant_added_to_one_years_column_changes_nothing():
    risk, event, time = data(11, largest=200)
    for year in range(YEARS):
        np.testing.assert_array_equal(
            yearly_auc(risk + 4 * (np.arange(YEARS) == year), event, time), yearly_auc(risk, event, time)
        )


def test_equal_scores_are_one_half_and_perfect_ones_one():
    time = np.repeat(np.arange(YEARS), 8)
    event = np.arange(40) % 8 < 3
    assert yearly_auc(np.full((40, YEARS), 0.3), event, time).tolist() == [0.5] * YEARS
    perfect = np.tile(np.where(event, 10 - time, 0)[:, None], (1, YEARS))
    assert yearly_auc(perfect, event, time).tolist() == [1] * YEARS
    assert yearly_auc(-perfect, event, time).tolist() == [0] * YEARS


def test_nan_without_a_case_or_a_control():
    risk = np.random.default_rng(0).random((6, YEARS))
    assert np.isnan(yearly_auc(risk, np.zeros(6), np.arange(6) % 5)).all()
    assert np.isnan(yearly_auc(risk, np.ones(6), np.zeros(6))).all()
    assert np.isnan(yearly_auc(np.zeros((0, YEARS)), [], [])).all()


def test_pitfall_15_inputs_are_not_written():
    sample = data(5)
    before = [values.copy() for values in sample]
    for values in sample:
        values.flags.writeable = False
    yearly_auc(*sample)
    for values, copy in zip(sample, before, strict=True):
        np.testing.assert_array_equal(values, copy)


def test_wins_are_counted():
    assert wins(np.array([1.0, 2, 3]), np.array([2.0, 2, 5])) == 0 + 2 / 2 + 2
    assert wins(np.array([]), np.array([1.0])) == 0


def test_a_risk_that_is_not_finite_is_a_message():
    with pytest.raises(ValueError, match=r"NaN or infinite, the first \[1\]"):
        yearly_auc([[0.1, 0.2], [0.1, np.nan]], [1, 0], [0, 1])
