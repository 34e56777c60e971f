from __future__ import annotations

import math
import time

import numpy as np
import pytest

from mammorisk.metrics.bootstrap import (
    Interval,
    drawn_patients,
    paired_bootstrap,
    patient_bootstrap,
    percentile_interval,
    smallest_stratum,
    tail,
)
from mammorisk.metrics.concordance import c_index

YEARS = 5


def cohort(seed, patients=40, largest=6, within=0.3):
    """Values of rows, patients with 1 ... largest rows, whose rows are alike; the mean over patients is 0."""
    random = np.random.default_rng(seed)
    rows = random.integers(1, largest + 1, patients)
    patient = np.repeat([f"p{number:03d}" for number in random.permutation(patients)], rows)
    values = np.repeat(random.standard_normal(patients), rows) + within * random.standard_normal(rows.sum())
    order = random.permutation(len(values))
    return values[order], patient[order]


def survival(seed, patients=60):
    random = np.random.default_rng(seed)
    patient = np.sort(random.integers(0, patients, 3 * patients))
    event = random.random(len(patient)) < 0.2
    risk = np.cumsum(random.random((len(patient), YEARS)), axis=1) + event[:, None]
    return risk, event, random.integers(0, YEARS, len(patient)), patient


def brute_force(statistic, patient, draws, seed):
    """Statistic of each draw: patients one by one, with all their rows, gathered by comparing ids."""
    random, found = np.random.default_rng(seed), []
    ids = sorted(set(patient.tolist()))
    for _ in range(draws):
        drawn = random.integers(0, len(ids), len(ids))
        rows = [row for number in drawn for row in range(len(patient)) if patient[row] == ids[number]]
        found.append(statistic(np.array(rows)))
    return np.array(found)


@pytest.mark.parametrize("seed", range(5))
def test_mean_equals_brute_force(seed):
    values, patient = cohort(seed, patients=12)
    draws = brute_force(lambda rows: values[rows].mean(), patient, 60, seed)
    found = patient_bootstrap(values, patient, bootstrap_samples=60, seed=seed, confidence=0.9)
    low, high = np.quantile(draws, [0.05, 0.95])
    assert (found.estimate, found.low, found.high) == pytest.approx((values.mean(), low, high), rel=1e-12)
    assert found.left_out == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_function_of_rows_equals_brute_force(seed):
    values, patient = cohort(seed, patients=12)
    draws = brute_force(lambda rows: np.median(values[rows]), patient, 60, seed)
    found = patient_bootstrap(lambda rows: float(np.median(values[rows])), patient, bootstrap_samples=60, seed=seed)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), rel=1e-12)
    assert found.estimate == np.median(values)


def test_c_index_equals_brute_force():
    risk, event, year, patient = survival(3, patients=15)

    def statistic(rows):
        return c_index(risk[rows], event[rows], year[rows])

    draws = brute_force(statistic, patient, 40, 7)
    found = patient_bootstrap(statistic, patient, bootstrap_samples=40, seed=7)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), rel=1e-12)


def test_values_and_their_mean_as_a_function_agree():
    values, patient = cohort(1)
    one, other = patient_bootstrap(values, patient), patient_bootstrap(lambda rows: values[rows].mean(), patient)
    assert vars(one) == pytest.approx(vars(other), rel=1e-12)


def test_pitfall_18_the_estimate_is_the_plug_in_value_and_not_the_mean_of_the_draws():
    values, patient = cohort(2, patients=6)
    found = patient_bootstrap(lambda rows: float(values[rows].var()), patient, bootstrap_samples=300)
    assert found.estimate == values.var()
    drawn = brute_force(lambda rows: values[rows].var(), patient, 300, 0)
    assert abs(drawn.mean() - found.estimate) > 0.05 * found.estimate  # the draws' variance is biased downwards
    risk, event, year, patient = survival(0)
    found = patient_bootstrap(lambda rows: c_index(risk[rows], event[rows], year[rows]), patient, bootstrap_samples=20)
    assert found.estimate == c_index(risk, event, year)


def test_pitfall_18_patients_are_resampled_and_not_images():
    values, patient = cohort(4, patients=80, largest=1)
    values, patient = np.repeat(values, 16), np.repeat(patient, 16)  # sixteen equal images of each
    patients = patient_bootstrap(values, patient)
    images = patient_bootstrap(values, np.arange(len(values)))
    ratio = (patients.high - patients.low) / (images.high - images.low)
    assert ratio == pytest.approx(4, rel=0.15)  # the square root of 16
    once = patient_bootstrap(values[::16], patient[::16])
    assert vars(patients) == pytest.approx(vars(once))  # copies of images say nothing new


def test_the_interval_is_that_of_theory():
    random = np.random.default_rng(0)
    values = random.standard_normal(400)
    found = patient_bootstrap(values, np.arange(400), bootstrap_samples=4000)
    error = 1.96 * values.std() / math.sqrt(400)
    assert found.low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_pitfall_18_intervals_cover_the_truth_as_often_as_they_say():
    covered, by_images = 0, 0
    for seed in range(300):
        values, patient = cohort(seed, patients=50)
        found = patient_bootstrap(values, patient, bootstrap_samples=200, seed=seed)
        covered += found.low <= 0 <= found.high
        narrow = patient_bootstrap(values, np.arange(len(values)), bootstrap_samples=200, seed=seed)
        by_images += narrow.low <= 0 <= narrow.high
    assert 0.90 <= covered / 300 <= 0.98  # 0.95, a little less with so few patients; 3 standard errors are 0.038
    assert by_images / 300 < 0.85


def test_wider_where_more_confidence_is_asked():
    values, patient = cohort(5)
    widths = [
        found.high - found.low for found in (patient_bootstrap(values, patient, confidence=c) for c in (0.5, 0.95))
    ]
    assert 0 < widths[0] < 0.5 * widths[1]


def test_the_same_seed_gives_the_same_interval():
    values, patient = cohort(6)
    assert patient_bootstrap(values, patient, seed=3) == patient_bootstrap(values, patient, seed=3)
    assert patient_bootstrap(values, patient, seed=3) != patient_bootstrap(values, patient, seed=4)


def test_the_order_of_rows_does_not_matter():
    values, patient = cohort(6)
    order = np.random.default_rng(0).permutation(len(values))
    one, other = patient_bootstrap(values, patient), patient_bootstrap(values[order], patient[order])
    assert vars(one) == pytest.approx(vars(other), rel=1e-12)


def test_ids_may_be_numbers():
    values, patient = cohort(6)
    numbers = np.array([int(each[1:]) for each in patient])
    assert patient_bootstrap(values, numbers) == patient_bootstrap(values, patient)
    assert patient_bootstrap(values, patient.astype(object)) == patient_bootstrap(values, patient)


def test_draws_without_an_event_are_left_out_and_counted():
    event = np.zeros(12, bool)
    event[0] = True  # one of twelve patients: absent from (11/12)^12 = 35 % of the draws

    def events(rows):
        return float(event[rows].mean()) if event[rows].any() else math.nan

    found = patient_bootstrap(events, np.arange(12), bootstrap_samples=2000)
    assert found.left_out / 2000 == pytest.approx((11 / 12) ** 12, abs=0.04)
    assert found.low >= 1 / 12
    absent = patient_bootstrap(lambda rows: math.nan, np.arange(12), bootstrap_samples=30)
    assert absent.left_out == 30
    assert all(math.isnan(value) for value in (absent.estimate, absent.low, absent.high))


def test_one_patient_has_no_interval():
    found = patient_bootstrap([1.0, 2.0], ["a", "a"], bootstrap_samples=10)
    assert found.estimate == 1.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_paired_draws_are_the_same_for_both():
    values, patient = cohort(7)
    assert paired_bootstrap(values + 0.25, values, patient) == pytest_interval(0.25, 0.25, 0.25)
    median = paired_bootstrap(lambda rows: np.median(values[rows]), lambda rows: np.median(values[rows]), patient)
    assert median == Interval(0, 0, 0)


def pytest_interval(*expected):
    """An Interval equal but for rounding."""

    class Close:
        def __eq__(self, other):
            return (other.estimate, other.low, other.high) == pytest.approx(expected, abs=1e-9) and not other.left_out

    return Close()


def test_paired_difference_equals_brute_force_and_is_narrower_than_unpaired():
    values, patient = cohort(8, patients=30)
    better = values + 0.3 + 0.1 * np.random.default_rng(0).standard_normal(len(values))
    found = paired_bootstrap(better, lambda rows: values[rows].mean(), patient, bootstrap_samples=80, seed=5)
    draws = brute_force(lambda rows: better[rows].mean() - values[rows].mean(), patient, 80, 5)
    expected = (better.mean() - values.mean(), *np.quantile(draws, [0.025, 0.975]))
    assert (found.estimate, found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.low > 0
    alone = patient_bootstrap(values, patient)
    assert found.high - found.low < 0.3 * (alone.high - alone.low)


def test_a_paired_draw_is_left_out_if_either_is_nan():
    def without(number):
        return lambda rows: 1.0 if (rows == number).any() else math.nan

    both = paired_bootstrap(without(0), without(1), np.arange(12), bootstrap_samples=500)
    one = patient_bootstrap(without(0), np.arange(12), bootstrap_samples=500)
    other = patient_bootstrap(without(1), np.arange(12), bootstrap_samples=500)
    assert max(one.left_out, other.left_out) < both.left_out < one.left_out + other.left_out


def test_inputs_are_not_written_and_may_not_be_nan():
    values, patient = cohort(9)
    values.flags.writeable = patient.flags.writeable = False
    patient_bootstrap(values, patient, bootstrap_samples=5)
    holes = values.copy()
    holes[[2, 4]] = math.nan
    with pytest.raises(ValueError, match="2 values are NaN"):
        patient_bootstrap(holes, patient)


@pytest.mark.parametrize(
    ("values", "patient", "settings", "message"),
    [
        ([], [], {}, "at least one row"),
        ([1.0, 2.0], ["a"], {}, "each of 1 rows"),
        ([[1.0], [2.0]], ["a", "b"], {}, r"shape \(2, 1\)"),
        ([1.0], [["a"]], {}, r"shape \(1, 1\)"),
        ([1.0], ["a"], {"bootstrap_samples": 0}, "at least one bootstrap sample"),
        ([1.0], ["a"], {"confidence": 95}, "confidence in"),
    ],
)
def test_mistakes_are_messages(values, patient, settings, message):
    with pytest.raises(ValueError, match=message):
        patient_bootstrap(values, patient, **settings)


def test_ten_thousand_patients_take_no_more_than_seconds():
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(10_000), 4)
    started = time.process_time()
    patient_bootstrap(random.random(40_000), patient)
    assert time.process_time() - started < 5


def test_percentiles_leave_out_what_is_not_defined():
    found = percentile_interval(2.0, [*range(101), math.nan], 0.9)
    assert (found.estimate, found.left_out) == (2.0, 1)
    assert (found.low, found.high) == pytest.approx((5.0, 95.0), abs=1e-9)
    nothing = percentile_interval(math.nan, [math.nan] * 3)
    assert nothing.left_out == 3
    assert math.isnan(nothing.low)
    with pytest.raises(ValueError, match="confidence in"):
        percentile_interval(1.0, [1.0], 95)


@pytest.mark.parametrize(
    ("patients", "expected"), [(2, 0.0), (5, 0.00095), (20, 0.0159), (100, 0.02309), (10**6, 0.025)]
)
def test_few_patients_move_the_bounds_outwards(patients, expected):
    assert tail(0.95, patients) == pytest.approx(expected, abs=5e-5)
    draws = np.random.default_rng(0).normal(size=4000)
    wide, plain = percentile_interval(0.0, draws, patients=patients), percentile_interval(0.0, draws)
    assert (wide.low, wide.high) == pytest.approx(tuple(np.quantile(draws, [expected, 1 - expected])), abs=0.06)
    assert wide.low <= plain.low < plain.high <= wide.high


def test_one_patient_s_interval_is_all_draws():
    found = percentile_interval(0.0, [-3.0, 0.0, 1.0, 8.0], patients=1)
    assert (found.low, found.high) == (-3.0, 8.0)


def test_a_t_interval_is_what_the_mean_of_few_normal_values_gets():
    values = np.random.default_rng(5).normal(size=8)
    draws = np.random.default_rng(1).choice(values, (20_000, 8)).mean(1)
    wide = percentile_interval(values.mean(), draws, patients=8)
    half = 2.3646 * values.std(ddof=1) / math.sqrt(8)
    assert wide.high - wide.low == pytest.approx(2 * half, rel=0.12)
    plain = percentile_interval(values.mean(), draws)
    assert plain.high - plain.low < 0.85 * 2 * half


def test_cases_and_controls_are_drawn_apart_each_as_often_as_there_are():
    case = np.random.default_rng(0).random(300) < 0.1
    times = drawn_patients(case, 50, seed=1)
    assert times.shape == (300, 51)
    assert times[:, 0].tolist() == [1] * 300  # the cohort itself
    assert set(times[case].sum(axis=0)) == {case.sum()}
    assert set(times[~case].sum(axis=0)) == {(~case).sum()}


def test_draws_are_those_of_sampling_with_replacement():
    times = drawn_patients(np.arange(400) < 200, 500, seed=2)[:, 1:].astype(float)
    assert times.mean() == 1
    assert times.var() == pytest.approx(1 - 1 / 200, abs=0.02)  # binomial
    assert (times == 0).mean() == pytest.approx((1 - 1 / 200) ** 200, abs=0.005)
    together = np.corrcoef(times)[np.triu_indices(200, 1)]
    assert together.mean() == pytest.approx(-1 / 199, abs=0.002)


def test_a_draw_depends_on_seed_and_number_alone():
    case = np.arange(40) % 4 == 0
    few, many = drawn_patients(case, 5, seed=3), drawn_patients(case, 9, seed=3)
    np.testing.assert_array_equal(few, many[:, :6])
    assert (few[:, 1:] != drawn_patients(case, 5, seed=4)[:, 1:]).any()
    assert (many[:, 1] != many[:, 2]).any()


@pytest.mark.parametrize("case", [np.zeros(5, bool), np.ones(5, bool), np.arange(5) == 2])
def test_a_stratum_may_be_empty_or_one_patient(case):
    times = drawn_patients(case, 10, seed=0)
    assert set(times.sum(axis=0)) == {5}
    if case.sum() == 1:
        assert times[2].tolist() == [1] * 11


@pytest.mark.parametrize(("patients", "ill", "fewest"), [(10, 3, 3), (10, 8, 2), (10, 0, 10), (10, 10, 10)])
def test_the_smallest_stratum_is_of_those_there_are(patients, ill, fewest):
    assert smallest_stratum(patients, ill) == fewest


@pytest.mark.parametrize("settings", [{"bootstrap_samples": 0, "seed": 0}, {"bootstrap_samples": 1, "seed": -1}])
def test_mistakes_of_drawn_patients_are_messages(settings):
    with pytest.raises(ValueError, match="at least one bootstrap sample"):
        drawn_patients([True, False], **settings)
