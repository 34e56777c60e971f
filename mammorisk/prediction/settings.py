"""Settings for exams without outcomes: those of the training without outcomes, splits and caches."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from mammorisk.bounds import out_of_bounds
from mammorisk.config import DatasetConfig
from mammorisk.datasets.cohort_csv import OUTCOMES, present_columns, read_header
from mammorisk.errors import UserError
from mammorisk.messages import closest_match
from mammorisk.prediction.loaded_model import TrainedModel

_NOT_NEEDED = ("split", "race", *OUTCOMES)
_OF_THE_WOMAN = ("density", "percent_density", "age")  # only for models with risk factors


def prediction_config(
    model: TrainedModel, csv_file: Path, data_root: Path | None, overrides: Mapping[str, Any]
) -> DictConfig:
    """The configuration of a training, changed to read a CSV of exams without outcomes.

    Args:
        model: of the training.
        csv_file: one row per image.
        data_root: folder of the images; None: the CSV's.
        overrides: keys of ``dataset`` with their values, ``{"columns": {"view": "ViewPosition"}}``.

    Raises:
        UserError: no such CSV or key, a value of another type, or a named column that the CSV lacks.
    """
    config = copy.deepcopy(model.config)
    header = read_header(csv_file)
    dataset = merged_dataset(config.dataset, overrides)
    _check_named(overrides, csv_file, header)
    dataset.generator, dataset.class_balance, dataset.on_error = None, None, "fail"
    dataset.csv_file, dataset.data_root = str(csv_file), str(data_root or csv_file.absolute().parent)
    needs_factors = model.inputs.risk_factors
    dropped = _NOT_NEEDED if needs_factors else (*_NOT_NEEDED, *_OF_THE_WOMAN)
    dataset.columns = {key: name for key, name in dataset.columns.items() if key not in dropped}
    dataset.risk_factors = dataset.risk_factors if needs_factors else {}
    name = dataset.columns.get("file_name") or "file_name"
    if present_columns({"file_name": name}, header):  # file names in the CSV need no pattern
        dataset.file_pattern, dataset.columns["file_name"] = None, name
    config.dataset = dataset
    return config


def merged_dataset(trained: DictConfig, overrides: Mapping[str, Any]) -> DictConfig:
    """The training's dataset with ``overrides``, checked against the schema.

    Raises:
        UserError: no such key, a value of another type, or a number out of bounds.
    """
    values = cast(dict[str, Any], OmegaConf.to_container(trained, resolve=False))  # it holds no references
    known = {key: value for key, value in values.items() if key in DatasetConfig.__dataclass_fields__}
    schema = OmegaConf.structured(DatasetConfig)
    try:
        merged = OmegaConf.merge(schema, known, dict(overrides))
    except ConfigKeyError as error:
        key = str(error.full_key)
        fields = DatasetConfig.__dataclass_fields__
        raise UserError(f"dataset.{key}: there is no such key.{closest_match(key, fields)}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"dataset.{error.full_key}: {str(error).splitlines()[0]}") from error
    plain = cast(dict[str, Any], OmegaConf.to_container(merged, resolve=True))
    if wrong := list(out_of_bounds(plain, "dataset.")):
        raise UserError("\n".join(f"{line}." for line in wrong))
    return cast(DictConfig, merged)


def _check_named(overrides: Mapping[str, Any], csv_file: Path, header: list[str]) -> None:
    """Refuse columns that the user names and the CSV lacks; those of the training's mapping may be missing."""
    columns = {key: name for key, name in dict(overrides.get("columns") or {}).items() if name}
    for key in sorted(columns.keys() - present_columns(columns, header).keys()):
        raise UserError(
            f"dataset.columns.{key}={columns[key]}: {csv_file} has no such "
            f"column.{closest_match(columns[key], header)}\n"
            f"Columns found: {', '.join(map(repr, header))}."
        )
