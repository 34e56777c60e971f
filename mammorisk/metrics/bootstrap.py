"""Bootstrap over patients: samples of patients, and intervals from them (docs/pitfalls.md#p18).

Rows of one patient (images, exams, pairs) are similar. Intervals from drawn rows would be too narrow, so patients are
drawn, with all their rows. Percentile intervals: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter
13. Drawing of whole clusters: Davison & Hinkley, Bootstrap Methods, 1997, section 3.8. Correction where patients are
few: Hesterberg, What Teachers Should Know About the Bootstrap, Am Stat 2015;69:371.

Measures of risk use ``drawn_patients``: counts for all samples at once, cases and controls drawn separately. Scores of
registered pairs, which have no outcome, use ``patient_bootstrap`` and ``paired_bootstrap``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from mammorisk.metrics.censoring import Floats, Ints

Statistic = Callable[[Ints], float]  # of row numbers, those of a patient as often as she was drawn
_OfDraw = Callable[[Ints], float]  # of numbers of patients


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval."""

    estimate: float  # the statistic of all rows, not the mean of the bootstrap samples
    low: float
    high: float
    left_out: int = 0  # bootstrap samples in which the statistic is not defined (NaN), such as those without an event


def drawn_patients(case: ArrayLike, bootstrap_samples: int, seed: int) -> NDArray[np.uint8]:
    """Draw patients with replacement: as many cases and as many controls as there are, in each bootstrap sample.

    Sample r depends only on the seed, on r and on which patients are cases. Strata: Davison & Hinkley, Bootstrap
    Methods, 1997, section 3.2. The number of patients with and without an event is that of the cohort in every sample,
    so intervals are conditional on it: those of measures that depend on it (observed risk, expected/observed,
    calibration intercept, PPV, net benefit, Brier score, risks of deciles) are too narrow for a population.

    Args:
        case: [P] true: a patient with an event in any of her rows.
        bootstrap_samples: number of samples, R.
        seed: of the draws.

    Returns:
        [P, 1 + R] how often each patient is in each sample; the first column is the cohort itself, everybody once.
        uint8 is enough: the probability that a patient is drawn 256 times is below 1e-500.

    Raises:
        ValueError: no samples, or a negative seed.
    """
    if bootstrap_samples < 1 or seed < 0:
        raise ValueError(
            f"Expected at least one bootstrap sample and a seed >= 0; found {bootstrap_samples} and {seed}."
        )
    is_case = np.asarray(case, dtype=np.bool_)
    strata = [np.flatnonzero(members) for members in (is_case, ~is_case)]
    times = np.ones((1 + bootstrap_samples, len(is_case)), dtype=np.uint8)
    for draw in range(1, 1 + bootstrap_samples):
        random = np.random.default_rng((seed, draw))
        for members in strata:
            number = len(members)
            if number:
                times[draw, members] = np.bincount(random.integers(0, number, number), minlength=number)
    return np.ascontiguousarray(times.T)


def smallest_stratum(patients: int, with_event: int) -> int:
    """Number of patients with an event or without, whichever is smaller; all patients if there is only one kind."""
    return min(with_event, patients - with_event) or patients


def patient_bootstrap(
    statistic: Statistic | ArrayLike,
    patient_id: ArrayLike,
    bootstrap_samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Bootstrap interval of a statistic over patients.

    Each of ``bootstrap_samples`` samples has as many patients as the data, drawn with replacement. The same patients
    and seed give the same samples for any statistic, in any order of rows.

    Args:
        statistic: [N] values, for their mean over rows; or a function of row numbers [M] int64, which returns
            NaN where it is not defined: ``lambda rows: c_index(risk[rows], event[rows], time[rows])``.
        patient_id: [N] whose row it is; numbers or strings.
        bootstrap_samples: number of samples of patients.
        seed: of the draws.
        confidence: share of the samples inside the interval, half of the others on either side.

    Returns:
        The estimate, and quantiles over the samples that are not NaN. The bounds are NaN if there are none, or only
        one patient, whose samples could not differ.

    Raises:
        ValueError: no rows, a value that is NaN (leave its row out), lengths that differ, or settings out of range.
    """
    patients = _Patients(patient_id)
    return _interval(_of_draw(statistic, patients), patients, bootstrap_samples, seed, confidence)


def paired_bootstrap(
    one: Statistic | ArrayLike,
    other: Statistic | ArrayLike,
    patient_id: ArrayLike,
    bootstrap_samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Bootstrap interval of ``one`` less ``other`` in the same samples: common variation cancels.

    Args:
        one: as ``patient_bootstrap``'s ``statistic``.
        other: the same, of the same rows.
        patient_id: [N] whose row it is; numbers or strings.
        bootstrap_samples: number of samples of patients.
        seed: of the draws.
        confidence: share of the samples inside the interval.

    Returns:
        Interval of the difference; samples in which either is NaN are left out.

    Raises:
        ValueError: as ``patient_bootstrap``.
    """
    patients = _Patients(patient_id)
    first, second = _of_draw(one, patients), _of_draw(other, patients)
    return _interval(lambda drawn: first(drawn) - second(drawn), patients, bootstrap_samples, seed, confidence)


def percentile_interval(
    estimate: float, bootstrap_samples: ArrayLike, confidence: float = 0.95, patients: int | None = None
) -> Interval:
    """Interval between quantiles of the bootstrap samples; NaN are left out and counted.

    Args:
        estimate: of all rows.
        bootstrap_samples: [R] values of the statistic.
        confidence: share of the samples inside the interval, half of the others on either side.
        patients: number of patients in the smallest stratum, for wider quantiles (``tail``). None: plain percentiles,
            which are too close together where patients are few.

    Raises:
        ValueError: confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"Expected a confidence in (0, 1); found {confidence}.")
    values = np.asarray(bootstrap_samples, dtype=np.float64)
    defined = values[~np.isnan(values)]
    low, high = float("nan"), float("nan")
    if len(defined):
        beyond = (1 - confidence) / 2 if patients is None else tail(confidence, patients)
        low, high = (float(bound) for bound in np.quantile(defined, [beyond, 1 - beyond]))
    return Interval(float(estimate), low, high, len(values) - len(defined))


def tail(confidence: float, patients: int) -> float:
    """Share of the samples beyond either bound of an expanded percentile interval (Hesterberg 2015).

    Bootstrap samples of n patients vary too little, by sqrt((n - 1) / n), and their quantiles are those of a normal
    distribution instead of t with n - 1 degrees of freedom. 0 for a single patient: the interval is all samples.
    """
    if patients < 2:
        return 0.0
    reach = np.sqrt(patients / (patients - 1)) * stats.t.ppf((1 - confidence) / 2, patients - 1)
    return float(stats.norm.cdf(reach))


class _Patients:
    """Rows of each patient; patients are numbered in the order of their ids."""

    def __init__(self, patient_id: ArrayLike) -> None:
        ids = np.asarray(patient_id)
        if ids.ndim != 1 or not len(ids):
            raise ValueError(f"Expected a patient for each of at least one row, [N]; found shape {ids.shape}.")
        found, number = np.unique(ids, return_inverse=True)
        self.count = len(found)
        self.number: Ints = number.astype(np.int64)  # [N]
        self.size: Ints = np.bincount(self.number).astype(np.int64)  # [P] rows of each

    def rows(self, drawn: Ints) -> Ints:
        """All rows of the patients [K], each as often as its patient was drawn, in the order of rows: [M]."""
        times = np.bincount(drawn, minlength=self.count)  # [P]
        return np.repeat(np.arange(len(self.number)), times[self.number])


def _of_draw(statistic: Statistic | ArrayLike, patients: _Patients) -> _OfDraw:
    if callable(statistic):
        return lambda drawn: float(statistic(patients.rows(drawn)))
    values: Floats = np.asarray(statistic, dtype=np.float64)
    if values.shape != patients.number.shape:
        raise ValueError(f"Expected a value for each of {len(patients.number)} rows; found shape {values.shape}.")
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} values are NaN; expected none. Leave their rows out first.")
    total = np.bincount(patients.number, weights=values, minlength=patients.count)  # once, not in each sample
    return lambda drawn: float(total[drawn].sum() / patients.size[drawn].sum())


def _interval(of_draw: _OfDraw, patients: _Patients, bootstrap_samples: int, seed: int, confidence: float) -> Interval:
    if bootstrap_samples < 1 or not 0 < confidence < 1:
        raise ValueError(
            "Expected at least one bootstrap sample and a confidence in (0, 1); "
            f"found {bootstrap_samples} and {confidence}."
        )
    everyone = np.arange(patients.count)
    estimate = of_draw(everyone)
    random = np.random.default_rng(seed)
    found = np.array([of_draw(random.integers(0, patients.count, patients.count)) for _ in range(bootstrap_samples)])
    if patients.count == 1:
        return Interval(estimate, float("nan"), float("nan"), int(np.isnan(found).sum()))
    return percentile_interval(estimate, found, confidence)
