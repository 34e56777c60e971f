"""The risks that a model gives a split, with all that its measures need to know of each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from omegaconf import DictConfig

from mammorisk.datasets.cohort import Cohort
from mammorisk.datasets.cohort_csv import present_columns, read_header
from mammorisk.models.base import RiskModel
from mammorisk.prediction.splits import RISK_COLUMNS, predict_split
from mammorisk.runs.logs import LOGGER
from mammorisk.training.data_module import SplitData, decode_images, fill_caches, read_splits

MOST_CATEGORIES = 50
ORACLE_COLUMNS = tuple(name.replace("risk", "oracle") for name in RISK_COLUMNS)


@dataclass(frozen=True)
class Scored:
    """A split of a cohort, scored."""

    cohort: Cohort
    data: SplitData
    risk: npt.NDArray[np.float64]  # [N, Y]
    table: pd.DataFrame  # predictions.csv: a row per sample


def score(model: RiskModel, config: DictConfig, splits: Sequence[str], device: torch.device) -> dict[str, Scored]:
    """The risks of all samples of the splits, by a model in eval mode. Collective.

    Raises:
        UserError: anything about the cohort that a user has to mend.
    """
    cohort, found = read_splits(config.dataset, model, splits)
    store = decode_images(found.values(), config.dataset)
    model = model.to(device).eval()
    fill_caches(found.values(), config.dataset, model, device)
    scored = {}
    for name, data in found.items():
        predicted = predict_split(model, data, config, device, store)
        table = _with_groups(predicted.table(), data, cohort, config)
        scored[name] = Scored(cohort, data, predicted.risk.astype(np.float64), table)
    return scored


def _categories(values: np.ndarray, column: object) -> np.ndarray:
    """Words that make groups; none where there are so many that they name women rather than groups."""
    found = len(set(values.tolist()))
    if found <= MOST_CATEGORIES:
        return values
    LOGGER.warning(
        "dataset.columns.race=%s has %d different values: expected at most %d of a category; it makes no groups, and "
        "is not written",
        column,
        found,
        MOST_CATEGORIES,
    )
    return np.full_like(values, "")


def _with_groups(table: pd.DataFrame, data: SplitData, cohort: Cohort, config: DictConfig) -> pd.DataFrame:
    """The table with full-precision risks, and the columns that subgroups are made of; empty where not known."""
    samples = data.samples
    numbers = [name for name in (*RISK_COLUMNS, *ORACLE_COLUMNS) if name in table]
    table = table.astype(dict.fromkeys(numbers, np.float64))
    density = pd.Series(samples.density, dtype="Int64")
    columns = config.dataset.columns
    named = present_columns({key: name for key, name in columns.items() if name}, read_header(cohort.csv_file))
    is_percent = "density" not in named and "percent_density" in named
    table["percent_density_quartile" if is_percent else "density"] = density.where(density >= 0)
    kind = pd.Series(samples.cancer_type, dtype="Int64")
    codes = kind.where((kind >= 0) & samples.cases).astype("string")
    table["cancer_type"] = codes.replace(dict(config.dataset.get("cancer_types") or {}))  # none: of an earlier version
    table["race"] = _categories(samples.race, columns.get("race"))
    table["age"] = samples.age.astype(np.float64)
    if samples.images.shape[2] < 4:
        shown = data.table.iloc[samples.images[:, -1].max(axis=1)]
        table["laterality"] = shown["laterality"].to_numpy()
        if samples.images.shape[2] == 1:
            table["view"] = shown["view"].to_numpy()
    return table
