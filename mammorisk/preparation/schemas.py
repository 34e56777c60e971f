"""The structured configurations of ``mammorisk-prepare``, one for each of its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from mammorisk.config import DatasetConfig


@dataclass
class PrepareCohortConfig:
    """Root of ``mammorisk-prepare cohort``."""

    dataset: DatasetConfig = MISSING  # whose columns the table is written with
    raw: Any = MISSING  # how the downloads are read: component (conf/raw/)
    out: str = MISSING  # CSV to write


@dataclass
class PrepareImagesConfig:
    """Root of ``mammorisk-prepare images``."""

    out: str = MISSING  # folder of the PNGs
    image_size: list[int] = field(default_factory=lambda: [2048, 1664])  # rows, columns


@dataclass
class PrepareCheckConfig:
    """Root of ``mammorisk-prepare check``."""

    dataset: DatasetConfig = MISSING
    images: bool = False  # also read every image
    out: str | None = None  # report as JSON
    chosen: str = "chosen"  # why this dataset


def register_prepare_schemas() -> None:
    """Put the schemas where the YAML defaults lists find them; safe to call twice."""
    store = ConfigStore.instance()
    store.store(name="prepare_cohort_schema", node=PrepareCohortConfig)
    store.store(name="prepare_images_schema", node=PrepareImagesConfig)
    store.store(name="prepare_check_schema", node=PrepareCheckConfig)
