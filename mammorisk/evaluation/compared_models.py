"""The models of a comparison: their predictions, read or made, on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mammorisk.errors import UserError
from mammorisk.evaluation.api import evaluate_trained
from mammorisk.evaluation.evaluation_files import METRICS, PREDICTIONS, read_metrics, read_predictions
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.evaluation.trained_checkpoint import load_trained
from mammorisk.messages import format_examples
from mammorisk.runs.logs import LOGGER


@dataclass(frozen=True)
class ComparedModel:
    """A compared model and its predictions."""

    name: str
    place: Path  # run directory, or checkpoint
    table: pd.DataFrame  # predictions.csv
    made: dict[str, Any]  # of metrics.json
    model: dict[str, Any]
    cohort: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """Name and origin, for JSON."""
        origin = {key: self.made[key] for key in ("checkpoint", "checkpoint_sha256", "split", "version", "date")}
        return {"name": self.name, "run": str(self.place), **origin, "model": self.model}


def load_compared_model(place: str, split: str, settings: EvaluationSettings) -> ComparedModel:
    """Read the run directory of an evaluation, or evaluate a training or checkpoint. Collective.

    Raises:
        UserError: it is neither, or anything about model or cohort that a user has to correct.
    """
    path = Path(place).expanduser()
    if (path / METRICS).is_file():
        metrics, table = read_metrics(path / METRICS), read_predictions(path / PREDICTIONS)
        if len(table) != metrics["cohort"]["samples"]:
            raise UserError(
                f"{path}: {PREDICTIONS} has {len(table)} rows, and {METRICS} counts "
                f"{metrics['cohort']['samples']} samples. They are not of one evaluation: evaluate again."
            )
    else:
        trained = load_trained(path, allow_modules=settings.allow_modules)
        LOGGER.info("%s is a training: its model is evaluated first", path)
        # Only risks are needed: one bootstrap sample saves time.
        risks_only = replace(settings, bootstrap_samples=1, recalibrate=None, population_incidence=None)
        metrics, scored = evaluate_trained(trained, split, risks_only, None)
        table = scored.split.table
    name = str(metrics["model"]["name"])
    return ComparedModel(name, path, table, metrics["made"], metrics["model"], metrics["cohort"])


def named(compared_models: Sequence[ComparedModel], names: Sequence[str]) -> list[ComparedModel]:
    """The models with ``names``, or numbered if two models have one name.

    Raises:
        UserError: not as many names as runs, or one twice.
    """
    if names:
        if len(names) != len(compared_models) or len(set(names)) < len(names):
            raise UserError(f"names={list(names)}: expected {len(compared_models)}, one for each run, all different.")
        return [replace(each, name=name) for each, name in zip(compared_models, names, strict=True)]
    before: dict[str, int] = {}
    found = []
    for each in compared_models:
        before[each.name] = count = before.get(each.name, 0) + 1
        twice = sum(other.name == each.name for other in compared_models) > 1
        found.append(replace(each, name=f"{each.name} {count}") if twice else each)
    return found


def on_same_samples(compared_models: Sequence[ComparedModel], common: bool) -> list[ComparedModel]:
    """The models with the same samples in the same order.

    Args:
        compared_models: two or more.
        common: leave out the samples that one of them lacks, instead of refusing.

    Raises:
        UserError: samples or their outcomes differ, or none is common.
    """
    first = compared_models[0]
    tables = [each.table.set_index("sample_id", drop=False) for each in compared_models]
    for each, table in zip(compared_models, tables, strict=True):
        if not table.index.is_unique:
            twice = format_examples(table.index[table.index.duplicated()])
            raise UserError(f"{each.place}: expected each sample once; {twice} occur twice.")
    shared = tables[0].index
    for each, table in zip(compared_models[1:], tables[1:], strict=True):
        only_first, only_other = tables[0].index.difference(table.index), table.index.difference(tables[0].index)
        if (len(only_first) or len(only_other)) and not common:
            raise UserError(_differ(first, each, only_first, only_other))
        shared = shared[shared.isin(table.index)]
    if not len(shared):
        raise UserError("The runs have no sample in common: models of breasts and of exams cannot be compared.")
    chosen = [table.loc[shared] for table in tables]
    for each, table in zip(compared_models[1:], chosen[1:], strict=True):
        _check_outcomes(first, each, chosen[0], table)
    if len(shared) < max(map(len, tables)):
        LOGGER.warning("%d samples are common and compared", len(shared))
    return [
        replace(each, table=table.reset_index(drop=True)) for each, table in zip(compared_models, chosen, strict=True)
    ]


def _differ(first: ComparedModel, other: ComparedModel, only_first: pd.Index, only_other: pd.Index) -> str:
    lines = [
        f"  {len(part):,} only in {each.name} ({each.place}): {format_examples(part)}"
        for part, each in ((only_first, first), (only_other, other))
        if len(part)
    ]
    return (
        "Models are compared on the same samples; these differ:\n"
        + "\n".join(lines)
        + "\nThe cohorts, their splits or the inputs of "
        "the models (priors, views, breasts) differ. common=true compares the samples that all have."
    )


def _check_outcomes(first: ComparedModel, other: ComparedModel, one: pd.DataFrame, two: pd.DataFrame) -> None:
    for column in ("patient_id", "event", "years"):
        different = one[column].to_numpy() != two[column].to_numpy()
        if different.any():
            raise UserError(
                f"{first.name} ({first.place}) and {other.name} ({other.place}) differ in '{column}' of "
                f"{int(different.sum())} samples: {format_examples(one.index[different])}. They were "
                "evaluated on different versions of the cohort: evaluate again."
            )
