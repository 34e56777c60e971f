from __future__ import annotations

import numpy as np
import pytest
from helpers.random_cohorts import SEEDS, fifty_examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from mammorisk.metrics.logistic import intercept, slope

DRAWS = 4
Bins = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def bins(seed: int, largest: int = 12) -> Bins:
    """Few bins, few events: many of them parted, empty or flat."""
    random = np.random.default_rng(seed)
    x = np.sort(random.normal(-2, 1.5, random.integers(1, largest + 1)))
    if seed % 7 == 0:
        x[:] = x[0]
    number = random.integers(0, 6, (len(x), DRAWS)) * random.choice([1.0, 0.37])
    share = random.random((len(x), DRAWS)) * random.choice([0.2, 1])
    events = np.where(random.random(number.shape) < 0.3, 0, np.round(number * share, 2))
    return x, events, number - events


@st.composite
def any_bins(draw: st.DrawFn, largest: int = 8) -> Bins:
    """Bins at equal and at different places, of whole and of broken numbers of women."""
    n = draw(st.integers(1, largest))
    x = np.sort(draw(arrays(np.int64, n, elements=st.integers(-12, 4)))) / 2
    unit = draw(st.sampled_from([1, 0.37]))
    events, free = (draw(arrays(np.int64, (n, DRAWS), elements=st.integers(0, 5))) * unit for _ in range(2))
    return x, events, free


def newton(x, events, free, own_slope):
    """One step of Newton's method from anywhere, a bin at a time: where it stands still is the maximum."""

    def step(a, b):
        gradient, curvature = np.zeros(2), np.zeros((2, 2))
        for value, ill, well in zip(x, events, free, strict=True):
            chance = 1 / (1 + np.exp(-(a + b * value)))
            design = np.array([1, value])
            gradient += (ill - (ill + well) * chance) * design
            curvature += (ill + well) * chance * (1 - chance) * np.outer(design, design)
        return np.linalg.solve(curvature, gradient) if own_slope else gradient[:1] / curvature[0, 0]

    return step


def assert_slope_is_the_maximum(x: NDArray, events: NDArray, free: NDArray) -> None:
    found = slope(x, events, free)
    for draw in range(DRAWS):
        ill, well = x[events[:, draw] > 0], x[free[:, draw] > 0]
        overlap = len(ill) and len(well) and ill.max() > well.min() and well.max() > ill.min()
        assert np.isnan(found[draw]) == (not overlap)
        if overlap:
            step = newton(x, events[:, draw], free[:, draw], own_slope=True)
            # The intercept that goes with the slope, by bisection; then no step is left to go.
            low, high = -200.0, 200.0
            for _ in range(200):
                middle = (low + high) / 2
                expected = (events + free)[:, draw] / (1 + np.exp(-(middle + found[draw] * x)))
                low, high = (middle, high) if expected.sum() < events[:, draw].sum() else (low, middle)
            assert np.abs(step(middle, found[draw])[1]) < 1e-8 * max(1, abs(found[draw]))


def assert_intercept_is_the_maximum(x: NDArray, events: NDArray, free: NDArray) -> None:
    found = intercept(x, events, free)
    for draw in range(DRAWS):
        both = events[:, draw].sum() > 0 and free[:, draw].sum() > 0
        assert np.isnan(found[draw]) == (not both)
        if both:
            assert abs(newton(x, events[:, draw], free[:, draw], own_slope=False)(found[draw], 1)[0]) < 1e-9


@pytest.mark.parametrize("assert_maximum", [assert_slope_is_the_maximum, assert_intercept_is_the_maximum])
@pytest.mark.parametrize("seed", SEEDS)
def test_both_are_the_maximum_of_the_likelihood(seed, assert_maximum):
    assert_maximum(*bins(seed))


@fifty_examples
@given(sample=any_bins())
def test_both_are_the_maximum_of_any_likelihood(sample):
    assert_slope_is_the_maximum(*sample)
    assert_intercept_is_the_maximum(*sample)


def test_slope_equals_sklearn():
    random = np.random.default_rng(0)
    x = random.normal(-3, 1.2, 4000)
    ill = random.random(4000) < 1 / (1 + np.exp(0.5 - 0.8 * x))
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(x[:, None], ill)
    ours = slope(x, ill[:, None].astype(float), ~ill[:, None] + 0.0)
    assert ours[0] == pytest.approx(theirs.coef_[0, 0], abs=1e-6)


def test_true_risks_have_slope_one_and_intercept_zero_and_bent_ones_do_not():
    x = np.linspace(-6, 1, 50)
    chance = 1 / (1 + np.exp(-x))[:, None]
    assert slope(x, chance, 1 - chance) == pytest.approx(1, abs=1e-9)
    assert intercept(x, chance, 1 - chance) == pytest.approx(0, abs=1e-9)
    assert slope(2 * x, chance, 1 - chance) == pytest.approx(0.5, abs=1e-9)  # overconfident
    assert intercept(x - 0.3, chance, 1 - chance) == pytest.approx(0.3, abs=1e-9)  # too low


def test_a_draw_does_not_depend_on_the_others():
    x, events, free = bins(5)
    alone = [slope(x, events[:, [draw, draw]], free[:, [draw, draw]])[0] for draw in range(DRAWS)]
    np.testing.assert_array_equal(slope(x, events, free), alone)
