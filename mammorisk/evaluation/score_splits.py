"""Scoring of splits: the risks of all samples, and the columns for subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from mammorisk.config import DatasetConfig
from mammorisk.datasets.cohort import Cohort
from mammorisk.datasets.cohort_csv import TRUE_RISK, present_columns, read_header
from mammorisk.distributed.errors import run_on_all_ranks
from mammorisk.evaluation.scored_split import ScoredSplit, parse_split
from mammorisk.models.base import RiskModel
from mammorisk.prediction.splits import RISK_COLUMNS, predict_split
from mammorisk.runs.logs import LOGGER
from mammorisk.training.data_module import SplitData, decode_images, fill_caches, read_splits

MOST_CATEGORIES = 50


@dataclass(frozen=True)
class Scored:
    """A scored split with its cohort and images."""

    cohort: Cohort
    data: SplitData
    split: ScoredSplit


def score(
    model: RiskModel,
    dataset: DatasetConfig,
    seed: int,
    splits: Sequence[str],
    device: torch.device,
    incidence: float | None = None,
) -> dict[str, Scored]:
    """Score all samples of the splits. Collective.

    Args:
        model: in eval mode.
        dataset: settings of the cohort and of its loader.
        seed: of the loader's workers; it changes no risk.
        splits: names.
        device: where the model computes.
        incidence: of the population that the splits are weighted to, as ``parse_split``.

    Raises:
        UserError: anything about the cohort that a user has to correct; it cannot be weighted to a population.
    """
    cohort, found = read_splits(dataset, model, splits)
    store = decode_images(found.values(), dataset)
    model = model.to(device).eval()
    fill_caches(found.values(), dataset, model, device)
    scored = {}
    for name, data in found.items():
        predicted = predict_split(model, data, dataset, seed, device, store)
        table = _with_groups(predicted.table(), data, cohort, dataset)
        scored[name] = Scored(cohort, data, run_on_all_ranks(partial(parse_split, table, incidence)))
    return scored


def _categories(values: np.ndarray, column: object) -> np.ndarray:
    """The categories of a column; none if there are so many that they name women rather than groups."""
    found = len(set(values.tolist()))
    if found <= MOST_CATEGORIES:
        return values
    LOGGER.warning(
        "dataset.columns.race=%s has %d different values: expected at most %d of a category; the column makes no "
        "groups and is not written",
        column,
        found,
        MOST_CATEGORIES,
    )
    return np.full_like(values, "")


def _with_groups(table: pd.DataFrame, data: SplitData, cohort: Cohort, dataset: DatasetConfig) -> pd.DataFrame:
    """The table with full-precision risks and the columns for subgroups; unknown values are empty."""
    samples = data.samples
    numbers = [name for name in (*RISK_COLUMNS, *TRUE_RISK) if name in table]
    table = table.astype(dict.fromkeys(numbers, np.float64))
    density = pd.Series(samples.density, dtype="Int64")
    columns = dataset.columns
    named = present_columns({key: name for key, name in columns.items() if name}, read_header(cohort.csv_file))
    is_percent = "density" not in named and "percent_density" in named
    table["percent_density_quartile" if is_percent else "density"] = density.where(density >= 0)
    kind = pd.Series(samples.cancer_type, dtype="Int64")
    codes = kind.where((kind >= 0) & samples.cases).astype("string")
    words = getattr(dataset, "cancer_types", None)  # a training of an earlier version has none
    table["cancer_type"] = codes.replace(dict(words or {}))
    table["race"] = _categories(samples.race, columns.get("race"))
    table["age"] = samples.age.astype(np.float64)
    if samples.images.shape[2] < 4:
        shown = data.table.iloc[samples.images[:, -1].max(axis=1)]
        table["laterality"] = shown["laterality"].to_numpy()
        if samples.images.shape[2] == 1:
            table["view"] = shown["view"].to_numpy()
    return table
