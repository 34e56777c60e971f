"""Schemas of the configurations of ``mammorisk-prepare``, one per subcommand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from mammorisk.config import DatasetConfig


@dataclass
class SplitConfig:
    """Settings of the split of women into train, val and test."""

    seed: int = 0  # another seed, another division
    train: float = 0.5  # shares of the women
    val: float = 0.2
    test: float = 0.3
    rule: str = (
        "threshold"  # threshold (no woman ever moves) | exact (shares of cases and controls to within one woman)
    )


@dataclass
class PrepareCohortConfig:
    """Root of ``mammorisk-prepare cohort``."""

    dataset: DatasetConfig = MISSING  # its columns name those of the table
    raw: Any = MISSING  # how the downloads are read: component (conf/raw/)
    split: SplitConfig = field(default_factory=SplitConfig)
    out: str = MISSING  # CSV to write
    overwrite: bool = False  # replace another table of this name
    dicom_root: str | None = None  # also make the images: folder of the DICOM files
    png: str = "png"  # ... and where they go


@dataclass
class PrepareImagesConfig:
    """Root of ``mammorisk-prepare images``."""

    csv_file: str | None = None  # table with a row per image; null: every DICOM file below dicom_root
    dicom_root: str = MISSING  # folder of the DICOM files
    out: str = MISSING  # folder of the PNGs
    columns: dict[str, str | None] = field(default_factory=dict)  # ours -> the table's; A|B: first there
    conversion: Any = MISSING  # how a file becomes an image: component (conf/conversion/)
    on_error: str = "report"  # report | stop
    num_workers: int | None = None  # processes; null: all usable cores


@dataclass
class PrepareCheckConfig:
    """Root of ``mammorisk-prepare check``."""

    dataset: DatasetConfig = MISSING
    images: bool = False  # also read every image
    out: str | None = None  # report as JSON
    chosen: str = "chosen"  # reason for this dataset


def register_prepare_schemas() -> None:
    """Register the schemas for the defaults lists of the YAML files; safe to call twice."""
    store = ConfigStore.instance()
    store.store(name="prepare_cohort_schema", node=PrepareCohortConfig)
    store.store(name="prepare_images_schema", node=PrepareImagesConfig)
    store.store(name="prepare_check_schema", node=PrepareCheckConfig)
