"""Hazard of cancer in closed form: time of cancer, baseline hazard for a given event rate, true risk.

h(t) = h0 exp(score + frailty_sd z + b c(t)) with the precursor's contrast c(t) = min(growth (t - onset)+, limit).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammorisk.datasets.phantom.phantom_settings import HazardSettings, PrecursorSettings, WomanSettings
from mammorisk.datasets.phantom.woman import Woman

Doubles = NDArray[np.float64]
YEARS = 5  # horizon of the risk
_ONSETS, _NODES, _CHUNK = 25, 5, 256  # quadrature nodes of a future onset and of its growth; exams at a time


@dataclass(frozen=True)
class Women:
    """Values of N women that determine the time of cancer."""

    score: Doubles  # [N] | logarithm of the hazard ratio visible in the images, without a precursor
    frailty: Doubles  # [N] | standard normal
    threshold: Doubles  # [N] | cumulative hazard at the cancer
    onset: Doubles  # [N] | years from the first exam
    growth: Doubles  # [N] | contrast per year

    @classmethod
    def of(cls, women: Sequence[Woman], hazard: HazardSettings, spread: WomanSettings) -> Women:
        """Collect the women's values."""

        def column(values: Sequence[float]) -> Doubles:
            return np.array(values, dtype=np.float64)

        asymmetry = np.abs(column([w.asymmetry for w in women])) / spread.asymmetry_sd
        density = column([w.density_logit for w in women])
        age = column([w.age for w in women])
        return cls(
            score=hazard.age * (age - 56) / 10 + hazard.density * (density + 1) + hazard.asymmetry * (asymmetry - 0.8),
            frailty=column([w.frailty for w in women]),
            threshold=column([w.threshold for w in women]),
            onset=column([w.precursor.onset for w in women]),
            growth=column([w.precursor.growth for w in women]),
        )


@dataclass(frozen=True)
class Hazard:
    """Hazard of every woman for given settings and baseline."""

    settings: HazardSettings
    precursor: PrecursorSettings
    baseline: float = 1.0  # h0, per year

    def calibrated(self, women: Women, followup: Doubles) -> Hazard:
        """Set the baseline at which the expected share of ``women`` with cancer is ``event_rate``.

        Args:
            women: reference population.
            followup: [N] years.
        """
        exposure = self._ratio(women) * (
            self.exposure(followup - women.onset, women.growth) - self.exposure(-women.onset, women.growth)
        )
        low, high = -60.0, 60.0
        for _ in range(100):  # bisection of the logarithm
            middle = (low + high) / 2
            rate = -np.expm1(-np.exp(middle) * exposure).mean()
            low, high = (middle, high) if rate < self.settings.event_rate else (low, middle)
        return Hazard(self.settings, self.precursor, float(np.exp(middle)))

    def exposure(self, time: ArrayLike, growth: ArrayLike) -> Doubles:
        """Integrate exp(b c) from the onset to ``time`` years after it; before the onset, minus the time to it."""
        time, growth = np.asarray(time, np.float64), np.asarray(growth, np.float64)
        slope, full = self._slope(growth), self.precursor.contrast_max / growth
        growing = np.clip(time, 0, full)
        at_limit = np.exp(self.settings.contrast * self.precursor.contrast_max)
        while_growing = np.expm1(slope * growing) / slope
        total: Doubles = np.minimum(time, 0) + while_growing + np.maximum(time - full, 0) * at_limit
        return total

    def time_of_cancer(self, women: Women) -> Doubles:
        """Years from the first exam until the cumulative hazard reaches each woman's threshold, [N]."""
        wanted = women.threshold / (self.baseline * self._ratio(women)) + self.exposure(-women.onset, women.growth)
        slope, full = self._slope(women.growth), self.precursor.contrast_max / women.growth
        full_exposure = self.exposure(full, women.growth)
        growing = np.log1p(slope * np.clip(wanted, 0, full_exposure)) / slope
        at_limit = np.exp(self.settings.contrast * self.precursor.contrast_max)
        after: Doubles = np.minimum(wanted, 0) + growing + np.maximum(wanted - full_exposure, 0) / at_limit
        return after + women.onset

    def true_risk(self, women: Women, time: Doubles) -> Doubles:
        """True risk: P(cancer within 1 ... 5 years of ``time`` | free of cancer at ``time``, and the images' content).

        The images show age, density, asymmetry and a present precursor with its growth. They show neither the frailty
        (averaged over its distribution in women free of cancer so far) nor a future precursor.

        Args:
            women: the woman of each exam, [E].
            time: [E] years of the exams from each woman's first.

        Returns:
            [E, 5].
        """
        hazard = self.baseline * np.exp(women.score)
        past = self.exposure(time - women.onset, women.growth) - self.exposure(-women.onset, women.growth)
        past = np.where(women.onset > time, time, past)
        since = time - women.onset
        ahead = self.exposure(since[:, None] + np.arange(1, YEARS + 1), women.growth[:, None])
        ahead -= self.exposure(since, women.growth)[:, None]  # [E, 5]
        risk = self._risk(hazard, past, ahead[:, None, :], np.ones(1))
        is_hidden = women.onset > time
        future, weight = self._future()
        risk[is_hidden] = self._risk(hazard[is_hidden], past[is_hidden], future[None], weight)
        return risk

    def _risk(self, hazard: Doubles, past: Doubles, ahead: Doubles, weight: Doubles) -> Doubles:
        """Risk averaged over Q possible futures ``ahead`` [E or 1, Q, 5] and the frailty, [E, 5]."""
        ratio, share = _lognormal(self.settings.frailty_sd)  # [F]
        result = np.empty((len(hazard), YEARS))
        for start in range(0, len(hazard), _CHUNK):
            part = slice(start, start + _CHUNK)
            rate = hazard[part, None] * ratio  # [E, F]
            alive = share * np.exp(-rate * past[part, None])
            alive /= alive.sum(axis=1, keepdims=True)
            futures = ahead if len(ahead) == 1 else ahead[part]
            survival = np.exp(-rate[:, :, None, None] * futures[:, None])  # [E, F, Q, 5]
            result[part] = 1 - np.einsum("ef,q,efqy->ey", alive, weight, survival, optimize=True)
        return result

    def _future(self) -> tuple[Doubles, Doubles]:
        """Exposure of the next 1 ... 5 years for each possible onset and growth, [Q, 5], and their weights [Q]."""
        edges = np.linspace(0, YEARS, _ONSETS + 1)
        onset = np.append((edges[1:] + edges[:-1]) / 2, 10.0 * YEARS)  # the last: none within the horizon
        survival = np.exp(-self.precursor.onset_rate * edges)
        chance = np.append(-np.diff(survival), survival[-1])
        ratio, share = _lognormal(self.precursor.growth_sd)
        growth = self.precursor.growth * ratio
        onset, growth = (each.ravel()[:, None] for each in np.meshgrid(onset, growth, indexing="ij"))
        ahead = self.exposure(np.arange(1, YEARS + 1) - onset, growth) - self.exposure(-onset, growth)
        return ahead, np.outer(chance, share).ravel()

    def _ratio(self, women: Women) -> Doubles:
        ratio: Doubles = np.exp(women.score + self.settings.frailty_sd * women.frailty)
        return ratio

    def _slope(self, growth: Doubles) -> Doubles:
        return np.maximum(self.settings.contrast * growth, 1e-9)  # avoids a division by 0 where there is no effect


def _lognormal(sd: float) -> tuple[Doubles, Doubles]:
    """Nodes exp(sd z) and weights of a Gauss-Hermite average over a standard normal z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return np.exp(sd * nodes), weights / weights.sum()
