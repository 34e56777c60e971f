import numpy as np
import pytest

from mammorisk.datasets.phantom.phantom_settings import LesionSettings, PrecursorSettings, WomanSettings
from mammorisk.datasets.phantom.woman import LATERALITIES, RACES, Settings, draw_woman, logit

WOMEN = [draw_woman(Settings(), 1, index) for index in range(1500)]


def test_a_woman_depends_on_seed_and_number_alone():
    assert draw_woman(Settings(), 1, 7) == WOMEN[7]
    assert draw_woman(Settings(), 2, 7) != WOMEN[7]
    assert WOMEN[7] != WOMEN[8]


def test_benign_densities_leave_her_risk_alone():
    other = draw_woman(Settings(lesion=LesionSettings(benign_per_breast=4.0)), 1, 7)
    assert (other.precursor, other.threshold, other.age) == (WOMEN[7].precursor, WOMEN[7].threshold, WOMEN[7].age)
    assert other.benign != WOMEN[7].benign


def test_shares_and_means_are_those_of_the_settings():
    classes = np.bincount([w.density_class for w in WOMEN], minlength=5)[1:] / len(WOMEN)
    np.testing.assert_allclose(classes, [0.12, 0.40, 0.38, 0.10], atol=0.05)
    age = np.array([w.age for w in WOMEN])
    assert age.min() >= 40
    assert age.max() <= 74
    assert age.mean() == pytest.approx(56, abs=1)
    assert np.mean([w.precursor.onset < 0 for w in WOMEN]) == pytest.approx(0.15, abs=0.03)
    assert np.median([w.precursor.growth for w in WOMEN]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([w.precursor.laterality == "L" for w in WOMEN]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([len(w.benign["L"]) for w in WOMEN]) == pytest.approx(1.2, abs=0.12)
    assert {w.race for w in WOMEN} == set(RACES)
    assert {w.cancer_type for w in WOMEN} == {1, 2, 3}


def test_asymmetry_moves_the_breasts_apart():
    woman = max(WOMEN, key=lambda w: w.asymmetry)
    left, right = (logit(woman.density_of(side)) for side in ("L", "R"))
    assert left - right == pytest.approx(2 * woman.asymmetry)
    assert (left + right) / 2 == pytest.approx(woman.density_logit)


def test_precursor_grows_from_its_onset_to_the_limit():
    precursor = draw_woman(Settings(precursor=PrecursorSettings(prevalence=0.0)), 1, 3).precursor
    times = precursor.onset + np.array([-1.0, 0.0, 0.5, 1.0, 50.0])
    contrast = [precursor.contrast(time, 1.4) for time in times]
    assert contrast[:2] == [0, 0]
    assert contrast[3] == pytest.approx(2 * contrast[2])
    assert contrast[2] == pytest.approx(0.5 * precursor.growth)
    assert contrast[4] == 1.4


def test_a_focal_density_is_as_deep_in_both_views():
    focus = WOMEN[0].precursor.focus
    assert set(focus.height) == {"CC", "MLO"}
    assert 0.22 <= focus.depth <= 0.75
    keys = [density.key for w in WOMEN[:50] for side in LATERALITIES for density in w.benign[side]]
    assert len(set(keys)) == len(keys)


def test_densities_follow_their_class():
    sharp = WomanSettings(asymmetry_sd=0.001)
    means = {1: 0.08, 2: 0.24, 3: 0.47, 4: 0.70}
    for woman in (draw_woman(Settings(sharp), 1, index) for index in range(60)):
        assert woman.percent_density == pytest.approx(means[woman.density_class], abs=0.25)
        assert woman.density_of("L") == pytest.approx(woman.density_of("R"), abs=0.01)
