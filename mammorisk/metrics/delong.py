"""DeLong's test: standard errors of AUCs of the same rows and of their difference, without a bootstrap.

DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837, with the rows of a patient as a cluster: Obuchowski 1997,
Biometrics 53:567. With one row per patient the two are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mammorisk.metrics.censoring import Floats, Ints


@dataclass(frozen=True)
class AucTest:
    """Test of the difference of two AUCs."""

    difference: float  # one less the other
    error: float  # standard error of the difference
    p: float  # two-sided, of the normal distribution; NaN where the error is zero or unknown


def auc_covariance(scores: ArrayLike, case: ArrayLike, control: ArrayLike, patient: ArrayLike) -> tuple[Floats, Floats]:
    """AUCs of K scores, and the covariance of their estimates.

    With V a row's share of won pairs, M cases, N controls, and d_i, e_i patient i's sums of V - AUC over her cases and
    her controls, the covariance is S10 / M + S01 / N + (S11 + S11') / (M N), where
    S10 = I10 / ((I10 - 1) M) sum d_i d_i',
    S01 likewise of e_i, S11 = I / (I - 1) sum d_i e_i', and I10, I01, I count the patients with cases, controls,
    either.

    Args:
        scores: [K, N].
        case: [N] rows with the event.
        control: [N] rows without; rows that are neither are left out.
        patient: [N] whose row it is.

    Returns:
        [K] and [K, K]; NaN without cases or controls, the covariance also with those of a single patient.

    Raises:
        ValueError: shapes differ, or a row is case and control.
    """
    values = np.asarray(scores, dtype=np.float64)
    is_case, is_control = np.asarray(case, dtype=np.bool_), np.asarray(control, dtype=np.bool_)
    if (
        values.ndim != 2
        or not values.shape[1:] == is_case.shape == is_control.shape == np.shape(patient)
        or (is_case & is_control).any()
    ):
        raise ValueError(
            f"Expected scores [K, N] and three arrays [N], no row both case and control; found {values.shape}."
        )
    used = is_case | is_control
    _, whose = np.unique(np.asarray(patient)[used], return_inverse=True)
    cases, controls = values[:, is_case], values[:, is_control]
    if not is_case.any() or not is_control.any():
        return np.full(len(values), np.nan), np.full((len(values), len(values)), np.nan)
    won = np.stack([_share_below(score, others) for score, others in zip(cases, controls, strict=True)])  # [K, M]
    lost = np.stack([1 - _share_below(score, others) for score, others in zip(controls, cases, strict=True)])
    auc = won.mean(axis=1)
    d, with_cases = _patients_sums(won - auc[:, None], whose[is_case[used]], len(np.unique(whose)))
    e, with_controls = _patients_sums(lost - auc[:, None], whose[is_control[used]], len(np.unique(whose)))
    m, n = cases.shape[1], controls.shape[1]
    mixed = _inflation(d.shape[1]) * (d @ e.T) / (m * n)
    return auc, _inflation(with_cases) * (d @ d.T) / m**2 + _inflation(with_controls) * (
        e @ e.T
    ) / n**2 + mixed + mixed.T


def auc_test(one: ArrayLike, other: ArrayLike, case: ArrayLike, control: ArrayLike, patient: ArrayLike) -> AucTest:
    """Test the AUC of ``one`` less that of ``other``, both [N]; rows as ``auc_covariance``."""
    auc, covariance = auc_covariance(np.stack([np.asarray(one), np.asarray(other)]), case, control, patient)
    difference = float(auc[0] - auc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if not variance > 1e-15:  # equal rankings, but for rounding
        return AucTest(difference, math.nan if math.isnan(variance) else 0.0, math.nan)
    error = math.sqrt(variance)
    return AucTest(difference, error, math.erfc(abs(difference) / error / math.sqrt(2)))


def _share_below(scores: Floats, others: Floats) -> Floats:
    """Share of the others that are below each score [M], ties one half."""
    ordered = np.sort(others)
    below, not_above = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return (below + not_above) / (2 * len(others))


def _patients_sums(values: Floats, whose: Ints, patients: int) -> tuple[Floats, int]:
    """Sums over each patient's rows [K, P], and the number of patients that have any."""
    sums = np.stack([np.bincount(whose, weights=row, minlength=patients) for row in values])
    return sums.astype(np.float64), len(np.unique(whose))


def _inflation(clusters: int) -> float:
    return clusters / (clusters - 1) if clusters > 1 else math.nan
