"""Checks of small cohorts, in this process and in one of their own."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from helpers.cohorts import SIZE, cohort_rows, write_png
from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.preparation.check import as_overrides, examine
from mammorisk.preparation.check_report import Report
from mammorisk.preparation.schemas import register_prepare_schemas

PATIENTS = 12  # with cases and controls in every split
SMALL = f"dataset.image_size=[{SIZE[0]},{SIZE[1]}]"


def check_config(*words: str) -> DictConfig:
    """The config of ``mammorisk-prepare check WORDS``."""
    register_schemas()
    register_prepare_schemas()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("prepare_check", overrides=as_overrides(list(words)))


def cohort_on_disk(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None] | None = None) -> Path:
    """Write a valid cohort with all its images, and return its CSV; ``change`` edits the rows first."""
    rows = cohort_rows(PATIENTS)
    for name, side in zip(rows["file_name"], rows["laterality"], strict=True):
        write_png(folder / "images" / name, breast(name, side))
    rows["file_name"] = "images/" + rows["file_name"]
    changed = change(rows) if change is not None else None
    (rows if changed is None else changed).to_csv(folder / "cohort.csv", index=False)
    return folder / "cohort.csv"


def breast(name: str, side: str, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Bright noise that depends on the name, at the edge where the chest wall of that side is."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 1000, size)
    half = np.s_[:, : size[1] // 2] if side == "L" else np.s_[:, -(size[1] // 2) :]
    pixels[half] += 40_000
    return pixels


def examined(csv_file: Path, *words: str) -> Report:
    """Check a cohort in mammorisk's own format; return the report."""
    config = copy.deepcopy(_phantom_config(words))
    config.dataset.csv_file = str(csv_file)
    return examine_config(config)


def examine_config(config: DictConfig) -> Report:
    """Run a check with a config of ``mammorisk-prepare check``; return the report."""
    return examine(config.dataset, config.images, str(config.chosen))


@functools.cache
def _phantom_config(words: tuple[str, ...]) -> DictConfig:
    return check_config("dataset=phantom", SMALL, *words)


def prepare(*words: str) -> subprocess.CompletedProcess[str]:
    """``mammorisk-prepare WORDS`` as a process."""
    command = [sys.executable, "-m", "mammorisk.cli.prepare", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
