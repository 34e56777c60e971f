"""A scored split: risks, outcomes, population weights and groups, parsed once from a table of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mammorisk.datasets.cohort_csv import TRUE_RISK
from mammorisk.evaluation.population_weights import population_weights
from mammorisk.evaluation.split_groups import subgroups
from mammorisk.metrics.censoring import Bools, Floats
from mammorisk.metrics.rows import Rows, read_rows
from mammorisk.prediction.splits import RISK_COLUMNS


@dataclass(frozen=True)
class ScoredSplit:
    """The samples of a split with their risks; the source of every measure, curve and recalibration."""

    table: pd.DataFrame  # predictions.csv: a row per sample
    rows: Rows  # each sample counts once
    population: Rows | None  # the same samples, each weighted to a population; None: no population is given
    groups: Mapping[str, Bools]  # masks [N] by name
    true_risk: Floats | None  # [N, Y] of simulated samples; None for patients

    @property
    def weighted(self) -> Rows:
        """The rows of the population if one is given, else the rows as they are."""
        return self.rows if self.population is None else self.population

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples, of those followed by cancer, of patients, and of patients with cancer."""
        rows = self.rows
        counts = len(rows.event), int(rows.event.sum()), rows.patients, int(rows.case.sum())
        return dict(zip(("samples", "events", "patients", "patients_with_event"), counts, strict=True))

    def with_risk(self, risk: Floats) -> ScoredSplit:
        """The same samples with other risks [N, Y]; ``table`` keeps the risks that it has.

        Raises:
            ValueError: another shape, or a risk that is not in 0 ... 1.
        """
        population = None if self.population is None else self.population.with_risk(risk)
        return replace(self, rows=self.rows.with_risk(risk), population=population)

    def without_groups(self) -> ScoredSplit:
        """The same samples, to be measured as a whole only."""
        return replace(self, groups={})


def parse_split(table: pd.DataFrame, incidence: float | None = None) -> ScoredSplit:
    """Parse the predictions of a split.

    Args:
        table: as ``predictions.csv``.
        incidence: of cancer in five years in the population that the split stands for; None: no population.

    Raises:
        UserError: the split cannot be weighted to a population.
    """
    event, year = table["event"].to_numpy() == 1, table["years"].to_numpy(dtype=np.int64) - 1
    patient = table["patient_id"].astype(str).to_numpy(dtype=np.str_)
    rows = read_rows(risks(table), event, year, patient)
    population = None if incidence is None else rows.with_weight(population_weights(event, year, incidence))
    true_risk = risks(table, TRUE_RISK) if TRUE_RISK[0] in table else None
    return ScoredSplit(table, rows, population, subgroups(table), true_risk)


def risks(table: pd.DataFrame, columns: tuple[str, ...] = RISK_COLUMNS) -> Floats:
    """[N, Y] of the columns."""
    return table[list(columns)].to_numpy(dtype=np.float64)
