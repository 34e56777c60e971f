from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import SEEDS, YEARS, fifty_examples, outcomes_and_risks
from helpers.reference_blocks import outputs
from hypothesis import given
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from sksurv.metrics import concordance_index_ipcw
from sksurv.util import Surv

from mammorisk.metrics.concordance import c_index, c_index_literature

Data = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]
both = pytest.mark.parametrize("measure", [c_index, c_index_literature])


def data(seed: int, largest: int = 30, share: float | None = None) -> Data:
    """Risks that rise with the year, tied or not; women from none with cancer, and exactly one, to all of them."""
    random = np.random.default_rng(seed)
    n = int(random.integers(1, largest + 1))
    event = random.random(n) < (random.choice([0, 0.05, 0.2, 0.5, 0.9, 1]) if share is None else share)
    if seed % 10 == 0:
        event = np.arange(n) == 0
    risk = np.sort(random.integers(0, random.choice([1, 4, 1000]), (n, YEARS)) / 8, axis=1)  # 1: all the same
    return risk, event, random.integers(0, YEARS, n)


@np.errstate()  # lifelines switches NumPy's warnings off and leaves them so
def brute_force(risk: NDArray, event: NDArray, time: NDArray, literature: bool) -> float:
    """By the definition, pair by pair; the weights from lifelines."""
    if literature:
        curve = KaplanMeierFitter().fit(time, event)
        weight_at = curve.survival_function_at_times(range(YEARS)).to_numpy()
    else:
        curve = KaplanMeierFitter().fit(time + 0.5 * ~event, ~event)
        weight_at = curve.survival_function_at_times(np.arange(YEARS)).to_numpy()
    above = below = 0.0
    for i in np.flatnonzero(event):
        for j in range(len(risk)):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                year = time[j] if literature else time[i]
                if weight_at[year] < 1e-12:
                    return float("nan")
                difference, weight = risk[i, year] - risk[j, year], weight_at[year] ** -2
                above += weight * (1.0 if difference > 0 else 0.5 if difference == 0 else 0.0)
                below += weight
    return above / below if below else float("nan")


def assert_as_by_brute_force(sample: Data) -> None:
    np.testing.assert_allclose(c_index(*sample), brute_force(*sample, literature=False), rtol=1e-10)
    np.testing.assert_allclose(c_index_literature(*sample), brute_force(*sample, literature=True), rtol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_pitfall_01_equals_brute_force_over_pairs(seed):
    assert_as_by_brute_force(data(seed))


@fifty_examples
@given(sample=outcomes_and_risks())
def test_pitfall_01_any_small_cohort_equals_brute_force_over_pairs(sample):
    assert_as_by_brute_force(sample)


def test_the_random_data_hold_every_case():
    samples = [data(seed) for seed in SEEDS]
    assert any(not event.any() for _, event, _ in samples)
    assert any(event.sum() == 1 and len(event) > 5 for _, event, _ in samples)
    assert any(event.all() for _, event, _ in samples)
    assert any(np.ptp(risk) == 0 and event.any() for risk, event, _ in samples)
    assert sum(np.isfinite(c_index(*sample)) for sample in samples) > 8


@pytest.mark.parametrize("share", [0.03, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(1, 10))
def test_pitfall_02_equals_scikit_survival(seed, share):
    _, event, time = data(seed, largest=400, share=share)
    score = np.random.default_rng(seed).integers(0, 50, len(time)) / 8
    outcome = Surv.from_arrays(event, time + 0.5 * ~event)  # censorings of a year come after its events
    ours = c_index(np.repeat(score[:, None], YEARS, axis=1), event, time)
    if not event.any():
        assert np.isnan(ours)
        return
    assert ours == pytest.approx(concordance_index_ipcw(outcome, outcome, score)[0], abs=1e-10)


@pytest.mark.parametrize("seed", range(1, 10))
def test_equals_lifelines_where_nobody_is_censored_early(seed):
    _, event, time = data(seed, largest=300, share=0.5)
    time = np.where(event, time, YEARS - 1)
    score = np.random.default_rng(seed).integers(0, 20, len(time)) / 8
    ours = c_index(np.repeat(score[:, None], YEARS, axis=1), event, time)
    assert ours == pytest.approx(concordance_index(time, -score, event), abs=1e-12)


@pytest.mark.parametrize("number", range(3))
def test_the_literature_variant_equals_the_reference(number):
    reference = {name: values.numpy() for name, values in outputs(f"j_metrics_set{number}").items()}
    ours = c_index_literature(reference["preds"], reference["events"], reference["times"])
    assert ours == pytest.approx(float(reference["c_yala"]), abs=1e-12)
    # The variant with its comparison a year off is not ours.
    assert abs(ours - float(reference["c_bcrbench"])) > 0.02


@both
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.18, 0.5, 0.9])
def test_pitfall_01_random_scores_are_one_half(measure, rate):
    random = np.random.default_rng(3)
    n = int(4000 / rate)
    event = random.random(n) < rate
    time = random.integers(0, YEARS, n)
    risk = 1 - np.cumprod(1 - 0.2 * random.random((n, YEARS)), axis=1)  # rises with the year, as risks do
    assert measure(risk, event, time) == pytest.approx(0.5, abs=0.02)


@both
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_pitfall_01_a_constant_added_to_one_years_column_changes_nothing(measure, seed):
    risk, event, time = data(seed, largest=200, share=0.3)
    before = measure(risk, event, time)
    assert 0 < before < 1
    for year in range(YEARS):
        assert measure(risk + 4 * (np.arange(YEARS) == year), event, time) == before


def test_a_pair_is_compared_in_the_events_year_here_and_in_the_comparators_there():
    risk = np.array([[1, 1, 9, 1], [2, 2, 2, 2]])
    event, time = [True, False], [1, 2]
    assert c_index(risk, event, time) == 0
    assert c_index_literature(risk, event, time) == 1


def test_who_is_censored_in_the_events_year_is_a_comparator_and_who_has_cancer_in_it_is_not():
    risk = np.array([[3.0], [1.0], [4.0]])
    assert c_index(risk, [True, False, False], [0, 0, 0]) == 0.5
    assert c_index(risk, [True, False, True], [0, 0, 0]) == 1
    assert np.isnan(c_index(risk, [True, True, True], [0, 0, 0]))


@both
def test_perfect_scores_are_one_and_reversed_ones_zero(measure):
    random = np.random.default_rng(5)
    event, time = random.random(200) < 0.3, random.integers(0, YEARS, 200)
    perfect = np.repeat(np.where(event, 10.0 - time, 0)[:, None], YEARS, axis=1)
    assert measure(perfect, event, time) == 1
    assert measure(-perfect, event, time) == 0


@both
@pytest.mark.parametrize("seed", range(1, 10))
def test_identical_scores_are_exactly_one_half(measure, seed):
    _, event, time = data(seed, largest=300, share=0.2)
    assert measure(np.full((len(time), YEARS), 0.1), event, time) == 0.5


@both
def test_the_order_of_samples_does_not_matter(measure):
    risk, event, time = data(11, largest=300, share=0.2)
    before = measure(risk, event, time)
    assert 0 < before < 1
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(risk))
        assert measure(risk[order], event[order], time[order]) == before


@both
@np.errstate(all="raise")
def test_nan_without_a_comparable_pair(measure):
    risk = np.random.default_rng(0).random((4, YEARS))
    assert np.isnan(measure(risk, np.zeros(4), [0, 1, 2, 4]))  # no cancer
    assert np.isnan(measure(risk, np.ones(4), [2, 2, 2, 2]))  # all in one year
    assert np.isnan(measure(risk, [0, 0, 0, 1], [0, 1, 2, 4]))  # nobody is left when it comes
    assert np.isnan(measure(risk[:1], [1], [0]))
    assert np.isnan(measure(risk[:0], [], []))


@np.errstate(all="raise")
def test_the_literature_variant_is_undefined_where_all_survivors_had_cancer():
    risk, event, time = np.zeros((3, YEARS)), [1, 1, 1], [0, 1, 2]
    assert np.isnan(c_index_literature(risk, event, time))
    assert c_index(risk, event, time) == 0.5


def test_pitfall_02_weights_undo_the_censoring():
    # Scores that know early cancers and not late ones; heavy censoring hides the late ones.
    random = np.random.default_rng(8)
    n = 60_000
    cancer = np.where(random.random(n) < 0.3, random.integers(0, YEARS, n), YEARS)
    score = random.normal(size=n) + np.where(cancer < 2, 2.0, 0.0)
    risk = np.repeat(score[:, None], YEARS, axis=1)
    leaves = random.choice(YEARS, n, p=[0.4, 0.25, 0.15, 0.1, 0.1])  # the last year she is seen in
    event, everybody = cancer <= leaves, cancer < YEARS
    followed = (risk, everybody, np.where(everybody, cancer, YEARS - 1))
    censored = (risk, event, np.where(event, cancer, leaves))
    truth = c_index(*followed)
    assert c_index(*censored) == pytest.approx(truth, abs=0.01)
    assert abs(c_index_literature(*censored) - truth) > 0.03


@both
def test_pitfall_15_inputs_are_not_written(measure):
    sample = data(7)
    before = [values.copy() for values in sample]
    for values in sample:
        values.flags.writeable = False
    measure(*sample)
    for values, copy in zip(sample, before, strict=True):
        np.testing.assert_array_equal(values, copy)


@both
def test_wrong_inputs_are_a_message(measure):
    with pytest.raises(ValueError, match="NaN or infinite"):
        measure([[0.1, np.nan], [0.1, 0.2]], [1, 0], [0, 1])
    with pytest.raises(ValueError, match="times of 0"):
        measure([[0.1, 0.2], [0.1, 0.2]], [1, 0], [0, 2])
    with pytest.raises(ValueError, match="one shape"):
        measure([[0.1, 0.2], [0.1, 0.2]], [1, 0], [0])
