"""Settings of an evaluation and of the cohort that it reads."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from mammorisk.bounds import out_of_bounds
from mammorisk.config import CONF_DIR, DatasetConfig, options
from mammorisk.errors import UserError
from mammorisk.messages import closest_match
from mammorisk.metrics.risk_measures import Settings
from mammorisk.prediction.settings import merged_dataset
from mammorisk.system.printing import cited
from mammorisk.training.data_module import SPLITS

MOST_GENERATED = 10_000 * 256  # women x image rows that are generated without a request
METHODS = ("platt", "isotonic")
AS_TRAINED = "as_trained"  # cohort=: the table and the images that the checkpoint names
_KEPT = ("image_size", "orientation", "batch_size", "num_workers")  # of the model, for any cohort


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of ``evaluate`` (docs/evaluation.md)."""

    cohort: str | None = None  # option of conf/dataset, or as_trained; None: as in the training, if its run is given
    dataset: Mapping[str, Any] = field(default_factory=dict)  # settings that differ from it
    bootstrap_samples: int = 2000
    seed: int = 0
    confidence: float = 0.95
    min_group_size: int = 5
    population_incidence: float | None = None
    recalibrate: str | None = None
    examples: int = 5
    cpu: bool = False
    encoder_cache: str | None = None  # folder of kept features
    registration_cache: str | None = None  # folder of kept displacements
    allow_modules: Sequence[str] = ()  # own modules whose components a checkpoint may name

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UserError: a value out of range, all of them in one message.
        """
        # The dataset is held to its schema before.
        wrong = [f"{line}." for line in out_of_bounds({**vars(self), "dataset": {}})]
        if self.recalibrate not in (None, *METHODS):
            wrong.append(f"recalibrate={self.recalibrate}: expected {' or '.join(METHODS)}.")
        if wrong:
            raise UserError("\n".join(wrong))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> EvaluationSettings:
        """Settings from keywords.

        Raises:
            UserError: one is not known, or out of range.
        """
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                raise UserError(f"{name}: there is no such setting.{closest_match(name, known)}")
        return cls(**given)

    @property
    def statistics(self) -> Settings:
        """Settings of the bootstrap; the number of workers changes no result."""
        workers = max(1, min(4, len(os.sched_getaffinity(0))))
        return Settings(self.bootstrap_samples, self.seed, self.confidence, self.min_group_size, workers=workers)


def check_split(split: str) -> None:
    """Refuse an unknown split.

    Raises:
        UserError: it is none of train, val, test.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: expected {', '.join(SPLITS[:-1])} or {SPLITS[-1]}.")


def evaluation_config(trained: DictConfig, settings: EvaluationSettings, is_run: bool = False) -> DictConfig:
    """The configuration of a training, changed to read the cohort of the evaluation.

    With a cohort of its own (``settings.cohort``) image size, orientation and loader stay those of training. A cohort
    given by its CSV is not generated. Caches of the training are not used.

    Args:
        trained: of the training, as ``stored_config`` reads it.
        settings: of the evaluation.
        is_run: whether a run directory is given: its cohort may then be read, as with ``cohort=as_trained``.

    Raises:
        UserError: no such option or key, a value of another type, or a cohort that only the checkpoint names.
    """
    config = copy.deepcopy(trained)
    as_trained = settings.cohort in (None, AS_TRAINED)
    base = config.dataset if as_trained else _option(str(settings.cohort), config.dataset)
    if {"csv_file", "generator"} & settings.dataset.keys() == {"csv_file"}:
        base.generator = None
    if as_trained and not (is_run or settings.cohort == AS_TRAINED):
        if base.get("generator") is None:
            _ask_for_cohort(base, settings.dataset)
        elif base.generator.get("num_women", 0) * base.generator.get("image_height", 0) > MOST_GENERATED:
            raise UserError(
                f"The checkpoint's cohort has {base.generator.get('num_women')} generated women: drawing them takes "
                "long and needs much disk space. Set cohort=as_trained to draw them."
            )
    config.dataset = merged_dataset(base, settings.dataset)
    pattern = "file_pattern" in trained.dataset and OmegaConf.is_missing(config.dataset, "file_pattern")
    for key in ("csv_file", "data_root", *(["file_pattern"] if pattern else [])):
        if OmegaConf.is_missing(config.dataset, key):
            raise UserError(f"dataset.{key} is not set: give dataset.{key}=… for the cohort {config.dataset.name}.")
    return config


def cohort_note(dataset: DatasetConfig) -> str:
    """The cohort that will be read or generated, in words."""
    if dataset.generator is not None:
        folder = dataset.generator.get("folder", "data/phantom")
        return f"the cohort of the training is generated below {cited(folder)} (dataset.generator.folder=FOLDER)"
    csv_file, root = cited(dataset.csv_file), cited(dataset.data_root)
    columns = ", ".join(f"{key} {cited(name)}" for key, name in dataset.columns.items() if name and name != key)
    return (
        f"the cohort of the training is read: csv_file {csv_file}, images below {root} and at the paths of the table; "
        f"columns: {columns or 'with standard names'}"
    )


def _ask_for_cohort(stored: DictConfig, given: Mapping[str, Any]) -> None:
    """Refuse files that only a checkpoint names.

    Raises:
        UserError: the table or the folder of images is not given.
    """
    lacking = [key for key in ("csv_file", "data_root") if key not in given]
    if not lacking:
        return
    named = ", ".join(f"{key} {'none' if (value := _text(stored, key)) is None else cited(value)}" for key in lacking)
    raise UserError(
        f"A checkpoint does not decide which files are read: give {' '.join(f'dataset.{k}=…' for k in lacking)}. "
        f"What the checkpoint names ({named}) is read with cohort=as_trained, or if its run directory is given."
    )


def _text(node: DictConfig, key: str) -> Any:
    return "not known" if OmegaConf.is_missing(node, key) else node.get(key)


def _option(name: str, trained: DictConfig) -> DictConfig:
    known = [*(option for option in options("dataset") if option != "phantom"), AS_TRAINED]
    if name not in known:
        raise UserError(
            f"dataset={name}: expected {', '.join(known)}. A generated cohort is that of the training, or one that "
            f"mammorisk-phantom wrote, dataset.csv_file=….{closest_match(name, known)}"
        )
    option = OmegaConf.load(CONF_DIR / "dataset" / f"{name}.yaml")
    if isinstance(option, DictConfig):
        option.pop("defaults", None)
    found = OmegaConf.merge(OmegaConf.structured(DatasetConfig), option, {key: trained[key] for key in _KEPT})
    # Without the schema: ``merged_dataset`` checks against it.
    return cast(DictConfig, OmegaConf.create(OmegaConf.to_container(found)))
