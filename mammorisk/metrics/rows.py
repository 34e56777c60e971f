"""Rows of a cohort, and their sums in a bootstrap: a sparse matrix times the patients' weights.

Every measure is a formula of sums over rows, and every row counts as often as its patient was drawn. A sparse matrix
[sums, P] with each patient's share of each sum is made once. Times weights [P, R] it gives the sums of R samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from mammorisk.metrics.censoring import Bools, Floats, Ints, survival_estimate


@dataclass(frozen=True)
class Rows:
    """Checked samples; their patients are numbered 0 ... P - 1."""

    risk: Floats  # [N, Y]
    event: Bools  # [N]
    year: Ints  # [N] of the cancer, or the last one known free of it; 0-based
    patient: Ints  # [N]
    weight: Floats  # [N] number of women of the population that a row represents
    patients: int  # P

    @property
    def years(self) -> int:
        """Number of years, Y."""
        return int(self.risk.shape[1])

    @property
    def case(self) -> Bools:
        """Patients who have a row with an event, [P]."""
        found: Bools = np.bincount(self.patient[self.event], minlength=self.patients) > 0
        return found

    def free(self, k: int) -> Bools:
        """Rows known to be free of cancer to the end of year ``k``, [N]."""
        found: Bools = (self.year > k) | (~self.event & (self.year == k))
        return found

    def with_risk(self, risk: ArrayLike) -> Rows:
        """The same samples with other risks [N, Y].

        Raises:
            ValueError: another shape, or a risk that is not in 0 ... 1.
        """
        scores = np.asarray(risk, dtype=np.float64)
        if scores.shape != self.risk.shape:
            raise ValueError(f"Expected risks {self.risk.shape}; found {scores.shape}.")
        return replace(self, risk=_risks(scores))

    def with_weight(self, weight: ArrayLike) -> Rows:
        """The same samples with other weights [N].

        Raises:
            ValueError: another shape, or a weight that is not positive and finite.
        """
        weights = np.asarray(weight, dtype=np.float64)
        if weights.shape != self.year.shape:
            raise ValueError(f"Expected weights {self.year.shape}; found {weights.shape}.")
        return replace(self, weight=_weights(weights))

    def part(self, chosen: Bools) -> tuple[Rows, Ints]:
        """Select rows; their patients get new numbers. Also return the old numbers of these patients, [P']."""
        present, patient = np.unique(self.patient[chosen], return_inverse=True)
        risk, event, year, weight = self.risk[chosen], self.event[chosen], self.year[chosen], self.weight[chosen]
        return Rows(risk, event, year, patient.astype(np.int64), weight, len(present)), present

    def sums(self, cell: Ints, cells: int, value: ArrayLike = 1.0) -> Any:
        """Sum weight x ``value`` over each patient's rows of each cell, as a sparse matrix [cells, P].

        Args:
            cell: [N] the cell of each row; a row whose cell is not in 0 ... cells - 1 is not counted.
            cells: number of cells.
            value: [N], or one for all.
        """
        kept = (cell >= 0) & (cell < cells)
        values = (self.weight * np.asarray(value, dtype=np.float64))[kept]
        return sparse.coo_matrix((values, (cell[kept], self.patient[kept])), shape=(cells, self.patients)).tocsr()


def read_rows(
    risk: ArrayLike, event: ArrayLike, time: ArrayLike, patient: ArrayLike, weight: ArrayLike | None = None
) -> Rows:
    """Make rows from arrays: risk [N, Y] in 0 ... 1, event [N], time [N], patient ids [N], weights [N] (None: 1).

    Patients are numbered in the order of their ids, so bootstrap samples do not depend on the order of rows.

    Raises:
        ValueError: shapes differ, no rows, a risk is not in 0 ... 1, or a weight is not positive and finite.
    """
    scores, happened, year = survival_estimate(risk, event, time)
    ids = np.asarray(patient)
    weights = np.ones(len(year)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not len(year) or ids.shape != year.shape or weights.shape != year.shape:
        shapes = f"{year.shape}, {ids.shape} and {weights.shape}"
        raise ValueError(f"Expected as many outcomes, patients and weights, one or more; found {shapes}.")
    found, number = np.unique(ids, return_inverse=True)
    return Rows(_risks(scores), happened, year, number.astype(np.int64), _weights(weights), len(found))


def in_chunks(counts: NDArray[np.uint8], sums: int, memory: int) -> Iterator[Floats]:
    """Yield ``counts`` [P, R] as float64 [P, C], C bootstrap samples at a time, in order.

    No chunk has a single sample (if there are two): NumPy sums one column in another order than many, and the numbers
    would depend on the size of the chunks.

    Args:
        counts: how often each patient was drawn.
        sums: number of float64 that a sample needs besides P.
        memory: bytes that a chunk and its sums may take.
    """
    draws = counts.shape[1]
    at_once = max(2, memory // (8 * (counts.shape[0] + sums)))
    for some in np.array_split(np.arange(draws), max(1, min(-(-draws // at_once), draws // 2))):
        yield counts[:, some[0] : some[-1] + 1].astype(np.float64)


def ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """Divide ``above`` by ``below``; NaN where ``below`` is not positive."""
    top, bottom = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    found: Floats = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
    return found


def _risks(values: Floats) -> Floats:
    if not ((values >= 0) & (values <= 1)).all():  # NaN is not
        raise ValueError(f"Expected risks in 0 ... 1; found {values.min():g} ... {values.max():g}.")
    return values


def _weights(values: Floats) -> Floats:
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError("Expected weights that are positive and finite; found others.")
    return values
