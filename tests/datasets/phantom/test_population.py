import numpy as np
import pytest

from mammorisk.datasets.labels import survival_labels
from mammorisk.datasets.phantom.phantom_settings import HazardSettings, ScreeningSettings
from mammorisk.datasets.phantom.population import draw_population
from mammorisk.datasets.phantom.woman import Settings
from mammorisk.metrics.auc import yearly_auc


def draw(num_women, seed=1, screening=None, **hazard):
    return draw_population(Settings(), HazardSettings(**hazard), screening or ScreeningSettings(), seed, num_women)


@pytest.fixture(scope="module")
def population():
    return draw(5000)


@pytest.fixture(scope="module")
def labels(population):
    return survival_labels(population.exams.years_to_cancer, population.exams.years_to_last_followup)


def test_event_rate_is_the_wanted_one(population):
    assert population.is_case.mean() == pytest.approx(0.18, abs=0.02)


def test_true_risk_tells_cases_from_controls(population, labels):
    auc = yearly_auc(population.exams.true_risk, labels.event, labels.event_index)
    assert (auc > 0.88).all()
    assert (auc < 0.97).all()
    assert auc[0] > auc[4]  # the nearer cancer is the easier to see


def test_true_risk_is_calibrated_to_the_labels(population, labels):
    """Each year, cancers among the exams still at risk are as many as the oracle expects."""
    survival = 1 - np.column_stack([np.zeros(len(labels.event)), population.exams.true_risk])
    for year in range(5):
        at_risk = labels.event_index >= year
        expected = (1 - survival[at_risk, year + 1] / survival[at_risk, year]).sum()
        observed = (labels.event & (labels.event_index == year)).sum()
        assert observed == pytest.approx(expected, rel=0.10)  # about 2 standard errors with 400 cases


def test_true_risk_is_calibrated_in_each_group_of_risk(population, labels):
    risk = population.exams.true_risk[:, 0]
    for low, high in ((0, 0.02), (0.02, 0.2), (0.2, 1)):
        group = (risk >= low) & (risk < high)
        observed = (labels.event & (labels.event_index == 0))[group].sum()
        assert observed == pytest.approx(risk[group].sum(), rel=0.2)


def test_screening_stops_at_diagnosis_and_a_year_before_the_end(population):
    exams = population.exams
    later = exams.number > 0
    assert (exams.time < population.time_of_cancer[exams.woman])[later].all()
    assert (exams.time + 1 <= population.followup[exams.woman])[later].all()
    stopped = [np.bincount(exams.woman)[population.is_case].mean(), np.bincount(exams.woman).mean()]
    assert stopped[0] < stopped[1]


def test_labels_are_whole_observed_years(population):
    exams = population.exams
    followup = population.followup[exams.woman] - exams.time
    cancer = population.time_of_cancer[exams.woman] - exams.time
    assert (exams.years_to_last_followup <= followup).all()
    assert (exams.years_to_last_followup >= 1).all()
    seen = ~np.isnan(exams.years_to_cancer)
    assert (exams.years_to_cancer[seen] - cancer[seen] >= 0).all()
    assert (exams.years_to_cancer[seen] - cancer[seen] < 1).all()
    # Missed is only what falls into the last, incomplete year.
    missed = ~seen & population.is_case[exams.woman]
    assert (cancer[missed] > exams.years_to_last_followup[missed]).all()


def test_exams_are_one_or_two_years_apart(population):
    exams = population.exams
    gap = np.diff(exams.time)[np.diff(exams.woman) == 0]
    assert np.abs(gap - np.rint(gap)).max() < 0.35
    assert set(np.rint(gap)) == {1, 2}
    assert np.bincount(exams.woman).max() == 5
    np.testing.assert_array_equal(exams.number == 0, np.append(True, np.diff(exams.woman) > 0))


def test_fewer_women_are_the_first_of_more():
    few, many = draw(30), draw(60)
    exams = few.exams
    assert few.women == many.women[:30]
    assert few.hazard == many.hazard
    for name in ("woman", "number", "day", "years_to_cancer", "true_risk"):
        np.testing.assert_array_equal(getattr(exams, name), getattr(many.exams, name)[: len(exams.woman)])


def test_another_seed_other_women_same_baseline():
    one, other = draw(20, seed=1), draw(20, seed=2)
    assert one.hazard == other.hazard
    assert not set(one.women[0].shapes.values()) & set(other.women[0].shapes.values())


def test_single_exams_are_possible():
    population = draw(25, screening=ScreeningSettings(exams_min=1, exams_max=1))
    assert len(population.exams.woman) == 25
