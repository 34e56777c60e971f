"""What an evaluation can be told, and the cohort that it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mammorisk.bounds import out_of_bounds
from mammorisk.config import CONF_DIR, DatasetConfig, options
from mammorisk.datasets.citation import nearest
from mammorisk.errors import UserError
from mammorisk.metrics.evaluation import Settings
from mammorisk.prediction.settings import merged_dataset
from mammorisk.split_data import SPLITS

METHODS = ("platt", "isotonic")
_KEPT = ("image_size", "orientation", "batch_size", "num_workers", "cache")  # a model's own, whatever the cohort


@dataclass(frozen=True)
class EvaluationSettings:
    """Of ``evaluate``; each is explained in ``docs/evaluation.md``."""

    cohort: str | None = None  # option of conf/dataset; None: as in the training
    dataset: Mapping[str, Any] = field(default_factory=dict)  # what differs from it
    draws: int = 2000
    seed: int = 0
    confidence: float = 0.95
    smallest: int = 5
    population_incidence: float | None = None
    recalibrate: str | None = None
    examples: int = 5
    cpu: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UserError: a value out of range, all of them in one message.
        """
        wrong = [
            f"{line}." for line in out_of_bounds({**vars(self), "dataset": {}})
        ]  # that is held to its schema first
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
                raise UserError(f"{name}: there is no such setting.{nearest(name, known)}")
        return cls(**given)

    @property
    def statistics(self) -> Settings:
        """Of the bootstrap; as many workers as there are cores change no number."""
        workers = max(1, min(4, len(os.sched_getaffinity(0))))
        return Settings(self.draws, self.seed, self.confidence, self.smallest, workers=workers)


def check_split(split: str) -> None:
    """Refuse a split that there is not.

    Raises:
        UserError: it is none of train, val, test.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: expected {', '.join(SPLITS[:-1])} or {SPLITS[-1]}.")


def evaluation_config(trained: DictConfig, settings: EvaluationSettings) -> DictConfig:
    """The configuration of a training, changed to read the cohort that is to be evaluated.

    With a cohort of its own (``settings.cohort``) image size, orientation and loader stay those of training. A cohort
    given by its CSV is not generated.

    Raises:
        UserError: no such option or key, or a value of another type.
    """
    config = OmegaConf.create(OmegaConf.to_container(trained, resolve=True))
    assert isinstance(config, DictConfig)
    base = config.dataset if settings.cohort is None else _option(settings.cohort, config.dataset)
    if {"csv_file", "generator"} & settings.dataset.keys() == {"csv_file"}:
        base.generator = None
    config.dataset = merged_dataset(base, settings.dataset)
    for key in ("csv_file", "data_root"):
        if OmegaConf.is_missing(config.dataset, key):
            raise UserError(f"dataset.{key} is not set: dataset={settings.cohort} needs it.")
    return config


def _option(name: str, trained: DictConfig) -> DictConfig:
    known = [option for option in options("dataset") if option != "phantom"]
    if name not in known:
        raise UserError(
            f"dataset={name}: expected {', '.join(known)}. A generated cohort is that of the training, or one that "
            f"mammorisk-phantom wrote, dataset.csv_file=….{nearest(name, known)}"
        )
    option = OmegaConf.load(CONF_DIR / "dataset" / f"{name}.yaml")
    assert isinstance(option, DictConfig)
    option.pop("defaults", None)
    found = OmegaConf.merge(OmegaConf.structured(DatasetConfig), option, {key: trained[key] for key in _KEPT})
    plain = OmegaConf.create(OmegaConf.to_container(found))  # without the schema: ``merged_dataset`` holds it to it
    assert isinstance(plain, DictConfig)
    return plain
