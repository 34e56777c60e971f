import numpy as np
import pytest

from mammorisk.datasets.phantom.hazard import Hazard, Women
from mammorisk.datasets.phantom.phantom_settings import HazardSettings, PrecursorSettings, WomanSettings
from mammorisk.datasets.phantom.woman import Settings, draw_woman

PRECURSOR = PrecursorSettings()


def women(count=200, seed=5):
    drawn = [draw_woman(Settings(), seed, index) for index in range(count)]
    return Women.of(drawn, HazardSettings(), WomanSettings())


def cumulated(hazard, her, until, steps=40_000):
    """The integral of the hazard from the first exam, by adding up; ``her``: index and values."""
    index, values = her
    t = (np.arange(steps) + 0.5) / steps * until
    contrast = np.clip((t - values.onset[index]) * values.growth[index], 0, PRECURSOR.contrast_max)
    score = values.score[index] + hazard.settings.frailty_sd * values.frailty[index]
    return hazard.baseline * np.exp(score + hazard.settings.contrast * contrast).sum() * until / steps


def test_time_of_cancer_is_where_the_hazard_adds_up_to_the_threshold():
    values, hazard = women(40), Hazard(HazardSettings(), PRECURSOR, 1e-3)
    time = hazard.time_of_cancer(values)
    assert (time > 0).all()
    for index in range(40):
        assert cumulated(hazard, (index, values), time[index]) == pytest.approx(values.threshold[index], rel=2e-3)


def test_without_effect_of_the_precursor_time_is_exponential():
    values, hazard = women(100), Hazard(HazardSettings(contrast=0.0), PRECURSOR, 0.01)
    expected = values.threshold / (0.01 * np.exp(values.score + 0.3 * values.frailty))
    np.testing.assert_allclose(hazard.time_of_cancer(values), expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.18, 0.6])
def test_baseline_gives_the_wanted_rate(rate):
    values = women(2000)
    followup = np.linspace(5, 10, 2000)
    hazard = Hazard(HazardSettings(event_rate=rate), PRECURSOR).calibrated(values, followup)
    assert (hazard.time_of_cancer(values) <= followup).mean() == pytest.approx(rate, abs=0.025)


def test_risk_factors_raise_the_score():
    drawn = [draw_woman(Settings(), 1, index) for index in range(300)]
    score = Women.of(drawn, HazardSettings(density=1.0, age=0.0, asymmetry=0.0), WomanSettings()).score
    np.testing.assert_allclose(score, [w.density_logit + 1 for w in drawn])


def test_true_risk_is_the_conditional_probability():
    """Against simulated women who all look the same at two years, with and without a visible precursor."""
    rng, n, time = np.random.default_rng(0), 200_000, 2.0
    settings = HazardSettings(contrast=2.0, frailty_sd=0.8)
    hazard = Hazard(settings, PRECURSOR, 0.02)
    growth = PRECURSOR.growth * np.exp(PRECURSOR.growth_sd * rng.standard_normal(n))
    onset = time + rng.exponential(1 / PRECURSOR.onset_rate, n)
    for visible in (False, True):
        crowd = Women(
            np.full(n, 0.5),
            rng.standard_normal(n),
            rng.exponential(size=n),
            np.full(n, 0.7) if visible else onset,
            np.full(n, 0.6) if visible else growth,
        )
        cancer = hazard.time_of_cancer(crowd)
        cancer = cancer[cancer > time]  # she got to the exam without
        share = [(cancer <= time + year).mean() for year in range(1, 6)]
        one = Women(*(getattr(crowd, name)[:1] for name in ("score", "frailty", "threshold", "onset", "growth")))
        risk = hazard.true_risk(one, np.array([time]))[0]
        np.testing.assert_allclose(risk, share, rtol=0.03)


def test_true_risk_ignores_what_images_do_not_show():
    values, hazard = women(50), Hazard(HazardSettings(), PRECURSOR, 1e-3)
    time = np.zeros(50)
    hidden = values.onset > 0
    later = Women(values.score, -values.frailty, values.threshold * 3, values.onset + hidden * 2.0, values.growth)
    np.testing.assert_allclose(hazard.true_risk(values, time), hazard.true_risk(later, time))


def test_true_risk_rises_with_the_year_and_with_the_precursor():
    values, hazard = women(100), Hazard(HazardSettings(), PRECURSOR, 1e-3)
    risk = hazard.true_risk(values, np.zeros(100))
    assert (np.diff(risk, axis=1) > 0).all()
    grown = Women(values.score, values.frailty, values.threshold, np.full(100, -3.0), values.growth)
    assert (hazard.true_risk(grown, np.zeros(100)) > risk)[values.onset > 0].all()
