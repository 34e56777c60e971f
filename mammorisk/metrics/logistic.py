"""Logistic regression on one binned variable, for many bootstrap samples at once: calibration slope and intercept.

logit P(cancer) = intercept + slope x logit(predicted risk): Cox 1958, Biometrika 45:562; with a slope of 1,
calibration in the large (Van Calster et al. 2019, BMC Med 17:230).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mammorisk.metrics.censoring import Bools, Floats

STEPS, CLOSE = 100, 1e-10
_Step = Callable[[Floats], tuple[Floats, Floats]]  # of parameters [K, R]: Newton's step [K, R], log-likelihood [R]


def slope(x: Floats, events: Floats, free: Floats) -> Floats:
    """Slope of the maximum-likelihood fit of intercept and slope, in each bootstrap sample.

    Args:
        x: [B] logit of the predicted risk of each bin.
        events: [B, R] number with the event; need not be whole.
        free: [B, R] number without.

    Returns:
        [R]; NaN without a maximum: nobody with or without the event, x separates the two, or all x are equal.
    """
    spread = float(x.std()) or 1.0
    z = (x - x.mean()) / spread
    used = (events + free).any(axis=1)
    z, events, free = z[used, None], events[used], free[used]

    def step(parameters: Floats) -> tuple[Floats, Floats]:
        residual, curvature, likelihood = _fit(parameters[0] + parameters[1] * z, events, free)
        level, tilt = residual.sum(axis=0), (z * residual).sum(axis=0)
        flat, mixed, steep = curvature.sum(axis=0), (z * curvature).sum(axis=0), (z**2 * curvature).sum(axis=0)
        along: Floats = np.stack([steep * level - mixed * tilt, flat * tilt - mixed * level])
        return along / (flat * steep - mixed**2), likelihood

    start = np.stack([_log_odds(events, free), np.zeros(events.shape[1])])
    if not len(z):
        return np.full(events.shape[1], np.nan)
    found: Floats = _climbed(step, np.where(_overlap(z, events > 0, free > 0), start, np.nan))[1] / spread
    return found


def intercept(x: Floats, events: Floats, free: Floats) -> Floats:
    """Intercept of the maximum-likelihood fit with a slope of 1, in each bootstrap sample.

    It is 0 where as many get cancer as predicted.

    Args:
        x: [B] logit of the predicted risk of each bin.
        events: [B, R] number with the event; need not be whole.
        free: [B, R] number without.

    Returns:
        [R]; NaN where nobody, or everybody, has the event.
    """

    def step(parameters: Floats) -> tuple[Floats, Floats]:
        residual, curvature, likelihood = _fit(parameters[0] + x[:, None], events, free)
        return (residual.sum(axis=0) / curvature.sum(axis=0))[None], likelihood

    found: Floats = _climbed(step, np.where(np.isfinite(_log_odds(events, free)), 0.0, np.nan)[None])[0]
    return found


def _fit(linear: Floats, events: Floats, free: Floats) -> tuple[Floats, Floats, Floats]:
    """Residuals (events less those expected) and variances, both [B, R], and the log-likelihood [R]."""
    small = np.exp(-np.abs(linear))
    chance = np.where(linear >= 0, 1, small) / (1 + small)
    number = events + free
    expected = number * chance
    likelihood = (events * linear - number * (np.log1p(small) + np.maximum(linear, 0))).sum(axis=0)
    return events - expected, expected * (1 - chance), likelihood


def _overlap(x: Floats, with_event: Bools, without: Bools) -> Bools:
    """Whether no value of x separates those with the event from those without, [R]."""
    highest = [np.where(group, x, -np.inf).max(axis=0) for group in (with_event, without)]
    lowest = [np.where(group, x, np.inf).min(axis=0) for group in (with_event, without)]
    found: Bools = (highest[0] > lowest[1]) & (highest[1] > lowest[0])
    return found


def _log_odds(events: Floats, free: Floats) -> Floats:
    """Log odds [R]; finite where there are both, else infinite or NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.log(events.sum(axis=0) / free.sum(axis=0))
    return found


def _climbed(step: _Step, start: Floats) -> Floats:
    """Maximise by Newton's method from ``start`` [K, R], with steps halved where needed; NaN without convergence.

    A column has converged once its step is small. It depends neither on the other columns nor on their number.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = np.where(np.isfinite(start).all(axis=0), start, np.nan)
        move, height = step(found)
        moving = np.isfinite(move).all(axis=0)
        found[:, ~moving] = np.nan
        for _ in range(STEPS):
            moving &= ~(np.abs(move) < CLOSE).all(axis=0)
            if not moving.any():
                return found
            next_move, next_height = step(found + move)
            up = moving & (next_height >= height - 1e-12 * np.abs(height)) & np.isfinite(next_move).all(axis=0)
            found = np.where(up, found + move, found)
            move, height = np.where(up, next_move, move / 2), np.where(up, next_height, height)
    found[:, moving] = np.nan
    return found
