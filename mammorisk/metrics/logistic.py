"""Logistic regression on one variable in bins, for many draws at once: how predicted risks have to be bent to fit.

logit P(cancer) = intercept + slope x logit(predicted risk): Cox 1958, Biometrika 45:562; with a slope of 1, calibration in
the large (Van Calster et al. 2019, BMC Med 17:230).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mammorisk.metrics.censoring import Floats

STEPS, LARGEST_STEP, CLOSE = 40, 2.0, 1e-10


def slope(x: Floats, events: Floats, free: Floats) -> Floats:
    """Slope of the maximum-likelihood fit of intercept and slope, in each draw.

    Args:
        x: [B] logit of the predicted risk of each bin.
        events: [B, R] number with the event; need not be whole.
        free: [B, R] number without.

    Returns:
        [R]; NaN where none is best: nobody with or without the event, x parts the two, or all x are equal.
    """
    used = (events + free).any(axis=1)
    x, events, free = x[used], events[used], free[used]
    if len(x) < 2 or np.ptp(x) == 0:
        return np.full(events.shape[1], np.nan)
    spread = float(x.std())
    z = ((x - x.mean()) / spread)[:, None]

    def step(parameters: Floats) -> Floats:
        """Newton's, [2, R]."""
        residual, curvature = _residual(parameters[0] + parameters[1] * z, events, free)
        gradient = residual.sum(axis=0), (z * residual).sum(axis=0)
        flat, mixed, steep = (((z**power) * curvature).sum(axis=0) for power in range(3))
        determinant = flat * steep - mixed**2
        along = np.stack([steep * gradient[0] - mixed * gradient[1], flat * gradient[1] - mixed * gradient[0]])
        return np.divide(along, determinant, out=np.full(along.shape, np.nan), where=determinant > 0)

    at, with_event, without = x[:, None], events > 0, free > 0
    overlap = (np.where(with_event, at, -np.inf).max(axis=0) > np.where(without, at, np.inf).min(axis=0)) & (
        np.where(without, at, -np.inf).max(axis=0) > np.where(with_event, at, np.inf).min(axis=0)
    )
    start = np.stack([_log_odds(events, free), np.zeros(events.shape[1])])
    return _solved(step, np.where(overlap, start, np.nan))[1] / spread


def intercept(x: Floats, events: Floats, free: Floats) -> Floats:
    """Intercept of the maximum-likelihood fit with a slope of 1, in each draw: 0 where as many fall ill as predicted.

    Args:
        x: [B] logit of the predicted risk of each bin.
        events: [B, R] number with the event; need not be whole.
        free: [B, R] number without.

    Returns:
        [R]; NaN where nobody, or everybody, has the event.
    """

    def step(parameters: Floats) -> Floats:
        residual, curvature = _residual(parameters[0] + x[:, None], events, free)
        return (residual.sum(axis=0) / curvature.sum(axis=0))[None]

    return _solved(step, np.where(np.isfinite(_log_odds(events, free)), 0.0, np.nan)[None])[0]


def _residual(linear: Floats, events: Floats, free: Floats) -> tuple[Floats, Floats]:
    """Events less those expected, and the expected variance, [B, R]."""
    chance = 1 / (1 + np.exp(-linear))
    number = events + free
    expected = number * chance
    return events - expected, expected * (1 - chance)


def _log_odds(events: Floats, free: Floats) -> Floats:
    """[R] finite where there are both; else infinite or NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(events.sum(axis=0) / free.sum(axis=0))


def _solved(step: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Newton's method from ``start`` [parameters, R], a column at rest once its step is small; NaN if it never is.

    A column does not depend on the others, nor on how many there are.
    """
    found, moving = start.copy(), np.isfinite(start).all(axis=0)
    found[:, ~moving] = np.nan
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(STEPS):
            if not moving.any():
                break
            move = np.clip(step(found), -LARGEST_STEP, LARGEST_STEP)
            found = np.where(moving, found + move, found)
            moving &= ~(np.abs(move) < CLOSE).all(axis=0) & np.isfinite(move).all(axis=0)
    found[:, moving] = np.nan
    return found
